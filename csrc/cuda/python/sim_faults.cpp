// Planted mistakes, in the simulator only: tests/cuda/test_faults.py launches them on tensors' memory and checks that each is caught. They go
// round the door of the kernels (runtime.h), as code with a mistake would.
#include "bind.h"

#ifdef MINIGRAD_CUDASIM
namespace mg::cuda {
namespace {

__global__ void write_beyond(float* p, int64_t n) { p[n + threadIdx.x] = 1; }

// Reverses a block through shared memory; without the barrier some elements are read before they are written, in one order of threads or
// the other.
__global__ void reverse_without_barrier(float* p) {
  MG_SHARED(float, tile, [64]);
  tile[threadIdx.x] = p[threadIdx.x];
  p[threadIdx.x] = tile[63 - threadIdx.x];
}

__global__ void divergent_barrier(float* p) {
  if (threadIdx.x < 16) {
    p[threadIdx.x] = 1;
    __syncthreads();
  } else {
    p[threadIdx.x] = 2;
    __syncthreads();
  }
}

__global__ void read_only(float* out, const float* p) { out[threadIdx.x] = p[threadIdx.x]; }

float* pointer(uintptr_t address) { return reinterpret_cast<float*>(address); }

}  // namespace

void bind_sim(py::module_& m) {
  m.def("sim_last_report", &cudasim::last_report);
  m.def("sim_races", &cudasim::races);
  m.def("sim_leaks", [] { return cudasim::leaks().allocations; });
  m.def("sim_write_beyond", [](uintptr_t p, int64_t n) { launch(write_beyond, 1, 1, 0, current_stream(), pointer(p), n); });
  m.def("sim_missing_barrier", [](uintptr_t p) { launch(reverse_without_barrier, 1, 64, 0, current_stream(), pointer(p)); });
  m.def("sim_divergent_barrier", [](uintptr_t p) { launch(divergent_barrier, 1, 32, 0, current_stream(), pointer(p)); });
  m.def("sim_host_dereference", [](uintptr_t p) { return *static_cast<volatile float*>(pointer(p)); });
  m.def("sim_read", [](uintptr_t to, uintptr_t p) {
    launch(read_only, 1, 32, 0, current_stream(), pointer(to), static_cast<const float*>(pointer(p)));
  });
}

}  // namespace mg::cuda
#endif
