// Philox4x32-10 and the distributions made from it: pure functions, the same text for CPU (scalar or auto-vectorised)
// and CUDA. Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011; checked against
// its published test vectors.
//
// Definition of a random tensor (every device and thread count gives the same one). Let `start` be what
// Generator::reserve returned:
//   32-bit numbers: element i uses philox(seed, start + i / 4), lane i % 4
//   64-bit numbers: element i uses philox(seed, start + i / 2), lanes 2 * (i % 2) (low half) and 2 * (i % 2) + 1 (high
//   half) float normal:   elements 2j, 2j + 1 are the Box-Muller pair of 32-bit numbers 2j, 2j + 1; double normal
//   likewise of 64-bit numbers float16 and bfloat16 tensors: the float32 number, rounded; uniform ones take fewer bits
//   instead (uniform_bits), to stay below 1
//
// Bit-exactness: only correctly rounded operations are used (+ * / sqrt and explicit fma) and no expression a * b + c
// is left for the compiler to contract. Compile with -fno-math-errno, so that sqrt vectorises. No weak symbols: this
// header is included in per-ISA files.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#define MG_PHILOX __host__ __device__ __forceinline__ static
#define MG_PHILOX_UNROLL(n)
#else
#define MG_PHILOX_PRAGMA(text) _Pragma(#text)
#define MG_PHILOX_UNROLL(n) MG_PHILOX_PRAGMA(GCC unroll n)
#define MG_PHILOX [[gnu::always_inline, maybe_unused]] static inline
#endif

namespace mg {

struct Philox4 {
  uint32_t v[4];
};

// The raw function: 128-bit counter, 64-bit key.
MG_PHILOX Philox4 philox4x32_10(Philox4 counter, uint32_t key0, uint32_t key1) {
  uint32_t a = counter.v[0], b = counter.v[1], c = counter.v[2], d = counter.v[3];
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * a;
    const uint64_t p1 = uint64_t(0xCD9E8D57u) * c;
    a = uint32_t(p1 >> 32) ^ b ^ key0;
    b = uint32_t(p1);
    c = uint32_t(p0 >> 32) ^ d ^ key1;
    d = uint32_t(p0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{a, b, c, d}};
}

// Block number `counter` of the stream `seed`.
MG_PHILOX Philox4 philox(uint64_t seed, uint64_t counter) {
  return philox4x32_10({{uint32_t(counter), uint32_t(counter >> 32), 0, 0}}, uint32_t(seed), uint32_t(seed >> 32));
}

// 64-bit number `half` (0 or 1) of a block.
MG_PHILOX uint64_t philox_u64(const Philox4& block, int half) {
  return uint64_t(block.v[2 * half + 1]) << 32 | block.v[2 * half];
}

// ---- correctly rounded building blocks ----

MG_PHILOX float random_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
MG_PHILOX double random_fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
MG_PHILOX float random_sqrt(float x) { return __builtin_sqrtf(x); }
MG_PHILOX double random_sqrt(double x) { return __builtin_sqrt(x); }

// ln(u) for a normal number u in (0, 1]. u = 2^e m, m in [sqrt(1/2), sqrt(2)), s = (m - 1) / (m + 1):
// ln u = e ln 2 + 2 (s + s^3 / 3 + s^5 / 5 + ...), |s| < 0.172; the first dropped term is below 2e-9 (float) and 1e-17
// (double).
MG_PHILOX float random_log(float u) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, u);
  const int32_t e = int32_t(bits - 0x3F3504F3u) >> 23;
  const float m = __builtin_bit_cast(float, bits - (uint32_t(e) << 23));
  const float s = (m - 1.0f) / (m + 1.0f), z = s * s;
  float p = 1.0f / 9;
  MG_PHILOX_UNROLL(8)  // before the vectoriser looks at the caller's loop
  for (int k = 7; k >= 1; k -= 2) p = random_fma(p, z, 1.0f / float(k));
  return random_fma(float(e), 0x1.62E430p-1f, 2.0f * s * p);
}
MG_PHILOX double random_log(double u) {
  const uint64_t bits = __builtin_bit_cast(uint64_t, u);
  const int64_t e = int64_t(bits - 0x3FE6A09E667F3BCDull) >> 52;
  const double m = __builtin_bit_cast(double, bits - (uint64_t(e) << 52));
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = 1.0 / 19;
  MG_PHILOX_UNROLL(16)
  for (int k = 17; k >= 1; k -= 2) p = random_fma(p, z, 1.0 / k);
  return random_fma(double(e), 0x1.62E42FEFA39EFp-1, 2.0 * s * p);
}

template <class T>
struct SinCos {
  T sin, cos;
};

