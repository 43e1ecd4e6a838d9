// Elements as device code sees them: the C++ type of each dtype, the type to compute in, conversion, and the switches from a DType to a
// template argument. Stored float16 and bfloat16 are CUDA's types here; they are computed in float and rounded once, as on the CPU.
#pragma once
#include <limits>
#include <type_traits>

#include "../core/dtype.h"
#include "../scalar_int.h"
#include "cuda_portable.h"

#ifdef MINIGRAD_CUDASIM
#define MG_DEVICE MG_HD
#else
#define MG_DEVICE __host__ __device__ __forceinline__
#endif

namespace mg::cuda {

template <class T>
struct DeviceElement { using type = T; };
template <>
struct DeviceElement<half> { using type = __half; };
template <>
struct DeviceElement<bfloat16> { using type = __nv_bfloat16; };

template <class T>
inline constexpr bool is_low_precision = std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>;
template <class T>
inline constexpr bool is_complex_element = std::is_same_v<T, complex64> || std::is_same_v<T, complex128>;

// itemsize() for device code, where its table would be made in local memory at every call.
MG_DEVICE int64_t bytes_of(DType d) {
  constexpr uint64_t sizes = [] {
    uint64_t packed = 0;
    for (int k = 0; k < kDTypes; ++k) packed |= uint64_t(itemsize(DType(k))) << (5 * k);
    return packed;
  }();
  return int64_t(sizes >> (5 * int(d)) & 31);
}

// What a kernel computes in: float for the 16-bit floats, the type itself otherwise; and sums: int64 for integers and bool.
template <class T>
using compute_t = std::conditional_t<is_low_precision<T>, float, T>;
template <class T>
using sum_t = std::conditional_t<is_low_precision<T>, float, std::conditional_t<std::is_integral_v<T>, int64_t, T>>;

// One element of any type to any other, defined for every value. To bool: not zero (NaN is true). Float to integer cuts the fraction; what
// does not fit becomes the lowest int64 or int32 and is cut to the narrow type, as on the CPU. Complex to real drops the imaginary part.
template <class D, class S>
MG_DEVICE D convert(S s) {
  if constexpr (std::is_same_v<D, S>) {
    return s;
  } else if constexpr (is_complex_element<D>) {
    using R = decltype(D::re);
    if constexpr (is_complex_element<S>) return D{R(s.re), R(s.im)};
    else return D{convert<R>(s), R(0)};
  } else if constexpr (is_complex_element<S>) {
    if constexpr (std::is_same_v<D, bool>) return s.re != 0 || s.im != 0;
    else return convert<D>(s.re);
  } else if constexpr (is_low_precision<S>) {
    return convert<D>(float(s));
  } else if constexpr (is_low_precision<D>) {
    return D(float(s));
  } else if constexpr (std::is_same_v<D, bool>) {
    return s != S(0);
  } else if constexpr (std::is_floating_point_v<S> && std::is_integral_v<D>) {
    using Wide = std::conditional_t<sizeof(D) == 8, int64_t, int32_t>;
    constexpr S limit = sizeof(D) == 8 ? S(0x1p63) : S(0x1p31);
    constexpr Wide lowest = sizeof(D) == 8 ? Wide(INT64_MIN) : Wide(INT32_MIN);
    return D(s >= -limit && s < limit ? Wide(s) : lowest);
  } else {
    return static_cast<D>(s);
  }
}

// f(T{}) with the element type of `d`; raises for dtypes outside of the switch's set.
template <class F>
decltype(auto) dispatch_real(DType d, F&& f) {
  return dispatch(d, [&](auto tag) { return f(typename DeviceElement<decltype(tag)>::type{}); });
}
template <class F>
void dispatch_any(DType d, F&& f) {  // real and complex
  if (is_complex(d)) return dispatch_complex(d, f);
  return dispatch_real(d, f);
}
template <class F>
void dispatch_floating(DType d, F&& f) {  // float16, bfloat16, float32, float64
  switch (d) {
    case DType::Float16: return f(__half{});
    case DType::BFloat16: return f(__nv_bfloat16{});
    case DType::Float32: return f(float{});
    case DType::Float64: return f(double{});
    default: fail_complex_dispatch(d);
  }
}
template <class F>
void dispatch_integral(DType d, F&& f) {  // uint8 … int64
  switch (d) {
    case DType::UInt8: return f(uint8_t{});
    case DType::Int8: return f(int8_t{});
    case DType::Int16: return f(int16_t{});
    case DType::Int32: return f(int32_t{});
    case DType::Int64: return f(int64_t{});
    default: fail_complex_dispatch(d);
  }
}
// For kernels that only move elements: an unsigned type of the element's size (uint4 for 16 bytes).
template <class F>
void dispatch_bits(int64_t item, F&& f) {
  switch (item) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    case 8: return f(uint64_t{});
    default: return f(uint4{});
  }
}

}  // namespace mg::cuda
