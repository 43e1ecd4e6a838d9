// The table of many_tensors.h.
#include "many_tensors.h"

namespace mg {

const ManyTensorKernels*& many_tensor_kernels(DeviceType type) {
  static const ManyTensorKernels* table[kDeviceTypes] = {};
  return table[int(type)];
}

}  // namespace mg
