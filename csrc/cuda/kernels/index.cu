// index_select, index_add, index_copy, index_fill, _index_reduce, advanced indexing and embedding: keys per index, then slabs.h.
#include "copy.h"
#include "slabs.h"

namespace mg::cuda {
namespace {

// f_(input!, …) works in place; f(input, …) starts from a copy.
TensorImpl& start_from_input(Invocation& inv) {
  if (inv.outs[0].get() != inv.args[0].t) copy_on_device(inv.out(), inv.in(0));
  return inv.out();
}

Tensor keys_along(const Invocation& inv, const TensorImpl& t, int d, const TensorImpl& index) {
  const Tensor keys = new_keys(index.numel, t.device);
  add_index(inv.op, keys, Tensor(const_cast<TensorImpl*>(&index)), size_at(t, d), step_bytes(t, d), false);
  return keys;
}

// index_select(input, dim, index)
void index_select_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const int d = wrapped(inv.i(1), in);
  if (inv.out().numel == 0 && inv.in(2).numel == 0) return;
  slab_gather(plan_without(inv.out(), in, d), keys_along(inv, in, d, inv.in(2)), step_bytes(inv.out(), d), itemsize(in.dtype));
}

void index_source(Invocation& inv, const ScatterRule& rule) {
  const int d = wrapped(inv.i(1), inv.in(0));
  TensorImpl& out = start_from_input(inv);
  if (inv.in(3).numel == 0 || out.numel == 0) return;
  if (out.dtype == DType::Bool && rule.scale == 0) return;  // adds nothing
  const Tensor source = cast(inv.tensor(3), out.dtype);
  slab_scatter(plan_without(out, *source, d), keys_along(inv, out, d, inv.in(2)), step_bytes(*source, d), out.dtype, rule);
}
void index_add_cuda(Invocation& inv) {
  index_source(inv, {.reduce = Reduce::Add, .scale = inv.out().dtype == DType::Bool && inv.f(4) != 0 ? 1 : inv.f(4)});
}
void index_copy_cuda(Invocation& inv) { index_source(inv, {}); }
// _index_reduce(input, dim, index, source, reduce, include_self)
void index_reduce_cuda(Invocation& inv) {
  const std::string_view how = inv.args[4].str;
  index_source(inv, {.reduce = reduce_named(how), .include_self = inv.b(5), .mean = how == "mean"});
}

// index_fill(input, dim, index, value)
void index_fill_cuda(Invocation& inv) {
  const int d = wrapped(inv.i(1), inv.in(0));
  const Tensor value = number_tensor(inv.op, inv.args[3], inv.out().dtype, inv.out().device);
  TensorImpl& out = start_from_input(inv);
  if (out.numel == 0) return;
  const Tensor source = alias(*value, out.sizes, Dims(out.dim()), value->offset);
  slab_scatter(plan_without(out, *source, d), keys_along(inv, out, d, inv.in(2)), 0, out.dtype, {});
}

// --- advanced indexing

// Keys of x[indices] for every joint position; negative indices count from the end.
Tensor advanced_keys(const Invocation& inv, const TensorImpl& t, const Value& indices, const IndexPlan& plan) {
  const Tensor keys = new_keys(plan.joint_count(), t.device);
  for (int k = 0; k < indices.len; ++k) {
    if (indices.tensors[k] == nullptr) continue;
    const Tensor at = staged(*indices.tensors[k], DType::Int64, t.device);
    add_index(inv.op, keys, joint_index(at, plan), t.sizes[k], step_bytes(t, k), true);
  }
  return keys;
}

// index(input, indices)
void index_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const IndexPlan plan = plan_index(inv.op, in, inv.args[1]);
  if (!plan.any) return copy_on_device(inv.out(), in);
  const Tensor keys = advanced_keys(inv, in, inv.args[1], plan);
  if (inv.out().numel == 0) return;
  const Tensor out = inv.out().contiguous ? inv.outs[0] : empty(inv.out().sizes, in.dtype, in.device);
  slab_gather(advanced_plan(in, *out, plan, true), keys, joint_step(*out, plan), itemsize(in.dtype));
  if (!out.is(inv.outs[0])) copy_into(inv.outs[0], out);
}

// index_put(input, indices, values, accumulate)
void index_put_cuda(Invocation& inv) {
  const IndexPlan plan = plan_index(inv.op, inv.in(0), inv.args[1]);
  TensorImpl& out = start_from_input(inv);
  const bool add = inv.b(3);
  const Tensor keys = advanced_keys(inv, out, inv.args[1], plan);
  if (plan.result_count() == 0) return;
  Tensor values = staged(inv.in(2), inv.in(2).dtype, out.device);
  if (values.dtype() != out.dtype) values = cast(values, out.dtype);
  const Tensor dense = values_for(values, plan);
  if (!plan.any && !add) return copy_on_device(out, *dense);
  slab_scatter(advanced_plan(out, *dense, plan, false), keys, joint_step(*dense, plan), out.dtype, {.reduce = add ? Reduce::Add : Reduce::Assign});
}

