// Meta of the view ops: for args[0] and integers, the sizes, strides and offset of an alias on the same storage. No
// data is touched.
//
// These run on every x[i], x.T, x.view(...): keep them free of allocation. call() makes the alias (op.h: is_view). The
// strides of a view are always >= 0, and a view never reaches outside the elements of its input, except as_strided,
// which is checked against the storage. Copying ops that only shuffle elements (clone, cat, flip …) have their meta in
// meta_index.cpp and meta_create.cpp.
#include "layout.h"
#include "meta.h"

namespace mg {

static OutSpec& like(const TensorImpl& t, MetaResult& r) {
  OutSpec& out = r.out[0];
  out.dtype = t.dtype;
  out.device = t.device;
  out.sizes = t.sizes;
  out.strides = t.strides;
  out.offset = t.offset;
  out.has_strides = true;
  return out;
}

static void meta_alias(const Op&, const Value* args, MetaResult& r) { like(*args[0].t, r); }

// (input, size: ints)
static void meta_view(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  OutSpec& out = like(t, r);
  out.sizes = infer_shape({args[1].ints, size_t(args[1].len)}, t.numel, op.name.c_str());
  MG_CHECK(view_strides(t, out.sizes, out.strides), Runtime, op.name, ": size ", out.sizes,
           " is not compatible with input tensor's size ", t.sizes, " and stride ", t.strides,
           " (at least one dimension spans across two contiguous subspaces). Try reshape(", out.sizes, ").");
}

// (input, dim0: int, dim1: int)
static void meta_transpose(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  const int a = int(wrap_dim(args[1].as_int(), t.dim(), op.name.c_str()));
  const int b = int(wrap_dim(args[2].as_int(), t.dim(), op.name.c_str()));
  OutSpec& out = like(t, r);
  if (t.dim() == 0 || a == b) return;
  std::swap(out.sizes[a], out.sizes[b]);
  std::swap(out.strides[a], out.strides[b]);
}

// (input): the last two dims swapped; `t` also takes 0-d and 1-d and nothing above 2-d.
static void meta_t(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  MG_CHECK(t.dim() <= 2, Runtime, op.name, ": expected a tensor with at most 2 dimensions, got ", t.dim(),
           "-d. Try transpose(-2, -1) or .mT.");
  OutSpec& out = like(t, r);
  if (t.dim() < 2) return;
  std::swap(out.sizes[0], out.sizes[1]);
  std::swap(out.strides[0], out.strides[1]);
}

static void meta_matrix_transpose(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  const int n = t.dim();
  MG_CHECK(n >= 2, Runtime, op.name, ": expected a matrix or a batch of matrices, got a ", n, "-d tensor");
  OutSpec& out = like(t, r);
  std::swap(out.sizes[n - 2], out.sizes[n - 1]);
  std::swap(out.strides[n - 2], out.strides[n - 1]);
}

static void meta_reverse_dims(const Op&, const Value* args, MetaResult& r) {
  OutSpec& out = like(*args[0].t, r);
  std::reverse(out.sizes.begin(), out.sizes.end());
  std::reverse(out.strides.begin(), out.strides.end());
}

static void permute_to(const TensorImpl& t, const int* order, OutSpec& out) {
  for (int i = 0; i < t.dim(); ++i) {
    out.sizes[i] = t.sizes[order[i]];
    out.strides[i] = t.strides[order[i]];
  }
}

// (input, dims: ints)
static void meta_permute(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  const int n = t.dim();
  MG_CHECK(args[1].len == n, Runtime, op.name, ": number of dimensions differs: input is ", n, "-d ", t.sizes,
           ", got dims ", args[1].as_dims());
  int order[kMaxDims];
  uint64_t seen = 0;
  for (int i = 0; i < n; ++i) {
    order[i] = int(wrap_dim(args[1].ints[i], n, op.name.c_str()));
    MG_CHECK(!(seen >> order[i] & 1), Runtime, op.name, ": duplicate dims are not allowed: got ", args[1].as_dims());
    seen |= uint64_t(1) << order[i];
  }
  permute_to(t, order, like(t, r));
}

// (input, source: ints, destination: ints)
static void meta_movedim(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  const int n = t.dim(), moved = args[1].len;
  MG_CHECK(moved == args[2].len, Runtime, op.name, ": source and destination differ in length: got ", args[1].as_dims(),
           " and ", args[2].as_dims());
  int order[kMaxDims];
  std::fill(order, order + n, -1);
  uint64_t from = 0, to = 0;
  for (int i = 0; i < moved; ++i) {
    const int s = int(wrap_dim(args[1].ints[i], n, op.name.c_str())),
              d = int(wrap_dim(args[2].ints[i], n, op.name.c_str()));
    MG_CHECK(!(from >> s & 1) && !(to >> d & 1), Runtime, op.name, ": repeated dim in source ", args[1].as_dims(),
             " or destination ", args[2].as_dims());
    from |= uint64_t(1) << s;
    to |= uint64_t(1) << d;
    if (n > 0) order[d] = s;
  }
  int next = 0;
  for (int i = 0; i < n; ++i) {
    if (order[i] >= 0) continue;
    while (from >> next & 1) ++next;
    order[i] = next++;
  }
  permute_to(t, order, like(t, r));
}

// (input, size: ints): -1 keeps a size.
static void meta_expand(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  const int n = args[1].len, lead = n - t.dim();
  MG_CHECK(lead >= 0, Runtime, op.name, ": the number of sizes provided (", n,
           ") must be at least the number of dimensions of the tensor (", t.dim(), "): got ", args[1].as_dims(),
           " for ", t.sizes);
  OutSpec& out = like(t, r);
  out.sizes = args[1].as_dims();
  out.strides = Dims(n);
  for (int i = 0; i < n; ++i) {
    const int64_t have = i < lead ? 1 : t.sizes[i - lead];
    MG_CHECK(i >= lead || out.sizes[i] >= 0, Runtime, op.name, ": the expanded size ", out.sizes[i],
             " isn't allowed in a leading, non-existing dimension ", i);
    if (out.sizes[i] == -1) out.sizes[i] = have;
    MG_CHECK(out.sizes[i] == have || (have == 1 && out.sizes[i] >= 0), Runtime, op.name,
             ": the expanded size of the tensor (", out.sizes[i], ") must match the existing size (", have,
             ") at non-singleton dimension ", i, ". Target sizes: ", args[1].as_dims(), ". Tensor sizes: ", t.sizes);
    const bool stretched = i < lead || out.sizes[i] != have;
    // A new leading dim of size 1 takes the stride a contiguous tensor would have there, as PyTorch does.
    out.strides[i] = stretched ? 0 : t.strides[i - lead];
  }
  for (int i = lead - 1; i >= 0; --i)
    if (out.sizes[i] == 1) out.strides[i] = i + 1 < n ? out.sizes[i + 1] * out.strides[i + 1] : 1;
}

// (input, dim: ints?)
static void meta_squeeze(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  uint64_t drop = 0;
  if (args[1].none()) drop = ~uint64_t(0);
  for (int i = 0; i < args[1].len; ++i) drop |= uint64_t(1) << wrap_dim(args[1].ints[i], t.dim(), op.name.c_str());
  OutSpec& out = like(t, r);
  int kept = 0;
  for (int i = 0; i < t.dim(); ++i) {
    if (t.sizes[i] == 1 && (drop >> i & 1)) continue;
    out.sizes[kept] = t.sizes[i];
    out.strides[kept++] = t.strides[i];
  }
  out.sizes.resize_uninitialized(kept);
  out.strides.resize_uninitialized(kept);
}

// (input, dim: int)
static void meta_unsqueeze(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  MG_CHECK(t.dim() < kMaxDims, Runtime, op.name, ": tensors have at most ", kMaxDims, " dimensions");
  const int d = int(wrap_dim(args[1].as_int(), t.dim() + 1, op.name.c_str()));
  OutSpec& out = like(t, r);
  const int64_t stride = d < t.dim() ? t.sizes[d] * t.strides[d] : 1;
  out.sizes.insert(d, 1);
  out.strides.insert(d, stride);
}

// (input, dim: int, index: int)
static void meta_select(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  MG_CHECK(t.dim() > 0, Index, op.name, ": cannot be applied to a 0-dim tensor. Try x.item() for its value.");
  const int d = int(wrap_dim(args[1].as_int(), t.dim(), op.name.c_str()));
  const int64_t size = t.sizes[d], index = args[2].as_int();
  MG_CHECK(index >= -size && index < size, Index, op.name, ": index ", index, " is out of bounds for dimension ", d,
           " with size ", size);
  OutSpec& out = like(t, r);
  out.offset = moved(out.offset, index < 0 ? index + size : index, t.strides[d]);
  out.sizes.erase(d);
  out.strides.erase(d);
}

// (input, dim: int, start: int?, stop: int?, step: int): Python's rules for clipping, step > 0.
static void meta_slice(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  MG_CHECK(t.dim() > 0, Index, op.name, ": cannot slice a 0-dim tensor");
  const int d = int(wrap_dim(args[1].as_int(), t.dim(), op.name.c_str()));
  const int64_t size = t.sizes[d], step = args[4].none() ? 1 : args[4].as_int();
  MG_CHECK(step > 0, Value, op.name, ": slice step must be positive: got ", step, ". Try flip() for a reversed copy.");
  auto clip = [&](const Value& v, int64_t otherwise) {
    if (v.none()) return otherwise;
    const int64_t at = v.as_int();
    return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
  };
  const int64_t start = clip(args[2], 0), stop = std::max(clip(args[3], size), start);
  OutSpec& out = like(t, r);
  out.offset = moved(out.offset, start, t.strides[d]);
  out.sizes[d] = (stop - start) / step + ((stop - start) % step != 0);
  if (__builtin_mul_overflow(t.strides[d], step, &out.strides[d]))
    out.strides[d] = t.strides[d];  // then the size is <= 1
}

// (input, dim: int, start: int, length: int)
static void meta_narrow(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  MG_CHECK(t.dim() > 0, Runtime, op.name, ": cannot be applied to a 0-dim tensor");
  const int d = int(wrap_dim(args[1].as_int(), t.dim(), op.name.c_str()));
  const int64_t size = t.sizes[d], length = args[3].as_int();
  int64_t start = args[2].as_int();
  MG_CHECK(length >= 0, Runtime, op.name, ": length must be non-negative: got ", length);
  MG_CHECK(start >= -size && start <= size, Index, op.name, ": start out of range: got ", start,
           ", expected a value in [", -size, ", ", size, "]");
  if (start < 0) start += size;
  MG_CHECK(length <= size - start, Runtime, op.name, ": start (", start, ") + length (", length,
           ") exceeds dimension size (", size, ")");
  OutSpec& out = like(t, r);
  out.offset = moved(out.offset, start, t.strides[d]);
  out.sizes[d] = length;
}

// (input, offset: int, dim1: int, dim2: int): the diagonal becomes the last dim.
static void meta_diagonal(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  MG_CHECK(t.dim() >= 2, Runtime, op.name, ": expected at least 2 dimensions, got a ", t.dim(), "-d tensor");
  const int64_t offset = args[1].as_int();
  const int a = int(wrap_dim(args[2].as_int(), t.dim(), op.name.c_str()));
  const int b = int(wrap_dim(args[3].as_int(), t.dim(), op.name.c_str()));
  MG_CHECK(a != b, Runtime, op.name, ": diagonal dimensions cannot be identical: got ", args[2].as_int(), " and ",
           args[3].as_int());
  const int64_t rows = t.sizes[a], cols = t.sizes[b];
  const int64_t row = offset < 0 ? -std::max(offset, -rows) : 0, col = offset > 0 ? std::min(offset, cols) : 0;
  const int64_t length = std::max<int64_t>(std::min(rows - row, cols - col), 0);
  OutSpec& out = like(t, r);
  if (length > 0) out.offset = moved(moved(out.offset, row, t.strides[a]), col, t.strides[b]);
  for (int d : {std::max(a, b), std::min(a, b)}) {
    out.sizes.erase(d);
    out.strides.erase(d);
  }
  out.sizes.push_back(length);
  int64_t both;
  out.strides.push_back(__builtin_add_overflow(t.strides[a], t.strides[b], &both) ? t.strides[a] : both);
}

// (input, dimension: int, size: int, step: int): windows of `size` along a dim; the window becomes the last dim.
static void meta_unfold(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  const int d = int(wrap_dim(args[1].as_int(), t.dim(), op.name.c_str()));
  const int64_t length = t.dim() ? t.sizes[d] : 1, size = args[2].as_int(), step = args[3].as_int();
  MG_CHECK(step > 0, Runtime, op.name, ": step must be positive: got ", step);
  MG_CHECK(size >= 0 && size <= length, Runtime, op.name, ": maximum size for a window in dimension ", d, " is ",
           length, ", got ", size);
  OutSpec& out = like(t, r);
  out.sizes.push_back(size);
  out.strides.push_back(t.dim() ? t.strides[d] : 1);
  if (t.dim() == 0) return;
  out.sizes[d] = (length - size) / step + 1;
  if (__builtin_mul_overflow(t.strides[d], step, &out.strides[d]))
    out.strides[d] = t.strides[d];  // then one window at most
}

// (input, size: ints, stride: ints, storage_offset: int, ...): any geometry inside the storage.
static void meta_as_strided(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  OutSpec& out = like(t, r);
  out.sizes = args[1].as_dims();
  out.strides = args[2].as_dims();
  out.offset = args[3].as_int();
  check_in_bounds(out.sizes, out.strides, out.offset, t, op.name.c_str());
}

// (input, dtype: dtype): the same bytes read as another dtype; the last dim takes up a difference of size.
static void meta_view_dtype(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  const int64_t from = itemsize(t.dtype), to = itemsize(args[1].dtype);
  OutSpec& out = like(t, r);
  out.dtype = r.compute = args[1].dtype;
  if (from == to) return;
  MG_CHECK(t.dim() > 0, Runtime, op.name.c_str() + 1, ": a 0-d tensor of ", t.dtype, " cannot be viewed as ", out.dtype,
           " of another size");
  const int last = t.dim() - 1;
  MG_CHECK(t.strides[last] == 1 || t.sizes[last] <= 1, Runtime, op.name.c_str() + 1,
           ": the last dim must be contiguous to view ", t.dtype, " as ", out.dtype, ": got strides ", t.strides,
           ". Try x.contiguous().");
  if (from > to) {
    for (int64_t& s : out.strides) s = scaled(s, from / to);
    out.sizes[last] *= from / to;
    out.offset = scaled(out.offset, from / to);
  } else {
    const int64_t ratio = to / from;
    bool fits = t.sizes[last] % ratio == 0 && t.offset % ratio == 0;
    for (int d = 0; d < last; ++d) fits = fits && (t.strides[d] % ratio == 0 || t.sizes[d] <= 1);
    MG_CHECK(fits, Runtime, op.name.c_str() + 1, ": ", t.dtype, " of shape ", t.sizes, ", strides ", t.strides,
             " and offset ", t.offset, " cannot be viewed as ", out.dtype, ": they must be divisible by ", ratio);
    for (int64_t& s : out.strides) s /= ratio;
    out.sizes[last] /= ratio;
    out.offset /= ratio;
  }
  out.strides[last] = 1;
}

MG_META("view_dtype", meta_view_dtype);
MG_META("alias", meta_alias);
MG_META("view", meta_view);
MG_META("transpose", meta_transpose);
MG_META("t", meta_t);
MG_META("matrix_transpose", meta_matrix_transpose);
MG_META("reverse_dims", meta_reverse_dims);
MG_META("permute", meta_permute);
MG_META("movedim", meta_movedim);
MG_META("expand", meta_expand);
MG_META("squeeze", meta_squeeze);
MG_META("unsqueeze", meta_unsqueeze);
MG_META("select", meta_select);
MG_META("slice", meta_slice);
MG_META("narrow", meta_narrow);
MG_META("diagonal", meta_diagonal);
MG_META("unfold", meta_unfold);
MG_META("as_strided", meta_as_strided);

}  // namespace mg
