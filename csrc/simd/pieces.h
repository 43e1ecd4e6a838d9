// A smooth function of v in [0, end] as polynomials over 32 intervals, the coefficients looked up in registers: AVX-512
// has a permutation of 32 floats (vpermi2ps), which costs as much as an addition. Elsewhere a look-up is a walk through
// memory, and dearer than one long polynomial.
#pragma once
#include "vec.h"

namespace mg::simd::MG_ISA_NS {

// Interval i holds the v with round(v (beta + alpha v)) = i; there f = c[0][i] + d (c[1][i] + d (...)) with
// d = v - centre[i].
template <int Degree>
struct alignas(64) Pieces {
  float centre[32], c[Degree + 1][32];
  float end, beta, alpha;
};

#if defined(__AVX512F__)
MG_INL Vec<float> look_up(const float (&table)[32], Vec<int32_t> index) {  // by the lower 5 bits
  const __m512 low(Vec<float>::load(table).v), high(Vec<float>::load(table + 16).v);
  return Vec<float>(Vec<float>::V(_mm512_permutex2var_ps(low, __m512i(index.v), high)));
}
template <int Degree>
MG_INL Vec<float> piecewise(const Pieces<Degree>& p, Vec<float> v) {
  using V = Vec<float>;
  const V rounded = fma(v, fma(v, V(p.alpha), V(p.beta)), V(0x1.8p23f));  // an integer in the lower bits
  const Vec<int32_t> i = bits(rounded);
  const V d = v - look_up(p.centre, i);
  V r = look_up(p.c[Degree], i);
#pragma GCC unroll 8
  for (int k = Degree - 1; k >= 0; --k) r = fma(r, d, look_up(p.c[k], i));
  return r;
}
#endif

}  // namespace mg::simd::MG_ISA_NS
