// Machine code made outside of this module (Triton's cubins): loading it and starting its kernels through the driver
// API, which is looked up in the driver's library when first needed. The simulator cannot run it: there, what a launch
// would hand over is checked against the parameters of the code and noted, for the tests of the launcher
// (docs/kernels.md).
#pragma once
#include <string>
#include <vector>

#include "runtime.h"

namespace mg::cuda {

struct Binary {
  void* module = nullptr;
  void* function = nullptr;
  int registers = 0, local_bytes = 0, max_threads = 0;
};
// For the current device. `shared`: dynamic shared memory of its launches, in bytes; above 48 KiB the limit is raised.
Binary load_binary(const void* code, size_t nbytes, const std::string& name, int shared);
void unload_binary(void* module);

struct LaunchShape {
  unsigned grid[3] = {1, 1, 1};  // programs
  int warps = 4, ctas = 1, shared = 0;
  bool pdl = false, cooperative = false;
};
// parameters[k] points to widths[k] bytes.
void launch_binary(void* function, const LaunchShape& shape, cudaStream_t stream, void** parameters, const int* widths,
                   int count);

#ifdef MINIGRAD_CUDASIM
struct NotedLaunch {
  std::string name;
  LaunchShape shape;
  uintptr_t stream = 0;
  std::vector<std::string> parameters;  // their bytes
};
const NotedLaunch& last_launch();
#endif

}  // namespace mg::cuda
