// Random ops that look at data or at each other: randperm, multinomial, poisson.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "../core/op.h"
#include "copy.h"
#include "element_stream.h"
#include "random_table.h"
#include "rows.h"

namespace mg::cpu {

namespace {

// _randperm(n, dtype, device, generator): Fisher-Yates, one 64-bit number per step
void randperm_cpu(Invocation& inv) {
  const int64_t n = inv.out().numel;
  const Tensor order = empty(Dims{n}, DType::Int64), bits = empty(Dims{2 * n}, DType::Int32);
  int64_t* at = order.ptr<int64_t>();
  uint32_t* x = bits.ptr<uint32_t>();
  random_table().bits32(x, 2 * n, generator_of(inv, 3).reserve(uint64_t(2 * n)), 0);
  std::iota(at, at + n, int64_t(0));
  for (int64_t i = n - 1; i > 0; --i)
    std::swap(at[i], at[bounded(uint64_t(x[2 * i + 1]) << 32 | x[2 * i], uint64_t(i) + 1)]);
  strided_copy(inv.out(), *order);
}

void check_distribution(const Op& op, const double* p, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    MG_CHECK(std::isfinite(p[i]) && p[i] >= 0, Runtime, op.name,
             ": probability tensor contains either `inf`, `nan` or element < 0: got ", p[i], " at position ", i);
    sum += p[i];
  }
  MG_CHECK(sum > 0, Runtime, op.name, ": invalid multinomial distribution (sum of probabilities <= 0)");
}

// multinomial(input, num_samples, replacement, generator)
void multinomial_cpu(Invocation& inv) {
  const Tensor p = to_contiguous(inv.in(0), DType::Float64);
  const int64_t categories = p.sizes().back(), rows = categories ? p.numel() / categories : 0, samples = inv.i(1);
  const bool replacement = inv.b(2);
  const Tensor out = empty(inv.out().sizes, DType::Int64);
  for (int64_t r = 0; r < rows; ++r) check_distribution(inv.op, p.ptr<double>() + r * categories, categories);
  const int64_t per_row = replacement ? samples : categories;
  const PhiloxRange range = generator_of(inv, 3).reserve(uint64_t(rows * per_row) * 2);
  const Tensor numbers = empty(Dims{rows * per_row}, DType::Float64);
  double* u = numbers.ptr<double>();
  if (replacement)
    random_table().uniform64(u, rows * per_row, range, 0, 0, 1);
  else
    random_table().exponential64(u, rows * per_row, range, 0, 1);
  std::vector<double> cumulative(static_cast<size_t>(categories));
  std::vector<int64_t> order(static_cast<size_t>(categories));
  for (int64_t r = 0; r < rows; ++r) {
    const double* row = p.ptr<double>() + r * categories;
    double* x = u + r * per_row;
    int64_t* drawn = out.ptr<int64_t>() + r * samples;
    if (replacement) {
      std::partial_sum(row, row + categories, cumulative.begin());
      for (int64_t k = 0; k < samples;
           ++k) {  // first category whose cumulative mass exceeds u * total; never one of mass 0
        const auto hit = std::upper_bound(cumulative.begin(), cumulative.end(), x[k] * cumulative.back());
        drawn[k] = std::min<int64_t>(hit - cumulative.begin(), categories - 1);
        while (drawn[k] > 0 && row[drawn[k]] == 0) --drawn[k];
      }
    } else {  // exponential race: the order of p / Exp(1) is a draw without replacement
      int64_t possible = 0;
      for (int64_t c = 0; c < categories; ++c) {
        x[c] = row[c] / x[c];
        possible += row[c] > 0;
      }
      MG_CHECK(possible >= samples, Runtime, inv.op.name,
               ": invalid multinomial distribution (with replacement=False, not enough non-negative "
               "category to sample): got ",
               possible, " categories of positive probability for ", samples, " samples");
      std::iota(order.begin(), order.end(), int64_t(0));
      std::partial_sort(order.begin(), order.begin() + samples, order.end(),
                        [&](int64_t a, int64_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
      std::copy(order.begin(), order.begin() + samples, drawn);
    }
  }
  strided_copy(inv.out(), *out);
}

// Small rates by multiplying uniforms (Knuth); large ones by transformed rejection, PTRS.
// Source: W. Hörmann, "The transformed rejection method for generating Poisson random variables", Insurance: Math. and
// Economics 12, 1993.
double poisson_draw(double rate, ElementStream stream) {
  if (!(rate > 0)) return rate == 0 ? 0 : rate;
  if (rate < 10) {
    const double limit = std::exp(-rate);
    double product = stream.next();
    int64_t k = 0;
    for (; product > limit; ++k) product *= stream.next();
    return double(k);
  }
  const double b = 0.931 + 2.53 * std::sqrt(rate), a = -0.059 + 0.02483 * b,
               inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
  const double v_r = 0.9277 - 3.6224 / (b - 2), log_rate = std::log(rate);
  for (int tries = 0; tries < 100000; ++tries) {
    const double u = stream.next() - 0.5, v = stream.next(), us = 0.5 - std::abs(u);
    const double k = std::floor((2 * a / us + b) * u + rate + 0.43);
    if (us >= 0.07 && v <= v_r) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (std::log(v) + std::log(inverse_alpha) - std::log(a / (us * us) + b) <= k * log_rate - rate - std::lgamma(k + 1))
      return k;
  }
  return std::floor(rate);
}

// Successes among `count` trials. Few expected successes: the gaps between them are geometric. Many: transformed
// rejection, BTRS. Source: W. Hörmann, "The generation of binomial random variates", J. Stat. Comput. Simul. 46, 1993.
double binomial_draw(double count, double prob, ElementStream stream) {
  if (std::isnan(count) || std::isnan(prob)) return NAN;
  if (count <= 0 || prob <= 0) return 0;
  if (prob >= 1) return count;
  if (prob > 0.5) return count - binomial_draw(count, 1 - prob, stream);
  if (count * prob < 10) {
    const double scale = 1 / std::log1p(-prob);
    double trials = 0, hits = 0;
    for (;; ++hits) {
      trials += std::floor(std::log(stream.next()) * scale) + 1;
      if (trials > count) return hits;
    }
  }
  const double deviation = std::sqrt(count * prob * (1 - prob)), b = 1.15 + 2.53 * deviation;
  const double a = -0.0873 + 0.0248 * b + 0.01 * prob, c = count * prob + 0.5, v_r = 0.92 - 4.2 / b;
  const double odds = prob / (1 - prob), alpha = (2.83 + 5.1 / b) * deviation, mode = std::floor((count + 1) * prob);
  for (int tries = 0; tries < 100000; ++tries) {
    const double u = stream.next() - 0.5, v = stream.next(), us = 0.5 - std::abs(u);
    const double k = std::floor((2 * a / us + b) * u + c);
    if (us >= 0.07 && v <= v_r) return k;
    if (k < 0 || k > count) continue;
    // log of the ratio of the probabilities of k and of the mode
    const double ratio = (k - mode) * std::log(odds) + std::lgamma(mode + 1) + std::lgamma(count - mode + 1) -
                         std::lgamma(k + 1) - std::lgamma(count - k + 1);
    if (std::log(v * alpha / (a / (us * us) + b)) <= ratio) return k;
  }
  return mode;
}

Tensor broadcast_double(const TensorImpl& t, const Dims& sizes) {
  return to_contiguous(*alias(t, sizes, broadcast_strides(t.sizes, t.strides, sizes), t.offset), DType::Float64);
}

// binomial(count, prob, generator)
void binomial_cpu(Invocation& inv) {
  const Tensor count = broadcast_double(inv.in(0), inv.out().sizes),
               prob = broadcast_double(inv.in(1), inv.out().sizes);
  const double *n = count.ptr<double>(), *p = prob.ptr<double>();
  for (int64_t i = 0; i < count.numel(); ++i)
    MG_CHECK(!(n[i] < 0) && !(p[i] < 0) && !(p[i] > 1), Runtime, inv.op.name,
             ": expects count >= 0 and 0 <= prob <= 1: got count=", n[i], " and prob=", p[i], " at position ", i);
  const PhiloxRange range = generator_of(inv, 2).reserve(uint64_t(count.numel()) * 4);
  const Tensor out = empty(inv.out().sizes, DType::Float64);
  double* drawn = out.ptr<double>();
  parallel_for(0, out.numel(), 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      drawn[i] = binomial_draw(std::floor(n[i]), p[i], ElementStream{range, uint64_t(i)});
  });
  strided_copy(inv.out(), *out);
}

// poisson(input, generator)
void poisson_cpu(Invocation& inv) {
  const Tensor rate = to_contiguous(inv.in(0), DType::Float64);
  double* x = rate.ptr<double>();
  for (int64_t i = 0; i < rate.numel(); ++i)
    MG_CHECK(!(x[i] < 0), Runtime, inv.op.name, ": rates must be non-negative: got ", x[i]);
  const PhiloxRange range = generator_of(inv, 1).reserve(uint64_t(rate.numel()) * 4);
  parallel_for(0, rate.numel(), 512, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) x[i] = poisson_draw(x[i], ElementStream{range, uint64_t(i)});
  });
  strided_copy(inv.out(), *rate);
}

}  // namespace

MG_KERNEL("_randperm", CPU, randperm_cpu);
MG_KERNEL("multinomial", CPU, multinomial_cpu);
MG_KERNEL("poisson", CPU, poisson_cpu);
MG_KERNEL("binomial", CPU, binomial_cpu);

}  // namespace mg::cpu
