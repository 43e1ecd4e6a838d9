// See binaries.h.
#include "binaries.h"

#ifndef MINIGRAD_CUDASIM
#include <cuda.h>
#include <dlfcn.h>
#endif

namespace mg::cuda {

#ifndef MINIGRAD_CUDASIM
namespace {

// The functions of libcuda that are used here. No link against it: _cuda imports on machines without a driver.
struct Driver {
  decltype(&cuModuleLoadData) module_load = nullptr;
  decltype(&cuModuleUnload) module_unload = nullptr;
  decltype(&cuModuleGetFunction) get_function = nullptr;
  decltype(&cuFuncGetAttribute) get_attribute = nullptr;
  decltype(&cuFuncSetAttribute) set_attribute = nullptr;
  decltype(&cuFuncSetCacheConfig) set_cache = nullptr;
  decltype(&cuLaunchKernelEx) launch = nullptr;
  decltype(&cuGetErrorString) error_string = nullptr;

  Driver() {
    void* lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    MG_CHECK(lib != nullptr, Runtime, "Triton kernels: the NVIDIA driver's libcuda.so.1 is not there: ", dlerror());
    load(lib, "cuModuleLoadData", module_load);
    load(lib, "cuModuleUnload", module_unload);
    load(lib, "cuModuleGetFunction", get_function);
    load(lib, "cuFuncGetAttribute", get_attribute);
    load(lib, "cuFuncSetAttribute", set_attribute);
    load(lib, "cuFuncSetCacheConfig", set_cache);
    load(lib, "cuLaunchKernelEx", launch);
    load(lib, "cuGetErrorString", error_string);
  }

 private:
  template <class F>
  static void load(void* lib, const char* name, F& to) {
    to = reinterpret_cast<F>(dlsym(lib, name));
    MG_CHECK(to != nullptr, Runtime, "Triton kernels: the driver has no ", name,
             ". Try a newer NVIDIA driver (CUDA 12 or later).");
  }
};
const Driver& driver() {
  static const Driver d;
  return d;
}

void check_driver(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) [[likely]]
    return;
  const char* text = nullptr;
  driver().error_string(result, &text);
  fail(ErrorKind::Runtime, what, ": CUDA error: ", text == nullptr ? "unknown" : text, " (", int(result), ")");
}
#define MG_DRIVER(call) check_driver(driver().call, #call)

// The driver API works on the thread's context, which the runtime makes current with its first call in a thread.
void need_context() {
  static thread_local int ready = -1;
  if (ready == current_device()) return;
  MG_CUDA(cudaSetDevice(current_device()));
  MG_CUDA(cudaFree(nullptr));
  ready = current_device();
}

}  // namespace

Binary load_binary(const void* code, size_t, const std::string& name, int shared) {
  need_context();
  Binary b;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  MG_DRIVER(module_load(&module, code));
  MG_DRIVER(get_function(&function, module, name.c_str()));
  MG_DRIVER(get_attribute(&b.registers, CU_FUNC_ATTRIBUTE_NUM_REGS, function));
  MG_DRIVER(get_attribute(&b.local_bytes, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, function));
  MG_DRIVER(get_attribute(&b.max_threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, function));
  if (shared > 48 << 10) {
    MG_DRIVER(set_cache(function, CU_FUNC_CACHE_PREFER_SHARED));
    int fixed = 0;
    MG_DRIVER(get_attribute(&fixed, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function));
    cudaDeviceProp properties;
    MG_CUDA(cudaGetDeviceProperties(&properties, current_device()));
    MG_CHECK(size_t(shared) + size_t(fixed) <= properties.sharedMemPerBlockOptin, Runtime, name, ": needs ",
             shared + fixed, " bytes of shared memory, this device has ", properties.sharedMemPerBlockOptin,
             ". Try smaller blocks or fewer stages.");
    MG_DRIVER(set_attribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared));
  }
  b.module = module;
  b.function = function;
  return b;
}

void unload_binary(void* module) { MG_DRIVER(module_unload(static_cast<CUmodule>(module))); }

void launch_binary(void* function, const LaunchShape& shape, cudaStream_t stream, void** parameters, const int*, int) {
  need_context();
  CUlaunchAttribute attributes[4];
  unsigned n = 0;
  if (shape.pdl) {
    attributes[n].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attributes[n++].value.programmaticStreamSerializationAllowed = 1;
  }
  if (shape.cooperative) {
    attributes[n].id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    attributes[n++].value.cooperative = 1;
  }
  if (shape.ctas > 1) {
    attributes[n].id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attributes[n].value.clusterDim.x = unsigned(shape.ctas);
    attributes[n].value.clusterDim.y = attributes[n].value.clusterDim.z = 1;
    ++n;
    attributes[n].id = CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE;
    attributes[n++].value.clusterSchedulingPolicyPreference = CU_CLUSTER_SCHEDULING_POLICY_SPREAD;
  }
  CUlaunchConfig config{};
  config.gridDimX = shape.grid[0] * unsigned(shape.ctas);
  config.gridDimY = shape.grid[1];
  config.gridDimZ = shape.grid[2];
  config.blockDimX = 32 * unsigned(shape.warps);
  config.blockDimY = config.blockDimZ = 1;
  config.sharedMemBytes = unsigned(shape.shared);
  config.hStream = stream;
  config.attrs = attributes;
  config.numAttrs = n;
  MG_DRIVER(launch(&config, static_cast<CUfunction>(function), parameters, nullptr));
}

#else

namespace {
// Nothing of the code is looked at here but that it is some.
struct Loaded {
  std::string name;
  size_t launches = 0;
};
NotedLaunch noted;
}  // namespace

Binary load_binary(const void* code, size_t nbytes, const std::string& name, int shared) {
  const std::string_view text(static_cast<const char*>(code), nbytes);
  MG_CHECK(text.starts_with("\177ELF") || text.find(".entry") != text.npos, Runtime, name, ": neither a cubin nor PTX");
  MG_CHECK(shared <= 227 << 10, Runtime, name, ": needs ", shared, " bytes of shared memory, this device has ",
           227 << 10);
  Binary b;
  b.module = b.function = new Loaded{name};
  b.max_threads = 1024;
  return b;
}

void unload_binary(void* module) { delete static_cast<Loaded*>(module); }

void launch_binary(void* function, const LaunchShape& shape, cudaStream_t stream, void** parameters, const int* widths,
                   int count) {
  MG_CHECK(shape.grid[0] >= 1 && shape.grid[1] - 1 < 65535 && shape.grid[2] - 1 < 65535 && shape.grid[0] < (1u << 31),
           Value, "launch: impossible grid (", shape.grid[0], ", ", shape.grid[1], ", ", shape.grid[2], ")");
  auto* loaded = static_cast<Loaded*>(function);
  ++loaded->launches;
  noted = {loaded->name, shape, reinterpret_cast<uintptr_t>(stream), {}};
  for (int k = 0; k < count; ++k)
    noted.parameters.emplace_back(static_cast<const char*>(parameters[k]), size_t(widths[k]));
}

const NotedLaunch& last_launch() { return noted; }
#endif

}  // namespace mg::cuda
