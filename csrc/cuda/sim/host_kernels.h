// Kernels that are host code: Triton's interpreter works on device memory by address (kernels/_interpret.py). Between
// the two calls this thread may touch device memory; leaving looks at the fences of the allocations that hold
// `addresses`, as after every operation of the device.
#pragma once
#include <string>
#include <vector>

#include "runtime.h"

namespace cudasim {
void enter_device();  // after a cudaDeviceSynchronize
cudaError_t leave_device(const std::string& what, const std::vector<const void*>& addresses);
}  // namespace cudasim
