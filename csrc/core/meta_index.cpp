// Meta of gather/scatter, index_*, advanced indexing, masks and embedding. Index *values* are data and are checked by
// the kernels, all of them before the first write (csrc/cpu/indices.h); everything else is checked here.
#include "index_plan.h"
#include "layout.h"
#include "meta.h"
#include "meta_device.h"

namespace mg {

static OutSpec& like(const TensorImpl& t, MetaResult& r) {
  r.out[0].dtype = r.compute = t.dtype;
  r.out[0].device = t.device;
  r.out[0].sizes = t.sizes;
  return r.out[0];
}

static void check_index_dtype(const Op& op, const TensorImpl& index) {
  if (index.numel == 0) return;  // PyTorch asks nothing of an index that names nothing
  MG_CHECK(index.dtype == DType::Int64 || index.dtype == DType::Int32, Runtime, op.name,
           ": expected an index of dtype int64 (or int32), got ", index.dtype, ". Try index.long().");
}

static int dims_or_1(const TensorImpl& t) { return std::max(t.dim(), 1); }
static int64_t size_or_1(const TensorImpl& t, int d) { return t.dim() ? t.sizes[d] : 1; }

// index <= t in every dim, but for `skip`
static void check_covers(const Op& op, const TensorImpl& index, const TensorImpl& t, int skip, const char* name) {
  if (index.numel == 0) return;
  MG_CHECK(dims_or_1(index) == dims_or_1(t), Runtime, op.name, ": index and ", name,
           " must have the same number of dimensions: got ", index.sizes, " and ", t.sizes);
  for (int d = 0; d < dims_or_1(t); ++d)
    MG_CHECK(d == skip || size_or_1(index, d) <= size_or_1(t, d), Runtime, op.name,
             ": size does not match at dimension ", d, ": expected index ", index.sizes, " to be no larger than ", name,
             " ", t.sizes, skip < 0 ? "" : " apart from dimension ", skip < 0 ? std::string() : std::to_string(skip));
}

// (input, dim: int, index, ...)
static void meta_gather(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &t = *args[0].t, &index = *args[2].t;
  const int d = int(wrap_dim(args[1].as_int(), t.dim(), op.name.c_str()));
  check_index_dtype(op, index);
  check_covers(op, index, t, d, "input");
  like(t, r).sizes = index.sizes;
}

static void check_reduce(const Op& op, const Value& reduce, std::initializer_list<std::string_view> known) {
  for (std::string_view k : known)
    if (k == reduce.str) return;
  std::string names;
  for (std::string_view k : known) names += str(names.empty() ? "'" : ", '", k, "'");
  fail(ErrorKind::Runtime, op.name, ": reduce argument must be one of ", names, ": got '", reduce.str, "'");
}

static void check_same_dtype(const Op& op, const TensorImpl& input, const TensorImpl& src, const char* name) {
  MG_CHECK(input.dtype == src.dtype, Runtime, op.name, ": expected input and ", name, " to have the same dtype: got ",
           input.dtype, " and ", src.dtype, ". Try ", name, ".to(input.dtype).");
}

// (input, dim: int, index, src: operand, ...)
static void meta_scatter(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &t = *args[0].t, &index = *args[2].t;
  const int d = int(wrap_dim(args[1].as_int(), t.dim(), op.name.c_str()));
  check_index_dtype(op, index);
  check_covers(op, index, t, d, "input");
  if (args[3].is_tensor()) {
    check_covers(op, index, *args[3].t, -1, "src");
    check_same_dtype(op, t, *args[3].t, "src");
  } else {
    check_fits(op.name, args[3], t.dtype);
  }
  if (op.args.size() > 4) check_reduce(op, args[4], {"sum", "prod", "mean", "amax", "amin"});
  like(t, r);
}

static int64_t check_index_1d(const Op& op, const TensorImpl& index) {
  MG_CHECK(index.dtype == DType::Int64 || index.dtype == DType::Int32, Runtime, op.name,
           ": expected an index of dtype int32 or int64, got ", index.dtype);
  MG_CHECK(index.dim() <= 1, Index, op.name, ": index is supposed to be a vector, got shape ", index.sizes);
  return index.numel;
}

// (input, dim: int, index)
static void meta_index_select(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  const int d = int(wrap_dim(args[1].as_int(), t.dim(), op.name.c_str()));
  const int64_t n = check_index_1d(op, *args[2].t);
  OutSpec& out = like(t, r);
  if (t.dim() == 0)
    MG_CHECK(n == 1, Index, op.name, ": index to a 0-dim tensor should have 1 value, got ", n);
  else
    out.sizes[d] = n;
}

// (input, dim: int, index, source, ...): index_add, index_copy
static void meta_index_source(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &t = *args[0].t, &source = *args[3].t;
  const int d = int(wrap_dim(args[1].as_int(), t.dim(), op.name.c_str()));
  const int64_t n = check_index_1d(op, *args[2].t);
  check_same_dtype(op, t, source, "source");
  MG_CHECK(dims_or_1(source) == dims_or_1(t), Runtime, op.name,
           ": source and input must have the same number of dimensions: got ", source.sizes, " and ", t.sizes);
  for (int k = 0; k < dims_or_1(t); ++k)
    MG_CHECK(size_or_1(source, k) == (k == d ? n : size_or_1(t, k)), Runtime, op.name, ": source ", source.sizes,
             " does not fit input ", t.sizes, " with ", n, " indices in dimension ", d);
  like(t, r);
}

// (input, dim: int, index, value: operand)
static void meta_index_fill(const Op& op, const Value* args, MetaResult& r) {
  wrap_dim(args[1].as_int(), args[0].t->dim(), op.name.c_str());
  check_index_1d(op, *args[2].t);
  if (args[3].is_tensor())
    MG_CHECK(args[3].t->dim() == 0, Runtime, op.name, ": only supports a 0-dimensional value tensor, got shape ",
             args[3].t->sizes);
  else
    check_fits(op.name, args[3], args[0].t->dtype);
  like(*args[0].t, r);
}

// (input, indices: tensors)
static void meta_index(const Op& op, const Value* args, MetaResult& r) {
  like(*args[0].t, r).sizes = plan_index(op, *args[0].t, args[1]).result;
}

// (input, indices: tensors, values, accumulate: bool)
static void meta_index_put(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& values = *args[2].t;
  const IndexPlan plan = plan_index(op, *args[0].t, args[1]);
  check_same_dtype(op, *args[0].t, values, "values");
  Dims shape = plan.result;
  MG_CHECK(broadcast_into(shape, values.sizes) && shape == plan.result, Runtime, op.name,
           ": shape mismatch: value tensor of shape ", values.sizes,
           " cannot be broadcast to indexing result of shape ", plan.result);
  like(*args[0].t, r);
}

// (input): one row per nonzero element; the kernel makes the output, this is its shape before the count is known
static void meta_nonzero(const Op& op, const Value* args, MetaResult& r) {
  require_values(op, *args[0].t);
  like(*args[0].t, r).sizes = Dims{0, args[0].t->dim()};
  r.out[0].dtype = DType::Int64;
}

// (input, mask, value: operand)
static void meta_masked_fill(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &t = *args[0].t, &mask = *args[1].t;
  MG_CHECK(mask.dtype == DType::Bool, Runtime, op.name, ": only supports boolean masks, but got mask with dtype ",
           mask.dtype, ". Try mask.bool().");
  OutSpec& out = like(t, r);
  MG_CHECK(broadcast_into(out.sizes, mask.sizes), Runtime, op.name, ": input of shape ", t.sizes, " and mask of shape ",
           mask.sizes, " cannot be broadcast together");
  const Value& v = args[2];
  if (v.is_tensor())
    MG_CHECK(v.t->dim() == 0, Runtime, op.name, ": only supports a 0-dimensional value tensor, but got tensor with ",
             v.t->dim(), " dimension(s). Try where().");
  else
    check_fits(op.name, v, t.dtype);
}

// (input: indices, weight, padding_idx: int?, max_norm: float?, norm_type, scale_grad_by_freq, sparse)
static void meta_embedding(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &index = *args[0].t, &weight = *args[1].t;
  check_index_dtype(op, index);
  MG_CHECK(weight.dim() == 2, Runtime, op.name, ": weight must be 2-D, got shape ", weight.sizes);
  if (!args[2].none())
    MG_CHECK(args[2].as_int() >= -weight.sizes[0] && args[2].as_int() < weight.sizes[0], Runtime, op.name,
             ": padding_idx must be within num_embeddings: got ", args[2].as_int(), " for ", weight.sizes[0]);
  MG_CHECK(args[3].none(), NotImplemented, op.name,
           ": max_norm is not implemented. Try renormalising the weight before the call.");
  OutSpec& out = like(weight, r);
  out.sizes = index.sizes;
  out.sizes.push_back(weight.sizes[1]);
}

// (g, input: indices, num_weights: int, padding_idx: int?, scale_grad_by_freq: bool)
static void meta_embedding_backward(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &g = *args[0].t, &index = *args[1].t;
  check_index_dtype(op, index);
  Dims rows = g.sizes;
  if (g.dim() > 0) rows.erase(g.dim() - 1);
  MG_CHECK(g.dim() > 0 && rows == index.sizes && args[2].as_int() >= 0, Runtime, op.name, ": got a gradient of shape ", g.sizes,
           " for indices of shape ", index.sizes, " into ", args[2].as_int(), " rows");
  like(g, r).sizes = Dims{args[2].as_int(), g.sizes.back()};
}

// (input, weights?, minlength: int)
static void meta_bincount(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  require_values(op, t);
  MG_CHECK(t.dim() == 1 && is_integral(t.dtype), Runtime, op.name,
           ": only supports 1-d non-negative integral inputs: got shape ", t.sizes, " of ", t.dtype);
  MG_CHECK(args[2].as_int() >= 0, Runtime, op.name, ": minlength should be >= 0: got ", args[2].as_int());
  like(t, r).sizes = Dims{args[2].as_int()};
  r.out[0].dtype = DType::Int64;
  if (args[1].none()) return;
  MG_CHECK(args[1].t->sizes == t.sizes, Runtime, op.name,
           ": weights should be 1-d and have the same length as input: got ", args[1].t->sizes, " and ", t.sizes);
  r.out[0].dtype = args[1].t->dtype == DType::Float32 ? DType::Float32 : DType::Float64;
}

// (repeats): [0] * repeats[0] + [1] * repeats[1] + …
static void meta_repeat_index(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  require_values(op, t);
  MG_CHECK(t.dim() <= 1, Runtime, op.name, ": repeats must be 0-dim or 1-dim tensor, got shape ", t.sizes);
  MG_CHECK(t.dtype == DType::Int64 || t.dtype == DType::Int32, Runtime, op.name,
           ": repeats has to be int64 or int32, got ", t.dtype);
  like(t, r).sizes = Dims{0};
  r.out[0].dtype = DType::Int64;
}

MG_META("gather", meta_gather);
MG_META("scatter", meta_scatter);
MG_META("index_select", meta_index_select);
MG_META("index_source", meta_index_source);
MG_META("index_fill", meta_index_fill);
MG_META("index", meta_index);
MG_META("index_put", meta_index_put);
MG_META("nonzero", meta_nonzero);
MG_META("masked_fill", meta_masked_fill);
MG_META("embedding", meta_embedding);
MG_META("embedding_backward", meta_embedding_backward);
MG_META("bincount", meta_bincount);
MG_META("repeat_index", meta_repeat_index);

}  // namespace mg
