// See copy_regions.h.
#include "copy_regions.h"

#include "device.h"

namespace mg {

// On one device; equal shapes.
static void copy(const TensorImpl& dst, const TensorImpl& src) {
  if (dst.numel != 0) backend(dst.device.type).strided_copy(dst, src);
}

// cat(tensors, dim): one strided copy per input into its slab of the output.
void cat_by_copies(Invocation& inv) {
  TensorImpl& out = inv.out();
  if (out.numel == 0) return;
  const int d = int(inv.i(1) < 0 ? inv.i(1) + out.dim() : inv.i(1));
  int64_t start = 0;
  for (int k = 0; k < inv.args[0].len; ++k) {
    const TensorImpl& t = *inv.args[0].tensors[k];
    if (skipped_by_cat(t)) continue;
    copy(*alias(out, t.sizes, out.strides, out.offset + start * out.strides[d]), t);
    start += t.sizes[d];
  }
}

// stack(tensors, dim)
void stack_by_copies(Invocation& inv) {
  TensorImpl& out = inv.out();
  if (out.numel == 0) return;
  const int d = int(inv.i(1) < 0 ? inv.i(1) + out.dim() : inv.i(1));
  Dims strides = out.strides;
  strides.erase(d);
  for (int k = 0; k < inv.args[0].len; ++k) {
    const TensorImpl& t = *inv.args[0].tensors[k];
    copy(*alias(out, t.sizes, strides, out.offset + k * out.strides[d]), t);
  }
}

LoopPlan flip_plan(const TensorImpl& out, const TensorImpl& in, const Dims& dims) {
  const int64_t item = itemsize(in.dtype);
  Dims strides = in.strides;
  char* base = in.data();
  for (int64_t d : dims) {
    if (in.dim() == 0) break;
    if (d < 0) d += in.dim();
    base += (in.sizes[int(d)] - 1) * in.strides[int(d)] * item;
    strides[int(d)] = -in.strides[int(d)];
  }
  LoopPlan plan(in.sizes);  // negative strides are fine here: only tensors have to have positive ones
  plan.add(out);
  plan.add(base, in.sizes, strides, item);
  plan.finish();
  return plan;
}

static Tensor narrow(const TensorImpl& t, int d, int64_t start, int64_t length) {
  Dims sizes = t.sizes;
  sizes[d] = length;
  return alias(t, std::move(sizes), t.strides, t.offset + start * t.strides[d]);
}

// Splits `in` at the seam of each rolled dim; every corner block is one copy.
static void roll_block(const TensorImpl& out, const TensorImpl& in, const Dims& dims, const Dims& shifts, int k) {
  if (k == dims.size()) return copy(out, in);
  const int d = int(dims[k]);
  const int64_t size = in.sizes[d], shift = ((shifts[k] % size) + size) % size;
  roll_block(*narrow(out, d, shift, size - shift), *narrow(in, d, 0, size - shift), dims, shifts, k + 1);
  if (shift != 0) roll_block(*narrow(out, d, 0, shift), *narrow(in, d, size - shift, shift), dims, shifts, k + 1);
}

// Over the flattened tensor.
static void roll_flat(Invocation& inv) {
  const int64_t n = inv.in(0).numel;
  const Tensor in = contiguous(inv.tensor(0));
  const Tensor out = inv.out().contiguous ? inv.outs[0] : empty(inv.out().sizes, inv.out().dtype, inv.out().device);
  const Dims flat{n}, unit{1};
  roll_block(*alias(*out, flat, unit, out->offset), *alias(*in, flat, unit, in->offset), Dims{0}, inv.ints(1), 0);
  if (!out.is(inv.outs[0])) copy(inv.out(), *out);
}

void roll_by_copies(Invocation& inv) {
  if (inv.out().numel == 0) return;
  if (inv.in(0).dim() == 0) return copy(inv.out(), inv.in(0));
  if (inv.args[2].len == 0) return roll_flat(inv);
  Dims dims, shifts;  // the same dim may be named twice: its shifts add up
  for (int i = 0; i < inv.args[2].len; ++i) {
    const int64_t d = inv.args[2].ints[i] < 0 ? inv.args[2].ints[i] + inv.in(0).dim() : inv.args[2].ints[i];
    const int64_t size = inv.in(0).sizes[int(d)], shift = inv.args[1].ints[i] % size;
    const auto at = std::find(dims.begin(), dims.end(), d);
    if (at != dims.end()) {
      shifts[int(at - dims.begin())] += shift;
    } else {
      dims.push_back(d);
      shifts.push_back(shift);
    }
  }
  roll_block(inv.out(), inv.in(0), dims, shifts, 0);
}

// --- one region of the result

Tensor region_of(const Op& view, const TensorImpl& base, const Value* args, int first) {
  Value values[kMaxArgs];
  values[0] = Value(const_cast<TensorImpl*>(&base));
  for (size_t k = 1; k < view.args.size(); ++k) values[k] = args[first + int(k) - 1];
  MetaResult r(view.n_out);
  view.meta(view, values, r);
  return alias(base, r.out[0].sizes, r.out[0].strides, r.out[0].offset);
}

const Op& region_view(const Op& op) {
  // `_slice_backward` and `slice_scatter` both write the region that `_slice` shows.
  std::string name =
      op.name.starts_with('_') ? op.name.substr(1, op.name.rfind('_') - 1) : op.name.substr(0, op.name.rfind('_'));
  if (name == "slice") name = "_slice";
  const Op* view = find_op(name);
  MG_INTERNAL(view != nullptr, "no view op for ", op.name);
  return *view;
}

Tensor region_of_gradient(const Invocation& inv, const Op& view, const TensorImpl& base) {
  const Tensor region = region_of(view, base, inv.args, 2);
  MG_CHECK(region.sizes() == inv.in(0).sizes, Runtime, inv.op.name, ": got a gradient of shape ", inv.in(0).sizes, " for a region of shape ",
           region.sizes());
  return region;
}

void scatter_region(Invocation& inv) {
  copy(inv.out(), inv.in(0));
  copy(*region_of(region_view(inv.op), inv.out(), inv.args, 2), inv.in(1));
}

int64_t restride_length(const Invocation& inv) {
  int64_t length = 1;
  auto reach = [&](const Dims& sizes, const Dims& strides, int64_t last) {
    for (int i = 0; i < sizes.size(); ++i) {
      if (sizes[i] == 0) return;
      last += (sizes[i] - 1) * strides[i];
    }
    length = std::max(length, last + 1);
  };
  reach(inv.in(0).sizes, inv.ints(1), inv.i(2));
  reach(inv.ints(3), inv.ints(4), inv.i(5));
  return length;
}

}  // namespace mg
