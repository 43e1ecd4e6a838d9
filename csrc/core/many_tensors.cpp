// The table of many_tensors.h, and the op over a list of tensors that it serves.
#include "many_tensors.h"

#include <vector>

#include "meta.h"

namespace mg {

const ManyTensorKernels*& many_tensor_kernels(DeviceType type) {
  static const ManyTensorKernels* table[kDeviceTypes] = {};
  return table[int(type)];
}

bool has_many_tensor_kernels(const TensorImpl& t) {
  const ManyTensorKernels* kernels = many_tensor_kernels(t.device.type);
  if (kernels == nullptr) return false;
  return t.dtype == DType::Float32 || t.dtype == DType::Float64 || (kernels->half_types && is_floating(t.dtype));
}

// (tensors, largest)
static void meta_total_norm(const Op& op, const Value* args, MetaResult& r) {
  MG_CHECK(args[0].len > 0, Runtime, op.name, ": expected a non-empty list of tensors");
  const TensorImpl& first = *args[0].tensors[0];
  for (int k = 0; k < args[0].len; ++k)
    MG_CHECK(is_floating(first.dtype) && args[0].tensors[k]->dtype == first.dtype, Runtime, op.name, ": got ", args[0].tensors[k]->dtype, " at position ", k,
             ", expected tensors of one floating dtype, as the first: ", first.dtype);
  r.out[0].dtype = r.compute = first.dtype;
  r.out[0].device = first.device;
  r.out[0].sizes = {};
}
MG_META("total_norm", meta_total_norm);

void total_norm(Invocation& inv) {
  std::vector<Tensor> dense;
  std::vector<TensorImpl*> tensors;
  for (int k = 0; k < inv.args[0].len; ++k) {
    dense.push_back(contiguous(Tensor(inv.args[0].tensors[k])));
    tensors.push_back(dense.back().get());
  }
  MG_CHECK(has_many_tensor_kernels(*tensors[0]), Runtime, inv.op.name, ": no kernel for ", tensors[0]->dtype, " on this device. Try float32.");
  many_tensor_kernels(tensors[0]->device.type)->norm(tensors, inv.b(1), inv.out());
}
MG_KERNEL("_total_norm", CPU, total_norm);

}  // namespace mg
