// Element types and PyTorch's promotion lattice. Storage types `half` and `bfloat16` only hold bits:
// arithmetic is done in float and rounded once (see csrc/cpu/stage.h), on every device. Complex elements are two reals, real part
// first; kernels take them only when registered with MG_KERNEL_COMPLEX (op.h), so that no real kernel can misread them.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <ostream>

namespace mg {

enum class DType : uint8_t {
  Bool, UInt8, Int8, Int16, Int32, Int64, Float16, BFloat16, Float32, Float64, Complex64, Complex128
};
constexpr int kDTypes = 12;

inline float half_to_float(uint16_t h) {
  uint32_t sign = uint32_t(h & 0x8000) << 16, exp = (h >> 10) & 31, man = h & 1023;
  if (exp == 31) return std::bit_cast<float>(sign | 0x7f800000u | (man << 13));
  if (exp != 0) return std::bit_cast<float>(sign | ((exp + 112) << 23) | (man << 13));
  float magnitude = float(man) * 0x1p-24f;  // subnormal: exact in float
  return (sign != 0) ? -magnitude : magnitude;
}

inline uint16_t float_to_half(float f) {
  uint32_t x = std::bit_cast<uint32_t>(f), sign = (x >> 16) & 0x8000, a = x & 0x7fffffffu;
  if (a > 0x7f800000u) return uint16_t(sign | 0x7e00);
  if (a >= 0x477ff000u) return uint16_t(sign | 0x7c00);  // rounds to 65536 or above
  if (a < 0x38800000u) {                                 // subnormal half: let the float adder round to nearest even
    float scaled = std::bit_cast<float>(a) + 0.5f;
    return uint16_t(sign | (std::bit_cast<uint32_t>(scaled) - 0x3f000000u));
  }
  uint32_t odd = (a >> 13) & 1;
  return uint16_t(sign | ((a - 0x38000000u + 0xfff + odd) >> 13));
}

inline float bfloat16_to_float(uint16_t b) { return std::bit_cast<float>(uint32_t(b) << 16); }

inline uint16_t float_to_bfloat16(float f) {
  uint32_t x = std::bit_cast<uint32_t>(f);
  if ((x & 0x7fffffffu) > 0x7f800000u) return uint16_t((x >> 16) | 0x40);  // keep NaN a NaN
  return uint16_t((x + 0x7fff + ((x >> 16) & 1)) >> 16);
}

struct half {
  uint16_t bits = 0;
  half() = default;
  explicit half(float f) : bits(float_to_half(f)) {}
  operator float() const { return half_to_float(bits); }
};

struct bfloat16 {
  uint16_t bits = 0;
  bfloat16() = default;
  explicit bfloat16(float f) : bits(float_to_bfloat16(f)) {}
  operator float() const { return bfloat16_to_float(bits); }
};

// An element; its arithmetic is in csrc/cpu/complex_math.h.
template <class T>
struct Complex {
  T re = 0, im = 0;
};
using complex64 = Complex<float>;
using complex128 = Complex<double>;

constexpr int64_t itemsize(DType d) {
  constexpr uint8_t sizes[kDTypes] = {1, 1, 1, 2, 4, 8, 2, 2, 4, 8, 8, 16};
  return sizes[int(d)];
}
constexpr const char* dtype_name(DType d) {
  constexpr const char* names[kDTypes] = {"bool",  "uint8",   "int8",     "int16",   "int32",
                                          "int64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"};
  return names[int(d)];
}
constexpr bool is_floating(DType d) { return d >= DType::Float16 && d <= DType::Float64; }
constexpr bool is_complex(DType d) { return d >= DType::Complex64; }
constexpr bool is_inexact(DType d) { return d >= DType::Float16; }  // floating or complex: what can carry a gradient
constexpr bool is_integral(DType d, bool include_bool = false) {
  return d < DType::Float16 && (include_bool || d != DType::Bool);
}

// The complex dtype over a real one (complex64 over everything below float64: there is no complex32), and the parts' dtype.
constexpr DType to_complex(DType d) { return d == DType::Float64 || d == DType::Complex128 ? DType::Complex128 : DType::Complex64; }
constexpr DType to_real(DType d) {
  return d == DType::Complex64 ? DType::Float32 : d == DType::Complex128 ? DType::Float64 : d;
}

inline std::ostream& operator<<(std::ostream& out, DType d) { return out << dtype_name(d); }

// PyTorch's torch.promote_types: the smallest type both convert to within bool < integers < floats < complex.
constexpr DType promote(DType a, DType b) {
  if (a == b) return a;
  if (a > b) {
    DType t = a;
    a = b;
    b = t;
  }
  if (b == DType::Complex64 && a == DType::Float64) return DType::Complex128;
  if (b == DType::BFloat16 && a == DType::Float16) return DType::Float32;
  if (a == DType::UInt8 && b == DType::Int8) return DType::Int16;
  return b;
}

// torch.can_cast: a result of type `from` may be written into an existing tensor of type `to`.
constexpr bool can_cast(DType from, DType to) {
  if (is_complex(from) && !is_complex(to)) return false;
  if (is_floating(from) && !is_inexact(to)) return false;
  if (from != DType::Bool && to == DType::Bool) return false;
  return true;
}

[[noreturn]] void fail_complex_dispatch(DType d);

// The one dtype switch: calls f(T{}) with the C++ type of `d`, which is real (dispatch_complex for the others).
template <class F>
decltype(auto) dispatch(DType d, F&& f) {
  switch (d) {
    case DType::Bool: return f(bool{});
    case DType::UInt8: return f(uint8_t{});
    case DType::Int8: return f(int8_t{});
    case DType::Int16: return f(int16_t{});
    case DType::Int32: return f(int32_t{});
    case DType::Int64: return f(int64_t{});
    case DType::Float16: return f(half{});
    case DType::BFloat16: return f(bfloat16{});
    case DType::Float32: return f(float{});
    case DType::Float64: return f(double{});
    case DType::Complex64:
    case DType::Complex128: break;
  }
  fail_complex_dispatch(d);
}
template <class F>
decltype(auto) dispatch_complex(DType d, F&& f) {
  if (d == DType::Complex64) return f(complex64{});
  return f(complex128{});
}

// C++ type to DType, for typed access to data.
template <class T> constexpr DType dtype_of();
template <> constexpr DType dtype_of<bool>() { return DType::Bool; }
template <> constexpr DType dtype_of<uint8_t>() { return DType::UInt8; }
template <> constexpr DType dtype_of<int8_t>() { return DType::Int8; }
template <> constexpr DType dtype_of<int16_t>() { return DType::Int16; }
template <> constexpr DType dtype_of<int32_t>() { return DType::Int32; }
template <> constexpr DType dtype_of<int64_t>() { return DType::Int64; }
template <> constexpr DType dtype_of<half>() { return DType::Float16; }
template <> constexpr DType dtype_of<bfloat16>() { return DType::BFloat16; }
template <> constexpr DType dtype_of<float>() { return DType::Float32; }
template <> constexpr DType dtype_of<double>() { return DType::Float64; }
template <> constexpr DType dtype_of<complex64>() { return DType::Complex64; }
template <> constexpr DType dtype_of<complex128>() { return DType::Complex128; }

}  // namespace mg
