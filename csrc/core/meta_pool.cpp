// Shapes of the pooling ops over 1 to 3 spatial dims (…, [D, [H,]] W), and of the scatter/gather pair behind the
// gradients of max pooling. The number of spatial dims is the length of kernel_size (output_size, input_size): the
// public functions in minigrad/ops/layers/pool.py always pass one number per dim. Kernels: ../cpu/pool.cpp.
#include "layout.h"
#include "meta.h"
#include "pool_axis.h"
#include "spatial.h"

namespace mg {

namespace {

// The op's arguments with its public name and number of spatial dims.
struct Pool {
  const Op& op;
  const Value* args;
  int dims;
  std::string name;
  Pool(const Op& o, const Value* a, const Value& list)
      : op(o), args(a), dims(list.len), name(spatial_name(o.name, "_backward", list.len)) {
    MG_CHECK(dims >= 1 && dims <= 3, Runtime, op.name, ": expected 1 to 3 spatial dims: got ", dims, ".");
  }

  const TensorImpl& input() const { return *args[0].t; }
  Dims list(const Value& v, const char* what, int64_t least) const { return per_dim(name, dims, v, what, least); }

  void check_input(bool floating) const {
    const TensorImpl& x = input();
    MG_CHECK(x.dim() == dims + 1 || x.dim() == dims + 2, Runtime, name, ": expected ", dims + 1, "D (unbatched) or ",
             dims + 2, "D (batched) input: got ", x.sizes, ".");
    for (int d = x.dim() - dims - 1; d < x.dim(); ++d)
      MG_CHECK(x.sizes[d] > 0, Runtime, name, ": expected a non-empty input (only the batch may be 0): got ", x.sizes,
               ".");
    MG_CHECK(is_floating(x.dtype) || (!floating && is_integral(x.dtype)), Runtime, name, ": not implemented for ",
             x.dtype, ". Try input.float().");
  }

  Dims with_spatial(const TensorImpl& x, const Dims& spatial) const {
    Dims sizes = x.sizes;
    for (int d = 0; d < dims; ++d) sizes[x.dim() - dims + d] = spatial[d];
    return sizes;
  }

  // Output shape of windows given by kernel_size, stride, padding (args first..first + 2) and dilation.
  Dims windows(const TensorImpl& x, int first, const Dims& dilation, bool ceil_mode) const {
    const Dims kernel = list(args[first], "kernel_size", 1), padding = list(args[first + 2], "padding", 0);
    const Value& step = args[first + 1];
    const Dims stride = step.none() || step.len == 0 ? kernel : list(step, "stride", 1);
    Dims out = x.sizes;
    for (int d = 0; d < dims; ++d) {
      MG_CHECK(padding[d] * 2 <= dilation[d] * (kernel[d] - 1) + 1, Runtime, name,
               ": padding must be at most half of the kernel size: got padding ", padding, " and kernel_size ", kernel,
               ".");
      const int at = x.dim() - dims + d;
      out[at] = PoolAxis{x.sizes[at], kernel[d], stride[d], padding[d], dilation[d], ceil_mode}.output_size();
      MG_CHECK(out[at] >= 1, Runtime, name, ": output would be empty: got input ", x.sizes, " with kernel_size ",
               kernel, ", padding ", padding, ", dilation ", dilation,
               ", expected a window no larger than the padded input.");
    }
    return out;
  }

