// Random ops that reject, look at data or at each other: gamma, Dirichlet, von Mises, Poisson, binomial, multinomial, randperm. The
// samplers are those of csrc/cpu/random_gamma.cpp and random_sample.cpp, with their sources; each element has a stream of its own.
#include "random.h"

#include "../runtime/graphs.h"
#include "copy.h"

namespace mg::cuda {
namespace {

constexpr double kPi = 3.14159265358979323846;

// log of a Gamma(a, 1) number (Marsaglia and Tsang, 2000): for small a the number itself would underflow.
__device__ double log_gamma_draw(double a, ElementStream& stream) {
  if (!(a >= 0)) return __builtin_nan("");
  if (a == 0) return -__builtin_inf();
  if (a == __builtin_inf()) return a;
  const double boost = a < 1 ? ::log(stream.next()) / a : 0;
  const double d = (a < 1 ? a + 1 : a) - 1.0 / 3, c = 1 / ::sqrt(9 * d);
  for (;;) {
    const double x = stream.normal(), v = 1 + c * x;
    if (v <= 0) continue;
    const double log_v = 3 * ::log(v);
    if (::log(stream.next()) < 0.5 * x * x + d - d * v * v * v + d * log_v) return ::log(d) + log_v + boost;
  }
}

// An angle of (-pi, pi] about 0 (Best and Fisher, 1979).
__device__ double von_mises_draw(double k, ElementStream& stream) {
  if (!(k >= 0)) return __builtin_nan("");
  if (k < 1e-8) return kPi * (2 * stream.next() - 1);
  if (k > 1e10) return stream.normal() / ::sqrt(k);
  const double tau = 1 + ::sqrt(1 + 4 * k * k), rho = k < 1e-4 ? k : (tau - ::sqrt(2 * tau)) / (2 * k);
  const double r = (1 + rho * rho) / (2 * rho);
  for (;;) {
    const double z = ::cos(kPi * stream.next()), f = (1 + r * z) / (r + z), c = k * (r - f), u = stream.next();
    if (c * (2 - c) > u || ::log(c / u) + 1 >= c) {
      const double angle = ::acos(::fmin(1.0, ::fmax(-1.0, f)));
      return stream.next() > 0.5 ? angle : -angle;
    }
  }
}

// Small rates by multiplying uniforms (Knuth); large ones by transformed rejection, PTRS (Hörmann, 1993).
__device__ double poisson_draw(double rate, ElementStream& stream) {
  if (!(rate > 0)) return rate == 0 ? 0 : rate;
  if (rate < 10) {
    const double limit = ::exp(-rate);
    double product = stream.next();
    int64_t k = 0;
    for (; product > limit; ++k) product *= stream.next();
    return double(k);
  }
  const double b = 0.931 + 2.53 * ::sqrt(rate), a = -0.059 + 0.02483 * b, inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
  const double v_r = 0.9277 - 3.6224 / (b - 2), log_rate = ::log(rate);
  for (int tries = 0; tries < 100000; ++tries) {
    const double u = stream.next() - 0.5, v = stream.next(), us = 0.5 - ::fabs(u);
    const double k = ::floor((2 * a / us + b) * u + rate + 0.43);
    if (us >= 0.07 && v <= v_r) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (::log(v) + ::log(inverse_alpha) - ::log(a / (us * us) + b) <= k * log_rate - rate - ::lgamma(k + 1)) return k;
  }
  return ::floor(rate);
}

// Few expected successes: the gaps between them are geometric. Many: transformed rejection, BTRS (Hörmann, 1993).
__device__ double binomial_draw(double count, double prob, ElementStream& stream) {
  if (count != count || prob != prob) return __builtin_nan("");
  if (count <= 0 || prob <= 0) return 0;
  if (prob >= 1) return count;
  const bool turned = prob > 0.5;
  if (turned) prob = 1 - prob;
  const auto done = [&](double hits) { return turned ? count - hits : hits; };
  if (count * prob < 10) {
    const double scale = 1 / ::log1p(-prob);
    double trials = 0, hits = 0;
    for (;; ++hits) {
      trials += ::floor(::log(stream.next()) * scale) + 1;
      if (trials > count) return done(hits);
    }
  }
  const double deviation = ::sqrt(count * prob * (1 - prob)), b = 1.15 + 2.53 * deviation;
  const double a = -0.0873 + 0.0248 * b + 0.01 * prob, c = count * prob + 0.5, v_r = 0.92 - 4.2 / b;
  const double odds = prob / (1 - prob), alpha = (2.83 + 5.1 / b) * deviation, mode = ::floor((count + 1) * prob);
  for (int tries = 0; tries < 100000; ++tries) {
    const double u = stream.next() - 0.5, v = stream.next(), us = 0.5 - ::fabs(u);
    const double k = ::floor((2 * a / us + b) * u + c);
    if (us >= 0.07 && v <= v_r) return done(k);
    if (k < 0 || k > count) continue;
    const double ratio =
        (k - mode) * ::log(odds) + ::lgamma(mode + 1) + ::lgamma(count - mode + 1) - ::lgamma(k + 1) - ::lgamma(count - k + 1);
    if (::log(v * alpha / (a / (us * us) + b)) <= ratio) return done(k);
  }
  return done(mode);
}

enum class Family { Gamma, VonMises, Poisson, Binomial };

template <Family family>
__global__ void sample_kernel(double* out, const double* a, const double* b, int64_t n, RandomRange drawn, double least, FaultNote note) {
  const PhiloxRange range = drawn.now();
  MG_GRID_LOOP(i, n) {
    ElementStream stream{range, uint64_t(i)};
    if constexpr (family == Family::Gamma) {
      const double drawn = ::exp(log_gamma_draw(a[i], stream));
      out[i] = drawn < least ? least : drawn;
    } else if constexpr (family == Family::VonMises) {
      out[i] = von_mises_draw(a[i], stream);
    } else if constexpr (family == Family::Poisson) {
      if (a[i] < 0) note_fault(note, kRateFault, i, n);
      out[i] = poisson_draw(a[i], stream);
    } else {
      if (a[i] < 0 || b[i] < 0 || b[i] > 1) note_fault(note, kRateFault, i, n);
      out[i] = binomial_draw(::floor(a[i]), b[i], stream);
    }
  }
}

// Gamma numbers over their sum, by their logarithms; a thread per row.
__global__ void dirichlet_kernel(double* out, const double* a, int64_t rows, int64_t k, RandomRange drawn, double least) {
  const PhiloxRange range = drawn.now();
  MG_GRID_LOOP(r, rows) {
    double *row = out + r * k, largest = -__builtin_inf(), sum = 0;
    for (int64_t i = 0; i < k; ++i) {
      ElementStream stream{range, uint64_t(r * k + i)};
      row[i] = log_gamma_draw(a[r * k + i], stream);
      largest = ::fmax(largest, row[i]);
    }
    for (int64_t i = 0; i < k; ++i) sum += row[i] = ::exp(row[i] - largest);
    for (int64_t i = 0; i < k; ++i) {
      const double share = row[i] / sum;
      row[i] = share < least ? least : share;
    }
  }
}

double smallest(DType d) {
  return d == DType::Float64   ? std::numeric_limits<double>::min()
         : d == DType::Float16 ? 0x1p-14
                               : double(std::numeric_limits<float>::min());
}
Tensor broadcast_double(const TensorImpl& t, const TensorImpl& out) {
  const Tensor here = staged(t, DType::Float64, out.device);
  return to_contiguous(*alias(*here, out.sizes, broadcast_strides(here.sizes(), here.strides(), out.sizes), here->offset), DType::Float64);
}

template <Family family>
void sample_cuda(Invocation& inv) {
  const bool two = family == Family::Binomial;
  const Tensor a = broadcast_double(inv.in(0), inv.out()), b = two ? broadcast_double(inv.in(1), inv.out()) : Tensor();
  const int64_t n = inv.out().numel;
  const RandomRange range = reserve(generator_of(inv, two ? 2 : 1), uint64_t(n) * 4);
  const StagedOut out(inv.outs[0], DType::Float64);
  launch_items(sample_kernel<family>, n, out.ptr<double>(), static_cast<const double*>(a.ptr<double>()),
               static_cast<const double*>(two ? b.ptr<double>() : nullptr), n, range, smallest(inv.out().dtype), fault_note(inv.op));
  out.commit();
}
void sample_dirichlet_cuda(Invocation& inv) {
  const Tensor a = staged(inv.in(0), DType::Float64);
  const int64_t k = a->dim() == 0 ? 1 : a.sizes().back(), rows = k == 0 ? 0 : a.numel() / k;
  const RandomRange range = reserve(generator_of(inv, 1), uint64_t(a.numel()) * 4);
  const StagedOut out(inv.outs[0], DType::Float64);
  launch_items(dirichlet_kernel, rows, out.ptr<double>(), static_cast<const double*>(a.ptr<double>()), rows, k, range, smallest(inv.out().dtype));
  out.commit();
}

// _randperm(n, dtype, device, generator): Fisher-Yates is a chain, so it runs on the host, in the numbers of the CPU's kernel
void randperm_cuda(Invocation& inv) {
  const int64_t n = inv.out().numel;
  refuse_in_capture("randperm");
  const PhiloxRange range = generator_of(inv, 3).reserve(uint64_t(2 * n));
  const Tensor order = empty(Dims{n}, DType::Int64, Device{});
  int64_t* at = order.ptr<int64_t>();
  for (int64_t i = 0; i < n; ++i) at[i] = i;
  for (int64_t i = n - 1; i > 0; --i) std::swap(at[i], at[bounded(number64(range, i), uint64_t(i) + 1)]);
  copy_into(inv.outs[0], order);
}

// --- multinomial

// Checks each row; cumulative != nullptr: its running sums, added in order.
__global__ void distribution_kernel(double* cumulative, const double* p, int64_t rows, int64_t n, int64_t samples, FaultNote note) {
  MG_GRID_LOOP(r, rows) {
    double sum = 0;
    int64_t possible = 0;
    bool valid = true;
    for (int64_t c = 0; c < n; ++c) {
      const double x = p[r * n + c];
      valid = valid && x >= 0 && x < __builtin_inf();
      possible += x > 0;
      sum = c == 0 ? x : sum + x;
      if (cumulative != nullptr) cumulative[r * n + c] = sum;
    }
    if (!valid || !(sum > 0) || (cumulative == nullptr && possible < samples)) note_fault(note, kDistributionFault, r, rows);
  }
}
// The first category whose cumulative mass exceeds u * total; never one of mass 0.
__global__ void pick_kernel(int64_t* out, const double* cumulative, const double* p, int64_t count, int64_t samples, int64_t n, RandomRange drawn) {
  const PhiloxRange range = drawn.now();
  MG_GRID_LOOP(i, count) {
    const int64_t r = i / samples;
    const double *row = cumulative + r * n, u = uniform_between(uniform(number64(range, i)), 0.0, 1.0) * row[n - 1];
    int64_t low = 0, high = n;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (u < row[middle]) high = middle;
      else low = middle + 1;
    }
    low = low < n ? low : n - 1;
    while (low > 0 && p[r * n + low] == 0) --low;
    out[i] = low;
  }
}
__global__ void race_kernel(double* x, const double* p, int64_t count, RandomRange drawn) {
  const PhiloxRange range = drawn.now();
  MG_GRID_LOOP(i, count) x[i] = p[i] / exponential(number64(range, i));
}

// multinomial(input, num_samples, replacement, generator)
void multinomial_cuda(Invocation& inv) {
  const Tensor p = staged(inv.in(0), DType::Float64);
  const int64_t n = p.sizes().back(), rows = n ? p.numel() / n : 0, samples = inv.i(1);
  const bool replacement = inv.b(2);
  const RandomRange range = reserve(generator_of(inv, 3), uint64_t(rows * (replacement ? samples : n)) * 2);
  const Tensor work = workspace(rows * n, DType::Float64, p.device());
  double* const x = work.ptr<double>();
  const double* const mass = p.ptr<double>();
  launch_items(distribution_kernel, rows, replacement ? x : nullptr, mass, rows, n, samples, fault_note(inv.op));
  const StagedOut out(inv.outs[0], DType::Int64);
  if (replacement) {
    launch_items(pick_kernel, rows * samples, out.ptr<int64_t>(), static_cast<const double*>(x), mass, rows * samples, samples, n, range);
    return out.commit();
  }
  launch_items(race_kernel, rows * n, x, mass, rows * n, range);  // the order of p / Exp(1) is a draw without replacement
  static OpRef sort_op{"_sort"};
  const Tensor race = alias(*work, Dims{rows, n}, Dims{n, 1}, 0);
  const Value args[] = {Value(race), Value(1), Value(true)};
  Tensor sorted[2];
  call(*sort_op, args, sorted);
  const Dims shape = inv.out().dim() == 1 ? Dims{samples} : Dims{rows, samples};
  const Dims strides = inv.out().dim() == 1 ? Dims{1} : Dims{n, 1};
  copy_into(inv.outs[0], alias(*sorted[1], shape, strides, sorted[1]->offset));
}

MG_CUDA_KERNEL("_standard_gamma", sample_cuda<Family::Gamma>);
MG_CUDA_KERNEL("_standard_von_mises", sample_cuda<Family::VonMises>);
MG_CUDA_KERNEL("poisson", sample_cuda<Family::Poisson>);
MG_CUDA_KERNEL("binomial", sample_cuda<Family::Binomial>);
MG_CUDA_KERNEL("_sample_dirichlet", sample_dirichlet_cuda);
MG_CUDA_KERNEL("_randperm", randperm_cuda);
MG_CUDA_KERNEL("multinomial", multinomial_cuda);

}  // namespace
}  // namespace mg::cuda
