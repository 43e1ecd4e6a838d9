// Normalisation layers. Statistics are kept in the compute dtype: float32, or float64 for float64 input.
#include "memory_format.h"
#include "reduce_dims.h"

namespace mg {

static void out_spec(OutSpec& o, const Dims& sizes, DType dtype, Device device) {
  o.sizes = sizes;
  o.dtype = dtype;
  o.device = device;
}
static DType statistics(DType d) { return d == DType::Float64 ? DType::Float64 : DType::Float32; }

static void check_floating(const Op& op, const TensorImpl& x) {
  MG_CHECK(is_floating(x.dtype), NotImplemented, public_name(op), ": needs a floating tensor: got ", x.dtype,
           ". Try x.float().");
}

static void check_size(const Op& op, const char* what, const Value& v, const Dims& want) {
  MG_CHECK(v.none() || v.t->sizes == want, Runtime, public_name(op), ": ", what, " has the wrong shape: got ",
           v.t->sizes, ", expected ", want);
}

static Dims last_dims(const Dims& sizes, int n) {
  return Dims(std::span<const int64_t>(sizes.data() + sizes.size() - n, size_t(n)));
}

// Sizes of the statistics of the last n dims: (*, 1, …, 1).
static Dims row_statistics(const Dims& sizes, int n) {
  Dims out = sizes;
  for (int d = sizes.size() - n; d < sizes.size(); ++d) out[d] = 1;
  return out;
}

// _layer_norm(input, weight?, bias?, normalized_shape, eps) -> out, mean, rstd; _rms_norm(input, weight?,
// normalized_shape, eps) -> out, rstd
static void meta_layer_norm(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[0].t;
  const bool with_bias = op.n_outputs() == 3;
  const Dims shape = args[with_bias ? 3 : 2].as_dims();
  check_floating(op, x);
  MG_CHECK(!shape.empty(), Runtime, public_name(op), ": normalized_shape is empty, expected at least one dim");
  MG_CHECK(shape.size() <= x.dim() && last_dims(x.sizes, shape.size()) == shape, Runtime, public_name(op),
           ": given normalized_shape=", shape, ", expected input with shape [*, ", shape, "]: got ", x.sizes);
  check_size(op, "weight", args[1], shape);
  if (with_bias) check_size(op, "bias", args[2], shape);
  common_device(op, args);
  out_spec(r.out[0], x.sizes, x.dtype, x.device);
  for (int k = 1; k < op.n_outputs(); ++k)
    out_spec(r.out[k], row_statistics(x.sizes, shape.size()), statistics(x.dtype), x.device);
  r.compute = statistics(x.dtype);
}

// _layer_norm_backward(g, input, mean, rstd, weight?, ndim) -> dinput, dweight, dbias;  _rms_norm_backward(g, input,
// rstd, weight?, ndim)
static void meta_layer_norm_backward(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[1].t;
  const int n = int(args[op.args.size() - 1].as_int());
  check_floating(op, x);
  MG_CHECK(n >= 0 && n <= x.dim() && args[0].t->sizes == x.sizes, Runtime, public_name(op), ": got a gradient of shape ", args[0].t->sizes,
           " for an input of shape ", x.sizes, " and ", n, " normalised dims");
  int64_t rows = 1;
  for (int d = 0; d < x.dim() - n; ++d) rows *= x.sizes[d];
  for (size_t k = 2; k + 1 < op.args.size(); ++k) {
    if (!args[k].is_tensor()) continue;
    const bool weight = k + 2 == op.args.size();
    MG_CHECK(weight ? args[k].t->sizes == last_dims(x.sizes, n) : args[k].t->numel == rows, Runtime, public_name(op), ": ", op.args[k].name,
             " has shape ", args[k].t->sizes, ", which does not belong to an input of shape ", x.sizes, " with ", n, " normalised dims");
  }
  out_spec(r.out[0], x.sizes, x.dtype, x.device);
  r.compute = statistics(x.dtype);
  for (int k = 1; k < op.n_outputs(); ++k) out_spec(r.out[k], last_dims(x.sizes, n), r.compute, x.device);
}

// _batch_norm(input, weight?, bias?, eps) -> out, mean, var
static void meta_batch_norm(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[0].t;
  check_floating(op, x);
  MG_CHECK(x.dim() >= 2, Runtime, public_name(op), ": needs an input of at least 2 dims (N, C, *): got ", x.sizes);
  const Dims channels{x.sizes[1]};
  check_size(op, "weight", args[1], channels);
  check_size(op, "bias", args[2], channels);
  common_device(op, args);
  r.compute = statistics(x.dtype);
  out_spec(r.out[0], x.sizes, x.dtype, x.device);
  keep_channels_last(x, r.out[0]);
  for (int k = 1; k < 3; ++k) out_spec(r.out[k], channels, r.compute, x.device);
}

// _batch_norm_backward(g, input, mean, var, weight?, eps) -> dinput, dweight, dbias
static void meta_batch_norm_backward(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[1].t;
  check_floating(op, x);
  MG_CHECK(x.dim() >= 2 && args[0].t->sizes == x.sizes, Runtime, public_name(op), ": got a gradient of shape ", args[0].t->sizes,
           " for an input of shape ", x.sizes);
  for (int k = 2; k < 5; ++k) check_size(op, op.args[size_t(k)].name.c_str(), args[k], Dims{x.sizes[1]});
  r.compute = statistics(x.dtype);
  out_spec(r.out[0], x.sizes, x.dtype, x.device);
  keep_channels_last(x, r.out[0]);
  for (int k = 1; k < 3; ++k) out_spec(r.out[k], Dims{x.sizes[1]}, r.compute, x.device);
}

static void check_groups(const Op& op, const TensorImpl& x, int64_t groups) {
  check_floating(op, x);
  MG_CHECK(x.dim() >= 2 && groups > 0 && x.sizes[1] % groups == 0, Runtime, public_name(op),
           ": Expected number of channels in input to be divisible by num_groups, but got input of shape ", x.sizes,
           " and num_groups=", groups);
}

// _group_norm(input, weight?, bias?, groups, eps) -> out, mean, rstd
static void meta_group_norm(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[0].t;
  const int64_t groups = args[3].as_int();
  check_groups(op, x, groups);
  for (int k = 1; k < 3; ++k) check_size(op, k == 1 ? "weight" : "bias", args[k], Dims{x.sizes[1]});
  common_device(op, args);
  r.compute = statistics(x.dtype);
  out_spec(r.out[0], x.sizes, x.dtype, x.device);
  keep_channels_last(x, r.out[0]);
  for (int k = 1; k < 3; ++k) out_spec(r.out[k], Dims{x.sizes[0], groups}, r.compute, x.device);
}

// _group_norm_backward(g, input, mean, rstd, weight?, groups) -> dinput, dweight, dbias
static void meta_group_norm_backward(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[1].t;
  const int64_t groups = args[5].as_int();
  check_groups(op, x, groups);
  MG_CHECK(args[0].t->sizes == x.sizes, Runtime, public_name(op), ": got a gradient of shape ", args[0].t->sizes,
           " for an input of shape ", x.sizes);
  for (int k = 2; k < 4; ++k) check_size(op, k == 2 ? "mean" : "rstd", args[k], Dims{x.sizes[0], groups});
  check_size(op, "weight", args[4], Dims{x.sizes[1]});
  common_device(op, args);
  r.compute = statistics(x.dtype);
  out_spec(r.out[0], x.sizes, x.dtype, x.device);
  keep_channels_last(x, r.out[0]);
  for (int k = 1; k < 3; ++k) out_spec(r.out[k], Dims{x.sizes[1]}, r.compute, x.device);
}

MG_META("group_norm", meta_group_norm);
MG_META("group_norm_backward", meta_group_norm_backward);
MG_META("layer_norm", meta_layer_norm);
MG_META("layer_norm_backward", meta_layer_norm_backward);
MG_META("batch_norm", meta_batch_norm);
MG_META("batch_norm_backward", meta_batch_norm_backward);

}  // namespace mg
