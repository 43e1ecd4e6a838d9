// CPU kernels of the reductions with one number per output: sums, products, extremes, truth, moments, norms. Driver:
// reduce.h.
#include "reduce.h"

#include <cmath>

#include "../core/reduce_dims.h"

namespace mg::cpu {

// Everything of a short contiguous float tensor: one leaf call, the same one the plan would lead to.
template <class Post>
static bool fold_small(const TensorImpl& x, const TensorImpl& out, Fold f, double power, Post& post) {
  if (out.numel != 1 || x.numel == 0 || x.numel > 1024 || !x.contiguous || x.dtype != DType::Float32 || out.dtype != x.dtype)
    return false;
  double acc;
  fold_fns<float>(f).rows(&acc, x.ptr<float>(), 1, 0, x.numel, nullptr, power);
  post(&acc, 1, x.numel);
  *out.ptr<float>() = float(acc);
  return true;
}

// One fold, then post(acc, n, length).
template <class Post>
static void fold_with(const TensorImpl& x, const TensorImpl& out, uint64_t mask, DType compute, Fold f, double power,
                      Post post) {
  if (fold_small(x, out, f, power, post)) return;
  const ReducePlan plan(x, mask, out);
  dispatch_accumulate(compute, [&](auto tag) {
    using T = decltype(tag);
    reduce<T>(plan, x, out, power, [&](int64_t, int64_t n, auto&& fold, Acc<T>* acc) {
      fold(f, nullptr, acc);
      post(acc, n, plan.length);
    });
  });
}

template <Fold f>
static void fold_cpu(Invocation& inv) {
  fold_with(inv.in(0), inv.out(), reduce_mask(inv), inv.compute, f, 0, [](auto*, int64_t, int64_t) {});
}

template <Fold f>
static void truth_cpu(Invocation& inv) {
  fold_with(inv.in(0), inv.out(), reduce_mask(inv, false), inv.compute, f, 0, [](auto*, int64_t, int64_t) {});
}

static void mean_cpu(Invocation& inv) {
  fold_with(inv.in(0), inv.out(), reduce_mask(inv), inv.compute, Fold::Sum, 0, [](auto* acc, int64_t n, int64_t length) {
    for (int64_t i = 0; i < n; ++i) acc[i] = std::remove_reference_t<decltype(*acc)>(double(acc[i]) / double(length));
  });
}

// Two passes: mean, then squared deviations. The mean is rounded to T for the second pass; n * (rounding)^2 is taken
// back out.
template <class T, class Post>
static void variance(const Invocation& inv, Post post) {
  const ReducePlan plan(inv.in(0), reduce_mask(inv), inv.out());
  const double n = double(plan.length), freedom = std::max(n - inv.f(3), 0.0);
  reduce<T>(plan, inv.in(0), inv.out(), 0, [&](int64_t, int64_t count, auto&& fold, double* acc) {
    T mean[kReduceTile];
    double slip[kReduceTile];
    fold(Fold::Sum, nullptr, acc);
    for (int64_t i = 0; i < count; ++i) {
      mean[i] = T(acc[i] / n);
      slip[i] = acc[i] / n - double(mean[i]);
    }
    fold(Fold::SquareDiff, mean, acc);
    for (int64_t i = 0; i < count; ++i) {
      const double squares = std::isfinite(slip[i]) ? acc[i] - n * slip[i] * slip[i] : acc[i];
      acc[i] = post((squares < 0 ? 0.0 : squares) / freedom);
    }
  });
}

template <class Post>
static void variance_cpu(Invocation& inv, Post post) {
  if (inv.compute == DType::Float64)
    variance<double>(inv, post);
  else
    variance<float>(inv, post);
}
static void var_cpu(Invocation& inv) {
  variance_cpu(inv, [](double v) { return v; });
}
static void std_cpu(Invocation& inv) {
  variance_cpu(inv, [](double v) { return std::sqrt(v); });
}

// log(sum(exp(x - m))) + m with m the maximum; an infinite maximum is left out, so that rows of -inf give -inf and not
// NaN.
template <class T>
static void log_sum_exp(const Invocation& inv) {
  const ReducePlan plan(inv.in(0), reduce_mask(inv), inv.out());
  reduce<T>(plan, inv.in(0), inv.out(), 0, [&](int64_t, int64_t count, auto&& fold, double* acc) {
    T top[kReduceTile];
    fold(Fold::Max, nullptr, acc);
    for (int64_t i = 0; i < count; ++i) top[i] = std::isinf(acc[i]) ? T(0) : T(acc[i]);
    fold(Fold::ExpDiff, top, acc);
    for (int64_t i = 0; i < count; ++i) acc[i] = std::log(acc[i]) + double(top[i]);
  });
}
static void logsumexp_cpu(Invocation& inv) {
  if (inv.compute == DType::Float64)
    log_sum_exp<double>(inv);
  else
    log_sum_exp<float>(inv);
}

static void vector_norm_cpu(Invocation& inv) {
  const double ord = inv.f(4);
  const Fold f = ord == 0           ? Fold::CountNonzero
                 : ord == 1         ? Fold::AbsSum
                 : ord == 2         ? Fold::SquareSum
                 : ord == INFINITY  ? Fold::AbsMax
                 : ord == -INFINITY ? Fold::AbsMin
                                    : Fold::AbsPowSum;
  fold_with(inv.in(0), inv.out(), reduce_mask(inv), inv.compute, f, ord, [&](auto* acc, int64_t n, int64_t) {
    using A = std::remove_reference_t<decltype(*acc)>;
    for (int64_t i = 0; i < n && (f == Fold::SquareSum || f == Fold::AbsPowSum); ++i)
      acc[i] = A(ord == 2 ? std::sqrt(double(acc[i])) : std::pow(double(acc[i]), 1 / ord));
  });
}

MG_KERNEL("sum", CPU, fold_cpu<Fold::Sum>);
MG_KERNEL("nansum", CPU, fold_cpu<Fold::NanSum>);
MG_KERNEL("prod", CPU, fold_cpu<Fold::Prod>);
MG_KERNEL("amax", CPU, fold_cpu<Fold::Max>);
MG_KERNEL("amin", CPU, fold_cpu<Fold::Min>);
MG_KERNEL("any", CPU, truth_cpu<Fold::AnyNonzero>);
MG_KERNEL("all", CPU, truth_cpu<Fold::AllNonzero>);
MG_KERNEL("count_nonzero", CPU, fold_cpu<Fold::CountNonzero>);
MG_KERNEL("mean", CPU, mean_cpu);
MG_KERNEL("_var", CPU, var_cpu);
MG_KERNEL("_std", CPU, std_cpu);
MG_KERNEL("logsumexp", CPU, logsumexp_cpu);
MG_KERNEL("_vector_norm", CPU, vector_norm_cpu);

}  // namespace mg::cpu
