// Norms, variances and logsumexp: one pass over the input too, for the variance by each thread's running mean and squares, merged as in
// Chan, Golub, LeVeque 1979 (moments.h), for logsumexp by a running maximum. Driver: reduce.h.
#include "fold.h"
#include "moments.h"

namespace mg::cuda {
namespace {

template <class C>
struct VarianceRule : MomentsFold<C> {
  double freedom;
  bool root;
  AnyOut out;
  __device__ void write(int64_t k, Moments a) const {
    const double v = (a.squares < 0 ? 0.0 : a.n == 0 ? 0.0 : a.squares) / freedom;
    out.write(k, root ? sqrt(v) : v);
  }
};

// log(sum(exp(x - m))) + m with m the maximum; an infinite maximum is left out, so that rows of -inf give -inf and not NaN.
struct Exponentials {
  double top, sum;
};
template <class C>
struct LogSumExpRule {
  using A = Exponentials;
  static constexpr int kUnroll = 1;
  AnyOut out;
  __device__ A identity() const { return {-std::numeric_limits<double>::infinity(), 0}; }
  __device__ static double shift(double top) { return isinf(top) ? 0.0 : top; }
  __device__ void add(A& a, const C* x, int n, int64_t) const {
    C top = x[0], sum = 0;
    for (int k = 1; k < n; ++k) top = Extreme{}.combine(top, x[k]);
    const C by = isinf(top) ? C(0) : top;
    for (int k = 0; k < n; ++k) sum += exp(x[k] - by);
    a = merge(a, {double(top), double(sum)});
  }
  __device__ static A merge(A a, A b) {
    if (b.sum == 0) return a;
    if (a.sum == 0) return b;
    const double top = Extreme{}.combine(a.top, b.top), by = shift(top);
    // Exponents are <= 0 but for an infinite maximum, when one of the sums is infinite anyway.
    return {top, a.sum * double(exp(C(shift(a.top) - by))) + b.sum * double(exp(C(shift(b.top) - by)))};
  }
  __device__ void write(int64_t k, A a) const { out.write(k, log(a.sum) + shift(a.top)); }
};

template <bool root>
void variance_cuda(Invocation& inv) {
  const double correction = inv.f(3);
  floating_rule(inv, [&](AnyOut out, int64_t length, auto c) {
    return VarianceRule<decltype(c)>{{}, std::max(double(length) - correction, 0.0), root, out};
  });
}
void logsumexp_cuda(Invocation& inv) {
  floating_rule(inv, [&](AnyOut out, int64_t, auto c) { return LogSumExpRule<decltype(c)>{out}; });
}

void vector_norm_cuda(Invocation& inv) {
  const double ord = inv.f(4);
  constexpr double inf = std::numeric_limits<double>::infinity();
  if (ord == 0) return fold<true>(inv, Add{}, Truth{}, Quotient{});
  if (ord == 1) return fold<true>(inv, Add{}, Magnitude{}, Quotient{});
  if (ord == 2) return fold<true>(inv, Add{}, Square{}, Root{0});
  if (ord == inf || ord == -inf) return fold<true>(inv, Extreme{ord < 0}, Magnitude{}, Quotient{});
  fold<true>(inv, Add{}, Power{ord}, Root{1 / ord});
}

MG_CUDA_KERNEL("_var", variance_cuda<false>);
MG_CUDA_KERNEL("_std", variance_cuda<true>);
MG_CUDA_KERNEL("logsumexp", logsumexp_cuda);
MG_CUDA_KERNEL("_vector_norm", vector_norm_cuda);

}  // namespace
}  // namespace mg::cuda
