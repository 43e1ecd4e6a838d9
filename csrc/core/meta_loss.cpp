// Losses. `reduction` is 0 none, 1 mean, 2 sum. Class dim: 1 of (N, C, *), 0 of (C).
#include "meta.h"
#include "reduce_dims.h"

namespace mg {

static void set_out(OutSpec& o, const Dims& sizes, DType dtype, Device device) {
  o.sizes = sizes;
  o.dtype = dtype;
  o.device = device;
}
static DType wide(DType d) { return d == DType::Float64 ? DType::Float64 : DType::Float32; }

// Shape of the per-sample losses; checks input (N, C, *), target (N, *) and weight (C), the first three of `args`.
static Dims sample_shape(const Op& op, const Value* args) {
  const TensorImpl &x = *args[0].t, &t = *args[1].t;
  const char* name = public_name(op);
  MG_CHECK(is_floating(x.dtype), NotImplemented, name, ": needs a floating input: got ", x.dtype,
           ". Try input.float().");
  MG_CHECK(!is_floating(t.dtype) && t.dtype != DType::Bool, Runtime, name, ": target must hold class indices: got ",
           t.dtype, ", expected int64. Try target.long().");
  MG_CHECK(x.dim() >= 1, Runtime, name, ": needs an input (C), (N, C) or (N, C, *): got a 0-d tensor");
  const int class_dim = x.dim() == 1 ? 0 : 1;
  MG_CHECK(x.dim() == 1 || t.dim() == 0 || x.sizes[0] == t.sizes[0], Value, name, ": expected input batch_size (",
           x.sizes[0], ") to match target batch_size (", t.dim() ? t.sizes[0] : 0, ").");
  Dims want = x.sizes;
  want.erase(class_dim);
  MG_CHECK(t.sizes == want, Runtime, name, ": target has the wrong shape: got ", t.sizes, ", expected ", want,
           " for input ", x.sizes);
  const int64_t classes = x.sizes[class_dim];
  MG_CHECK(args[2].none() || (args[2].t->dim() == 1 && args[2].t->sizes[0] == classes), Runtime, name,
           ": weight must hold one value for each of the ", classes, " classes: got shape ",
           args[2].none() ? Dims{} : args[2].t->sizes);
  return want;
}

// _nll_loss(input, target, weight?, ignore_index, reduction) -> out, total_weight
static void meta_nll_loss(const Op& op, const Value* args, MetaResult& r) {
  const Dims samples = sample_shape(op, args);
  common_device(op, args);
  const TensorImpl& x = *args[0].t;
  r.compute = wide(x.dtype);
  set_out(r.out[0], args[4].as_int() == 0 ? samples : Dims{}, x.dtype, x.device);
  set_out(r.out[1], Dims{}, r.compute, x.device);
}

// _cross_entropy(input, target, weight?, ignore_index, reduction, label_smoothing) -> out, lse, total_weight
static void meta_cross_entropy(const Op& op, const Value* args, MetaResult& r) {
  const Dims samples = sample_shape(op, args);
  common_device(op, args);
  const TensorImpl& x = *args[0].t;
  const double smoothing = args[5].as_double();
  MG_CHECK(smoothing >= 0 && smoothing <= 1, Runtime, public_name(op),
           ": label_smoothing must be between 0.0 and 1.0: got ", smoothing);
  r.compute = wide(x.dtype);
  set_out(r.out[0], args[4].as_int() == 0 ? samples : Dims{}, x.dtype, x.device);
  set_out(r.out[1], samples, r.compute, x.device);
  set_out(r.out[2], Dims{}, r.compute, x.device);
}

// _cross_entropy_backward(g, input, target, weight?, lse, total_weight, ignore_index, reduction, label_smoothing) ->
// dinput
static void meta_cross_entropy_backward(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[1].t;
  const Dims samples = sample_shape(op, args + 1);
  MG_CHECK(args[4].t->sizes == samples && args[5].t->numel == 1, Runtime, public_name(op), ": lse of shape ", args[4].t->sizes,
           " and total_weight of shape ", args[5].t->sizes, " do not belong to an input of shape ", x.sizes);
  MG_CHECK(args[7].as_int() == 0 ? args[0].t->sizes == samples : args[0].t->numel == 1, Runtime, public_name(op),
           ": got a gradient of shape ", args[0].t->sizes, " for an input of shape ", x.sizes);
  r.compute = wide(x.dtype);
  set_out(r.out[0], x.sizes, x.dtype, x.device);
}

// _linear_cross_entropy(input, weight, bias?, target, class_weight?, g?, ignore_index, reduction, label_smoothing, needs) -> out, dinput,
// dweight, dbias: input (..., K) as rows, target of one dim; a gradient that is not wanted is empty.
static void meta_linear_cross_entropy(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &x = *args[0].t, &w = *args[1].t, &t = *args[3].t;
  const char* name = public_name(op);
  const Device device = common_device(op, args);
  MG_CHECK(is_floating(x.dtype) && w.dtype == x.dtype, Runtime, name, ": got input ", x.dtype, " and weight ", w.dtype, ", expected one floating dtype");
  MG_CHECK(!is_floating(t.dtype) && t.dtype != DType::Bool, Runtime, name, ": target must hold class indices: got ", t.dtype);
  MG_CHECK(x.dim() >= 2 && w.dim() == 2 && x.sizes.back() == w.sizes[1], Runtime, name, ": got input ", x.sizes, " and weight ", w.sizes,
           ", expected (..., in) and (classes, in)");
  int64_t rows = 1;
  for (int k = 0; k + 1 < x.dim(); ++k) rows *= x.sizes[k];
  MG_CHECK(t.dim() == 1 && t.sizes[0] == rows, Runtime, name, ": got target ", t.sizes, " for input ", x.sizes, ", expected (", rows, ",)");
  const Dims classes{w.sizes[0]};
  for (int k : {2, 4})
    MG_CHECK(args[k].none() || args[k].t->sizes == classes, Runtime, name, ": got ", args[k].none() ? Dims{} : args[k].t->sizes, ", expected ", classes,
             " for bias and class_weight");
  const int64_t reduction = args[7].as_int(), needs = args[9].as_int();
  MG_CHECK(reduction >= 0 && reduction <= 2 && needs >= 0 && needs <= 7 && (needs == 0) == args[5].none(), Runtime, name, ": got reduction ", reduction,
           " and needs ", needs, args[5].none() ? " without" : " with", " a gradient");
  MG_CHECK(args[5].none() || (reduction == 0 ? args[5].t->sizes == t.sizes : args[5].t->numel == 1), Runtime, name, ": got a gradient of shape ",
           args[5].none() ? Dims{} : args[5].t->sizes);
  r.compute = wide(x.dtype);
  set_out(r.out[0], reduction == 0 ? t.sizes : Dims{}, x.dtype, device);
  set_out(r.out[1], needs & 1 ? x.sizes : Dims{0}, x.dtype, device);
  set_out(r.out[2], needs & 2 ? w.sizes : Dims{0}, x.dtype, device);
  set_out(r.out[3], needs & 4 ? classes : Dims{0}, x.dtype, device);
}

static int64_t reduction_of(const Op& op, const Value& v) {
  const std::string_view s = v.str;
  MG_CHECK(s == "none" || s == "mean" || s == "sum", Value, public_name(op), ": '", s,
           "' is not a valid value for reduction, expected 'none', 'mean' or 'sum'");
  return s == "none" ? 0 : s == "mean" ? 1 : 2;
}

// mse_loss(input, target, reduction)
static void meta_pair_loss(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &x = *args[0].t, &t = *args[1].t;
  const DType dtype = promote(x.dtype, t.dtype);
  MG_CHECK(is_floating(dtype), NotImplemented, public_name(op), ": needs floating tensors: got ", x.dtype, " and ",
           t.dtype, ". Try input.float().");
  Dims shape = x.sizes;
  MG_CHECK(broadcast_into(shape, t.sizes), Runtime, public_name(op), ": shapes do not broadcast: got ", x.sizes,
           " and ", t.sizes);
  r.compute = dtype;
  set_out(r.out[0], reduction_of(op, args[2]) == 0 ? shape : Dims{}, dtype, common_device(op, args));
}

// _mse_loss_backward(g, input, target, scale) -> dinput: equal shapes
static void meta_pair_loss_backward(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &x = *args[1].t, &t = *args[2].t;
  MG_CHECK(x.sizes == t.sizes, Runtime, public_name(op), ": shapes differ: got ", x.sizes, " and ", t.sizes);
  MG_CHECK(args[0].t->numel == 1 || args[0].t->sizes == x.sizes, Runtime, public_name(op), ": got a gradient of shape ",
           args[0].t->sizes, " for an input of shape ", x.sizes);
  r.compute = promote(x.dtype, t.dtype);
  MG_CHECK(is_floating(r.compute), NotImplemented, public_name(op), ": needs floating tensors: got ", x.dtype, " and ", t.dtype);
  set_out(r.out[0], x.sizes, r.compute, x.device);
}

MG_META("nll_loss", meta_nll_loss);
MG_META("cross_entropy", meta_cross_entropy);
MG_META("cross_entropy_backward", meta_cross_entropy_backward);
MG_META("linear_cross_entropy", meta_linear_cross_entropy);
MG_META("pair_loss", meta_pair_loss);
MG_META("pair_loss_backward", meta_pair_loss_backward);

}  // namespace mg
