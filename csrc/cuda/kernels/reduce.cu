// Reductions with one number per output: sums, products, extremes, truth, moments, norms. Driver: reduce.h, one pass over the input, also
// for the variance (each thread's running mean and squares, merged as in Chan, Golub, LeVeque 1979) and logsumexp (running maximum).
// Sums of packs are carried in double: on GPUs with few double units a pack per addition keeps them below the memory's pace.
#include "../../core/reduce_dims.h"
#include "moments.h"

namespace mg::cuda {
namespace {

template <class C>
using Wide = std::conditional_t<std::is_integral_v<C>, int64_t, double>;
template <class C>
constexpr C lowest_of() {
  if constexpr (std::is_integral_v<C>) return std::numeric_limits<C>::min();
  else return -std::numeric_limits<C>::infinity();
}
template <class C>
constexpr C highest_of() {
  if constexpr (std::is_integral_v<C>) return std::numeric_limits<C>::max();
  else return std::numeric_limits<C>::infinity();
}

struct Add {
  template <class A>
  MG_DEVICE static A combine(A a, A b) {
    if constexpr (std::is_integral_v<A>) return A(uint64_t(a) + uint64_t(b));  // wraps
    else return a + b;
  }
  template <class A>
  MG_DEVICE static A identity() { return A(0); }
};
struct Multiply {
  template <class A>
  MG_DEVICE static A combine(A a, A b) {
    if constexpr (std::is_integral_v<A>) return A(uint64_t(a) * uint64_t(b));
    else return a * b;
  }
  template <class A>
  MG_DEVICE static A identity() { return A(1); }
};
struct Larger {  // NaN wins
  template <class A>
  MG_DEVICE static A combine(A a, A b) { return a > b || a != a ? a : b; }
  template <class A>
  MG_DEVICE static A identity() { return lowest_of<A>(); }
};
struct Smaller {
  template <class A>
  MG_DEVICE static A combine(A a, A b) { return a < b || a != a ? a : b; }
  template <class A>
  MG_DEVICE static A identity() { return highest_of<A>(); }
};

struct Same {
  template <class C>
  MG_DEVICE C operator()(C x) const { return x; }
};
struct NanIsZero {
  template <class C>
  MG_DEVICE C operator()(C x) const { return x == x ? x : C(0); }
};
struct Truth {
  template <class C>
  MG_DEVICE C operator()(C x) const { return C(x != C(0)); }
};
struct Magnitude {
  template <class C>
  MG_DEVICE C operator()(C x) const { return x < C(0) ? -x : x == C(0) ? C(0) : x; }
};
struct Square {
  template <class C>
  MG_DEVICE C operator()(C x) const { return x * x; }
};
struct Power {
  double p;
  template <class C>
  MG_DEVICE C operator()(C x) const { return pow(x < C(0) ? -x : x, C(p)); }
};

struct Plain {
  template <class A>
  MG_DEVICE A operator()(A a) const { return a; }
};
struct TruthOfNone {  // of nothing, any is false and all is true
  bool none, value;
  template <class A>
  MG_DEVICE A operator()(A a) const { return none ? A(value) : a; }
};
struct Divide {
  double by;
  template <class A>
  MG_DEVICE A operator()(A a) const { return A(double(a) / by); }
};
struct Root {
  double exponent;  // 0: the square root
  template <class A>
  MG_DEVICE A operator()(A a) const { return A(exponent == 0 ? sqrt(double(a)) : pow(double(a), exponent)); }
};

template <class C, class Monoid, class Map, class Post>
struct FoldRule {
  using A = Wide<C>;
  Map map;
  Post post;
  AnyOut out;
  __device__ A identity() const { return Monoid::template identity<A>(); }
  __device__ void add(A& a, const C* x, int n, int64_t) const {
    C sum = map(x[0]);
    for (int k = 1; k < n; ++k) sum = Monoid::combine(sum, map(x[k]));
    a = Monoid::combine(a, A(sum));
  }
  __device__ static A merge(A a, A b) { return Monoid::combine(a, b); }
  __device__ void write(int64_t k, A a) const { out.write(k, post(a)); }
};

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
  AnyOut out;
  __device__ A identity() const { return {-std::numeric_limits<double>::infinity(), 0}; }
  __device__ static double shift(double top) { return isinf(top) ? 0.0 : top; }
  __device__ void add(A& a, const C* x, int n, int64_t) const {
    C top = x[0], sum = 0;
    for (int k = 1; k < n; ++k) top = Larger::combine(top, x[k]);
    const C by = isinf(top) ? C(0) : top;
    for (int k = 0; k < n; ++k) sum += exp(x[k] - by);
    a = merge(a, {double(top), double(sum)});
  }
  __device__ static A merge(A a, A b) {
    if (b.sum == 0) return a;
    if (a.sum == 0) return b;
    const double top = Larger::combine(a.top, b.top), by = shift(top);
    // Exponents are <= 0 but for an infinite maximum, when one of the sums is infinite anyway.
    return {top, a.sum * double(exp(C(shift(a.top) - by))) + b.sum * double(exp(C(shift(b.top) - by)))};
  }
  __device__ void write(int64_t k, A a) const { out.write(k, log(a.sum) + shift(a.top)); }
};

struct Call {  // what every op of this file has
  Tensor x;
  uint64_t mask;
  Call(const Invocation& inv, bool empty_is_all = true) : x(inv.tensor(0)) {
    const Value none;
    mask = reduce_mask(public_name(inv.op), inv.op.args.size() > 1 ? inv.args[1] : none, x.dim(), empty_is_all);
  }
};

// make(AnyOut, length, C{}) gives the rule.
template <bool floating, class Make>
void run_rule(Invocation& inv, const Call& call, Make make) {
  const StagedOut out(inv.outs[0], inv.out().dtype);
  MG_CHECK(!floating || is_floating(inv.compute), NotImplemented, public_name(inv.op), ": no cuda kernel for ", inv.compute);
  for_inputs(call.x, inv.compute, [&](auto c, auto s, const Tensor& in) {
    using C = decltype(c);
    using S = decltype(s);
    if constexpr (!floating || !std::is_integral_v<C>) {
      const ReducePlan plan(*in, call.mask, inv.out().sizes);
      reduce<C, S>(*in, plan, make(AnyOut{out.template ptr<char>(), inv.out().dtype}, plan.length, c));
    }
  });
  out.commit();
}

template <class Monoid, class Map, class Post>
void fold(Invocation& inv, Map map, Post post) {
  run_rule<false>(inv, Call(inv), [&](AnyOut out, int64_t, auto c) { return FoldRule<decltype(c), Monoid, Map, Post>{map, post, out}; });
}
// Ops of floating numbers alone: no kernels for integers are made.
template <class Make>
void floating_rule(Invocation& inv, Make make) {
  run_rule<true>(inv, Call(inv), make);
}

void sum_cuda(Invocation& inv) { fold<Add>(inv, Same{}, Plain{}); }
void nansum_cuda(Invocation& inv) { fold<Add>(inv, NanIsZero{}, Plain{}); }
void prod_cuda(Invocation& inv) { fold<Multiply>(inv, Same{}, Plain{}); }
void amax_cuda(Invocation& inv) { fold<Larger>(inv, Same{}, Plain{}); }
void amin_cuda(Invocation& inv) { fold<Smaller>(inv, Same{}, Plain{}); }
void count_cuda(Invocation& inv) { fold<Add>(inv, Truth{}, Plain{}); }
template <class Monoid>
void truth_cuda(Invocation& inv) {
  run_rule<false>(inv, Call(inv, false), [&](AnyOut out, int64_t length, auto c) {
    return FoldRule<decltype(c), Monoid, Truth, TruthOfNone>{{}, {length == 0, std::is_same_v<Monoid, Smaller>}, out};
  });
}
void any_cuda(Invocation& inv) { truth_cuda<Larger>(inv); }
void all_cuda(Invocation& inv) { truth_cuda<Smaller>(inv); }

void mean_cuda(Invocation& inv) {
  floating_rule(inv, [&](AnyOut out, int64_t length, auto c) {
    return FoldRule<decltype(c), Add, Same, Divide>{{}, {double(length)}, out};
  });
}

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
  auto with = [&](auto monoid, auto map, auto post) {
    floating_rule(inv, [&](AnyOut out, int64_t, auto c) {
      return FoldRule<decltype(c), decltype(monoid), decltype(map), decltype(post)>{map, post, out};
    });
  };
  constexpr double inf = std::numeric_limits<double>::infinity();
  if (ord == 0) return with(Add{}, Truth{}, Plain{});
  if (ord == 1) return with(Add{}, Magnitude{}, Plain{});
  if (ord == 2) return with(Add{}, Square{}, Root{0});
  if (ord == inf) return with(Larger{}, Magnitude{}, Plain{});
  if (ord == -inf) return with(Smaller{}, Magnitude{}, Plain{});
  with(Add{}, Power{ord}, Root{1 / ord});
}

MG_CUDA_KERNEL("sum", sum_cuda);
MG_CUDA_KERNEL("nansum", nansum_cuda);
MG_CUDA_KERNEL("prod", prod_cuda);
MG_CUDA_KERNEL("amax", amax_cuda);
MG_CUDA_KERNEL("amin", amin_cuda);
MG_CUDA_KERNEL("any", any_cuda);
MG_CUDA_KERNEL("all", all_cuda);
MG_CUDA_KERNEL("count_nonzero", count_cuda);
MG_CUDA_KERNEL("mean", mean_cuda);
MG_CUDA_KERNEL("_var", variance_cuda<false>);
MG_CUDA_KERNEL("_std", variance_cuda<true>);
MG_CUDA_KERNEL("logsumexp", logsumexp_cuda);
MG_CUDA_KERNEL("_vector_norm", vector_norm_cuda);

}  // namespace
}  // namespace mg::cuda
