// The extension module minigrad._cuda: the CUDA backend. Loading it fills the CUDA row of the device table and adds the CUDA kernels to the
// ops, if there is a device; on a machine without a driver it imports all the same and says device_count() == 0. The simulator counts as a
// device only where the environment says MINIGRAD_CUDASIM=1, so that nobody gets it by accident.
#include <cstdlib>
#include <cstring>

#include "../../core/backend_module.h"
#include "bind.h"

namespace mg::cuda {
static bool usable() {
  if (!simulated) return device_count() > 0;
  const char* wanted = std::getenv("MINIGRAD_CUDASIM");
  return wanted != nullptr && std::strcmp(wanted, "1") == 0;
}
}  // namespace mg::cuda

PYBIND11_MODULE(_cuda, m) {
  using namespace mg::cuda;
  m.doc() = "minigrad's CUDA backend.";
  if (mg::core_abi_tag() != mg::kAbiTag)
    throw py::import_error("minigrad._cuda and minigrad._core come from different builds. Try building minigrad again.");
  const bool on = usable();
  if (on) {
    install_backend();
    install_kernels();
  }
  m.def("is_simulated", [] { return simulated; });
  m.def("is_available", [on] { return on; });
  m.def("device_count", [on] { return on ? device_count() : 0; });
  m.def("current_device", &current_device);
  m.def("set_device", &set_device);
  m.def("device_properties", [](int device) {
    cudaDeviceProp p;
    MG_CUDA(cudaGetDeviceProperties(&p, device));
    py::dict d;
    d["name"] = p.name;
    d["major"] = p.major;
    d["minor"] = p.minor;
    d["total_memory"] = p.totalGlobalMem;
    d["multi_processor_count"] = p.multiProcessorCount;
    d["warp_size"] = p.warpSize;
    d["max_threads_per_multi_processor"] = p.maxThreadsPerMultiProcessor;
    d["regs_per_multiprocessor"] = p.regsPerBlock;
    d["shared_memory_per_block"] = p.sharedMemPerBlock;
    d["shared_memory_per_block_optin"] = p.sharedMemPerBlockOptin;
    d["L2_cache_size"] = p.l2CacheSize;
    return d;
  });
  m.def("runtime_version", [] {
    int version = 0;
    cudaRuntimeGetVersion(&version);
    return version;
  });
#ifdef MINIGRAD_CUDASIM
  bind_sim(m);
#endif
  bind_memory(m);
  bind_streams(m);
  bind_launch(m);
  bind_fused(m);
}
