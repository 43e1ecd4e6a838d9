// Contiguous kernels of the special functions (csrc/special/*.h): one row per function, as the tables that
// csrc/scalar.h makes, but one number at a time or, those that are little more than a series, a register at a time.
// They compute in double and round once, whatever the tensor's dtype. Built once per instruction set.
#include "../special/batch.h"
#include "../special/bessel.h"
#include "../special/gamma.h"
#include "../special/normal.h"
#include "../special/polynomial.h"
#include "../special/sample_grad.h"
#include "pointwise_table.h"

namespace mg::cpu::MG_ISA_NS {

namespace {

constexpr uint8_t kCost = 40;  // relative to an addition

template <double (*F)(double), class T>
int map1(void* out, const void* const* in, int64_t n) {
  const T* x = static_cast<const T*>(in[0]);
  for (int64_t i = 0; i < n; ++i) static_cast<T*>(out)[i] = T(F(double(x[i])));
  return 0;
}
template <double (*F)(double, double), class T>
int map2(void* out, const void* const* in, int64_t n) {
  const T *x = static_cast<const T*>(in[0]), *y = static_cast<const T*>(in[1]);
  for (int64_t i = 0; i < n; ++i) static_cast<T*>(out)[i] = T(F(double(x[i]), double(y[i])));
  return 0;
}
template <double (*F)(double, double, double), class T>
int map3(void* out, const void* const* in, int64_t n) {
  const T *x = static_cast<const T*>(in[0]), *y = static_cast<const T*>(in[1]), *z = static_cast<const T*>(in[2]);
  for (int64_t i = 0; i < n; ++i) static_cast<T*>(out)[i] = T(F(double(x[i]), double(y[i]), double(z[i])));
  return 0;
}

namespace batch = special::batch::MG_ISA_NS;
using batch::kLanes;
using batch::Reals;

// The last, incomplete register is filled up with ones.
template <void (*F)(const Reals&, Reals&), class T>
int map_registers(void* out, const void* const* in, int64_t n) {
  const T* x = static_cast<const T*>(in[0]);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = int(n - i < kLanes ? n - i : kLanes);
    Reals v, r = {};
    for (int l = 0; l < kLanes; ++l) v[l] = l < count ? double(x[i + l]) : 1.0;
    F(v, r);
    for (int l = 0; l < count; ++l) static_cast<T*>(out)[i + l] = T(r[l]);
  }
  return 0;
}

template <void (*F)(const Reals&, Reals&)>
constexpr PointwiseKernel row_registers(const char* name) {
  PointwiseKernel row = {name, 1, PointwiseResult::SAME, false, false, kCost / 4, {}};
  row.fn[int(DType::Float32)] = map_registers<F, float>;
  row.fn[int(DType::Float64)] = map_registers<F, double>;
  return row;
}
template <double (*F)(double)>
constexpr PointwiseKernel row1(const char* name) {
  PointwiseKernel row = {name, 1, PointwiseResult::SAME, false, false, kCost, {}};
  row.fn[int(DType::Float32)] = map1<F, float>;
  row.fn[int(DType::Float64)] = map1<F, double>;
  return row;
}
template <double (*F)(double, double)>
constexpr PointwiseKernel row2(const char* name) {
  PointwiseKernel row = {name, 2, PointwiseResult::SAME, false, false, kCost, {}};
  row.fn[int(DType::Float32)] = map2<F, float>;
  row.fn[int(DType::Float64)] = map2<F, double>;
  return row;
}
template <double (*F)(double, double, double)>
constexpr PointwiseKernel row3(const char* name) {
  PointwiseKernel row = {name, 3, PointwiseResult::SAME, false, false, kCost, {}};
  row.fn[int(DType::Float32)] = map3<F, float>;
  row.fn[int(DType::Float64)] = map3<F, double>;
  return row;
}

}  // namespace

extern const PointwiseKernel special_table[];
constinit const PointwiseKernel special_table[] = {row_registers<batch::i0>("i0"),
                                                   row_registers<batch::i0e>("i0e"),
                                                   row_registers<batch::i1>("i1"),
                                                   row_registers<batch::i1e>("i1e"),
                                                   row_registers<batch::i0>("modified_bessel_i0"),
                                                   row_registers<batch::i1>("modified_bessel_i1"),
                                                   row1<special::k0>("modified_bessel_k0"),
                                                   row1<special::k1>("modified_bessel_k1"),
                                                   row1<special::k0e>("scaled_modified_bessel_k0"),
                                                   row1<special::k1e>("scaled_modified_bessel_k1"),
                                                   row_registers<batch::j0>("bessel_j0"),
                                                   row_registers<batch::j1>("bessel_j1"),
                                                   row_registers<batch::y0>("bessel_y0"),
                                                   row_registers<batch::y1>("bessel_y1"),
                                                   row1<special::spherical_j0>("spherical_bessel_j0"),
                                                   row1<special::airy_ai>("airy_ai"),
                                                   row_registers<batch::erfcx>("erfcx"),
                                                   row1<special::log_ndtr>("log_ndtr"),
                                                   row_registers<batch::ndtri>("ndtri"),
                                                   row2<special::zeta>("zeta"),
                                                   row2<special::polygamma>("_polygamma"),
                                                   row2<special::igamma>("igamma"),
                                                   row2<special::igammac>("igammac"),
                                                   row2<special::standard_gamma_grad>("_standard_gamma_grad"),
                                                   row3<special::dirichlet_grad>("_dirichlet_grad"),
                                                   row2<special::chebyshev_t>("chebyshev_polynomial_t"),
                                                   row2<special::chebyshev_u>("chebyshev_polynomial_u"),
                                                   row2<special::chebyshev_v>("chebyshev_polynomial_v"),
                                                   row2<special::chebyshev_w>("chebyshev_polynomial_w"),
                                                   row2<special::shifted_chebyshev_t>("shifted_chebyshev_polynomial_t"),
                                                   row2<special::shifted_chebyshev_u>("shifted_chebyshev_polynomial_u"),
                                                   row2<special::shifted_chebyshev_v>("shifted_chebyshev_polynomial_v"),
                                                   row2<special::shifted_chebyshev_w>("shifted_chebyshev_polynomial_w"),
                                                   row2<special::hermite_h>("hermite_polynomial_h"),
                                                   row2<special::hermite_he>("hermite_polynomial_he"),
                                                   row2<special::laguerre_l>("laguerre_polynomial_l"),
                                                   row2<special::legendre_p>("legendre_polynomial_p"),
                                                   {}};

}  // namespace mg::cpu::MG_ISA_NS
