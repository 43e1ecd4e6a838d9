// See host_kernels.h.
#include "host_kernels.h"

#include "queue.h"

namespace cudasim {

void enter_device() {
  std::lock_guard lock(runtime().mutex);
  open_memory();
}

cudaError_t leave_device(const std::string& what, const std::vector<const void*>& addresses) {
  std::lock_guard lock(runtime().mutex);
  for (const void* address : addresses)
    if (Allocation* a = find_allocation(address); a != nullptr && in_device_memory(address)) check_fences(*a, what);
  close_memory(what);
  return runtime().sticky;
}

}  // namespace cudasim