// --- embedding

// embedding(input: indices, weight, …)
void embedding_cuda(Invocation& inv) {
  const TensorImpl &index = inv.in(0), &weight = inv.in(1);
  if (index.numel == 0) return;
  const Tensor keys = keys_along(inv, weight, 0, index);
  const Dims shape{index.numel, weight.sizes[1]};
  const Tensor out = inv.out().contiguous ? inv.outs[0] : empty(inv.out().sizes, weight.dtype, weight.device);
  const Tensor rows = alias(*out, shape, Dims{weight.sizes[1], 1}, out->offset);
  slab_gather(plan_without(*rows, weight, 0), keys, step_bytes(*rows, 0), itemsize(weight.dtype));
  if (!out.is(inv.outs[0])) copy_into(inv.outs[0], out);
}

__global__ void skip_kernel(int64_t* keys, int64_t n, int64_t skipped) {
  MG_GRID_LOOP(k, n) {
    if (keys[k] == skipped) keys[k] = -1;
  }
}

// _embedding_backward(g, input, num_weights, padding_idx, scale_grad_by_freq): rows of g added up per index, in their order
void embedding_backward_cuda(Invocation& inv) {
  const int64_t rows = inv.i(2), width = inv.in(0).sizes.back(), n = inv.in(1).numel;
  const DType dtype = inv.out().dtype;
  const Tensor sum = inv.out().contiguous ? inv.outs[0] : empty(inv.out().sizes, dtype, inv.out().device);
  fill(*sum, Value(0));
  if (sum.numel() != 0 && n != 0) {
    Tensor g = staged(inv.in(0), dtype);
    g = alias(*g, Dims{n, width}, Dims{width, 1}, g->offset);
    const Tensor keys = keys_along(inv, *sum, 0, inv.in(1));
    const int64_t step = step_bytes(*sum, 0);
    if (inv.has(3)) launch_items(skip_kernel, n, keys.ptr<int64_t>(), n, (inv.i(3) < 0 ? inv.i(3) + rows : inv.i(3)) * step);
    slab_scatter(plan_without(*sum, *g, 0), keys, step_bytes(*g, 0), dtype, {.reduce = Reduce::Add, .include_self = false, .mean = inv.b(4)});
  }
  if (!sum.is(inv.outs[0])) copy_into(inv.outs[0], sum);
}

MG_CUDA_KERNEL("index_select", index_select_cuda);
MG_CUDA_KERNEL("index_add", index_add_cuda);
MG_CUDA_KERNEL("index_add_", index_add_cuda);
MG_CUDA_KERNEL("_index_reduce", index_reduce_cuda);
MG_CUDA_KERNEL("_index_reduce_", index_reduce_cuda);
MG_CUDA_KERNEL("index_copy", index_copy_cuda);
MG_CUDA_KERNEL("index_copy_", index_copy_cuda);
MG_CUDA_KERNEL("index_fill", index_fill_cuda);
MG_CUDA_KERNEL("index_fill_", index_fill_cuda);
MG_CUDA_KERNEL("index", index_cuda);
MG_CUDA_KERNEL("index_put", index_put_cuda);
MG_CUDA_KERNEL("index_put_", index_put_cuda);
MG_CUDA_KERNEL("embedding", embedding_cuda);
MG_CUDA_KERNEL("_embedding_backward", embedding_backward_cuda);
MG_CUDA_KERNEL_COMPLEX("index_select", nullptr);
MG_CUDA_KERNEL_COMPLEX("index_add", nullptr);
MG_CUDA_KERNEL_COMPLEX("index_add_", nullptr);
MG_CUDA_KERNEL_COMPLEX("_index_reduce", nullptr);
MG_CUDA_KERNEL_COMPLEX("_index_reduce_", nullptr);
MG_CUDA_KERNEL_COMPLEX("index_copy", nullptr);
MG_CUDA_KERNEL_COMPLEX("index_copy_", nullptr);
MG_CUDA_KERNEL_COMPLEX("index_fill", nullptr);
MG_CUDA_KERNEL_COMPLEX("index_fill_", nullptr);
MG_CUDA_KERNEL_COMPLEX("index", nullptr);
MG_CUDA_KERNEL_COMPLEX("index_put", nullptr);
MG_CUDA_KERNEL_COMPLEX("index_put_", nullptr);
MG_CUDA_KERNEL_COMPLEX("embedding", nullptr);
MG_CUDA_KERNEL_COMPLEX("_embedding_backward", nullptr);

}  // namespace
}  // namespace mg::cuda
