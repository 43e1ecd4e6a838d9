// cat and stack, and the ops whose result is zeros (or a copy) with one region overwritten: the gradients of select,
// slice, diagonal.
#include "../core/copy_regions.h"
#include "complex_math.h"
#include "copy.h"
#include "rows.h"

namespace mg::cpu {

// cat(tensors, dim): one strided copy per input into its slab of the output.
static void cat_cpu(Invocation& inv) {
  TensorImpl& out = inv.out();
  if (out.numel == 0) return;
  const int d = int(inv.i(1) < 0 ? inv.i(1) + out.dim() : inv.i(1));
  int64_t start = 0;
  for (int k = 0; k < inv.args[0].len; ++k) {
    const TensorImpl& t = *inv.args[0].tensors[k];
    if (skipped_by_cat(t)) continue;
    strided_copy(*alias(out, t.sizes, out.strides, out.offset + start * out.strides[d]), t);
    start += t.sizes[d];
  }
}

// stack(tensors, dim)
static void stack_cpu(Invocation& inv) {
  TensorImpl& out = inv.out();
  if (out.numel == 0) return;
  const int d = int(inv.i(1) < 0 ? inv.i(1) + out.dim() : inv.i(1));
  Dims strides = out.strides;
  strides.erase(d);
  for (int k = 0; k < inv.args[0].len; ++k) {
    const TensorImpl& t = *inv.args[0].tensors[k];
    strided_copy(*alias(out, t.sizes, strides, out.offset + k * out.strides[d]), t);
  }
}

// (g, input_shape, view arguments …)
static void region_backward_cpu(Invocation& inv) {
  fill_zero(inv.outs[0]);
  const Tensor region = region_of(region_view(inv.op), inv.out(), inv.args, 2);
  MG_CHECK(region.sizes() == inv.in(0).sizes, Runtime, inv.op.name, ": gradient of shape ", inv.in(0).sizes,
           " does not fit the region ", region.sizes());
  strided_copy(*region, inv.in(0));
}

// (input, src, view arguments …)
static void region_scatter_cpu(Invocation& inv) {
  strided_copy(inv.out(), inv.in(0));
  strided_copy(*region_of(region_view(inv.op), inv.out(), inv.args, 2), inv.in(1));
}

// Adds src into dst element by element in index order. dst may overlap itself (windows, expanded geometry), so this is
// serial.
static void add_serial(const TensorImpl& dst, const TensorImpl& src) {
  if (src.numel == 0) return;
  LoopPlan plan(src.sizes);  // not finished: reordering would change the order of the additions
  plan.add(dst);
  plan.add(src);
  const int64_t ds = plan.inner_stride(0), ss = plan.inner_stride(1), n = plan.inner(), rows = plan.rows();
  dispatch_any(dst.dtype, [&](auto tag) {
    using T = decltype(tag);
    RowCursor cursor(plan, 0);
    for (int64_t r = 0; r < rows; ++r, cursor.next()) {
      char* d = cursor.pointers()[0];
      const char* s = cursor.pointers()[1];
      for (int64_t i = 0; i < n; ++i) {
        T& target = *reinterpret_cast<T*>(d + i * ds);
        const T value = *reinterpret_cast<const T*>(s + i * ss);
        if constexpr (std::is_same_v<T, bool>)
          target = target || value;
        else
          target = T(target + value);
      }
    }
  });
}

// _restride(g, from_stride, from_offset, size, stride, offset): g, laid out in an imagined storage of zeros by its own
// geometry (elements that share a place add up), then read back by the other geometry. The transpose of the map swaps
// the two geometries.
static void restride_cpu(Invocation& inv) {
  const TensorImpl& g = inv.in(0);
  const Dims from = inv.ints(1), size = inv.ints(3), stride = inv.ints(4);
  int64_t length = 1;
  auto reach = [&](const Dims& sizes, const Dims& strides, int64_t last) {
    for (int i = 0; i < sizes.size(); ++i) {
      if (sizes[i] == 0) return;
      last += (sizes[i] - 1) * strides[i];
    }
    length = std::max(length, last + 1);
  };
  reach(g.sizes, from, inv.i(2));
  reach(size, stride, inv.i(5));
  const Tensor storage = empty(Dims{length}, g.dtype);
  fill_zero(storage);
  if (g.numel != 0) add_serial(*alias(*storage, g.sizes, from, inv.i(2)), g);
  strided_copy(inv.out(), *alias(*storage, size, stride, inv.i(5)));
}

// _unfold_backward(g, input_shape, dimension, size, step)
static void unfold_backward_cpu(Invocation& inv) {
  static OpRef unfold{"unfold"};
  const Tensor region = region_of(*unfold, inv.out(), inv.args, 2);
  MG_CHECK(region.sizes() == inv.in(0).sizes, Runtime, inv.op.name, ": got a gradient of shape ", inv.in(0).sizes, " for windows of shape ",
           region.sizes());
  fill_zero(inv.outs[0]);
  add_serial(*region, inv.in(0));
}

MG_KERNEL("cat", CPU, cat_cpu);
MG_KERNEL("stack", CPU, stack_cpu);
MG_KERNEL("_select_backward", CPU, region_backward_cpu);
MG_KERNEL("_slice_backward", CPU, region_backward_cpu);
MG_KERNEL("_narrow_backward", CPU, region_backward_cpu);
MG_KERNEL("_diagonal_backward", CPU, region_backward_cpu);
MG_KERNEL("select_scatter", CPU, region_scatter_cpu);
MG_KERNEL("slice_scatter", CPU, region_scatter_cpu);
MG_KERNEL("diagonal_scatter", CPU, region_scatter_cpu);
MG_KERNEL("_restride", CPU, restride_cpu);
MG_KERNEL("_unfold_backward", CPU, unfold_backward_cpu);

}  // namespace mg::cpu
