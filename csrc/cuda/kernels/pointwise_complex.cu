// The pointwise ops of complex numbers: one line each, as csrc/scalar.h has for the real dtypes.
#include "complex_math.h"
#include "pointwise_kernels.h"

namespace mg::cuda {
namespace pointwise {
namespace {
using namespace zmath;

// (name, result, parameters' names, value)
#define MG_COMPLEX_OPS1(X)                                 \
  X(neg, SAME, -x)                                         \
  X(positive, SAME, x)                                     \
  X(conj_physical, SAME, conj(x))                          \
  X(square, SAME, x * x)                                   \
  X(cube, SAME, x * x * x)                                 \
  X(reciprocal, SAME, reciprocal(x))                       \
  X(sgn, SAME, sgn(x))                                     \
  X(sqrt, SAME, sqrt(x))                                   \
  X(rsqrt, SAME, reciprocal(sqrt(x)))                      \
  X(exp, SAME, exp(x))                                     \
  X(exp2, SAME, exp2(x))                                   \
  X(expm1, SAME, expm1(x))                                 \
  X(log, SAME, log(x))                                     \
  X(log2, SAME, 1.44269504088896340736 * log(x))           \
  X(log10, SAME, 0.43429448190325182765 * log(x))          \
  X(log1p, SAME, log1p(x))                                 \
  X(sin, SAME, sin(x))                                     \
  X(cos, SAME, cos(x))                                     \
  X(tan, SAME, tan(x))                                     \
  X(asin, SAME, asin(x))                                   \
  X(acos, SAME, acos(x))                                   \
  X(atan, SAME, atan(x))                                   \
  X(sinh, SAME, sinh(x))                                   \
  X(cosh, SAME, cosh(x))                                   \
  X(tanh, SAME, tanh(x))                                   \
  X(asinh, SAME, asinh(x))                                 \
  X(acosh, SAME, acosh(x))                                 \
  X(atanh, SAME, atanh(x))                                 \
  X(sigmoid, SAME, sigmoid(x))                             \
  X(sinc, SAME, sinc(x))                                   \
  X(silu, SAME, x * sigmoid(x))                            \
  X(softsign, SAME, x / (Z{1 + modulus(x), 0}))            \
  X(tanhshrink, SAME, x - tanh(x))                         \
  X(abs, REAL, modulus(x))                                 \
  X(angle, REAL, ::atan2(x.im, x.re))                      \
  X(isnan, BOOL, nan_part(x))                              \
  X(isinf, BOOL, inf_part(x))                              \
  X(isfinite, BOOL, !nan_part(x) && !inf_part(x))          \
  X(logical_not, BOOL, !nonzero(x))

#define MG_COMPLEX_OPS2(X)                                     \
  X(add_unit, SAME, x + y)                                     \
  X(sub_unit, SAME, x - y)                                     \
  X(mul, SAME, x * y)                                          \
  X(true_divide, SAME, x / y)                                  \
  X(pow, SAME, pow(x, y))                                      \
  X(logaddexp, SAME, logaddexp(x, y))                          \
  X(sigmoid_backward, SAME, x * (Z{1, 0} - y) * y)             \
  X(silu_backward, SAME, x * silu_slope(y))                    \
  X(tanh_backward, SAME, x * ((Z{1, 0} - y) * (Z{1, 0} + y)))  \
  X(eq, BOOL, same(x, y))                                      \
  X(ne, BOOL, !same(x, y))                                     \
  X(logical_and, BOOL, nonzero(x) && nonzero(y))               \
  X(logical_or, BOOL, nonzero(x) || nonzero(y))                \
  X(logical_xor, BOOL, nonzero(x) != nonzero(y))

#define MG_COMPLEX_OPS3(X)                                                                       \
  X(add, SAME, x + z * y)                                                                        \
  X(sub, SAME, x - z * y)                                                                        \
  X(lerp, SAME, z.re * z.re + z.im * z.im < 0.25 ? x + z * (y - x) : y - (y - x) * (Z{1, 0} - z)) \
  X(addcmul_unit, SAME, x + y * z)                                                               \
  X(addcdiv_unit, SAME, x + y / z)

#define MG_COMPLEX_OPS4(X)            \
  X(addcmul, SAME, x + w * y * z)     \
  X(addcdiv, SAME, x + w * (y / z))

#define MG_Z_FUNCTOR(name, params, ...) \
  struct op_##name {                    \
    template <class C>                  \
    static MG_DEVICE auto apply params { \
      return __VA_ARGS__;               \
    }                                   \
  };
#define MG_Z_FUNCTOR1(name, result, ...) MG_Z_FUNCTOR(name, (C x), __VA_ARGS__)
#define MG_Z_FUNCTOR2(name, result, ...) MG_Z_FUNCTOR(name, (C x, C y), __VA_ARGS__)
#define MG_Z_FUNCTOR3(name, result, ...) MG_Z_FUNCTOR(name, (C x, C y, C z), __VA_ARGS__)
#define MG_Z_FUNCTOR4(name, result, ...) MG_Z_FUNCTOR(name, (C x, C y, C z, C w), __VA_ARGS__)
MG_COMPLEX_OPS1(MG_Z_FUNCTOR1)
MG_COMPLEX_OPS2(MG_Z_FUNCTOR2)
MG_COMPLEX_OPS3(MG_Z_FUNCTOR3)
MG_COMPLEX_OPS4(MG_Z_FUNCTOR4)

struct op_where {
  template <class C>
  static MG_DEVICE C apply(bool mask, C x, C y) {
    return mask ? x : y;
  }
};

template <class Op, int N, bool mask = false>
constexpr PointwiseRow complex_row(const char* name, PointwiseResult result) {
  PointwiseRow row = {name, N, result, mask, false, false, {}};
  row.run[kComplex] = run<Op, complex128, N, mask, false, 0>;
  return row;
}

}  // namespace
}  // namespace pointwise

using namespace pointwise;
#define MG_Z_ROW1(name, result, ...) complex_row<op_##name, 1>(#name, PointwiseResult::result),
#define MG_Z_ROW2(name, result, ...) complex_row<op_##name, 2>(#name, PointwiseResult::result),
#define MG_Z_ROW3(name, result, ...) complex_row<op_##name, 3>(#name, PointwiseResult::result),
#define MG_Z_ROW4(name, result, ...) complex_row<op_##name, 4>(#name, PointwiseResult::result),
extern const PointwiseRow complex_rows[];
const PointwiseRow complex_rows[] = {MG_COMPLEX_OPS1(MG_Z_ROW1) MG_COMPLEX_OPS2(MG_Z_ROW2) MG_COMPLEX_OPS3(MG_Z_ROW3)
                                         MG_COMPLEX_OPS4(MG_Z_ROW4) complex_row<op_where, 3, true>("where", PointwiseResult::SAME), {}};

}  // namespace mg::cuda
