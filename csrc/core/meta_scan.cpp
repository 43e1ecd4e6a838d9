// Shapes and dtypes of cumulative ops, softmax, sorting and searching: the result has the input's shape, or its shape
// with one dim changed.
#include "meta.h"
#include "reduce_dims.h"

namespace mg {

static void same_shape(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[0].t;
  for (int k = 0; k < op.n_outputs(); ++k) {
    r.out[k].sizes = x.sizes;
    r.out[k].dtype = x.dtype;
    r.out[k].device = x.device;
  }
  r.compute = x.dtype;
}

// cumsum, cumprod (input, dim, dtype): bool and integers accumulate in int64.
static void meta_scan_sum(const Op& op, const Value* args, MetaResult& r) {
  same_shape(op, args, r);
  const DType in = args[0].t->dtype;
  wrap_dim(args[1].as_int(), args[0].t->dim(), public_name(op));
  r.out[0].dtype = r.compute = !args[2].none() ? args[2].dtype : is_inexact(in) ? in : DType::Int64;
}

// cummax, cummin, sort (input, dim, …) -> values, indices
static void meta_scan_select(const Op& op, const Value* args, MetaResult& r) {
  same_shape(op, args, r);
  wrap_dim(args[1].as_int(), args[0].t->dim(), public_name(op));
  r.out[1].dtype = DType::Int64;
}

// logcumsumexp (input, dim)
static void meta_scan_float(const Op& op, const Value* args, MetaResult& r) {
  same_shape(op, args, r);
  wrap_dim(args[1].as_int(), args[0].t->dim(), public_name(op));
  MG_CHECK(is_inexact(r.compute), Runtime, public_name(op), ": needs a floating tensor: got ", r.compute,
           ". Try x.float().");
}

// softmax, log_softmax (input, dim, dtype)
static void meta_softmax(const Op& op, const Value* args, MetaResult& r) {
  same_shape(op, args, r);
  wrap_dim(args[1].as_int(), args[0].t->dim(), public_name(op));
  if (!args[2].none()) r.out[0].dtype = r.compute = args[2].dtype;
  MG_CHECK(is_floating(r.compute), NotImplemented, public_name(op), ": needs a floating dtype: got ", r.compute,
           ". Try x.float() or the argument dtype=minigrad.float32.");
}

// _softmax_backward(g, out, dim) and its log twin
static void meta_softmax_backward(const Op& op, const Value* args, MetaResult& r) {
  same_shape(op, args, r);
  MG_CHECK(args[0].t->sizes == args[1].t->sizes, Runtime, public_name(op), ": shapes differ: got ", args[0].t->sizes,
           " and ", args[1].t->sizes);
}

// topk (input, k, dim, …) -> values, indices
static void meta_topk(const Op& op, const Value* args, MetaResult& r) {
  same_shape(op, args, r);
  const TensorImpl& x = *args[0].t;
  const int64_t k = args[1].as_int(), dim = wrap_dim(args[2].as_int(), x.dim(), public_name(op));
  const int64_t size = x.dim() == 0 ? 1 : x.sizes[int(dim)];
  MG_CHECK(k >= 0 && k <= size, Runtime, public_name(op), ": selected index k out of range: got k=", k, " for dim ",
           dim, " of size ", size, ", expected 0 <= k <= ", size);
  if (x.dim() != 0) r.out[0].sizes[int(dim)] = r.out[1].sizes[int(dim)] = k;
  r.out[1].dtype = DType::Int64;
}

// _kth, _mode (input, dim, keepdim, …) -> values, indices
static void meta_reduce_rank(const Op& op, const Value* args, MetaResult& r) {
  same_shape(op, args, r);
  const TensorImpl& x = *args[0].t;
  const int64_t dim = wrap_dim(args[1].as_int(), x.dim(), public_name(op));
  const uint64_t mask = x.dim() ? uint64_t(1) << dim : 0;
  MG_CHECK(x.dim() == 0 || x.sizes[int(dim)] != 0, Index, public_name(op), ": expected reduction dim ", dim,
           " to have non-zero size: got shape ", x.sizes);
  if (op.args.size() > 3) {
    const int64_t k = args[3].as_int(), size = x.dim() == 0 ? 1 : x.sizes[int(dim)];
    MG_CHECK(k >= 1 && k <= size, Runtime, public_name(op), ": selected number k out of range: got k=", k, " for dim ",
             dim, " of size ", size, ", expected 1 <= k <= ", size);
  }
  r.out[0].sizes = r.out[1].sizes = reduced_shape(x.sizes, mask, args[2].b);
  r.out[1].dtype = DType::Int64;
}

// _searchsorted(sorted_sequence, input, sorter?, out_int32, right)
static void meta_searchsorted(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &seq = *args[0].t, &x = *args[1].t;
  MG_CHECK(seq.dim() >= 1, Runtime, public_name(op), ": the sorted sequence needs at least one dim: got a 0-d tensor");
  const bool shared = seq.dim() == 1;
  bool fits = shared || seq.dim() == x.dim();
  for (int d = 0; fits && !shared && d + 1 < seq.dim(); ++d) fits = seq.sizes[d] == x.sizes[d];
  MG_CHECK(fits, Runtime, public_name(op), ": shapes do not fit: got a sequence ", seq.sizes, " and values ", x.sizes,
           ", expected a 1-d sequence or equal sizes in all dims but the last");
  MG_CHECK(args[2].none() || (args[2].t->sizes == seq.sizes && args[2].t->dtype == DType::Int64), Runtime,
           public_name(op), ": sorter must be an int64 tensor of the sequence's shape ", seq.sizes);
  common_device(op, args);
  r.out[0].sizes = x.sizes;
  r.out[0].device = x.device;
  r.out[0].dtype = args[3].b ? DType::Int32 : DType::Int64;
  r.compute = promote(seq.dtype, x.dtype);
}

MG_META("scan_sum", meta_scan_sum);
MG_META("scan_select", meta_scan_select);
MG_META("scan_float", meta_scan_float);
MG_META("softmax", meta_softmax);
MG_META("softmax_backward", meta_softmax_backward);
MG_META("topk", meta_topk);
MG_META("reduce_rank", meta_reduce_rank);
MG_META("searchsorted", meta_searchsorted);

}  // namespace mg