  void set_out(MetaResult& r, const Dims& sizes, bool keep_layout = true) const {
    r.out[0].dtype = r.compute = input().dtype;
    r.out[0].device = common_device(op, args);
    r.out[0].sizes = sizes;
    // PyTorch averages volumes into row-major results.
    const bool keeps = keep_layout && input().dim() == dims + 2 && (dims == 2 || op.name.find("avg") == std::string::npos);
    if (keeps) keep_channels_last(input(), r.out[0]);
    if (op.n_outputs() == 1) return;
    r.out[1] = r.out[0];
    r.out[1].dtype = DType::Int64;
  }
};

// args: input, kernel_size, stride, padding, dilation, ceil_mode -> out, indices
void meta_max_pool(const Op& op, const Value* args, MetaResult& r) {
  const Pool p(op, args, args[1]);
  p.check_input(false);
  p.set_out(r, p.windows(p.input(), 1, p.list(args[4], "dilation", 1), args[5].as_int() != 0));
}

// args: input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
void meta_avg_pool(const Op& op, const Value* args, MetaResult& r) {
  const Pool p(op, args, args[1]);
  p.check_input(p.input().dtype != DType::Int64);
  MG_CHECK(args[6].none() || args[6].as_int() != 0, Runtime, p.name, ": divisor_override must not be 0.");
  const Dims kernel = p.list(args[1], "kernel_size", 1);
  for (int d = 0; p.dims == 3 && d < 3; ++d)  // PyTorch's rule, for three dims only
    MG_CHECK(kernel[d] <= p.input().sizes[p.input().dim() - 3 + d], Runtime, p.name, ": input of shape ", p.input().sizes,
             " smaller than kernel_size ", kernel, ".");
  p.set_out(r, p.windows(p.input(), 1, Dims(p.dims, 1), args[4].as_int() != 0));
}

// args: grad, input_size, then as the forward op; the adjoint of average pooling.
void meta_avg_pool_backward(const Op& op, const Value* args, MetaResult& r) {
  const Pool p(op, args, args[1]);
  p.check_input(true);
  TensorImpl input;
  input.sizes = p.with_spatial(p.input(), p.list(args[1], "input_size", 1));
  const Dims expected = p.windows(input, 2, Dims(p.dims, 1), args[5].as_int() != 0);
  MG_CHECK(expected == p.input().sizes, Runtime, op.name, ": grad has shape ", p.input().sizes, ", expected ", expected,
           ".");
  p.set_out(r, input.sizes);
}

// args: input, output_size
void meta_adaptive_avg_pool(const Op& op, const Value* args, MetaResult& r) {
  const Pool p(op, args, args[1]);
  p.check_input(true);
  p.set_out(r, p.with_spatial(p.input(), p.list(args[1], "output_size", 0)));
}
void meta_adaptive_max_pool(const Op& op, const Value* args, MetaResult& r) {
  const Pool p(op, args, args[1]);
  p.check_input(false);
  p.set_out(r, p.with_spatial(p.input(), p.list(args[1], "output_size", 0)));
}
// args: grad, input_size
void meta_adaptive_avg_pool_backward(const Op& op, const Value* args, MetaResult& r) {
  const Pool p(op, args, args[1]);
  const TensorImpl& g = p.input();  // may be empty: output_size may be 0
  MG_CHECK(is_floating(g.dtype) && (g.dim() == p.dims + 1 || g.dim() == p.dims + 2), Runtime, p.name,
           ": expected a floating gradient of ", p.dims + 1, " or ", p.dims + 2, " dims: got ", g.dtype, " of shape ", g.sizes);
  p.set_out(r, p.with_spatial(g, p.list(args[1], "input_size", 1)));
}

// args: input, kernel_size, output_size, random_samples (N, C, dims) -> out, indices
void meta_fractional_max_pool(const Op& op, const Value* args, MetaResult& r) {
  const Pool p(op, args, args[1]);
  p.check_input(true);
  const TensorImpl &x = p.input(), &samples = *args[3].t;
  const Dims kernel = p.list(args[1], "kernel_size", 1), out = p.list(args[2], "output_size", 1);
  for (int d = 0; d < p.dims; ++d)
    MG_CHECK(out[d] + kernel[d] - 1 <= x.sizes[x.dim() - p.dims + d], Runtime, p.name, ": kernel_size ", kernel,
             " too large for input ", x.sizes, " and output_size ", out, ".");
  const int64_t n = x.dim() == p.dims + 1 ? 1 : x.sizes[0], c = x.sizes[x.dim() - p.dims - 1];
  MG_CHECK(samples.dtype == x.dtype, Runtime, p.name, ": random_samples must have the input's dtype: got ",
           samples.dtype, " and ", x.dtype, ".");
  MG_CHECK(samples.sizes == (Dims{n, c, p.dims}), Runtime, p.name, ": random_samples has shape ", samples.sizes,
           ", expected ", Dims{n, c, p.dims}, ".");
  p.set_out(r, p.with_spatial(x, out), false);
}

void check_indices(const Op& op, const TensorImpl& x, const TensorImpl& indices, int dims) {
  MG_CHECK(indices.dtype == DType::Int64 && indices.dim() == x.dim() && x.dim() >= dims, Runtime, op.name,
           ": expected int64 indices of ", x.dim(), " dims: got ", indices.dtype, " ", indices.sizes, " for ", x.sizes,
           ".");
  for (int d = 0; d + dims < x.dim(); ++d)
    MG_CHECK(indices.sizes[d] == x.sizes[d], Runtime, op.name, ": batch sizes differ: got ", x.sizes, " and indices ",
             indices.sizes, ".");
}

// args: grad, indices, input_size: adds grad to zeros at flat positions of the spatial dims.
void meta_pool_scatter(const Op& op, const Value* args, MetaResult& r) {
  const Pool p(op, args, args[2]);
  check_indices(op, p.input(), *args[1].t, p.dims);
  MG_CHECK(is_floating(p.input().dtype), Runtime, op.name, ": not implemented for ", p.input().dtype, ".");
  MG_CHECK(p.input().sizes == args[1].t->sizes, Runtime, op.name, ": grad ", p.input().sizes, " and indices ",
           args[1].t->sizes, " differ in shape.");
  p.set_out(r, p.with_spatial(p.input(), p.list(args[2], "input_size", 0)));
}
// args: input, indices, number of spatial dims
void meta_pool_gather(const Op& op, const Value* args, MetaResult& r) {
  check_indices(op, *args[0].t, *args[1].t, int(args[2].as_int()));
  r.out[0].dtype = r.compute = args[0].t->dtype;
  r.out[0].device = common_device(op, args);
  r.out[0].sizes = args[1].t->sizes;
}

}  // namespace

MG_META("max_pool", meta_max_pool);
MG_META("avg_pool", meta_avg_pool);
MG_META("avg_pool_backward", meta_avg_pool_backward);
MG_META("adaptive_avg_pool", meta_adaptive_avg_pool);
MG_META("adaptive_avg_pool_backward", meta_adaptive_avg_pool_backward);
MG_META("adaptive_max_pool", meta_adaptive_max_pool);
MG_META("fractional_max_pool", meta_fractional_max_pool);
MG_META("pool_scatter", meta_pool_scatter);
MG_META("pool_gather", meta_pool_gather);

}  // namespace mg
