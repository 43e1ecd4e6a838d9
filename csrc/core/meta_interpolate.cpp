// Shapes of resampling along one dim (behind nn.functional.interpolate) and of grid sampling. Kernels:
// ../cpu/interpolate.cpp, ../cpu/grid_sample.cpp.
#include <string_view>

#include "layout.h"
#include "meta.h"

namespace mg {

namespace {

// _resample(input, dim, size, mode, align_corners, scale, antialias); _resample_backward(grad, …) has the input's size.
void meta_resample(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[0].t;
  const int64_t dim = wrap_dim(args[1].as_int(), x.dim(), "interpolate"), size = args[2].as_int();
  const std::string_view mode = args[3].str;
  const bool nearest = mode == "nearest" || mode == "nearest-exact";
  MG_CHECK(size >= 1 && x.sizes[int(dim)] >= 1, Runtime,
           "interpolate: input and output sizes should be greater than 0: got ", x.sizes, " and output size ", size,
           ".");
  const bool backward = op.name.ends_with("_backward");
  const bool plain = x.dtype == DType::Float32 || x.dtype == DType::Float64;
  MG_CHECK(plain || (nearest && !backward && itemsize(x.dtype) <= 8), Runtime, "interpolate: mode '", mode,
           "' is not implemented for ", x.dtype, ". Try input.float().");
  r.out[0].dtype = r.compute = x.dtype;
  r.out[0].device = common_device(op, args);
  r.out[0].sizes = x.sizes;
  r.out[0].sizes[int(dim)] = size;
}

// input (N, C, [D,] H, W) and grid (N, [Do,] Ho, Wo, 2 or 3), arguments first and first + 1; returns the output's
// sizes.
Dims check_grid(const TensorImpl& x, const TensorImpl& grid, int64_t mode) {
  constexpr const char* name = "grid_sample";
  MG_CHECK((x.dim() == 4 || x.dim() == 5) && grid.dim() == x.dim(), Runtime, name,
           ": expected 4D or 5D input and grid with the same number of dims: got input ", x.sizes, " and grid ",
           grid.sizes, ".");
  MG_CHECK(x.dtype == grid.dtype && is_floating(x.dtype), Runtime, name,
           ": expected input and grid of one floating dtype: got ", x.dtype, " and ", grid.dtype, ".");
  MG_CHECK(x.sizes[0] == grid.sizes[0], Runtime, name, ": expected input and grid of one batch size: got input ",
           x.sizes, " and grid ", grid.sizes, ".");
  const int dims = x.dim() - 2;
  MG_CHECK(grid.sizes.back() == dims, Runtime, name, ": expected grid to have size ", dims, " in the last dim: got ",
           grid.sizes, ".");
  for (int d = 2; d < x.dim(); ++d)
    MG_CHECK(x.sizes[d] > 0, Runtime, name, ": expected input with non-empty spatial dims: got ", x.sizes, ".");
  MG_CHECK(mode != 2 || dims == 2, Runtime, name, ": bicubic interpolation needs a 4D input: got ", x.sizes, ".");
  Dims out{x.sizes[0], x.sizes[1]};
  for (int d = 1; d <= dims; ++d) out.push_back(grid.sizes[d]);
  return out;
}

// _grid_sample(input, grid, mode, padding_mode, align_corners) -> out
void meta_grid_sample(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[0].t;
  r.out[0].sizes = check_grid(x, *args[1].t, args[2].as_int());
  r.out[0].dtype = r.compute = x.dtype;
  r.out[0].device = common_device(op, args);
}

// _grid_sample_backward(g, input, grid, mode, padding_mode, align_corners) -> dinput, dgrid
void meta_grid_sample_backward(const Op& op, const Value* args, MetaResult& r) {
  const Dims out = check_grid(*args[1].t, *args[2].t, args[3].as_int());
  MG_CHECK(args[0].t->sizes == out, Runtime, op.name, ": g has shape ", args[0].t->sizes, ", expected ", out, ".");
  for (int k = 0; k < 2; ++k) {
    r.out[k].sizes = args[1 + k].t->sizes;
    r.out[k].dtype = r.compute = args[1].t->dtype;
    r.out[k].device = common_device(op, args);
  }
}

}  // namespace

MG_META("resample", meta_resample);
MG_META("grid_sample", meta_grid_sample);
MG_META("grid_sample_backward", meta_grid_sample_backward);

}  // namespace mg
