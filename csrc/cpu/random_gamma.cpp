// Samplers of the continuous families that reject: gamma, Dirichlet, von Mises. Their derivatives are in csrc/special/sample_grad.h.
// All compute in double, element by element from a stream of its own (element_stream.h), and round once.
#include <cmath>
#include <limits>

#include "../core/kernel.h"
#include "../core/parallel.h"
#include "copy.h"
#include "element_stream.h"

namespace mg::cpu {

namespace {

// log of a Gamma(a, 1) number: for small a the number itself would underflow.
// Source: Marsaglia and Tsang, "A Simple Method for Generating Gamma Variables", ACM TOMS 26, 2000; a < 1 by their boost.
double log_gamma_draw(double a, ElementStream& stream) {
  if (!(a >= 0)) return NAN;
  if (a == 0) return -INFINITY;
  if (std::isinf(a)) return INFINITY;
  const double boost = a < 1 ? std::log(stream.next()) / a : 0;
  const double d = (a < 1 ? a + 1 : a) - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = stream.normal(), v = 1 + c * x;
    if (v <= 0) continue;
    const double log_v = 3 * std::log(v);
    if (std::log(stream.next()) < 0.5 * x * x + d - d * v * v * v + d * log_v) return std::log(d) + log_v + boost;
  }
}

double smallest(DType d) {
  return d == DType::Float64   ? std::numeric_limits<double>::min()
         : d == DType::Float16 ? 0x1p-14
                               : double(std::numeric_limits<float>::min());
}

// _standard_gamma(input, generator): never below the smallest normal number, so that logarithms stay finite
void standard_gamma_cpu(Invocation& inv) {
  const Tensor t = to_contiguous(inv.in(0), DType::Float64), out = empty(inv.out().sizes, DType::Float64);
  const double *a = t.ptr<double>(), least = smallest(inv.out().dtype);
  double* x = out.ptr<double>();
  const PhiloxRange range = generator_of(inv, 1).reserve(uint64_t(t.numel()) * 4);
  parallel_for(0, t.numel(), 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      ElementStream stream{range, uint64_t(i)};
      const double drawn = std::exp(log_gamma_draw(a[i], stream));
      x[i] = drawn < least ? least : drawn;
    }
  });
  strided_copy(inv.out(), *out);
}

// _sample_dirichlet(input, generator): gamma numbers over their sum, along the last dimension, by their logarithms
void sample_dirichlet_cpu(Invocation& inv) {
  const Tensor t = to_contiguous(inv.in(0), DType::Float64), out = empty(inv.out().sizes, DType::Float64);
  const int64_t k = t->dim() == 0 ? 1 : t.sizes().back(), rows = k == 0 ? 0 : t.numel() / k;
  const double *a = t.ptr<double>(), least = smallest(inv.out().dtype);
  double* x = out.ptr<double>();
  const PhiloxRange range = generator_of(inv, 1).reserve(uint64_t(t.numel()) * 4);
  parallel_for(0, rows, 1 + 256 / std::max<int64_t>(k, 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      double *row = x + r * k, largest = -INFINITY, sum = 0;
      for (int64_t i = 0; i < k; ++i) {
        ElementStream stream{range, uint64_t(r * k + i)};
        row[i] = log_gamma_draw(a[r * k + i], stream);
        largest = std::max(largest, row[i]);
      }
      for (int64_t i = 0; i < k; ++i) sum += row[i] = std::exp(row[i] - largest);
      for (int64_t i = 0; i < k; ++i) {
        const double share = row[i] / sum;
        row[i] = share < least ? least : share;
      }
    }
  });
  strided_copy(inv.out(), *out);
}

// An angle of (-pi, pi] about 0. Source: Best and Fisher, "Efficient simulation of the von Mises distribution", Applied Statistics 28,
// 1979.
double von_mises_draw(double k, ElementStream& stream) {
  if (!(k >= 0)) return NAN;
  if (k < 1e-8) return M_PI * (2 * stream.next() - 1);  // the density differs from the even one by less than rounding
  if (k > 1e10) return stream.normal() / std::sqrt(k);
  const double tau = 1 + std::sqrt(1 + 4 * k * k), rho = k < 1e-4 ? k : (tau - std::sqrt(2 * tau)) / (2 * k);
  const double r = (1 + rho * rho) / (2 * rho);
  for (;;) {
    const double z = std::cos(M_PI * stream.next()), f = (1 + r * z) / (r + z), c = k * (r - f), u = stream.next();
    if (c * (2 - c) > u || std::log(c / u) + 1 >= c) {
      const double angle = std::acos(std::min(1.0, std::max(-1.0, f)));
      return stream.next() > 0.5 ? angle : -angle;
    }
  }
}

// _standard_von_mises(input, generator)
void von_mises_cpu(Invocation& inv) {
  const Tensor t = to_contiguous(inv.in(0), DType::Float64), out = empty(inv.out().sizes, DType::Float64);
  const double* k = t.ptr<double>();
  double* x = out.ptr<double>();
  const PhiloxRange range = generator_of(inv, 1).reserve(uint64_t(t.numel()) * 4);
  parallel_for(0, t.numel(), 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      ElementStream stream{range, uint64_t(i)};
      x[i] = von_mises_draw(k[i], stream);
    }
  });
  strided_copy(inv.out(), *out);
}

}  // namespace

MG_KERNEL("_standard_gamma", CPU, standard_gamma_cpu);
MG_KERNEL("_sample_dirichlet", CPU, sample_dirichlet_cpu);
MG_KERNEL("_standard_von_mises", CPU, von_mises_cpu);

}  // namespace mg::cpu
