// __half and __nv_bfloat16 with the conversions, arithmetic and comparisons usual kernels use. Both store 16 bits and
// compute in float, rounding once to nearest even, as the device's instructions do for + - * / and sqrt.
#pragma once
#include "device.h"

namespace cudasim {
struct Fp16 {
  static uint16_t round(double v) { return std::bit_cast<uint16_t>(static_cast<_Float16>(v)); }
  static float widen(uint16_t bits) { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
};
struct Bf16 {
  static uint16_t round(double v) {
    float f = static_cast<float>(v);
    uint32_t bits = std::bit_cast<uint32_t>(f);
    if (std::isnan(f)) return 0x7fff;
    // A double that float had to round must not round twice: step back to the truncated float and keep a sticky bit.
    if (double(f) != v && std::isfinite(f)) bits = (std::abs(double(f)) > std::abs(v) ? bits - 1 : bits) | 1;
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  static float widen(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }
};

template <class Format>
struct Narrow {
  uint16_t bits;
  Narrow() = default;
  Narrow(float v) : bits(Format::round(v)) {}
  Narrow(double v) : bits(Format::round(v)) {}
  template <class I, class = std::enable_if_t<std::is_integral_v<I>>>
  Narrow(I v) : bits(Format::round(double(v))) {}
  operator float() const { return Format::widen(bits); }
  friend Narrow operator+(Narrow a, Narrow b) { return float(a) + float(b); }
  friend Narrow operator-(Narrow a, Narrow b) { return float(a) - float(b); }
  friend Narrow operator*(Narrow a, Narrow b) { return float(a) * float(b); }
  friend Narrow operator/(Narrow a, Narrow b) { return float(a) / float(b); }
  friend Narrow operator-(Narrow a) { return raw(a.bits ^ 0x8000); }
  Narrow& operator+=(Narrow b) { return *this = *this + b; }
  Narrow& operator-=(Narrow b) { return *this = *this - b; }
  Narrow& operator*=(Narrow b) { return *this = *this * b; }
  Narrow& operator/=(Narrow b) { return *this = *this / b; }
  friend bool operator==(Narrow a, Narrow b) { return float(a) == float(b); }
  friend bool operator<(Narrow a, Narrow b) { return float(a) < float(b); }
  friend bool operator>(Narrow a, Narrow b) { return float(a) > float(b); }
  friend bool operator<=(Narrow a, Narrow b) { return float(a) <= float(b); }
  friend bool operator>=(Narrow a, Narrow b) { return float(a) >= float(b); }
  static Narrow raw(unsigned bits) {
    Narrow v;
    v.bits = uint16_t(bits);
    return v;
  }
};
template <class Format>
struct alignas(4) Narrow2 {
  Narrow<Format> x, y;
  Narrow2() = default;
  Narrow2(Narrow<Format> x_, Narrow<Format> y_) : x(x_), y(y_) {}
};
}  // namespace cudasim

using __half = cudasim::Narrow<cudasim::Fp16>;
using __half2 = cudasim::Narrow2<cudasim::Fp16>;
using __nv_bfloat16 = cudasim::Narrow<cudasim::Bf16>;
using __nv_bfloat162 = cudasim::Narrow2<cudasim::Bf16>;
using half = __half;
using half2 = __half2;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

#define CUDASIM_CONVERSIONS(T, T2, name, name2)                             \
  inline T __float2##name(float v) { return v; }                            \
  inline T __float2##name##_rn(float v) { return v; }                       \
  inline T __double2##name(double v) { return v; }                          \
  inline T __int2##name##_rn(int v) { return v; }                           \
  inline float __##name##2float(T v) { return v; }                          \
  inline T2 __floats2##name##2_rn(float x, float y) { return {x, y}; }      \
  inline T2 __float22##name##2_rn(float2 v) { return {v.x, v.y}; }          \
  inline T2 __##name##2##name2(T v) { return {v, v}; }                      \
  inline float2 __##name##22float2(T2 v) { return {v.x, v.y}; }             \
  inline unsigned short __##name##_as_ushort(T v) { return v.bits; }        \
  inline T __ushort_as_##name(unsigned short bits) { return T::raw(bits); } \
  inline T2 __halves2##name2(T x, T y) { return {x, y}; }
CUDASIM_CONVERSIONS(__half, __half2, half, half2)
CUDASIM_CONVERSIONS(__nv_bfloat16, __nv_bfloat162, bfloat16, bfloat162)
#undef CUDASIM_CONVERSIONS

#define CUDASIM_NARROW(result, name, parameters, expression) \
  template <class F>                                         \
  result name parameters {                                   \
    return expression;                                       \
  }
#define CUDASIM_N cudasim::Narrow<F>
#define CUDASIM_N2 cudasim::Narrow2<F>
#define CUDASIM_BINARY(name, name2, expression)                           \
  CUDASIM_NARROW(CUDASIM_N, name, (CUDASIM_N a, CUDASIM_N b), expression) \
  CUDASIM_NARROW(CUDASIM_N2, name2, (CUDASIM_N2 a, CUDASIM_N2 b), (CUDASIM_N2{name(a.x, b.x), name(a.y, b.y)}))
CUDASIM_BINARY(__hadd, __hadd2, a + b)
CUDASIM_BINARY(__hsub, __hsub2, a - b)
CUDASIM_BINARY(__hmul, __hmul2, a * b)
CUDASIM_BINARY(__hdiv, __h2div, a / b)
CUDASIM_BINARY(__hmax, __hmax2, (CUDASIM_N(std::fmax(float(a), float(b)))))
CUDASIM_BINARY(__hmin, __hmin2, (CUDASIM_N(std::fmin(float(a), float(b)))))
// The product of two 11-bit significands is exact in double, and so is its sum unless it is far below the last bit.
CUDASIM_NARROW(CUDASIM_N, __hfma, (CUDASIM_N a, CUDASIM_N b, CUDASIM_N c),
               (CUDASIM_N(double(a) * double(b) + double(c))))
CUDASIM_NARROW(CUDASIM_N2, __hfma2, (CUDASIM_N2 a, CUDASIM_N2 b, CUDASIM_N2 c),
               (CUDASIM_N2{__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}))
CUDASIM_NARROW(bool, __heq, (CUDASIM_N a, CUDASIM_N b), a == b)
CUDASIM_NARROW(bool, __hne, (CUDASIM_N a, CUDASIM_N b), a<b || a> b)  // ordered, as the instruction: false for NaN
CUDASIM_NARROW(bool, __hlt, (CUDASIM_N a, CUDASIM_N b), a < b)
CUDASIM_NARROW(bool, __hle, (CUDASIM_N a, CUDASIM_N b), a <= b)
CUDASIM_NARROW(bool, __hgt, (CUDASIM_N a, CUDASIM_N b), a > b)
CUDASIM_NARROW(bool, __hge, (CUDASIM_N a, CUDASIM_N b), a >= b)
CUDASIM_NARROW(bool, __hisnan, (CUDASIM_N a), std::isnan(float(a)))
CUDASIM_NARROW(int, __hisinf, (CUDASIM_N a), std::isinf(float(a)) ? (float(a) > 0 ? 1 : -1) : 0)
CUDASIM_NARROW(CUDASIM_N, __hneg, (CUDASIM_N a), -a)
CUDASIM_NARROW(CUDASIM_N, __habs, (CUDASIM_N a), CUDASIM_N::raw(a.bits & 0x7fff))
CUDASIM_NARROW(CUDASIM_N, hsqrt, (CUDASIM_N a), (CUDASIM_N(std::sqrt(float(a)))))
CUDASIM_NARROW(CUDASIM_N, hrsqrt, (CUDASIM_N a), (CUDASIM_N(1.0 / std::sqrt(double(a)))))
CUDASIM_NARROW(CUDASIM_N, hrcp, (CUDASIM_N a), (CUDASIM_N(1.0 / double(a))))
CUDASIM_NARROW(CUDASIM_N, hexp, (CUDASIM_N a), (CUDASIM_N(std::exp(double(a)))))
CUDASIM_NARROW(CUDASIM_N, hlog, (CUDASIM_N a), (CUDASIM_N(std::log(double(a)))))
CUDASIM_NARROW(CUDASIM_N, __low2half, (CUDASIM_N2 v), v.x)
CUDASIM_NARROW(CUDASIM_N, __high2half, (CUDASIM_N2 v), v.y)
CUDASIM_NARROW(CUDASIM_N, __low2bfloat16, (CUDASIM_N2 v), v.x)
CUDASIM_NARROW(CUDASIM_N, __high2bfloat16, (CUDASIM_N2 v), v.y)
CUDASIM_NARROW(float, __low2float, (CUDASIM_N2 v), v.x)
CUDASIM_NARROW(float, __high2float, (CUDASIM_N2 v), v.y)
#undef CUDASIM_BINARY
#undef CUDASIM_NARROW
#undef CUDASIM_N2
#undef CUDASIM_N
