// Meta of ops that copy elements without computing: clone, casts, copy_, fill_, flip, roll, tril, cat, stack, and the
// ops that write into one region of a larger result (`_slice_backward`, `slice_scatter` …), whose region is described
// by the meta of the matching view op.
#include "copy_regions.h"
#include "backend_module.h"
#include "memory_format.h"

namespace mg {

static OutSpec& like(const TensorImpl& t, MetaResult& r) {
  r.out[0].dtype = r.compute = t.dtype;
  r.out[0].device = t.device;
  r.out[0].sizes = t.sizes;
  return r.out[0];
}

static void meta_like(const Op&, const Value* args, MetaResult& r) { like(*args[0].t, r); }

static void keep_order(const TensorImpl& t, OutSpec& out) {
  if (t.contiguous || !dense_in_some_order(t)) return;
  out.has_strides = true;
  out.strides = t.strides;
}

// (input, *, memory_format: str?)
static void meta_clone(const Op& op, const Value* args, MetaResult& r) {
  OutSpec& out = like(*args[0].t, r);
  const std::string_view format = args[1].none() ? "torch.preserve_format" : args[1].str;
  if (format.ends_with("preserve_format")) return keep_order(*args[0].t, out);
  if (format.ends_with("contiguous_format")) return;
  const int dims = format.ends_with("channels_last") ? 4 : format.ends_with("channels_last_3d") ? 5 : 0;
  MG_CHECK(out.sizes.size() == dims, Runtime, op.name, ": memory_format ", format, " does not fit a ", out.sizes.size(),
           "-d tensor");
  make_channels_last(out);
}

// (input, dtype: dtype)
static void meta_to_dtype(const Op&, const Value* args, MetaResult& r) {
  OutSpec& out = like(*args[0].t, r);
  out.dtype = args[1].dtype;
  keep_order(*args[0].t, out);
}

// (input, device: device, non_blocking: bool)
static void meta_to_device(const Op&, const Value* args, MetaResult& r) {
  check_device(args[1].device);
  OutSpec& out = like(*args[0].t, r);
  out.device = settle_index(args[1].device);
  keep_order(*args[0].t, out);
}

// (input!, src)
static void meta_copy_into(const Op& op, const Value* args, MetaResult& r) {
  OutSpec& out = like(*args[0].t, r);
  if (!args[1].is_tensor()) return;
  Dims joint = out.sizes;
  MG_CHECK(broadcast_into(joint, args[1].t->sizes) && joint == out.sizes, Runtime, op.name,
           ": cannot write a tensor of shape ", args[1].t->sizes, " into one of shape ", out.sizes,
           ": expected a shape that broadcasts to it");
}

// (input!, value: operand)
static void meta_fill(const Op& op, const Value* args, MetaResult& r) {
  like(*args[0].t, r);
  if (args[1].is_tensor())
    MG_CHECK(args[1].t->dim() == 0, Runtime, op.name, ": expected a number or a 0-dimensional value tensor, got shape ",
             args[1].t->sizes, ". Try copy_().");
  else
    check_fits(op.name, args[1], args[0].t->dtype, args[0].t->numel != 1);  // one element: infinite, as in PyTorch
}

// (input, dims: ints)
static void meta_flip(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  like(t, r);
  uint64_t seen = 0;
  for (int i = 0; i < args[1].len; ++i) {
    const int64_t d = wrap_dim(args[1].ints[i], t.dim(), op.name.c_str());
    MG_CHECK(!(seen >> d & 1), Runtime, op.name, ": dim ", d, " appears multiple times in the list of dims ",
             args[1].as_dims());
    seen |= uint64_t(1) << d;
  }
  keep_order(t, r.out[0]);
}

// (input, shifts: ints, dims: ints)
static void meta_roll(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  like(t, r);
  const int shifts = args[1].len, dims = args[2].len;
  MG_CHECK(shifts > 0, Runtime, op.name, ": `shifts` required");
  MG_CHECK(shifts == dims || (dims == 0 && shifts == 1), Runtime, op.name, ": shifts and dimensions must align: got ",
           shifts, " shifts and ", dims, " dims");
  MG_CHECK(dims == 0 || t.dim() > 0, Index, op.name, ": dimension specified as ", args[2].ints[0],
           " but the tensor has no dimensions");
  for (int i = 0; i < dims; ++i) wrap_dim(args[2].ints[i], t.dim(), op.name.c_str());
}

// (input, diagonal: int)
static void meta_triangle(const Op& op, const Value* args, MetaResult& r) {
  MG_CHECK(args[0].t->dim() >= 2, Runtime, op.name, ": input tensor must have at least 2 dimensions, got shape ",
           args[0].t->sizes);
  like(*args[0].t, r);
}

static void promote_list(const Op& op, const Value* args, MetaResult& r) {
  MG_CHECK(args[0].len > 0, Runtime, op.name, ": expected a non-empty list of Tensors");
  Promotion p;
  bool same = true;
  for (int i = 0; i < args[0].len; ++i) {
    MG_CHECK(args[0].tensors[i] != nullptr, Type, op.name, ": expected Tensor as element ", i,
             " of the list, got None");
    same = same && args[0].tensors[i]->dtype == args[0].tensors[0]->dtype;
  }
  if (same) {
    r.compute = args[0].tensors[0]->dtype;
  } else {
    for (int i = 0; i < args[0].len; ++i) p.add(Value(args[0].tensors[i]));
    r.compute = p.result();
  }
  r.out[0].dtype = r.compute;
  r.out[0].device = args[0].len == 1 ? args[0].tensors[0]->device : common_device(op, args);
}

// (tensors: tensors, dim: int). 1-d tensors of size 0 are skipped whatever the shape of the others (PyTorch's legacy
// rule).
static void meta_cat(const Op& op, const Value* args, MetaResult& r) {
  MG_CHECK(args[0].len > 0, Value, op.name,
           ": expected a non-empty list of Tensors");  // PyTorch's class here, not in stack
  promote_list(op, args, r);
  const TensorImpl* first = nullptr;
  int64_t total = 0;
  int d = 0;
  for (int i = 0; i < args[0].len; ++i) {
    const TensorImpl& t = *args[0].tensors[i];
    MG_CHECK(t.dim() > 0, Runtime, op.name, ": zero-dimensional tensor (at position ", i,
             ") cannot be concatenated. Try stack().");
    if (skipped_by_cat(t)) continue;
    if (first == nullptr) {
      first = &t;
      d = int(wrap_dim(args[1].as_int(), t.dim(), op.name.c_str()));
    }
    MG_CHECK(t.dim() == first->dim(), Runtime, op.name, ": tensors must have the same number of dimensions: got ",
             first->dim(), " and ", t.dim(), " (tensor number ", i, " in the list)");
    for (int k = 0; k < t.dim(); ++k)
      MG_CHECK(k == d || t.sizes[k] == first->sizes[k], Runtime, op.name,
               ": sizes of tensors must match except in dimension ", d, ": expected size ", first->sizes[k],
               " but got size ", t.sizes[k], " in dimension ", k, " for tensor number ", i, " in the list");
    MG_CHECK(!__builtin_add_overflow(total, t.sizes[d], &total), Runtime, op.name, ": the sum of the sizes in dimension ", d, " overflows 64 bits");
  }
  if (first == nullptr) {
    wrap_dim(args[1].as_int(), 1, op.name.c_str());
    r.out[0].sizes = Dims{0};
    return;
  }
  r.out[0].sizes = first->sizes;
  r.out[0].sizes[d] = total;
  bool last = true;  // images that are all channels_last stay so
  for (int i = 0; i < args[0].len; ++i) last = last && is_channels_last(*args[0].tensors[i]);
  if (last) make_channels_last(r.out[0]);
}

// (tensors: tensors, dim: int)
static void meta_stack(const Op& op, const Value* args, MetaResult& r) {
  promote_list(op, args, r);
  const TensorImpl& first = *args[0].tensors[0];
  const int64_t d = wrap_dim(args[1].as_int(), first.dim() + 1, op.name.c_str());
  for (int i = 1; i < args[0].len; ++i)
    MG_CHECK(args[0].tensors[i]->sizes == first.sizes, Runtime, op.name, ": each tensor must be of equal size: got ",
             first.sizes, " at entry 0 and ", args[0].tensors[i]->sizes, " at entry ", i);
  r.out[0].sizes = first.sizes;
  r.out[0].sizes.insert(int(d), args[0].len);
}

// --- results of which one region is written
// ---------------------------------------------------------------------------

// (g, input_shape: ints, view arguments …): zeros of input_shape with g in the region.
static void meta_region_backward(const Op&, const Value* args, MetaResult& r) {
  like(*args[0].t, r).sizes = args[1].as_dims();
}

// (input, src, view arguments …)
static void meta_region_scatter(const Op& op, const Value* args, MetaResult& r) {
  like(*args[0].t, r);
  const Tensor region = region_of(region_view(op), *args[0].t, args, 2);
  MG_CHECK(region.sizes() == args[1].t->sizes, Runtime, op.name, ": expected src to have the size of the region, ",
           region.sizes(), ": got ", args[1].t->sizes);
}

// A geometry with nothing negative and a last element that can be counted.
static void check_geometry(const Op& op, const Dims& sizes, const Dims& strides, int64_t offset) {
  bool good = sizes.size() == strides.size() && offset >= 0;
  int64_t last = offset, span;
  for (int i = 0; good && i < sizes.size(); ++i) {
    good = sizes[i] >= 0 && strides[i] >= 0;
    if (sizes[i] == 0) return;
    good = good && !__builtin_mul_overflow(sizes[i] - 1, strides[i], &span) && !__builtin_add_overflow(last, span, &last);
  }
  MG_CHECK(good && last != INT64_MAX, Runtime, op.name, ": not a geometry: size ", sizes, ", stride ", strides, ", offset ", offset);
}

// (g, from_stride: ints, from_offset: int, size: ints, stride: ints, offset: int)
static void meta_restride(const Op& op, const Value* args, MetaResult& r) {
  check_geometry(op, args[0].t->sizes, args[1].as_dims(), args[2].as_int());
  check_geometry(op, args[3].as_dims(), args[4].as_dims(), args[5].as_int());
  like(*args[0].t, r).sizes = args[3].as_dims();
}

// (g, size: int, ...): unfold's windows added back
static void meta_unfold_backward(const Op&, const Value* args, MetaResult& r) {
  like(*args[0].t, r).sizes = args[1].as_dims();
}

MG_META("like", meta_like);
MG_META("clone", meta_clone);
MG_META("to_dtype", meta_to_dtype);
MG_META("to_device", meta_to_device);
MG_META("copy_into", meta_copy_into);
MG_META("fill", meta_fill);
MG_META("flip", meta_flip);
MG_META("roll", meta_roll);
MG_META("triangle", meta_triangle);
MG_META("cat", meta_cat);
MG_META("stack", meta_stack);
MG_META("region_backward", meta_region_backward);
MG_META("region_scatter", meta_region_scatter);
MG_META("restride", meta_restride);
MG_META("unfold_backward", meta_unfold_backward);

}  // namespace mg
