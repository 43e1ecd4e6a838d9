// Folds: reductions whose accumulator is one number, from three parts: a monoid, a map of the elements before it, and what is done to the
// total. What differs little is a member and not a type (Extreme::smallest, Quotient::by): every type here is some twenty kernels, and
// most of the time of nvcc. Sums of packs are carried in double: on GPUs with few double units a pack per addition keeps them below the
// memory's pace. Included by reduce.cu and reduce_norm.cu; driver: reduce.h.
#pragma once
#include "../../core/reduce_dims.h"
#include "reduce.h"

namespace mg::cuda {

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
struct Extreme {  // the largest or smallest; NaN wins
  bool smallest = false;
  template <class A>
  MG_DEVICE A combine(A a, A b) const { return (smallest ? a < b : a > b) || a != a ? a : b; }
  template <class A>
  MG_DEVICE A identity() const { return smallest ? highest_of<A>() : lowest_of<A>(); }
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

struct Quotient {  // of floating results; integers stay
  double by = 1;
  template <class A>
  MG_DEVICE A operator()(A a) const {
    if constexpr (std::is_integral_v<A>) return a;
    else return a / by;
  }
};
struct TruthOfNone {  // of nothing, any is false and all is true
  bool none, value;
  template <class A>
  MG_DEVICE A operator()(A a) const { return none ? A(value) : a; }
};
struct Root {
  double exponent;  // 0: the square root
  template <class A>
  MG_DEVICE A operator()(A a) const { return A(exponent == 0 ? sqrt(double(a)) : pow(double(a), exponent)); }
};

template <class C, class Monoid, class Map, class Post>
struct FoldRule {
  using A = Wide<C>;
  static constexpr int kUnroll = std::is_same_v<Map, Power> ? 1 : 4;
  Monoid monoid;
  Map map;
  Post post;
  AnyOut out;
  __device__ A identity() const { return monoid.template identity<A>(); }
  __device__ void add(A& a, const C* x, int n, int64_t) const {
    C sum = map(x[0]);
    for (int k = 1; k < n; ++k) sum = monoid.combine(sum, map(x[k]));
    a = monoid.combine(a, A(sum));
  }
  __device__ A merge(A a, A b) const { return monoid.combine(a, b); }
  __device__ void write(int64_t k, A a) const { out.write(k, post(a)); }
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

// Ops of floating numbers alone: no kernels for integers are made.
template <class Make>
void floating_rule(Invocation& inv, Make make) {
  run_rule<true>(inv, Call(inv), make);
}
template <bool floating = false, class Monoid, class Map, class Post>
void fold(Invocation& inv, Monoid monoid, Map map, Post post) {
  run_rule<floating>(inv, Call(inv), [&](AnyOut out, int64_t, auto c) {
    return FoldRule<decltype(c), Monoid, Map, Post>{monoid, map, post, out};
  });
}

}  // namespace mg::cuda
