// index_select, index_add, index_copy, index_fill, advanced indexing and embedding: byte offsets per index, then one
// slab engine (slabs.h).
#include "../core/index_plan.h"
#include "complex_math.h"
#include "convert.h"
#include "copy.h"
#include "indices.h"
#include "rows.h"
#include "slabs.h"

namespace mg::cpu {

namespace {

// f_(input!, …) works in place; f(input, …) starts from a copy.
TensorImpl& start_from_input(Invocation& inv) {
  if (inv.outs[0].get() != inv.args[0].t) strided_copy(inv.out(), inv.in(0));
  return inv.out();
}

// Byte offsets of n slabs, in one scratch tensor that owns them.
struct Offsets {
  Tensor owner;
  int64_t* data;
  int64_t n;
  explicit Offsets(int64_t count) : owner(empty(Dims{count}, DType::Int64)), data(owner.ptr<int64_t>()), n(count) {
    std::fill(data, data + n, 0);
  }
  void add(const int64_t* index, int64_t stride_bytes) {
    parallel_for(0, n, kRowGrain, [&](int64_t b, int64_t e) {
      for (int64_t k = b; k < e; ++k) data[k] += index[k] * stride_bytes;
    });
  }
};

Offsets offsets_along(const Invocation& inv, const TensorImpl& t, int d, const TensorImpl& index) {
  const Tensor at = checked_indices(inv.op, index, size_at(t, d), d, false);
  Offsets offsets(index.numel);
  offsets.add(at.ptr<int64_t>(), step_bytes(t, d));
  return offsets;
}

// index_select(input, dim, index)
void index_select_cpu(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const int d = wrapped(inv.i(1), in);
  const Offsets offsets = offsets_along(inv, in, d, inv.in(2));
  if (inv.out().numel == 0) return;
  slab_gather(plan_without(inv.out(), in, d), offsets.data, offsets.n, step_bytes(inv.out(), d), itemsize(in.dtype));
}

// Low precision adds up in float and rounds once.
bool sums_in_float(DType d) { return d == DType::Float16 || d == DType::BFloat16; }

void index_source(Invocation& inv, Reduce reduce, double scale) {
  const int d = wrapped(inv.i(1), inv.in(0));
  Tensor source = inv.tensor(3);
  Offsets offsets = offsets_along(inv, inv.in(0), d, inv.in(2));  // raises before anything is written
  TensorImpl& out = start_from_input(inv);
  if (out.numel == 0 || source.numel() == 0) return;
  if (out.dtype == DType::Bool && scale == 0) return;  // adds nothing: factors of bools are not multiplied in
  const bool widen = reduce != Reduce::Assign && sums_in_float(out.dtype);
  const Tensor target = widen ? to_contiguous(out, DType::Float32) : inv.outs[0];
  if (widen) source = cast(source, DType::Float32);
  if (step_bytes(*target, d) != step_bytes(inv.in(0), d)) offsets = offsets_along(inv, *target, d, inv.in(2));
  slab_scatter(plan_without(*target, *source, d), offsets.data, offsets.n, step_bytes(*source, d), target.dtype(),
               reduce, scale);
  if (widen) strided_copy(out, *target);
}

void index_add_cpu(Invocation& inv) { index_source(inv, Reduce::Add, inv.f(4)); }
void index_copy_cpu(Invocation& inv) { index_source(inv, Reduce::Assign, 1); }

// How many sources each slab received (include_self: and its own), in the target's sizes.
Tensor slab_counts(const TensorImpl& target, int d, const Tensor& index, bool include_self) {
  const Tensor counts = empty(Dims{size_at(target, d)}, DType::Int64);
  int64_t* count = counts.ptr<int64_t>();
  std::fill(count, count + counts.numel(), int64_t(include_self));
  for (int64_t k = 0; k < index.numel(); ++k) ++count[index.ptr<int64_t>()[k]];
  Dims strides(target.dim());
  if (target.dim() > 0) strides[d] = 1;
  return alias(*counts, target.sizes, strides, 0);
}

// _index_reduce(input, dim, index, source, reduce, include_self)
void index_reduce_cpu(Invocation& inv) {
  const std::string_view how = inv.args[4].str;
  const bool mean = how == "mean", include_self = inv.b(5);
  const Reduce reduce = reduce_named(how);
  const int d = wrapped(inv.i(1), inv.in(0));
  const Tensor index =
      checked_indices(inv.op, inv.in(2), size_at(inv.in(0), d), d, false);  // raises before the first write
  TensorImpl& out = start_from_input(inv);
  if (out.numel == 0 || inv.in(3).numel == 0) return;
  const bool widen = sums_in_float(out.dtype) && (reduce == Reduce::Add || reduce == Reduce::Mul);
  const Tensor target = widen ? to_contiguous(out, DType::Float32) : inv.outs[0];
  const Tensor source = cast(inv.tensor(3), target.dtype());
  Offsets offsets(index.numel());
  offsets.add(index.ptr<int64_t>(), step_bytes(*target, d));
  if (!include_self) {
    const Tensor identity = identity_of(reduce, target.dtype());
    const Tensor wide = alias(*identity, target.sizes(), Dims(target.dim()), 0);
    slab_scatter(plan_without(*target, *wide, d), offsets.data, offsets.n, 0, target.dtype(), Reduce::Assign);
  }
  slab_scatter(plan_without(*target, *source, d), offsets.data, offsets.n, step_bytes(*source, d), target.dtype(),
               reduce);
  if (mean) divide_by_counts(*target, *slab_counts(*target, d, index, include_self));
  if (widen) strided_copy(out, *target);
}

// The operand as a 0-d tensor of the output's dtype.
Tensor scalar_of(const Value& v, DType dtype) {
  if (v.is_tensor()) return to_contiguous(*v.t, dtype);
  const Tensor one = empty(Dims{}, dtype);
  fill(*one, v);
  return one;
}

// index_fill(input, dim, index, value)
void index_fill_cpu(Invocation& inv) {
  const int d = wrapped(inv.i(1), inv.in(0));
  check_tensor_fits(inv.op, inv.args[3], inv.out().dtype);
  const Tensor value = scalar_of(inv.args[3], inv.out().dtype);
  Offsets offsets = offsets_along(inv, inv.in(0), d, inv.in(2));
  TensorImpl& out = start_from_input(inv);
  if (out.numel == 0) return;
  if (step_bytes(out, d) != step_bytes(inv.in(0), d)) offsets = offsets_along(inv, out, d, inv.in(2));
  const Tensor source = alias(*value, out.sizes, Dims(out.dim()), 0);
  slab_scatter(plan_without(out, *source, d), offsets.data, offsets.n, 0, out.dtype, Reduce::Assign);
}

// --- advanced indexing
// ------------------------------------------------------------------------------------------------

// Offsets of x[indices] for every joint position, bounds-checked; negative indices count from the end.
Offsets advanced_offsets(const Invocation& inv, const TensorImpl& t, const Value& indices, const IndexPlan& plan) {
  Offsets offsets(plan.joint_count());
  for (int k = 0; k < indices.len; ++k) {
    if (indices.tensors[k] == nullptr) continue;
    const Tensor at = checked_indices(inv.op, *indices.tensors[k], t.sizes[k], k, true);
    offsets.add(joint_index(at, plan).ptr<int64_t>(), step_bytes(t, k));
  }
  return offsets;
}

// index(input, indices)
void index_cpu(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const IndexPlan plan = plan_index(inv.op, in, inv.args[1]);
  if (!plan.any) return strided_copy(inv.out(), in);
  const Offsets offsets = advanced_offsets(inv, in, inv.args[1], plan);
  if (inv.out().numel == 0) return;
  const Tensor out = inv.out().contiguous ? inv.outs[0] : empty(inv.out().sizes, in.dtype);
  slab_gather(advanced_plan(in, *out, plan, true), offsets.data, offsets.n, joint_step(*out, plan), itemsize(in.dtype));
  if (!out.is(inv.outs[0])) strided_copy(inv.out(), *out);
}

// index_put(input, indices, values, accumulate)
void index_put_cpu(Invocation& inv) {
  const IndexPlan plan = plan_index(inv.op, inv.in(0), inv.args[1]);
  Offsets offsets = advanced_offsets(inv, inv.in(0), inv.args[1], plan);  // raises before anything is written
  TensorImpl& out = start_from_input(inv);
  Tensor values = inv.tensor(2);
  if (plan.result_count() == 0) return;
  const bool add = inv.b(3), widen = add && sums_in_float(out.dtype);
  const Tensor target = widen ? to_contiguous(out, DType::Float32) : inv.outs[0];
  if (widen) values = cast(values, DType::Float32);
  const Tensor dense = values_for(values, plan);
  if (!plan.any && !add) return strided_copy(*target, *dense);
  if (target.strides() != inv.in(0).strides || target.dtype() != out.dtype)
    offsets = advanced_offsets(inv, *target, inv.args[1], plan);
  slab_scatter(advanced_plan(*target, *dense, plan, false), offsets.data, offsets.n, joint_step(*dense, plan),
               target.dtype(), add ? Reduce::Add : Reduce::Assign);
  if (widen) strided_copy(out, *target);
}

// --- embedding
// --------------------------------------------------------------------------------------------------------

// embedding(input: indices, weight, …)
void embedding_cpu(Invocation& inv) {
  const TensorImpl &index = inv.in(0), &weight = inv.in(1);
  const Offsets offsets = offsets_along(inv, weight, 0, index);
  if (inv.out().numel == 0) return;
  const Dims shape{index.numel, weight.sizes[1]};
  const Tensor out = inv.out().contiguous ? inv.outs[0] : empty(inv.out().sizes, weight.dtype);
  const Tensor rows = alias(*out, shape, Dims{weight.sizes[1], 1}, out->offset);
  slab_gather(plan_without(*rows, weight, 0), offsets.data, offsets.n, step_bytes(*rows, 0), itemsize(weight.dtype));
  if (!out.is(inv.outs[0])) strided_copy(inv.out(), *out);
}

// _embedding_backward(g, input, num_weights, padding_idx, scale_grad_by_freq): rows of g added up per index, in the
// order of the indices
void embedding_backward_cpu(Invocation& inv) {
  const int64_t rows = inv.i(2), width = inv.in(0).sizes.back();
  const DType dtype = inv.out().dtype, wide = sums_in_float(dtype) ? DType::Float32 : dtype;
  const Tensor at = checked_indices(inv.op, inv.in(1), rows, 0, false);
  const int64_t* index = at.ptr<int64_t>();
  const Tensor sum = wide == dtype && inv.out().contiguous ? inv.outs[0] : empty(inv.out().sizes, wide);
  fill_zero(sum);
  if (sum.numel() != 0 && at.numel() != 0) {
    Tensor g = to_contiguous(inv.in(0), wide);
    g = alias(*g, Dims{at.numel(), width}, Dims{width, 1}, g->offset);
    Offsets offsets(at.numel());
    offsets.add(index, step_bytes(*sum, 0));
    const int64_t skipped = inv.has(3) ? (inv.i(3) < 0 ? inv.i(3) + rows : inv.i(3)) : -1;
    for (int64_t k = 0; k < offsets.n; ++k)
      if (index[k] == skipped) offsets.data[k] = -1;
    slab_scatter(plan_without(*sum, *g, 0), offsets.data, offsets.n, step_bytes(*g, 0), wide, Reduce::Add);
    if (inv.b(4)) {
      std::vector<int64_t> count(size_t(rows), 0);
      for (int64_t k = 0; k < offsets.n; ++k) ++count[size_t(index[k])];
      dispatch_any(wide, [&](auto tag) {
        using T = decltype(tag);
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < width && count[size_t(r)] > 1; ++c) {
            T& v = sum.ptr<T>()[r * width + c];
            v = T(v / T(count[size_t(r)]));
          }
      });
    }
  }
  if (!sum.is(inv.outs[0])) strided_copy(inv.out(), *sum);
}

}  // namespace

MG_KERNEL("index_select", CPU, index_select_cpu);
MG_KERNEL("index_add", CPU, index_add_cpu);
MG_KERNEL("index_add_", CPU, index_add_cpu);
MG_KERNEL("_index_reduce", CPU, index_reduce_cpu);
MG_KERNEL("_index_reduce_", CPU, index_reduce_cpu);
MG_KERNEL("index_copy", CPU, index_copy_cpu);
MG_KERNEL("index_copy_", CPU, index_copy_cpu);
MG_KERNEL("index_fill", CPU, index_fill_cpu);
MG_KERNEL("index_fill_", CPU, index_fill_cpu);
MG_KERNEL("index", CPU, index_cpu);
MG_KERNEL("index_put", CPU, index_put_cpu);
MG_KERNEL("index_put_", CPU, index_put_cpu);
MG_KERNEL("embedding", CPU, embedding_cpu);
MG_KERNEL("_embedding_backward", CPU, embedding_backward_cpu);

}  // namespace mg::cpu
