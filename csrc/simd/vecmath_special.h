// Hyperbolic functions, pow, fmod, nextafter; included by vecmath_more.h only.
#pragma once
#include "vecmath_gelu.h"

namespace mg::simd::MG_ISA_NS {

// x - tanh(x) without cancellation.
inline Vec<float> tanhshrink(Vec<float> x) {
  return in_double(x, [](Vec<double> v) {
    using V = Vec<double>;
    const double c[4] = {-1 / 3.0, 2 / 15.0, -17 / 315.0, 62 / 2835.0};
    const V z = v * v;
    return select(abs(v) < V(0.02), -(v * z) * poly(z, c), v - tanh(v));
  });
}

inline Vec<float> sinh(Vec<float> x) {
  const Vec<float> y = in_double(x, [](Vec<double> v) {
    const Vec<double> e = exp(v);
    return (e - Vec<double>(1.0) / e) * Vec<double>(0.5);
  });
  return select(abs(x) < Vec<float>(0x1p-20f), x, y);
}
inline Vec<float> cosh(Vec<float> x) {
  return in_double(x, [](Vec<double> v) {
    const Vec<double> e = exp(v);
    return (e + Vec<double>(1.0) / e) * Vec<double>(0.5);
  });
}
inline Vec<float> asinh(Vec<float> x) {
  const Vec<float> y = in_double(abs(x), [](Vec<double> v) { return log(v + sqrt(v * v + Vec<double>(1.0))); });
  return select(abs(x) < Vec<float>(0x1p-20f), x, copysign(y, x));
}
inline Vec<float> acosh(Vec<float> x) {
  const Vec<float> y = in_double(x, [](Vec<double> v) { return log(v + sqrt(v * v - Vec<double>(1.0))); });
  return select(x < Vec<float>(1.0f), Vec<float>(__builtin_nanf("")), y);
}
inline Vec<float> atanh(Vec<float> x) {
  const Vec<float> y = in_double(
      x, [](Vec<double> v) { return Vec<double>(0.5) * log((Vec<double>(1.0) + v) / (Vec<double>(1.0) - v)); });
  return select(abs(x) < Vec<float>(0x1p-20f), x, y);
}
inline Vec<float> hypot(Vec<float> x, Vec<float> y) {
  const Vec<float> inf = float(__builtin_inff()),
                   r = in_double(x, y, [](auto a, auto b) { return sqrt(a * a + b * b); });
  return select((abs(x) == inf) | (abs(y) == inf), inf, r);  // even if the other is NaN (C99)
}

// a^b for a >= 0 that is a float and b any: exp(b log(a)) to 2^-36, enough to round correctly to float in all but rare
// cases.
MG_INL Vec<double> pow_float_accuracy(Vec<double> a, Vec<double> b) {
  using V = Vec<double>;
  using I = Vec<int64_t>;
  const double log_c[5] = {0.66666666675799677865, 0.39999995622588521968, 0.2857210904826958852,
                           0.22176194418914655157, 0.19584054629996064084};
  const double exp_c[7] = {0.49999999999734106071,    0.16666666755015022182,   0.041666666956861608385,
                           0.0083332887976045439537,  0.0013888808990423029999, 0.00019905073659154130744,
                           0.000024882661254401842383};
  const V ln2 = 0.693147180559945309417, inf = __builtin_inf();
  const I k = (bits(a) - bits(V(0.70710678118654752))) >> 52;
  const V f = from_bits<double>(bits(a) - (k << 52)) - V(1.0), s = rough_div(f, f + V(2.0)), z = s * s;
  V log_a = fma(convert<double>(k), ln2, s * fma(z, poly(z, log_c), V(2.0)));
  log_a = select(a < inf, select(a == V(0.0), -inf, log_a), a);
  const V t = clamp_finite(b * log_a, -160.0, 100.0), n = rint(t * V(1.4426950408889634)), r = fma(n, -ln2, t);
  return (fma(r * r, poly(r, exp_c), r) + V(1.0)) * pow2i(nan_to_zero(n));  // r carries NaN
}

[[gnu::noinline]] inline Vec<float> pow(Vec<float> x, Vec<float> y) {
  using V = Vec<float>;
  const V one = 1.0f, inf = float(__builtin_inff()), half = y * V(0.5f);
  V r = in_double(abs(x), y, [](Vec<double> a, Vec<double> b) { return pow_float_accuracy(a, b); });
  const auto whole = rint(y) == y, odd = whole & (rint(half) != half) & (abs(y) < V(0x1p24f));
  r = select((abs(x) == one) & (y == y), one, r);  // 1^inf, (-1)^inf
  r = select(odd, r | sign_bit(x), r);
  r = select((x < V(0.0f)) & (x > -inf) & !whole & (y == y), V(__builtin_nanf("")), r);
  return select((y == V(0.0f)) | (x == one), one, r);
}

// x tanh(log(1 + e^x)), the form of scalar_math.h: in double nothing of it is subnormal while the result is not.
inline Vec<float> mish(Vec<float> x) {
  return in_double(x, [](Vec<double> v) {
    using V = Vec<double>;
    const double exp_c[7] = {0.49999999999734106071,    0.16666666755015022182,   0.041666666956861608385,
                             0.0083332887976045439537,  0.0013888808990423029999, 0.00019905073659154130744,
                             0.000024882661254401842383};
    const V t = clamp_finite(v, -800.0, 40.0), n = rint(t * V(1.4426950408889634)),
            r = fma(n, V(-0.693147180559945309417), t);
    const V e = scale(fma(r * r, poly(r, exp_c), r) + V(1.0), nan_to_zero(n)), m = e * (e + V(2.0));
    return v * (m * rough_div(V(1.0), m + V(2.0)));
  });
}
inline Vec<double> mish(Vec<double> x) {
  using V = Vec<double>;
  const V e = exp(minimum(x, V(40.0))), n = e * (e + V(2.0));
  return x * (n / (n + V(2.0)));
}

// Inverse of erf: x * f(w), w = -log(1 - x^2), by Chebyshev fits of f (to 2^-55) in w up to 6.25, in sqrt(w) up to 4
// and beyond (the split of Giles, "Approximating the erfinv function", 2011; the coefficients are ours, from mpmath).
[[gnu::noinline]] inline Vec<double> erfinv(Vec<double> x) {
  using V = Vec<double>;
  static constexpr double near[24] = {
      1.65365456268310274,       0.750494320079963575,     -0.0589225671037871351,   -0.0226044474534502317,
      0.0178083618187385104,     -0.00413731437740339097,  -0.00127169227670248039,  0.00123248556855009309,
      -0.000264393588748606108,  -0.000116888839063683977, 0.0000933669385014546861, -0.0000150277139266076725,
      -0.0000112556848303199004, 7.13006637407671143e-6,   -6.87597660449069026e-7,  -1.05933693132794796e-6,
      5.4557314494417546e-7,     -1.01678815228438994e-8,  -1.05098635603290169e-7,  3.91426710013310825e-8,
      9.0505163627836586e-9,     -8.55798407447920194e-9,  -8.18644291659577256e-11, 7.68099047557652496e-10};
  static constexpr double middle[20] = {
      3.08388561049222063,     0.753944225770624034,     0.00302113943638399315,  -0.00158254108940711013,
      0.00078830785100019651,  -0.000400635698357098872, 0.00016966502589887311,  -0.0000473918272880712517,
      2.40583930203115689e-6,  5.12731666449741065e-6,   -2.66469862813637508e-6, 5.2646247287145872e-7,
      9.26769727099358362e-8,  -9.46899457024693646e-8,  2.67034508932148615e-8,  -3.68624482126667247e-10,
      -2.71929304887425528e-9, 9.88911538982797786e-10,  3.86459753087586161e-12, -6.46696051492527598e-11};
  static constexpr double far[19] = {
      4.91304958723378518,      1.07342322016628405,       -0.000200158872711846259, -0.000236028554098366397,
      0.0000893396295403730053, -0.0000244587021758934131, 5.92081057643755789e-6,   -1.35624524448934163e-6,
      3.17667623273173423e-7,   -9.02454973235251149e-8,   3.73004622690482226e-8,   -2.02071253246542922e-8,
      1.11478830880270923e-8,   -5.38607734786771993e-9,   2.30006382345730469e-9,   -9.27170086171175742e-10,
      2.0981065117205076e-10,   7.29983311354980604e-11,   -4.35859840529777177e-11};
  const V w = -log((V(1.0) - x) * (V(1.0) + x)), split = V(6.25);
  V f = poly(fma(w, V(0.32), V(-1.0)), near);
  if (any(w > split)) [[unlikely]] {
    const V s = sqrt(w);
    f = select(w > split, poly((s - V(3.25)) * V(4.0 / 3), middle), f);
    f = select(w > V(16.0), poly((s - V(5.0625)) * V(1 / 1.0625), far), f);
  }
  return select(abs(x) == V(1.0), copysign(V(__builtin_inf()), x), x * f);
}
inline Vec<float> erfinv(Vec<float> x) {
  return in_double(x, [](Vec<double> v) { return erfinv(v); });
}

// The neighbour of x on the way to y: one step of x's bits, up when y lies further from zero.
template <class T>
MG_INL Vec<T> nextafter(Vec<T> x, Vec<T> y) {
  using V = Vec<T>;
  using I = typename V::I;
  const V zero = T(0), smallest = from_bits<T>(I(1));
  const I up = bits(x) + I(1), down = bits(x) - I(1);
  V r = from_bits<T>(select((y > x) ^ (x < zero), up, down));
  r = select(x == zero, copysign(smallest, y), r);
  r = select(x == y, y, r);
  return select((x == x) & (y == y), r, x + y);
}

// x - trunc(x/y) y. The quotient, rounded in double, is off by at most one while it stays below 2^28.
[[gnu::noinline]] inline Vec<float> fmod(Vec<float> x, Vec<float> y) {
  if (any(!(abs(x) < abs(y) * Vec<float>(0x1p27f))) || any(!(abs(y) < Vec<float>(__builtin_inff())))) [[unlikely]]
    return fmod_far(x, y);  // also y = 0, inf, NaN
  const Vec<float> r = in_double(abs(x), abs(y), [](Vec<double> a, Vec<double> b) {
    const Vec<double> m = a - trunc(a / b) * b;
    return select(m < Vec<double>(0.0), m + b, m);
  });
  return copysign(r, x);
}

}  // namespace mg::simd::MG_ISA_NS

#include "vecmath_gamma.h"
