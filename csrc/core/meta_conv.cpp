// Shapes of the convolutions over 1 to 3 spatial dims: _conv, its adjoint _conv_transpose, and _conv_weight_grad. All
// their user errors are raised here, under the public name (conv2d, conv_transpose3d …).
//
// Input is (N, C, spatial…) or one unbatched image (C, spatial…). padding='same' is resolved in minigrad/ops/layers/conv.py,
// which declares the ops. Kernels: ../cpu/conv.cpp.
#include "layout.h"
#include "meta.h"
#include "spatial.h"

namespace mg {

namespace {

std::string public_name(const Op& op, int dims) { return spatial_name(op.name, "_weight_grad", dims); }
Dims each(const Op& op, int dims, const Value& v, const char* what, int64_t least) {
  return per_dim(public_name(op, dims), dims, v, what, least);
}

void check_dtypes(const Op& op, int dims, const TensorImpl& x, const TensorImpl& w, const Value& bias) {
  MG_CHECK(x.dtype == w.dtype && (bias.none() || bias.t->dtype == x.dtype), Runtime, public_name(op, dims),
           ": expected input, weight and bias to have the same dtype: got ", x.dtype, ", ", w.dtype,
           bias.none() ? "" : ", ", bias.none() ? "" : dtype_name(bias.t->dtype), ". Try input.to(weight.dtype).");
  MG_CHECK(is_inexact(x.dtype), Runtime, public_name(op, dims), ": not implemented for ", x.dtype,
           ". Try input.float().");
}

// Number of spatial dims, after checking that input and weight agree on it.
int check_tensors(const Op& op, const TensorImpl& x, const TensorImpl& w, const Value& bias) {
  const int dims = w.dim() - 2;
  MG_CHECK(dims >= 1 && dims <= 3, Runtime, op.name, ": expected a weight of 3 to 5 dims: got ", w.sizes, ".");
  MG_CHECK(x.dim() == dims + 2 || x.dim() == dims + 1, Runtime, public_name(op, dims), ": expected ", dims + 1,
           "D (unbatched) or ", dims + 2, "D (batched) input for a weight of shape ", w.sizes, ": got input ", x.sizes,
           ".");
  check_dtypes(op, dims, x, w, bias);
  return dims;
}

// One unbatched image is a batch of one: sizes with N in front.
Dims batched(const TensorImpl& x, int dims) {
  Dims d = x.sizes;
  if (d.size() == dims + 1) d.insert(0, 1);
  return d;
}

void check_bias(const Op& op, int dims, const Value& bias, int64_t channels) {
  if (bias.none()) return;
  MG_CHECK(bias.t->dim() == 1 && bias.t->sizes[0] == channels, Runtime, public_name(op, dims),
           ": bias has the wrong shape: got ", bias.t->sizes, ", expected (", channels,
           ",), one number per output channel.");
}

// `sizes` has the batch dim; an unbatched input gets an unbatched result.
void set_out(const Op& op, const Value* args, MetaResult& r, const Dims& sizes, bool batch_missing) {
  r.out[0].dtype = r.compute = args[0].t->dtype;
  r.out[0].device = common_device(op, args);
  r.out[0].sizes = sizes;
  if (batch_missing) r.out[0].sizes.erase(0);
  // PyTorch's rule: an image or a weight in channels_last gives a result in channels_last.
  if (sizes.size() >= 4 && !batch_missing && (is_channels_last(*args[0].t) || is_channels_last(*args[1].t)))
    make_channels_last(r.out[0]);
}

// args: input, weight, bias, stride, padding, dilation, groups
void meta_conv(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &x = *args[0].t, &w = *args[1].t;
  const int dims = check_tensors(op, x, w, args[2]);
  const Dims xs = batched(x, dims);
  const Dims stride = each(op, dims, args[3], "stride", 1), padding = each(op, dims, args[4], "padding", 0),
             dilation = each(op, dims, args[5], "dilation", 1);
  const int64_t groups = args[6].as_int();
  MG_CHECK(groups >= 1 && w.sizes[0] % groups == 0 && w.sizes[0] >= groups, Runtime, public_name(op, dims),
           ": groups must divide the output channels: got groups=", groups, " and weight ", w.sizes, " with ",
           w.sizes[0], " output channels.");
  MG_CHECK(xs[1] == w.sizes[1] * groups, Runtime, public_name(op, dims), ": channels differ: given groups=", groups,
           " and weight ", w.sizes, ", expected input ", x.sizes, " to have ", w.sizes[1] * groups,
           " channels, but got ", xs[1], " channels.");
  check_bias(op, dims, args[2], w.sizes[0]);
  Dims out{xs[0], w.sizes[0]};
  for (int d = 0; d < dims; ++d) {
    const int64_t k = w.sizes[2 + d], room = xs[2 + d] + 2 * padding[d] - dilation[d] * (k - 1) - 1;
    MG_CHECK(k >= 1 && room >= 0, Runtime, public_name(op, dims), ": kernel larger than the padded input: got weight ",
             w.sizes, " with dilation ", dilation, " on input ", x.sizes, " with padding ", padding,
             ", expected dilation * (kernel - 1) < size + 2 * padding.");
    out.push_back(room / stride[d] + 1);
  }
  set_out(op, args, r, out, x.dim() == dims + 1);
}

// args: input, weight, bias, stride, padding, output_padding, groups, dilation
void meta_conv_transpose(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &x = *args[0].t, &w = *args[1].t;
  const int dims = check_tensors(op, x, w, args[2]);
  const Dims xs = batched(x, dims);
  const Dims stride = each(op, dims, args[3], "stride", 1), padding = each(op, dims, args[4], "padding", 0);
  const Dims extra = each(op, dims, args[5], "output_padding", 0), dilation = each(op, dims, args[7], "dilation", 1);
  const int64_t groups = args[6].as_int();
  MG_CHECK(groups >= 1 && w.sizes[0] % groups == 0, Runtime, public_name(op, dims),
           ": groups must divide the input channels: got groups=", groups, " and weight ", w.sizes,
           " (in_channels, out_channels / groups, kernel).");
  MG_CHECK(xs[1] == w.sizes[0], Runtime, public_name(op, dims), ": channels differ: given transposed weight ", w.sizes,
           ", expected input ", x.sizes, " to have ", w.sizes[0], " channels, but got ", xs[1], " channels.");
  check_bias(op, dims, args[2], w.sizes[1] * groups);
  Dims out{xs[0], w.sizes[1] * groups};
  for (int d = 0; d < dims; ++d) {
    const int64_t k = w.sizes[2 + d];
    out.push_back((xs[2 + d] - 1) * stride[d] - 2 * padding[d] + dilation[d] * (k - 1) + extra[d] + 1);
    MG_CHECK(k >= 1 && xs[2 + d] >= 1 && out[2 + d] >= 1, Runtime, public_name(op, dims),
             ": output would be empty: got input ", x.sizes, ", weight ", w.sizes, ", stride ", stride, ", padding ",
             padding, ", output_padding ", extra, ", dilation ", dilation, ".");
  }
  set_out(op, args, r, out, x.dim() == dims + 1);
}

// args: input, grad, kernel_size (one per spatial dim), stride, padding, dilation, groups
void meta_conv_weight_grad(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &x = *args[0].t, &g = *args[1].t;
  const Dims kernel = args[2].as_dims();
  const int dims = kernel.size();
  MG_CHECK(dims >= 1 && dims <= 3 && (x.dim() == dims + 2 || x.dim() == dims + 1) && g.dim() == x.dim(), Runtime,
           op.name, ": expected input and grad with the kernel's ", dims, " spatial dims: got ", x.sizes, " and ",
           g.sizes, ".");
  check_dtypes(op, dims, x, g, Value());
  const Dims xs = batched(x, dims), gs = batched(g, dims);
  const int64_t groups = args[6].as_int();
  each(op, dims, args[2], "kernel_size", 1);
  each(op, dims, args[3], "stride", 1);
  each(op, dims, args[4], "padding", 0);
  each(op, dims, args[5], "dilation", 1);
  MG_CHECK(groups >= 1 && xs[1] % groups == 0 && gs[1] % groups == 0 && xs[0] == gs[0], Runtime, op.name, ": input ",
           x.sizes, " and grad ", g.sizes, " do not belong to one convolution with groups=", groups, ".");
  Dims out{gs[1], xs[1] / groups};
  for (int64_t k : kernel) out.push_back(k);
  r.out[0].dtype = r.compute = x.dtype;
  r.out[0].device = common_device(op, args);
  r.out[0].sizes = out;
}

}  // namespace

MG_META("conv", meta_conv);
MG_META("conv_transpose", meta_conv_transpose);
MG_META("conv_weight_grad", meta_conv_weight_grad);

}  // namespace mg
