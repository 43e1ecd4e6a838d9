// Copies on one device, and numbers written everywhere: what the runtime and other kernels need of copy.cu.
#pragma once
#include "../../core/op.h"

namespace mg::cuda {

void copy_on_device(const TensorImpl& dst, const TensorImpl& src);  // equal shapes; any dtypes and layouts
void fill(const TensorImpl& dst, const Value& number);              // any layout

}  // namespace mg::cuda
