// What a CUDA kernel file (csrc/cuda/kernels/*.cu) includes: everything between an op's Invocation and a launch.
//
//   __global__ void twice(float* out, const float* in, int64_t n) {
//     MG_GRID_LOOP(i, n) out[i] = 2 * in[i];
//   }
//   void twice_cuda(Invocation& inv) {
//     const Tensor in = staged(inv.in(0), DType::Float32);          // contiguous, of that dtype
//     const StagedOut out(inv.outs[0], DType::Float32);
//     launch_items(twice, in.numel(), out.ptr<float>(), in.ptr<float>(), in.numel());
//     out.commit();
//   }
//   MG_CUDA_KERNEL("twice", twice_cuda);
//
// The file must compile with nvcc and, with -DMINIGRAD_CUDASIM=1, with g++ (cuda_portable.h has the spellings, docs/simulated-device.md what
// the simulator cannot do). Host code never reads device memory through a pointer: scalar_value() and read_* wait and copy. Temporaries are
// tensors (workspace()): freeing one while its kernel is still queued is safe, for memory is reused in stream order.
#pragma once
#include "../core/layout.h"
#include "../core/staged.h"
#include "elements.h"
#include "offsets.h"
#include "runtime/runtime.h"

// Registers `fn` (void(Invocation&), may be a template with commas) as the op's kernel for real dtypes; MG_CUDA_KERNEL_COMPLEX for complex
// compute or output dtypes (nullptr: the real kernel only moves elements and will do). "pointwise" is the kernel of all pointwise ops that
// have none of their own.
#define MG_CUDA_KERNEL(op_name, ...) MG_CUDA_REGISTER(op_name, false, (__VA_ARGS__))
#define MG_CUDA_KERNEL_COMPLEX(op_name, ...) MG_CUDA_REGISTER(op_name, true, (__VA_ARGS__))
#define MG_CUDA_REGISTER(op_name, complex, fn)                                                        \
  static void MG_CAT(mg_cuda_door_, __LINE__)(::mg::Invocation & inv) { ::mg::cuda::run(inv, fn); }   \
  static const ::mg::cuda::Registration MG_CAT(mg_cuda_kernel_, __LINE__)(                            \
      op_name, ::mg::cuda::is_null(fn) ? nullptr : MG_CAT(mg_cuda_door_, __LINE__), complex)

// Each thread takes every (grid size)-th index: any grid is right for any n.
#define MG_GRID_LOOP(i, n)                                                                       \
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, mg_end_##i = (n); i < mg_end_##i; \
       i += int64_t(gridDim.x) * blockDim.x)

namespace mg::cuda {

constexpr bool is_null(std::nullptr_t) { return true; }
constexpr bool is_null(KernelFn) { return false; }

// One thread per item up to a full device, beyond that MG_GRID_LOOP goes round; small problems get small blocks, because the simulator
// pays for every thread.
struct Grid {
  unsigned blocks, threads;
};
inline Grid grid_for(int64_t items, int64_t max_threads = 256) {
  const int64_t threads = std::clamp<int64_t>((items + 31) / 32 * 32, 32, max_threads);
  const int64_t most = simulated ? 64 : int64_t(multiprocessors()) * (2048 / threads);
  return {unsigned(std::clamp<int64_t>((items + threads - 1) / threads, 1, most)), unsigned(threads)};
}

// Launches on the current stream. `items` == 0 launches nothing.
template <class... P, class... A>
void launch_items(void (*kernel)(P...), int64_t items, A&&... args) {
  if (items == 0) return;
  const Grid grid = grid_for(items);
  launch(kernel, dim3(grid.blocks), dim3(grid.threads), 0, current_stream(), std::forward<A>(args)...);
}
// One block per row (grid.x up to 2^31 - 1), with threads to suit rows of `length` elements and dynamic shared memory.
inline unsigned threads_for_row(int64_t length, int64_t max_threads = 256) {
  return unsigned(std::clamp<int64_t>((length + 31) / 32 * 32, 32, max_threads));
}
template <class... P, class... A>
void launch_blocks(void (*kernel)(P...), int64_t blocks, unsigned threads, size_t shared_bytes, A&&... args) {
  if (blocks == 0) return;
  launch(kernel, dim3(unsigned(blocks)), dim3(threads), shared_bytes, current_stream(), std::forward<A>(args)...);
}

// core/staged.h, and on the device `where` (a number on the CPU comes over).
using mg::staged;
inline Tensor staged(const TensorImpl& t, DType dtype, Device where) {
  if (t.device == where) return staged(t, dtype);
  Tensor copy = empty(t.sizes, dtype, where);
  copy_into(copy, Tensor(const_cast<TensorImpl*>(&t)));
  return copy;
}

// Uninitialised device memory for one kernel: keep the tensor until after the launches that use it.
inline Tensor workspace(int64_t count, DType dtype, Device device) { return empty(Dims{count}, dtype, device); }

// A number: a Python number or a one-element tensor, which may lie on the device (this then waits for it).
inline double scalar_value(const Value& v) { return v.is_tensor() ? read_double(*v.t) : v.as_double(); }

}  // namespace mg::cuda
