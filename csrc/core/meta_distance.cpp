// Shapes of cdist and its gradient. Kernels: ../cpu/distance.cpp.
#include "meta.h"

namespace mg {

namespace {

DType wide(DType d) { return d == DType::Float64 ? DType::Float64 : DType::Float32; }

// Checks (…, P, M) against (…, R, M).
void check_rows(const TensorImpl& a, const TensorImpl& b, double p) {
  MG_CHECK(a.dtype == b.dtype && is_floating(a.dtype), Runtime,
           "cdist: expected two floating tensors of one dtype: got ", a.dtype, " and ", b.dtype, ".");
  bool fits = a.dim() == b.dim() && a.dim() >= 2 && a.sizes.back() == b.sizes.back();
  for (int d = 0; fits && d + 2 < a.dim(); ++d) fits = a.sizes[d] == b.sizes[d];
  MG_CHECK(fits, Runtime, "cdist: expected (…, P, M) and (…, R, M): got ", a.sizes, " and ", b.sizes, ".");
  MG_CHECK(p >= 0, Runtime, "cdist: only supports non-negative p values: got ", p, ".");
}

// _cdist(x1, x2, p)
void meta_cdist(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &a = *args[0].t, &b = *args[1].t;
  check_rows(a, b, args[2].as_double());
  r.compute = wide(a.dtype);
  r.out[0].sizes = a.sizes;
  r.out[0].sizes.back() = b.sizes[b.dim() - 2];
  r.out[0].dtype = a.dtype;
  r.out[0].device = common_device(op, args);
}

// _cdist_backward(g, x1, x2, distance, p) -> gradient of x1
void meta_cdist_backward(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &a = *args[1].t, &b = *args[2].t;
  check_rows(a, b, args[4].as_double());
  Dims out = a.sizes;
  out.back() = b.sizes[b.dim() - 2];
  MG_CHECK(args[0].t->sizes == out && args[3].t->sizes == out, Runtime, op.name, ": g and distance must be ", out,
           ": got ", args[0].t->sizes, " and ", args[3].t->sizes, ".");
  r.compute = wide(a.dtype);
  r.out[0].sizes = a.sizes;
  r.out[0].dtype = a.dtype;
  r.out[0].device = common_device(op, args);
}

}  // namespace

MG_META("cdist", meta_cdist);
MG_META("cdist_backward", meta_cdist_backward);

}  // namespace mg
