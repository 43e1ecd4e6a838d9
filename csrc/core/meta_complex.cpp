// Meta of the ops between complex tensors and their real parts: views of the same storage, and complex(real, imag).
#include "layout.h"
#include "meta.h"

namespace mg {

// A view with another dtype of half the size: strides and offset double.
static OutSpec& parts_of(const TensorImpl& t, MetaResult& r) {
  OutSpec& out = r.out[0];
  out.dtype = r.compute = to_real(t.dtype);
  out.device = t.device;
  out.sizes = t.sizes;
  out.has_strides = true;
  out.strides = t.strides;
  for (int64_t& s : out.strides) s = scaled(s, 2);
  out.offset = scaled(t.offset, 2);
  return out;
}

static void meta_view_as_real(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  MG_CHECK(is_complex(t.dtype), Runtime, op.name, ": is only supported for complex tensors, got ", t.dtype);
  OutSpec& out = parts_of(t, r);
  out.sizes.push_back(2);
  out.strides.push_back(1);
}

static void meta_real(const Op& op, const Value* args, MetaResult& r) {
  MG_CHECK(is_complex(args[0].t->dtype), Runtime, op.name.c_str() + 1, ": is not implemented for tensors with non-complex dtypes: got ",
           args[0].t->dtype);
  parts_of(*args[0].t, r);
}

static void meta_imag(const Op& op, const Value* args, MetaResult& r) {
  meta_real(op, args, r);
  ++r.out[0].offset;
}

static void meta_view_as_complex(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  MG_CHECK(t.dtype == DType::Float32 || t.dtype == DType::Float64, Runtime, op.name,
           ": is only supported for float32 and float64 tensors (there is no complex32), got ", t.dtype);
  MG_CHECK(t.dim() != 0, Runtime, op.name, ": input tensor must have one or more dimensions");
  const int last = t.dim() - 1;
  MG_CHECK(t.sizes[last] == 2, Runtime, op.name, ": tensor must have a last dimension of size 2, got shape ", t.sizes);
  MG_CHECK(t.strides[last] == 1, Runtime, op.name, ": tensor must have a last dimension with stride 1, got strides ", t.strides);
  MG_CHECK(t.offset % 2 == 0, Runtime, op.name, ": tensor must have a storage_offset divisible by 2, got ", t.offset);
  OutSpec& out = r.out[0];
  out.dtype = r.compute = to_complex(t.dtype);
  out.device = t.device;
  out.sizes = t.sizes;
  out.strides = t.strides;
  out.sizes.erase(last);
  out.strides.erase(last);
  out.has_strides = true;
  for (int64_t& s : out.strides) {
    MG_CHECK(s % 2 == 0, Runtime, op.name, ": tensor must have a stride divisible by 2 for all but the last dimension, got ", t.strides);
    s /= 2;
  }
  out.offset = t.offset / 2;
}

// (real, imag)
static void meta_complex(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &a = *args[0].t, &b = *args[1].t;
  MG_CHECK((a.dtype == DType::Float32 || a.dtype == DType::Float64) && (b.dtype == DType::Float32 || b.dtype == DType::Float64), Runtime,
           "complex: expected both inputs to be float32 or float64 tensors (there is no complex32), got ", a.dtype, " and ", b.dtype);
  MG_CHECK(a.dtype == b.dtype, Runtime, "complex: expected inputs of one dtype, got ", a.dtype, " and ", b.dtype);
  OutSpec& out = r.out[0];
  out.dtype = r.compute = to_complex(a.dtype);
  out.device = common_device(op, args);
  out.sizes = a.sizes;
  MG_CHECK(broadcast_into(out.sizes, b.sizes), Runtime, "complex: shapes cannot be broadcast together: got ", a.sizes, " and ", b.sizes);
}

MG_META("view_as_real", meta_view_as_real);
MG_META("real_part", meta_real);
MG_META("imag_part", meta_imag);
MG_META("view_as_complex", meta_view_as_complex);
MG_META("complex", meta_complex);

}  // namespace mg
