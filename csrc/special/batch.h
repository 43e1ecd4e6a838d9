// A register at a time: the functions that are little more than a Chebyshev series (bessel.h, normal.h hold the same
// maths for one number). The series of several arguments run side by side; elementary functions are still called lane
// by lane. A branch of the definition is skipped when no lane needs it. Vectors go by reference: their calling
// convention depends on the machine. Included by files that are built once per instruction set (MG_ISA_NS).
#pragma once
#include <cstdint>

#include "bessel.h"
#include "normal.h"

namespace mg::special::batch::MG_ISA_NS {

#if defined(MG_ISA_avx512)
constexpr int kLanes = 8;
#elif defined(MG_ISA_avx2)
constexpr int kLanes = 4;
#else
constexpr int kLanes = 2;
#endif
typedef double Reals __attribute__((vector_size(8 * kLanes)));
typedef int64_t Flags __attribute__((vector_size(8 * kLanes)));

inline bool any(const Flags& m) {
  int64_t r = 0;
  for (int i = 0; i < kLanes; ++i) r |= m[i];
  return r != 0;
}
template <double (*F)(double)>
inline void each(const Reals& x, Reals& y) {
  for (int i = 0; i < kLanes; ++i) y[i] = F(x[i]);
}
inline double square_root(double x) { return std::sqrt(x); }
inline double sine(double x) { return std::sin(x); }
inline double cosine(double x) { return std::cos(x); }
inline double logarithm(double x) { return std::log(x); }

template <size_t N>
[[gnu::always_inline]] inline void chebyshev(const double (&c)[N], const Reals& t, Reals& r) {
  Reals b1 = {}, b2 = {};
  const Reals twice = 2 * t;
  for (size_t k = N - 1; k > 0; --k) {
    const Reals b = twice * b1 - b2 + c[k];
    b2 = b1;
    b1 = b;
  }
  r = t * b1 - b2 + c[0];
}

// near where the mask is set, far elsewhere.
template <size_t N, size_t M>
[[gnu::always_inline]] inline void chebyshev(const double (&near)[N], const Reals& near_t, const double (&far)[M],
                                             const Reals& far_t, const Flags& is_near, Reals& r) {
  Reals f = {};
  if (any(is_near))
    chebyshev(near, near_t, r);
  else
    r = f;
  if (any(~is_near)) {
    chebyshev(far, far_t, f);
    r = is_near ? r : f;
  }
}

inline void i0e(const Reals& x, Reals& y) {
  const Reals a = x < 0 ? -x : x;
  const Flags near = a <= 8;
  Reals root;
  each<square_root>(a, root);
  chebyshev(c::i0e_near, a / 4 - 1, c::i0e_far, 16 / a - 1, near, y);
  y = near ? y : y / root;
  y = a < kTiny ? 1 - a : y;
}
inline void i1e(const Reals& x, Reals& y) {
  const Reals a = x < 0 ? -x : x;
  const Flags near = a <= 8;
  Reals root;
  each<square_root>(a, root);
  chebyshev(c::i1e_near, a / 4 - 1, c::i1e_far, 16 / a - 1, near, y);
  y = near ? x * y : (x < 0 ? -y : y) / root;
  y = a < kTiny ? x / 2 * (1 - a) : y;
}
inline void i0(const Reals& x, Reals& y) {
  i0e(x, y);
  for (int i = 0; i < kLanes; ++i) y[i] = scale_up(y[i], std::fabs(x[i]));
}
inline void i1(const Reals& x, Reals& y) {
  i1e(x, y);
  for (int i = 0; i < kLanes; ++i) y[i] = scale_up(y[i], std::fabs(x[i]));
}

// first: J, else Y, for x > 8; see Wave.
template <int order, bool first>
inline void far_wave(const Reals& x, Reals& y) {
  const Reals z = 8 / x, t = 2 * z * z - 1;
  Reals s, k, p, q, root;
  each<sine>(x, s);
  each<cosine>(x, k);
  each<square_root>(kPi * x, root);
  chebyshev(order == 0 ? c::p0 : c::p1, t, p);
  chebyshev(order == 0 ? c::q0 : c::q1, t, q);
  q /= x;
  const Reals sine = order == 0 ? s - k : -s - k, cosine = order == 0 ? s + k : s - k;
  y = (first ? p * cosine - q * sine : p * sine + q * cosine) / root;
  y = x == kInf ? Reals{} : y;
}

template <int order>
inline void near_j(const Reals& x, Reals& y) {
  const Reals t = x * x / 32 - 1;
  if constexpr (order == 0)
    chebyshev(c::j0_near, t, y);
  else
    chebyshev(c::j1_near, t, y);
  y = order == 0 ? y : x * y;
}

template <int order>
inline void bessel_j(const Reals& x, Reals& y) {
  const Reals a = x < 0 ? -x : x;
  const Flags near = a <= 8;
  if (any(near)) {
    near_j<order>(a, y);
    y = a < kTiny ? (order == 0 ? 1 + 0 * a : a / 2) : y;
  }
  if (any(~near)) {
    Reals f;
    far_wave<order, true>(near ? 8 + 0 * a : a, f);
    y = near ? y : f;
  }
  if constexpr (order == 1) y = x < 0 ? -y : x == 0 ? x : y;
}
inline void j0(const Reals& x, Reals& y) { bessel_j<0>(x, y); }
inline void j1(const Reals& x, Reals& y) { bessel_j<1>(x, y); }

template <int order>
inline void bessel_y(const Reals& x, Reals& y) {
  const Flags near = x <= 8;
  if (any(near)) {
    Reals log, j;
    each<logarithm>(x / 2, log);
    near_j<order>(x, j);
    if constexpr (order == 0)
      chebyshev(c::y0_near, x * x / 32 - 1, y);
    else
      chebyshev(c::y1_near, x * x / 32 - 1, y);
    y = order == 0 ? 2 / kPi * log * j + y : 2 / kPi * log * j - 2 / kPi / x + x * y;
    y = x == 0 ? -kInf + 0 * x : x < 0 ? kNan + 0 * x : y;
    if constexpr (order == 1) y = (x > 0) & (x < 1e-300) ? -2 / kPi / x : y;
  }
  if (any(~near)) {
    Reals f;
    far_wave<order, false>(near ? 8 + 0 * x : x, f);
    y = near ? y : f;
  }
}
inline void y0(const Reals& x, Reals& y) { bessel_y<0>(x, y); }
inline void y1(const Reals& x, Reals& y) { bessel_y<1>(x, y); }

inline void ndtri(const Reals& p, Reals& y) {
  const Reals q = p - 0.5, size = q < 0 ? -q : q;
  const Flags mid = size <= 0.425;
  if (any(mid)) {
    chebyshev(c::ndtri_mid, q * q / 0.0903125 - 1, y);
    y *= q;
  }
  if (any(~mid)) {
    Reals r, tail;
    each<logarithm>(q < 0 ? p : 1 - p, r);
    each<square_root>(-r, r);
    chebyshev(c::ndtri_tail, (r - 3.3) / 1.7, c::ndtri_deep, (r - 16.25) / 11.25, r <= 5, tail);
    y = mid ? y : q < 0 ? -tail : tail;
  }
  for (int i = 0; i < kLanes; ++i)
    if (!(p[i] > 0 && p[i] < 1)) y[i] = special::ndtri(p[i]);
}

inline void erfcx(const Reals& x, Reals& y) {
  chebyshev(c::erfcx_all, (x - 3.75) / (x + 3.75), y);
  y /= 1 + 2 * x;
  for (int i = 0; i < kLanes; ++i)
    if (!(x[i] >= 0 && x[i] <= 1e8)) y[i] = special::erfcx(x[i]);
}

}  // namespace mg::special::batch::MG_ISA_NS
