// The one include of every csrc/cuda/*.cu: real CUDA under nvcc, the simulated device (sim/) under a C++ compiler with
// -DMINIGRAD_CUDASIM=1. A source that keeps to the spellings below compiles both ways from the same text:
//
//   launch(kernel<float>, grid, block, shared_bytes, stream, args...);   the only way to launch, for
//   kernel<<<...>>>(...) MG_SHARED(float, tile, [32][33]);                                    static shared memory
//   (scalar: MG_SHARED(int, n);) MG_DYN_SHARED(float, buffer);                                        dynamic shared
//   memory as a float*
//
// A plain `__shared__ float tile[32][33];` works too, but the simulator then neither poisons, fences nor counts it.
// What the simulator cannot run (docs/simulated-device.md) stands under #ifndef MINIGRAD_CUDASIM beside a plain twin.
#pragma once

#ifdef MINIGRAD_CUDASIM
#include "sim/device.h"
#include "sim/intrinsics.h"
#include "sim/runtime.h"

namespace mg::cuda {
using cudasim::launch;
inline constexpr bool simulated = true;
}  // namespace mg::cuda

#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <utility>

namespace mg::cuda {
inline constexpr bool simulated = false;
}  // namespace mg::cuda

#ifdef __CUDACC__
#define MG_SHARED(type, name, ...) __shared__ type name __VA_ARGS__
#define MG_DYN_SHARED(type, name)                                    \
  extern __shared__ __align__(16) unsigned char mg_dynamic_shared[]; \
  type* name = reinterpret_cast<type*>(mg_dynamic_shared)

namespace mg::cuda {
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, A&&... args) {
  // clang-format off
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<P>(std::forward<A>(args))...);
  // clang-format on
}
}  // namespace mg::cuda
#endif
#endif
