// Shapes of the pooling ops (…, H, W), and the scatter/gather pair behind the gradients of max pooling. Kernels:
// ../cpu/pool.cpp.
#include "layout.h"
#include "meta.h"
#include "pool_axis.h"

namespace mg {

namespace {

// The name the user called: without a leading underscore or the suffix of the two-output forms.
std::string public_name(const Op& op) {
  const std::string suffix = "_with_indices";
  const std::string name = op.name.substr(op.name[0] == '_');
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : name;
}

Dims pair(const Op& op, const Value& v, const char* what, int64_t least) {
  Dims d = v.as_dims();
  if (d.size() == 1) d.push_back(d[0]);
  MG_CHECK(d.size() == 2, Runtime, public_name(op), ": ", what, " must be one number or two: got ", d, ".");
  for (int64_t x : d)
    MG_CHECK(x >= least && x < (int64_t(1) << 31), Runtime, public_name(op), ": ", what, " out of range: got ", d,
             ", expected values >= ", least, ".");
  return d;
}

void check_input(const Op& op, const TensorImpl& x, bool floating) {
  MG_CHECK(x.dim() == 3 || x.dim() == 4, Runtime, public_name(op), ": expected input (N, C, H, W) or (C, H, W): got ",
           x.sizes, ".");
  for (int d = x.dim() - 3; d < x.dim(); ++d)
    MG_CHECK(x.sizes[d] > 0, Runtime, public_name(op), ": expected a non-empty input (only the batch may be 0): got ",
             x.sizes, ".");
  MG_CHECK(floating ? is_floating(x.dtype) : x.dtype != DType::Bool, Runtime, public_name(op), ": not implemented for ",
           x.dtype, ". Try input.float().");
}

// Windows given by kernel_size, stride, padding (args 1..3) and dilation; returns the output shape.
Dims windows(const Op& op, const TensorImpl& x, const Value* args, const Dims& dilation, bool ceil_mode) {
  const Dims kernel = pair(op, args[0], "kernel_size", 1), padding = pair(op, args[2], "padding", 0);
  const Dims stride = args[1].none() || args[1].len == 0 ? kernel : pair(op, args[1], "stride", 1);
  Dims out = x.sizes;
  for (int d = 0; d < 2; ++d) {
    MG_CHECK(padding[d] * 2 <= dilation[d] * (kernel[d] - 1) + 1, Runtime, public_name(op),
             ": padding must be at most half of the kernel size: got ", "padding ", padding, " and kernel_size ",
             kernel, ".");
    const int at = x.dim() - 2 + d;
    const PoolAxis axis{x.sizes[at], kernel[d], stride[d], padding[d], dilation[d], ceil_mode};
    out[at] = axis.output_size();
    MG_CHECK(out[at] >= 1, Runtime, public_name(op), ": output would be empty: got input ", x.sizes,
             " with kernel_size ", kernel, ", padding ", padding, ", dilation ", dilation,
             ", expected a window no larger than the padded input.");
  }
  return out;
}

void set_out(const Op& op, const Value* args, MetaResult& r, const Dims& sizes) {
  r.out[0].dtype = r.compute = args[0].t->dtype;
  r.out[0].device = common_device(op, args);
  r.out[0].sizes = sizes;
}
void set_indices(MetaResult& r) {
  r.out[1] = r.out[0];
  r.out[1].dtype = DType::Int64;
}

// args: input, kernel_size, stride, padding, dilation, ceil_mode -> out, indices
void meta_max_pool2d(const Op& op, const Value* args, MetaResult& r) {
  check_input(op, *args[0].t, false);
  set_out(op, args, r, windows(op, *args[0].t, args + 1, pair(op, args[4], "dilation", 1), args[5].as_int() != 0));
  set_indices(r);
}

// args: input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
void meta_avg_pool2d(const Op& op, const Value* args, MetaResult& r) {
  check_input(op, *args[0].t, true);
  MG_CHECK(args[6].none() || args[6].as_int() != 0, Runtime, op.name, ": divisor_override must not be 0.");
  set_out(op, args, r, windows(op, *args[0].t, args + 1, Dims{1, 1}, args[4].as_int() != 0));
}

Dims with_spatial(const TensorImpl& x, const Dims& spatial) {
  Dims d = x.sizes;
  d[d.size() - 2] = spatial[0];
  d[d.size() - 1] = spatial[1];
  return d;
}

void meta_adaptive_avg_pool2d(const Op& op, const Value* args, MetaResult& r) {
  check_input(op, *args[0].t, true);
  set_out(op, args, r, with_spatial(*args[0].t, pair(op, args[1], "output_size", 1)));
}
void meta_adaptive_max_pool2d(const Op& op, const Value* args, MetaResult& r) {
  check_input(op, *args[0].t, false);
  set_out(op, args, r, with_spatial(*args[0].t, pair(op, args[1], "output_size", 1)));
  set_indices(r);
}

// args: grad, input_size, then as the forward op; the adjoint of average pooling.
void meta_avg_pool2d_backward(const Op& op, const Value* args, MetaResult& r) {
  check_input(op, *args[0].t, true);
  TensorImpl input;
  input.sizes = with_spatial(*args[0].t, pair(op, args[1], "input_size", 1));
  const Dims expected = windows(op, input, args + 2, Dims{1, 1}, args[5].as_int() != 0);
  MG_CHECK(expected == args[0].t->sizes, Runtime, op.name, ": grad has shape ", args[0].t->sizes, ", expected ",
           expected, ".");
  set_out(op, args, r, input.sizes);
}
void meta_adaptive_avg_pool2d_backward(const Op& op, const Value* args, MetaResult& r) {
  check_input(op, *args[0].t, true);
  set_out(op, args, r, with_spatial(*args[0].t, pair(op, args[1], "input_size", 1)));
}

void check_indices(const Op& op, const TensorImpl& x, const TensorImpl& indices) {
  MG_CHECK(indices.dtype == DType::Int64 && indices.dim() == x.dim() && x.dim() >= 2, Runtime, op.name,
           ": expected int64 indices (…, H, W): got ", indices.dtype, " ", indices.sizes, " for ", x.sizes, ".");
  for (int d = 0; d + 2 < x.dim(); ++d)
    MG_CHECK(indices.sizes[d] == x.sizes[d], Runtime, op.name, ": batch sizes differ: got ", x.sizes, " and indices ",
             indices.sizes, ".");
}

// args: grad, indices, input_size: adds grad to zeros at flat positions of the plane.
void meta_pool_scatter(const Op& op, const Value* args, MetaResult& r) {
  check_indices(op, *args[0].t, *args[1].t);
  MG_CHECK(is_floating(args[0].t->dtype), Runtime, op.name, ": not implemented for ", args[0].t->dtype, ".");
  MG_CHECK(args[0].t->sizes == args[1].t->sizes, Runtime, op.name, ": grad ", args[0].t->sizes, " and indices ",
           args[1].t->sizes, " differ in shape.");
  set_out(op, args, r, with_spatial(*args[0].t, pair(op, args[2], "input_size", 0)));
}
// args: input, indices
void meta_pool_gather(const Op& op, const Value* args, MetaResult& r) {
  check_indices(op, *args[0].t, *args[1].t);
  set_out(op, args, r, args[1].t->sizes);
}

}  // namespace

MG_META("max_pool2d", meta_max_pool2d);
MG_META("avg_pool2d", meta_avg_pool2d);
MG_META("avg_pool2d_backward", meta_avg_pool2d_backward);
MG_META("adaptive_avg_pool2d", meta_adaptive_avg_pool2d);
MG_META("adaptive_avg_pool2d_backward", meta_adaptive_avg_pool2d_backward);
MG_META("adaptive_max_pool2d", meta_adaptive_max_pool2d);
MG_META("pool_scatter", meta_pool_scatter);
MG_META("pool_gather", meta_pool_gather);

}  // namespace mg
