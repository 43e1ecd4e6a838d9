// Kernels of the ops that copy: clone, casts, copy_, fill_, flip, roll, tril, triu. All of them end in plan_copy
// (copy.cpp).
#include <cmath>

#include "../core/backend_module.h"
#include "../core/copy_regions.h"
#include "../core/op.h"
#include "copy.h"
#include "rows.h"

namespace mg::cpu {

static void clone_cpu(Invocation& inv) { strided_copy(inv.out(), inv.in(0)); }

// Also from other devices: their backend copies.
static void move_cpu(Invocation& inv) { copy_into(inv.outs[0], inv.tensor(0)); }

static bool overlap(const TensorImpl& a, const TensorImpl& b) {
  if (a.storage != b.storage || a.numel == 0 || b.numel == 0) return false;
  return !(a.offset == b.offset && a.sizes == b.sizes && a.strides == b.strides && a.dtype == b.dtype);
}

// copy_(input!, src: operand, non_blocking)
static void copy_cpu(Invocation& inv) {
  TensorImpl& out = inv.out();
  if (!inv.args[1].is_tensor()) return fill(out, inv.args[1]);
  Tensor src = inv.tensor(1);
  if (overlap(out, *src)) src = to_contiguous(*src, src->dtype);
  if (src->sizes != out.sizes)
    src = alias(*src, out.sizes, broadcast_strides(src->sizes, src->strides, out.sizes), src->offset);
  if (src->device == out.device) return strided_copy(out, *src);
  const NonBlocking mode(inv.b(2));
  copy_into(inv.outs[0], src);
}

static void fill_value(const TensorImpl& out, const Value& v) {
  if (v.is_tensor()) {
    Tensor value = overlap(out, *v.t) ? to_contiguous(*v.t, v.t->dtype) : Tensor(v.t);
    strided_copy(out, *alias(*value, out.sizes, Dims(out.dim()), value->offset));
  } else {
    fill(out, v);
  }
}

static void fill_cpu(Invocation& inv) { fill_value(inv.out(), inv.args[1]); }
static void zero_cpu(Invocation& inv) { fill_zero(inv.outs[0]); }

// _full(size, value, dtype, device)
static void full_cpu(Invocation& inv) {
  const Value& v = inv.args[1];
  if (v.kind != Kind::Complex && v.as_double() == 0 && !std::signbit(v.as_double())) return fill_zero(inv.outs[0]);
  fill_value(inv.out(), v);
}

static void flip_cpu(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  TensorImpl& out = inv.out();
  if (in.numel == 0) return;
  LoopPlan plan = flip_plan(out, in, inv.ints(1));
  plan_copy(plan, out.dtype, in.dtype);
}

// tril/triu(input, diagonal): each row is a kept part and a zero part.
template <bool lower>
static void triangle_cpu(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  TensorImpl& out = inv.out();
  const int n = in.dim();
  const int64_t rows = in.sizes[n - 2], cols = in.sizes[n - 1], item = itemsize(in.dtype);
  const int64_t diagonal = std::clamp<int64_t>(inv.i(1), -rows - 1, cols + 1);
  if (in.numel == 0) return;
  const RowFn copy = row_copier(out.dtype, in.dtype);
  const int64_t os = out.strides[n - 1] * itemsize(out.dtype), is = in.strides[n - 1] * item;
  static constexpr complex128 kZero = {};
  LoopPlan plan(Dims(
      std::span(in.sizes.begin(), size_t(n - 1))));  // one item per matrix row; never merged, so rows() is in order
  plan.add(out.data(), Dims(std::span(out.sizes.begin(), size_t(n - 1))),
           Dims(std::span(out.strides.begin(), size_t(n - 1))), itemsize(out.dtype));
  plan.add(in.data(), Dims(std::span(in.sizes.begin(), size_t(n - 1))),
           Dims(std::span(in.strides.begin(), size_t(n - 1))), item);
  plan.ndim = n;  // a dummy inner dim of one, so that row_pointers walks all the others
  plan.sizes[n - 1] = 1;
  plan.strides[0][n - 1] = plan.strides[1][n - 1] = 0;
  parallel_for(0, plan.rows(), std::max<int64_t>(kRowGrain / cols, 1), [&](int64_t begin, int64_t end) {
    RowCursor cursor(plan, begin);
    for (int64_t r = begin; r < end; ++r, cursor.next()) {
      char* dst = cursor.pointers()[0];
      const char* src = cursor.pointers()[1];
      const int64_t row = r % rows;
      // Kept columns: tril c <= row + diagonal, triu c >= row + diagonal.
      const int64_t cut = std::clamp<int64_t>(row + diagonal + (lower ? 1 : 0), 0, cols);
      const int64_t from = lower ? 0 : cut, count = lower ? cut : cols - cut, zero_from = lower ? cut : 0;
      if (count > 0) copy(dst + from * os, os, src + from * is, is, count);
      if (count < cols) copy(dst + zero_from * os, os, reinterpret_cast<const char*>(&kZero), 0, cols - count);
    }
  });
}

MG_KERNEL("clone", CPU, clone_cpu);
MG_KERNEL("_to_dtype", CPU, clone_cpu);
MG_KERNEL("_to_device", CPU, move_cpu);
MG_KERNEL_COMPLEX("_to_device", CPU, nullptr);
MG_KERNEL("_copy_contiguous", CPU, clone_cpu);
MG_KERNEL("copy_", CPU, copy_cpu);
MG_KERNEL("fill_", CPU, fill_cpu);
MG_KERNEL("zero_", CPU, zero_cpu);
MG_KERNEL("_full", CPU, full_cpu);
MG_KERNEL("flip", CPU, flip_cpu);
MG_KERNEL("roll", CPU, roll_by_copies);
MG_KERNEL("tril", CPU, triangle_cpu<true>);
MG_KERNEL("triu", CPU, triangle_cpu<false>);

}  // namespace mg::cpu
