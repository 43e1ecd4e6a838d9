// Shapes of the 2-d convolutions: conv2d, its adjoint conv_transpose2d, and _conv2d_weight_grad. All their user errors
// are raised here.
//
// Input is (N, C, H, W) or one unbatched image (C, H, W). padding='same' is the business of nn.functional.conv2d.
// Kernels: ../cpu/conv.cpp. Declarations: minigrad/ops/conv.py.
#include "layout.h"
#include "meta.h"

namespace mg {

namespace {

const char* public_name(const Op& op) { return op.name.c_str() + (op.name[0] == '_'); }

// One value for both dims, or one each.
Dims pair(const Op& op, const Value& v, const char* what, int64_t least) {
  Dims d = v.as_dims();
  if (d.size() == 1) d.push_back(d[0]);
  MG_CHECK(d.size() == 2, Runtime, public_name(op), ": ", what, " must be one number or two: got ", d, ".");
  for (int64_t x : d)
    MG_CHECK(x >= least && x < (int64_t(1) << 31), Runtime, public_name(op), ": ", what, " out of range: got ", d,
             ", expected values >= ", least, least == 0 ? " (negative padding is not supported)." : ".");
  return d;
}

void check_dtypes(const Op& op, const TensorImpl& x, const TensorImpl& w, const Value& bias) {
  MG_CHECK(x.dtype == w.dtype && (bias.none() || bias.t->dtype == x.dtype), Runtime, public_name(op),
           ": expected input, weight and bias to have the same dtype: got ", x.dtype, ", ", w.dtype,
           bias.none() ? "" : ", ", bias.none() ? "" : dtype_name(bias.t->dtype), ". Try input.to(weight.dtype).");
  MG_CHECK(is_floating(x.dtype), Runtime, public_name(op), ": not implemented for ", x.dtype, ". Try input.float().");
}

void check_tensors(const Op& op, const TensorImpl& x, const TensorImpl& w, const Value& bias) {
  MG_CHECK((x.dim() == 4 || x.dim() == 3) && w.dim() == 4, Runtime, public_name(op),
           ": expected input (N, C, H, W) or (C, H, W) and a 4-d weight: got input ", x.sizes, " and weight ", w.sizes,
           ".");
  check_dtypes(op, x, w, bias);
}

// One unbatched image is a batch of one: sizes with N in front.
Dims batched(const TensorImpl& x) {
  Dims d = x.sizes;
  if (d.size() == 3) d.insert(0, 1);
  return d;
}

void check_bias(const Op& op, const Value& bias, int64_t channels) {
  if (bias.none()) return;
  MG_CHECK(bias.t->dim() == 1 && bias.t->sizes[0] == channels, Runtime, public_name(op),
           ": bias has the wrong shape: got ", bias.t->sizes, ", expected (", channels,
           ",), one number per output channel.");
}

// `sizes` has the batch dim; an unbatched input gets an unbatched result.
void set_out(const Op& op, const Value* args, MetaResult& r, const Dims& sizes, bool image) {
  r.out[0].dtype = r.compute = args[0].t->dtype;
  r.out[0].device = common_device(op, args);
  r.out[0].sizes = sizes;
  if (image && args[0].t->dim() == 3) r.out[0].sizes.erase(0);
}

// args: input, weight, bias, stride, padding, dilation, groups
void meta_conv2d(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &x = *args[0].t, &w = *args[1].t;
  check_tensors(op, x, w, args[2]);
  const Dims xs = batched(x);
  const Dims stride = pair(op, args[3], "stride", 1), padding = pair(op, args[4], "padding", 0),
             dilation = pair(op, args[5], "dilation", 1);
  const int64_t groups = args[6].as_int();
  MG_CHECK(groups >= 1 && w.sizes[0] % groups == 0, Runtime, public_name(op),
           ": groups must divide the output channels: got groups=", groups, " and weight ", w.sizes, " with ",
           w.sizes[0], " output channels.");
  MG_CHECK(xs[1] == w.sizes[1] * groups, Runtime, public_name(op), ": channels differ: given groups=", groups,
           " and weight ", w.sizes, ", expected input ", x.sizes, " to have ", w.sizes[1] * groups,
           " channels, but got ", xs[1], " channels.");
  check_bias(op, args[2], w.sizes[0]);
  Dims out{xs[0], w.sizes[0], 0, 0};
  for (int d = 0; d < 2; ++d) {
    const int64_t k = w.sizes[2 + d], room = xs[2 + d] + 2 * padding[d] - dilation[d] * (k - 1) - 1;
    MG_CHECK(k >= 1 && room >= 0, Runtime, public_name(op), ": kernel larger than the padded input: got kernel (",
             w.sizes[2], ", ", w.sizes[3], ") with dilation ", dilation, " on input ", x.sizes, " with padding ",
             padding, ", expected dilation * (kernel - 1) < size + 2 * padding.");
    out[2 + d] = room / stride[d] + 1;
  }
  set_out(op, args, r, out, true);
}

// args: input, weight, bias, stride, padding, output_padding, groups, dilation
void meta_conv_transpose2d(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &x = *args[0].t, &w = *args[1].t;
  check_tensors(op, x, w, args[2]);
  const Dims xs = batched(x);
  const Dims stride = pair(op, args[3], "stride", 1), padding = pair(op, args[4], "padding", 0);
  const Dims extra = pair(op, args[5], "output_padding", 0), dilation = pair(op, args[7], "dilation", 1);
  const int64_t groups = args[6].as_int();
  MG_CHECK(groups >= 1 && w.sizes[0] % groups == 0, Runtime, public_name(op),
           ": groups must divide the input channels: got groups=", groups, " and weight ", w.sizes,
           " (in_channels, out_channels / groups, kH, kW).");
  MG_CHECK(xs[1] == w.sizes[0], Runtime, public_name(op), ": channels differ: given transposed weight ", w.sizes,
           ", expected input ", x.sizes, " to have ", w.sizes[0], " channels, but got ", xs[1], " channels.");
  check_bias(op, args[2], w.sizes[1] * groups);
  Dims out{xs[0], w.sizes[1] * groups, 0, 0};
  for (int d = 0; d < 2; ++d) {
    const int64_t k = w.sizes[2 + d];
    out[2 + d] = (xs[2 + d] - 1) * stride[d] - 2 * padding[d] + dilation[d] * (k - 1) + extra[d] + 1;
    MG_CHECK(k >= 1 && xs[2 + d] >= 1 && out[2 + d] >= 1, Runtime, public_name(op),
             ": output would be empty: got input ", x.sizes, ", weight ", w.sizes, ", stride ", stride, ", padding ",
             padding, ", output_padding ", extra, ", dilation ", dilation, ".");
  }
  set_out(op, args, r, out, true);
}

// args: input, grad, kernel_size, stride, padding, dilation, groups
void meta_conv2d_weight_grad(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &x = *args[0].t, &g = *args[1].t;
  MG_CHECK((x.dim() == 4 || x.dim() == 3) && g.dim() == x.dim(), Runtime, public_name(op),
           ": expected input and grad of one rank, 3 or 4: got ", x.sizes, " and ", g.sizes, ".");
  check_dtypes(op, x, g, Value());
  const Dims xs = batched(x), gs = batched(g);
  const Dims kernel = pair(op, args[2], "kernel_size", 1);
  const int64_t groups = args[6].as_int();
  pair(op, args[3], "stride", 1);
  pair(op, args[4], "padding", 0);
  pair(op, args[5], "dilation", 1);
  MG_CHECK(groups >= 1 && xs[1] % groups == 0 && gs[1] % groups == 0 && xs[0] == gs[0], Runtime, op.name, ": input ",
           x.sizes, " and grad ", g.sizes, " do not belong to one convolution with groups=", groups, ".");
  set_out(op, args, r, {gs[1], xs[1] / groups, kernel[0], kernel[1]}, false);
}

}  // namespace

MG_META("conv2d", meta_conv2d);
MG_META("conv_transpose2d", meta_conv_transpose2d);
MG_META("conv2d_weight_grad", meta_conv2d_weight_grad);

}  // namespace mg