// sin and cos of 2 pi x / 2^32 (2^64): exact reduction to a quarter turn in integers, Taylor series on [-pi/4, pi/4].
MG_PHILOX SinCos<float> random_sincos(uint32_t x) {
  const uint32_t quadrant = (x + 0x20000000u) >> 30;
  const float t = float(int32_t(x << 2)) * 0x1.921FB6p-32f, z = t * t;
  float s = 1.0f / 362880, c = -1.0f / 3628800;
  s = random_fma(random_fma(random_fma(s, z, -1.0f / 5040), z, 1.0f / 120), z, -1.0f / 6);
  c = random_fma(random_fma(random_fma(random_fma(c, z, 1.0f / 40320), z, -1.0f / 720), z, 1.0f / 24), z, -0.5f);
  s = random_fma(t * z, s, t);
  c = random_fma(z, c, 1.0f);
  const float a = quadrant & 1 ? c : s, b = quadrant & 1 ? s : c;
  return {quadrant & 2 ? -a : a, (quadrant + 1) & 2 ? -b : b};
}
MG_PHILOX SinCos<double> random_sincos(uint64_t x) {
  const uint64_t quadrant = (x + (uint64_t(1) << 61)) >> 62;
  const double t = double(int64_t(x << 2)) * 0x1.921FB54442D18p-64, z = t * t;
  constexpr double kSin[] = {1 / 355687428096000.0, -1 / 1307674368000.0, 1 / 6227020800.0, -1 / 39916800.0,
                             1 / 362880.0,          -1 / 5040.0,          1 / 120.0,        -1 / 6.0};
  constexpr double kCos[] = {-1 / 6402373705728000.0, 1 / 20922789888000.0, -1 / 87178291200.0, 1 / 479001600.0,
                             -1 / 3628800.0,          1 / 40320.0,          -1 / 720.0,         1 / 24.0};
  double s = kSin[0], c = kCos[0];
  MG_PHILOX_UNROLL(8)
  for (int k = 1; k < 8; ++k) {
    s = random_fma(s, z, kSin[k]);
    c = random_fma(c, z, kCos[k]);
  }
  s = random_fma(t * z, s, t);
  c = random_fma(z, random_fma(z, c, -0.5), 1.0);
  const double a = quadrant & 1 ? c : s, b = quadrant & 1 ? s : c;
  return {quadrant & 2 ? -a : a, (quadrant + 1) & 2 ? -b : b};
}

// ---- distributions ----

// Uniform on [0, 1), multiples of 2^-digits; digits = 24 for float, 11 for float16, 8 for bfloat16.
MG_PHILOX float uniform_bits(uint32_t x, int digits) {
  return float(int32_t(x >> (32 - digits))) * __builtin_bit_cast(float, uint32_t(127 - digits) << 23);
}
MG_PHILOX float uniform(uint32_t x) { return float(int32_t(x >> 8)) * 0x1p-24f; }
MG_PHILOX double uniform(uint64_t x) { return double(int64_t(x >> 11)) * 0x1p-53; }

// Uniform on [lo, hi) for u in [0, 1): a result rounded up to hi becomes lo (at most one in 2^24 does).
template <class T>
MG_PHILOX T uniform_between(T u, T lo, T hi) {
  const T r = random_fma(u, hi - lo, lo);
  return r < hi ? r : lo;
}

// Uniform on (0, 1], never 0 and with all the resolution there is near 0: the tails of normal and exponential come from
// there.
MG_PHILOX float uniform_positive(uint32_t x) { return random_fma(float(x), 0x1p-32f, 0x1p-33f); }
MG_PHILOX double uniform_positive(uint64_t x) { return random_fma(double(x), 0x1p-64, 0x1p-65); }

template <class T>
struct NormalPair {
  T first, second;
};

// Two independent standard normals from two random numbers (Box-Muller). Largest magnitude: 6.76 (float), 9.49
// (double).
MG_PHILOX NormalPair<float> normal_pair(uint32_t x0, uint32_t x1) {
  const float radius = random_sqrt(-2.0f * random_log(uniform_positive(x0)));
  const SinCos<float> turn = random_sincos(x1);
  return {radius * turn.cos, radius * turn.sin};
}
MG_PHILOX NormalPair<double> normal_pair(uint64_t x0, uint64_t x1) {
  const double radius = random_sqrt(-2.0 * random_log(uniform_positive(x0)));
  const SinCos<double> turn = random_sincos(x1);
  return {radius * turn.cos, radius * turn.sin};
}

// Standard exponential, always > 0 (so that x / exponential is finite; the lowest 2^-25 of the mass shares one value).
MG_PHILOX float exponential(uint32_t x) {
  const float r = -random_log(uniform_positive(x));
  return r > 0x1p-26f ? r : 0x1p-26f;
}
MG_PHILOX double exponential(uint64_t x) {
  const double r = -random_log(uniform_positive(x));
  return r > 0x1p-55 ? r : 0x1p-55;
}

// Integer on [0, range): the high half of x * range; range 0 stands for 2^64. No number is off its fair share by more
// than range / 2^64.
MG_PHILOX uint64_t bounded(uint64_t x, uint64_t range) {
  if (range == 0) return x;
#if defined(__CUDA_ARCH__)
  return __umul64hi(x, range);
#else
  return uint64_t((static_cast<unsigned __int128>(x) * range) >> 64);
#endif
}

}  // namespace mg
