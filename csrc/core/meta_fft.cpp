// Shapes and dtypes of the three Fourier kernels. Lengths, norms and dims are checked and completed by
// minigrad/ops/spectral/fft.py; these hold what the kernels rely on.
#include "layout.h"
#include "meta.h"

namespace mg {

static void common(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[0].t;
  const Dims dims = args[1].as_dims();
  MG_CHECK(!dims.empty(), Runtime, op.name, ": must transform at least one axis");
  uint64_t seen = 0;
  for (const int64_t d : dims) {
    MG_CHECK(d >= 0 && d < x.dim(), Index, op.name, ": dim out of range: got ", d, " for shape ", x.sizes);
    MG_CHECK((seen >> d & 1) == 0, Runtime, op.name, ": FFT dims must be unique: got ", dims);
    seen |= uint64_t(1) << d;
    MG_CHECK(x.sizes[int(d)] > 0, Runtime, op.name, ": Invalid number of data points (0) specified: got shape ",
             x.sizes);
  }
  MG_CHECK(to_real(x.dtype) == DType::Float32 || to_real(x.dtype) == DType::Float64, Runtime, op.name,
           ": Unsupported dtype ", x.dtype, ": expected float32, float64 or complex. Try x.float().");
  r.out[0].sizes = x.sizes;
  r.out[0].device = x.device;
}

// _fft_c2c(input, dims, scale, forward): complex to complex.
static void meta_fft_c2c(const Op& op, const Value* args, MetaResult& r) {
  common(op, args, r);
  r.out[0].dtype = r.compute = args[0].t->dtype;
  MG_CHECK(is_complex(r.compute), Runtime, op.name, ": expects a complex input tensor, but got ", r.compute);
}

// _fft_r2c(input, dims, scale, onesided): real to complex; the last of dims is halved when onesided.
static void meta_fft_r2c(const Op& op, const Value* args, MetaResult& r) {
  common(op, args, r);
  const DType d = args[0].t->dtype;
  MG_CHECK(!is_complex(d), Runtime, op.name, ": expects a real input tensor, but got ", d);
  const int last = int(args[1].as_dims().back());
  if (args[3].as_int() != 0) r.out[0].sizes[last] = r.out[0].sizes[last] / 2 + 1;
  r.out[0].dtype = r.compute = to_complex(d);
}

// _fft_c2r(input, dims, scale, last_dim_size): the inverse for Hermitian input, of which the last of dims holds one
// half.
static void meta_fft_c2r(const Op& op, const Value* args, MetaResult& r) {
  common(op, args, r);
  const DType d = args[0].t->dtype;
  MG_CHECK(is_complex(d), Runtime, op.name, ": expects a complex input tensor, but got ", d);
  const int last = int(args[1].as_dims().back());
  const int64_t n = args[3].as_int();
  MG_CHECK(n >= 1, Runtime, op.name, ": Invalid number of data points (", n, ") specified");
  MG_CHECK(r.out[0].sizes[last] == n / 2 + 1, Runtime, op.name, ": got ", r.out[0].sizes[last],
           " coefficients, expected ", n / 2 + 1, " for ", n, " points");
  r.out[0].sizes[last] = n;
  r.out[0].dtype = to_real(d);
  r.compute = d;
}

MG_META("fft_c2c", meta_fft_c2c);
MG_META("fft_r2c", meta_fft_r2c);
MG_META("fft_c2r", meta_fft_c2r);

}  // namespace mg
