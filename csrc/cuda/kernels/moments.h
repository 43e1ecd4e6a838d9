// Mean and squared deviations in one pass, as a Rule's first half (reduce.h): packs have theirs in registers, packs and threads are merged
// as in Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
#pragma once
#include "reduce.h"

namespace mg::cuda {

struct Moments {
  double n, mean, squares;
};

template <class C>
struct MomentsFold {
  using A = Moments;
  static constexpr int kUnroll = 1;  // divisions in double
  __device__ A identity() const { return {0, 0, 0}; }
  __device__ void add(A& a, const C* x, int n, int64_t) const {
    C sum = x[0];
    for (int k = 1; k < n; ++k) sum += x[k];
    const C mean = sum / C(n);
    C squares = 0, slip = 0;  // slip: what the rounded mean leaves over
    for (int k = 0; k < n; ++k) {
      const C d = x[k] - mean;
      squares += d * d;
      slip += d;
    }
    const double exact = n == 1 ? double(x[0]) : double(mean) + double(slip) / n;
    a = merge(a, {double(n), exact, double(squares)});
  }
  __device__ static A merge(A a, A b) {
    if (b.n == 0) return a;
    if (a.n == 0) return b;
    const double n = a.n + b.n, d = b.mean - a.mean;
    return {n, a.mean + d * (b.n / n), a.squares + b.squares + d * d * (a.n * b.n / n)};
  }
};

// Mean, and the biased variance or 1 / sqrt(variance + eps), of every output.
template <class C>
struct StatisticsRule : MomentsFold<C> {
  C *mean, *second;
  bool reciprocal_root;
  double eps;
  __device__ void write(int64_t k, Moments a) const {
    const double variance = a.squares / a.n;
    mean[k] = C(a.mean);
    second[k] = reciprocal_root ? C(1 / sqrt(variance + eps)) : C(variance);
  }
};

}  // namespace mg::cuda
