// The contiguous kernels of the pointwise ops for complex64 and complex128: one line per op, as csrc/scalar.h has for
// the real dtypes. The driver in pointwise.cpp stages, broadcasts and threads them like all others.
#include <algorithm>
#include <cstring>

#include "complex_math.h"
#include "pointwise_table.h"

namespace mg::cpu {

namespace {

// Out = what Op::apply returns: Complex<T> (SAME), T (REAL) or bool (BOOL).
template <class Op, class T, int N>
int kernel(void* out_, const void* const* in, int64_t n) {
  using C = Complex<T>;
  const auto at = [&](int k, int64_t i) { return static_cast<const C*>(in[k])[i]; };
  const auto run = [&](auto value) {
    using R = decltype(value(0));
    using Stored = std::conditional_t<std::is_same_v<R, bool>, uint8_t, R>;
    Stored* out = static_cast<Stored*>(out_);
#pragma GCC ivdep  // out may be an input: each element is read before it is written
    for (int64_t i = 0; i < n; ++i) out[i] = Stored(value(i));
    return 0;
  };
  if constexpr (N == 1) return run([&](int64_t i) { return Op::apply(at(0, i)); });
  else if constexpr (N == 2) return run([&](int64_t i) { return Op::apply(at(0, i), at(1, i)); });
  else if constexpr (N == 3) return run([&](int64_t i) { return Op::apply(at(0, i), at(1, i), at(2, i)); });
  else return run([&](int64_t i) { return Op::apply(at(0, i), at(1, i), at(2, i), at(3, i)); });
}

template <class T>
int where_kernel(void* out_, const void* const* in, int64_t n) {
  using C = Complex<T>;
  const auto* mask = static_cast<const uint8_t*>(in[0]);
  const auto *a = static_cast<const C*>(in[1]), *b = static_cast<const C*>(in[2]);
  C* out = static_cast<C*>(out_);
  for (int64_t i = 0; i < n; ++i) out[i] = mask[i] != 0 ? a[i] : b[i];
  return 0;
}

// Through the vectorised atan2 of real numbers, in blocks.
template <class T>
int angle_kernel(void* out_, const void* const* in, int64_t n) {
  static const PointwiseFn atan2 = find_pointwise("atan2")->fn[int(dtype_of<T>())];
  const auto* z = static_cast<const Complex<T>*>(in[0]);
  T* out = static_cast<T*>(out_);
  constexpr int64_t kBlock = 512;
  T im[kBlock], re[kBlock];
  const void* const parts[] = {im, re};
  for (int64_t at = 0; at < n; at += kBlock) {
    const int64_t count = std::min(kBlock, n - at);
    for (int64_t i = 0; i < count; ++i) {
      im[i] = z[at + i].im;
      re[i] = z[at + i].re;
    }
    atan2(out + at, parts, count);
  }
  return 0;
}

template <class Op, int N>
constexpr PointwiseKernel make_row(const char* name, PointwiseResult result, uint8_t cost) {
  PointwiseKernel row = {name, N, result, false, false, cost, {}};
  row.fn[int(DType::Complex64)] = kernel<Op, float, N>;
  row.fn[int(DType::Complex128)] = kernel<Op, double, N>;
  return row;
}
constexpr PointwiseKernel make_angle() {
  PointwiseKernel row = {"angle", 1, PointwiseResult::REAL, false, false, 8, {}};
  row.fn[int(DType::Complex64)] = angle_kernel<float>;
  row.fn[int(DType::Complex128)] = angle_kernel<double>;
  return row;
}
constexpr PointwiseKernel make_where() {
  PointwiseKernel row = {"where", 3, PointwiseResult::SAME, true, false, 2, {}};
  row.fn[int(DType::Complex64)] = where_kernel<float>;
  row.fn[int(DType::Complex128)] = where_kernel<double>;
  return row;
}

// List of (name, result, cost, parameters, value); T is the real type, C the element.
#define MG_COMPLEX_OPS1(X)                                                              \
  X(neg, SAME, 1, -x)                                                                   \
  X(positive, SAME, 1, x)                                                               \
  X(conj_physical, SAME, 1, conj(x))                                                    \
  X(square, SAME, 1, x* x)                                                              \
  X(cube, SAME, 2, x* x* x)                                                             \
  X(reciprocal, SAME, 2, reciprocal(x))                                                 \
  X(sgn, SAME, 4, sgn(x))                                                               \
  X(sqrt, SAME, 16, narrow(std::sqrt(wide(x))))                                         \
  X(rsqrt, SAME, 16, reciprocal(narrow(std::sqrt(wide(x)))))                            \
  X(exp, SAME, 16, narrow(std::exp(wide(x))))                                           \
  X(exp2, SAME, 16, exp2(x))                                                            \
  X(expm1, SAME, 16, expm1(x))                                                          \
  X(log, SAME, 16, narrow(std::log(wide(x))))                                           \
  X(log2, SAME, 16, narrow(std::log(wide(x))) * (C{T(1.44269504088896340736), 0}))      \
  X(log10, SAME, 16, narrow(std::log(wide(x))) * (C{T(0.43429448190325182765), 0}))     \
  X(log1p, SAME, 16, log1p(x))                                                          \
  X(sin, SAME, 16, narrow(std::sin(wide(x))))                                           \
  X(cos, SAME, 16, narrow(std::cos(wide(x))))                                           \
  X(tan, SAME, 16, narrow(std::tan(wide(x))))                                           \
  X(asin, SAME, 16, narrow(std::asin(wide(x))))                                         \
  X(acos, SAME, 16, narrow(std::acos(wide(x))))                                         \
  X(atan, SAME, 16, narrow(std::atan(wide(x))))                                         \
  X(sinh, SAME, 16, narrow(std::sinh(wide(x))))                                         \
  X(cosh, SAME, 16, narrow(std::cosh(wide(x))))                                         \
  X(tanh, SAME, 16, narrow(std::tanh(wide(x))))                                         \
  X(asinh, SAME, 16, narrow(std::asinh(wide(x))))                                       \
  X(acosh, SAME, 16, narrow(std::acosh(wide(x))))                                       \
  X(atanh, SAME, 16, narrow(std::atanh(wide(x))))                                       \
  X(sigmoid, SAME, 16, sigmoid(x))                                                      \
  X(sinc, SAME, 16, sinc(x))                                                            \
  X(silu, SAME, 16, x* sigmoid(x))                                                      \
  X(softsign, SAME, 4, x / (C{1 + modulus(x), 0}))                                      \
  X(tanhshrink, SAME, 16, x - narrow(std::tanh(wide(x))))                               \
  X(abs, REAL, 4, modulus(x))                                                           \
  X(isnan, BOOL, 1, bool(std::isnan(x.re) || std::isnan(x.im)))                         \
  X(isinf, BOOL, 1, bool(std::isinf(x.re) || std::isinf(x.im)))                         \
  X(isfinite, BOOL, 1, bool(std::isfinite(x.re) && std::isfinite(x.im)))                \
  X(logical_not, BOOL, 1, !nonzero(x))

#define MG_COMPLEX_OPS2(X)                            \
  X(add_unit, SAME, 1, x + y)                         \
  X(sub_unit, SAME, 1, x - y)                         \
  X(mul, SAME, 1, x* y)                               \
  X(true_divide, SAME, 2, x / y)                      \
  X(pow, SAME, 32, pow(x, y))                         \
  X(logaddexp, SAME, 32, logaddexp(x, y))             \
  X(sigmoid_backward, SAME, 2, x * (C{1, 0} - y) * y)                \
  X(silu_backward, SAME, 16, x * silu_slope(y))                      \
  X(tanh_backward, SAME, 2, x * ((C{1, 0} - y) * (C{1, 0} + y)))     \
  X(eq, BOOL, 1, x == y)                              \
  X(ne, BOOL, 1, !(x == y))                           \
  X(logical_and, BOOL, 1, nonzero(x) && nonzero(y))   \
  X(logical_or, BOOL, 1, nonzero(x) || nonzero(y))    \
  X(logical_xor, BOOL, 1, nonzero(x) != nonzero(y))

#define MG_COMPLEX_OPS3(X)                                                                  \
  X(add, SAME, 1, x + z * y)                                                                \
  X(sub, SAME, 1, x - z * y)                                                                \
  X(lerp, SAME, 2, z.re* z.re + z.im* z.im < T(0.25) ? x + z * (y - x) : y - (y - x) * (C{1, 0} - z)) \
  X(addcmul_unit, SAME, 1, x + y * z)                                                       \
  X(addcdiv_unit, SAME, 2, x + y / z)

#define MG_COMPLEX_OPS4(X)                       \
  X(addcmul, SAME, 1, x + w * y * z)             \
  X(addcdiv, SAME, 2, x + w * (y / z))

#define MG_FUNCTOR(name, params, ...)             \
  struct op_##name {                              \
    template <class C, class T = decltype(C::re)> \
    static auto apply params {                    \
      return __VA_ARGS__;                         \
    }                                             \
  };
#define MG_FUNCTOR1(name, result, cost, ...) MG_FUNCTOR(name, (C x), __VA_ARGS__)
#define MG_FUNCTOR2(name, result, cost, ...) MG_FUNCTOR(name, (C x, C y), __VA_ARGS__)
#define MG_FUNCTOR3(name, result, cost, ...) MG_FUNCTOR(name, (C x, C y, C z), __VA_ARGS__)
#define MG_FUNCTOR4(name, result, cost, ...) MG_FUNCTOR(name, (C x, C y, C z, C w), __VA_ARGS__)
MG_COMPLEX_OPS1(MG_FUNCTOR1)
MG_COMPLEX_OPS2(MG_FUNCTOR2)
MG_COMPLEX_OPS3(MG_FUNCTOR3)
MG_COMPLEX_OPS4(MG_FUNCTOR4)

#define MG_ROW1(name, result, cost, ...) make_row<op_##name, 1>(#name, PointwiseResult::result, cost),
#define MG_ROW2(name, result, cost, ...) make_row<op_##name, 2>(#name, PointwiseResult::result, cost),
#define MG_ROW3(name, result, cost, ...) make_row<op_##name, 3>(#name, PointwiseResult::result, cost),
#define MG_ROW4(name, result, cost, ...) make_row<op_##name, 4>(#name, PointwiseResult::result, cost),
constinit const PointwiseKernel table[] = {MG_COMPLEX_OPS1(MG_ROW1) MG_COMPLEX_OPS2(MG_ROW2) MG_COMPLEX_OPS3(MG_ROW3)
                                               MG_COMPLEX_OPS4(MG_ROW4) make_where(), make_angle()};

}  // namespace

const PointwiseKernel* find_complex_pointwise(const char* name) {
  for (const PointwiseKernel& row : table)
    if (std::strcmp(row.name, name) == 0) return &row;
  return nullptr;
}

}  // namespace mg::cpu
