// The long scalar functions of csrc/special: computed in double whatever the dtype, one strided kernel each.
#include "../../special/bessel.h"
#include "../../special/gamma.h"
#include "../../special/normal.h"
#include "../../special/polynomial.h"
#include "../../special/sample_grad.h"
#include "pointwise_kernels.h"

namespace mg::cuda {
namespace pointwise {
namespace {

#define MG_CALL(function)                                \
  struct call_##function {                               \
    template <class T, class... Rest>                    \
    static __device__ double apply(T x, Rest... rest) {  \
      return special::function(x, rest...);              \
    }                                                    \
  };
MG_CALL(i0)
MG_CALL(i0e)
MG_CALL(i1)
MG_CALL(i1e)
MG_CALL(k0)
MG_CALL(k1)
MG_CALL(k0e)
MG_CALL(k1e)
MG_CALL(j0)
MG_CALL(j1)
MG_CALL(y0)
MG_CALL(y1)
MG_CALL(spherical_j0)
MG_CALL(airy_ai)
MG_CALL(erfcx)
MG_CALL(log_ndtr)
MG_CALL(ndtri)
MG_CALL(zeta)
MG_CALL(polygamma)
MG_CALL(igamma)
MG_CALL(igammac)
MG_CALL(standard_gamma_grad)
MG_CALL(chebyshev_t)
MG_CALL(chebyshev_u)
MG_CALL(chebyshev_v)
MG_CALL(chebyshev_w)
MG_CALL(shifted_chebyshev_t)
MG_CALL(shifted_chebyshev_u)
MG_CALL(shifted_chebyshev_v)
MG_CALL(shifted_chebyshev_w)
MG_CALL(hermite_h)
MG_CALL(hermite_he)
MG_CALL(laguerre_l)
MG_CALL(legendre_p)
MG_CALL(dirichlet_grad)

template <class Op, int N>
constexpr PointwiseRow special_row(const char* name) {
  PointwiseRow row = {name, N, PointwiseResult::SAME, false, false, false, {}};
  row.run[kFloat] = row.run[kDouble] = run<Op, double, N, false, false, 0>;
  return row;
}

}  // namespace
}  // namespace pointwise

using namespace pointwise;
extern const PointwiseRow special_rows[];
const PointwiseRow special_rows[] = {
    special_row<call_i0, 1>("i0"),
    special_row<call_i0e, 1>("i0e"),
    special_row<call_i1, 1>("i1"),
    special_row<call_i1e, 1>("i1e"),
    special_row<call_i0, 1>("modified_bessel_i0"),
    special_row<call_i1, 1>("modified_bessel_i1"),
    special_row<call_k0, 1>("modified_bessel_k0"),
    special_row<call_k1, 1>("modified_bessel_k1"),
    special_row<call_k0e, 1>("scaled_modified_bessel_k0"),
    special_row<call_k1e, 1>("scaled_modified_bessel_k1"),
    special_row<call_j0, 1>("bessel_j0"),
    special_row<call_j1, 1>("bessel_j1"),
    special_row<call_y0, 1>("bessel_y0"),
    special_row<call_y1, 1>("bessel_y1"),
    special_row<call_spherical_j0, 1>("spherical_bessel_j0"),
    special_row<call_airy_ai, 1>("airy_ai"),
    special_row<call_erfcx, 1>("erfcx"),
    special_row<call_log_ndtr, 1>("log_ndtr"),
    special_row<call_ndtri, 1>("ndtri"),
    special_row<call_zeta, 2>("zeta"),
    special_row<call_polygamma, 2>("_polygamma"),
    special_row<call_igamma, 2>("igamma"),
    special_row<call_igammac, 2>("igammac"),
    special_row<call_standard_gamma_grad, 2>("_standard_gamma_grad"),
    special_row<call_chebyshev_t, 2>("chebyshev_polynomial_t"),
    special_row<call_chebyshev_u, 2>("chebyshev_polynomial_u"),
    special_row<call_chebyshev_v, 2>("chebyshev_polynomial_v"),
    special_row<call_chebyshev_w, 2>("chebyshev_polynomial_w"),
    special_row<call_shifted_chebyshev_t, 2>("shifted_chebyshev_polynomial_t"),
    special_row<call_shifted_chebyshev_u, 2>("shifted_chebyshev_polynomial_u"),
    special_row<call_shifted_chebyshev_v, 2>("shifted_chebyshev_polynomial_v"),
    special_row<call_shifted_chebyshev_w, 2>("shifted_chebyshev_polynomial_w"),
    special_row<call_hermite_h, 2>("hermite_polynomial_h"),
    special_row<call_hermite_he, 2>("hermite_polynomial_he"),
    special_row<call_laguerre_l, 2>("laguerre_polynomial_l"),
    special_row<call_legendre_p, 2>("legendre_polynomial_p"),
    special_row<call_dirichlet_grad, 3>("_dirichlet_grad"),
    {}};

}  // namespace mg::cuda
