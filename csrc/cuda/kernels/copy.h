// Copies on one device, and numbers written everywhere: what the runtime and other kernels need of copy.cu.
#pragma once
#include "../../core/op.h"

namespace mg::cuda {

void copy_on_device(const TensorImpl& dst, const TensorImpl& src);  // equal shapes; any dtypes and layouts
void fill(const TensorImpl& dst, const Value& number);              // any layout
// A table that the host has worked out, as a contiguous tensor of at least `count` elements on the device. It travels as arguments of launches: nobody waits, the host's
// copy may go at once, and a captured graph holds it. (Large ones, outside of captures, are copied as usual.)
Tensor uploaded(const void* data, int64_t count, DType dtype, Device device);

}  // namespace mg::cuda
