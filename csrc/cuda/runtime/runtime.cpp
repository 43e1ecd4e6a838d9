// Errors, devices, the kernel door and the list of kernels; see runtime.h.
#include "runtime.h"

#include <cstdlib>

#include "../../core/backend_module.h"
#include "../kernels/faults.h"
#include "device_memory.h"
#include "graphs.h"

namespace mg::cuda {

void check(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) [[likely]]
    return;
  cudaGetLastError();  // an error that is not sticky is reported once
  std::string text = str(what, ": CUDA error: ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")");
#ifdef MINIGRAD_CUDASIM
  if (const std::string report = cudasim::last_report(); !report.empty()) text += "\n" + report;
#else
  if (error == cudaErrorIllegalAddress || error == cudaErrorLaunchFailure)
    text += ". Kernels run asynchronously, so another op may be to blame. Try MINIGRAD_CUDA_SYNC=1.";
#endif
  fail(ErrorKind::Runtime, text);
}

int device_count() {
  static const int count = [] {
    int n = 0;
    if (cudaGetDeviceCount(&n) != cudaSuccess) {  // no driver, or no GPU
      cudaGetLastError();
      return 0;
    }
    return n;
  }();
  return count;
}

static thread_local int device = 0;
int current_device() { return device; }
void set_device(int index) {
  if (index == device) return;
  check(cudaSetDevice(index), "set_device");
  device = index;
}

int multiprocessors() {
  static int counts[128] = {};
  int& n = counts[device];
  if (n == 0) {
    cudaDeviceProp properties;
    MG_CUDA(cudaGetDeviceProperties(&properties, device));
    n = properties.multiProcessorCount;
  }
  return n;
}

// A block freed by one stream may be handed out on it at once; so whoever uses it on another says so before the launch.
void note_use(const TensorImpl& t) {
  if (t.device.type != DeviceType::CUDA || t.storage->release != nullptr) return;
  device_memory(t.device.index).record_use(t.storage->data, current_handle(current_device()));
}
static void note_uses(const Invocation& inv) {
  for (int k = 0; k < inv.op.n_args; ++k) {
    if (inv.args[k].is_tensor()) note_use(*inv.args[k].t);
    if (inv.args[k].kind == Kind::Tensors)
      for (int j = 0; j < inv.args[k].len; ++j)
        if (inv.args[k].tensors[j] != nullptr) note_use(*inv.args[k].tensors[j]);
  }
  for (int k = 0; k < inv.op.n_out; ++k)
    if (inv.outs[k].defined()) note_use(*inv.outs[k]);
}

void run(Invocation& inv, KernelFn kernel) {
  const DeviceGuard guard(inv.outs[0].device().index);
  if (several_streams()) [[unlikely]] note_uses(inv);
  kernel(inv);
  check(cudaGetLastError(), inv.op.name);
  static const bool synchronous = std::getenv("MINIGRAD_CUDA_SYNC") != nullptr;
  if (synchronous && !capturing()) {
    check(cudaStreamSynchronize(current_stream()), inv.op.name);
    raise_fault();
  }
}

static std::vector<const KernelEntry*>& kernels() {
  static auto* list = new std::vector<const KernelEntry*>;
  return *list;
}
Registration::Registration(const char* op, KernelFn fn, bool complex) : KernelEntry{op, DeviceType::CUDA, fn, complex} {
  kernels().push_back(this);
}
void install_kernels() { add_kernels(kernels().data(), kernels().data() + kernels().size()); }

}  // namespace mg::cuda
