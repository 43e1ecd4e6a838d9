// Shapes, dtypes and errors of the reductions. All ops of a family share argument positions: input, dim, keepdim, then
// their own.
#include "meta.h"
#include "reduce_dims.h"

namespace mg {

static bool keepdim_of(const Op& op, const Value* args) {
  return op.args.size() > 2 && args[2].kind == Kind::Bool && args[2].b;
}

static uint64_t set_shape(const Op& op, const Value* args, MetaResult& r, bool empty_is_all = true) {
  const TensorImpl& x = *args[0].t;
  const Value none;
  const Value& dim = op.args.size() > 1 ? args[1] : none;
  const uint64_t mask = reduce_mask(public_name(op), dim, x.dim(), empty_is_all);
  for (int k = 0; k < op.n_outputs(); ++k) {
    r.out[k].sizes = reduced_shape(x.sizes, mask, keepdim_of(op, args));
    r.out[k].device = x.device;
    r.out[k].dtype = x.dtype;
  }
  r.compute = x.dtype;
  return mask;
}

// For reductions without an identity.
static void check_not_empty(const Op& op, const Value* args, uint64_t mask, ErrorKind full_kind) {
  const TensorImpl& x = *args[0].t;
  if (x.numel != 0) return;
  const bool full = args[1].none() || (args[1].kind == Kind::Ints && args[1].len == 0);
  if (full)
    fail(full_kind, public_name(op), ": expected the reduction dim to be specified for an input of shape ", x.sizes,
         " with no elements: the result of reducing nothing is undefined. Try a dim of non-zero size.");
  for (int d = 0; d < x.dim(); ++d)
    MG_CHECK(!(mask >> d & 1) || x.sizes[d] != 0, Index, public_name(op), ": expected reduction dim ", d,
             " to have non-zero size: got shape ", x.sizes);
}

// sum, prod, nansum, cumulative dtypes: bool and integers add up in int64 unless a dtype is named.
static void meta_reduce_sum(const Op& op, const Value* args, MetaResult& r) {
  set_shape(op, args, r);
  const DType in = args[0].t->dtype;
  const bool named = op.args.size() > 3 && !args[3].none();
  r.out[0].dtype = r.compute = named ? args[3].dtype : is_inexact(in) ? in : DType::Int64;
}

static void meta_reduce_mean(const Op& op, const Value* args, MetaResult& r) {
  set_shape(op, args, r);
  const bool named = !args[3].none();
  const DType dtype = named ? args[3].dtype : args[0].t->dtype;
  MG_CHECK(is_inexact(dtype), Runtime, public_name(op), ": needs a floating dtype: got ", dtype,
           ". Try x.float() or the argument dtype=minigrad.float32.");
  r.out[0].dtype = r.compute = dtype;
}

static void meta_reduce_extreme(const Op& op, const Value* args, MetaResult& r) {
  check_not_empty(op, args, set_shape(op, args, r), ErrorKind::Runtime);
}

static void meta_reduce_select(const Op& op, const Value* args, MetaResult& r) {
  check_not_empty(op, args, set_shape(op, args, r), ErrorKind::Runtime);
  r.out[1].dtype = DType::Int64;
}

static void meta_reduce_index(const Op& op, const Value* args, MetaResult& r) {
  MG_CHECK(args[0].t->dtype != DType::Bool, Runtime, public_name(op),
           ": does not support bool input. Try x.to(minigrad.uint8).");
  check_not_empty(op, args, set_shape(op, args, r), ErrorKind::Index);
  r.out[0].dtype = DType::Int64;
}

// any and all: an empty dim list reduces nothing, and uint8 stays uint8 (both PyTorch's).
static void meta_reduce_bool(const Op& op, const Value* args, MetaResult& r) {
  set_shape(op, args, r, false);
  r.out[0].dtype = args[0].t->dtype == DType::UInt8 ? DType::UInt8 : DType::Bool;
}

static void meta_reduce_count(const Op& op, const Value* args, MetaResult& r) {
  set_shape(op, args, r);
  r.out[0].dtype = DType::Int64;
}

// The variance of complex numbers is real.
static void meta_reduce_float(const Op& op, const Value* args, MetaResult& r) {
  set_shape(op, args, r);
  r.out[0].dtype = to_real(r.compute);
  MG_CHECK(is_inexact(args[0].t->dtype), Runtime, public_name(op), ": needs a floating tensor: got ", args[0].t->dtype,
           ". Try x.float().");
}

static void meta_reduce_float_default(const Op& op, const Value* args, MetaResult& r) {
  set_shape(op, args, r);
  if (!is_inexact(args[0].t->dtype)) r.out[0].dtype = r.compute = default_dtype;
}

// _vector_norm(input, dim, keepdim, dtype, ord)
static void meta_reduce_norm(const Op& op, const Value* args, MetaResult& r) {
  const uint64_t mask = set_shape(op, args, r);
  const TensorImpl& x = *args[0].t;
  const DType dtype = args[3].none() ? x.dtype : args[3].dtype;
  MG_CHECK(is_inexact(x.dtype) && is_inexact(dtype), Runtime, public_name(op),
           ": needs a floating tensor and dtype: got ", is_inexact(x.dtype) ? dtype : x.dtype, ". Try x.float().");
  MG_CHECK(is_complex(x.dtype) == is_complex(dtype), Runtime, public_name(op), ": dtype ", dtype, " does not fit an input of ",
           x.dtype, ": expected both complex or both real");
  const double ord = args[4].as_double();
  bool empty = false;
  for (int d = 0; d < x.dim(); ++d) empty |= (mask >> d & 1) && x.sizes[d] == 0;
  MG_CHECK(!empty || (ord >= 0 && ord < 1.0 / 0.0), Runtime, public_name(op), ": the ", ord,
           " norm of nothing is undefined: got shape ", x.sizes, ", expected non-zero sizes in the reduced dims");
  r.compute = dtype;
  r.out[0].dtype = to_real(dtype);
}

MG_META("reduce_sum", meta_reduce_sum);
MG_META("reduce_mean", meta_reduce_mean);
MG_META("reduce_extreme", meta_reduce_extreme);
MG_META("reduce_select", meta_reduce_select);
MG_META("reduce_index", meta_reduce_index);
MG_META("reduce_bool", meta_reduce_bool);
MG_META("reduce_count", meta_reduce_count);
MG_META("reduce_float", meta_reduce_float);
MG_META("reduce_float_default", meta_reduce_float_default);
MG_META("reduce_norm", meta_reduce_norm);

}  // namespace mg
