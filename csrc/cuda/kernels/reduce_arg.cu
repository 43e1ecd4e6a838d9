// Reductions that also say where: argmax, argmin, max and min along a dim. The first position wins; NaN beats every number (PyTorch's
// rules). One pass over the input, by the driver of reduce.h: the pair (value, position) is what is folded.
#include "reduce.h"

#include "../../core/reduce_dims.h"

namespace mg::cuda {
namespace {

template <class C>
struct Place {
  std::conditional_t<std::is_integral_v<C>, int64_t, double> value;
  int64_t at;
};

template <class C, bool smallest>
struct ArgRule {
  using A = Place<C>;
  AnyOut value, index;
  __device__ A identity() const { return {0, INT64_MAX}; }  // no place: loses to all
  __device__ void add(A& a, const C* x, int n, int64_t at) const {
    C best = x[0];
    int where = 0;
    for (int k = 1; k < n; ++k) {
      const bool wins = x[k] != x[k] ? best == best : smallest ? x[k] < best : x[k] > best;
      if (wins) best = x[k], where = k;
    }
    a = merge(a, {best, at + where});
  }
  __device__ static A merge(A a, A b) {
    if (b.at == INT64_MAX) return a;
    if (a.at == INT64_MAX) return b;
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan || b_nan) return a_nan && b_nan ? (a.at < b.at ? a : b) : a_nan ? a : b;
    if (a.value == b.value) return a.at < b.at ? a : b;
    return (smallest ? a.value < b.value : a.value > b.value) ? a : b;
  }
  __device__ void write(int64_t k, A a) const {
    if (value.data != nullptr) value.write(k, a.value);
    index.write(k, a.at);
  }
};

template <bool smallest>
void run(Invocation& inv, const Tensor* value_out, const Tensor& index_out) {
  const Tensor in = inv.tensor(0);
  const bool full = inv.args[1].none() || in.dim() == 0;
  const uint64_t mask = full ? ~uint64_t(0) : uint64_t(1) << wrap_dim(inv.i(1), in.dim(), inv.op.name.c_str());
  const StagedOut index(index_out, DType::Int64);
  const StagedOut value(value_out ? *value_out : index_out, value_out ? value_out->dtype() : DType::Int64);
  // Positions in the whole tensor count in its own order, so its dims must be one.
  const Tensor flat = full ? contiguous(in) : in;
  for_inputs(flat, in.dtype(), [&](auto c, auto s, const Tensor& x) {
    using C = decltype(c);
    using S = decltype(s);
    const ReducePlan plan(*x, mask, index_out.sizes());
    const AnyOut values{value_out ? value.template ptr<char>() : nullptr, value_out ? value_out->dtype() : DType::Int64};
    reduce<C, S>(*x, plan, ArgRule<C, smallest>{values, {index.template ptr<char>(), DType::Int64}});
  });
  index.commit();
  if (value_out) value.commit();
}

void argmax_cuda(Invocation& inv) { run<false>(inv, nullptr, inv.outs[0]); }
void argmin_cuda(Invocation& inv) { run<true>(inv, nullptr, inv.outs[0]); }
void max_dim_cuda(Invocation& inv) { run<false>(inv, &inv.outs[0], inv.outs[1]); }
void min_dim_cuda(Invocation& inv) { run<true>(inv, &inv.outs[0], inv.outs[1]); }

MG_CUDA_KERNEL("argmax", argmax_cuda);
MG_CUDA_KERNEL("argmin", argmin_cuda);
MG_CUDA_KERNEL("_max_dim", max_dim_cuda);
MG_CUDA_KERNEL("_min_dim", min_dim_cuda);

}  // namespace
}  // namespace mg::cuda
