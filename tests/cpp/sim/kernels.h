// The kernels the simulator is tested with, in the portable spelling: nvcc compiles them too
// (launches.cu).
#pragma once
#include "../../../csrc/cuda/cuda_portable.h"

__global__ void add_kernel(const float* a, const float* b, float* out, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) out[i] = a[i] + b[i];
}

// 16-byte accesses, y = a x + y; n counts floats and is a multiple of 4.
__global__ void saxpy4_kernel(float a, const float4* __restrict__ x, float4* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i * 4 >= n) return;
  const float4 v = __ldg(x + i);
  float4 w = y[i];
  w = make_float4(fmaf(a, v.x, w.x), fmaf(a, v.y, w.y), fmaf(a, v.z, w.z), fmaf(a, v.w, w.w));
  y[i] = w;
}

struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b > a ? b : a;
  }
};
template <class T, class F>
__device__ T warp_reduce(T v, F f) {
  for (int delta = 16; delta > 0; delta /= 2) v = f(v, __shfl_down_sync(0xffffffffu, v, delta));
  return v;
}
// The whole block's reduction, given to every thread. blockDim.x is a multiple of 32.
template <class T, class F>
__device__ T block_reduce(T v, T identity, F f) {
  MG_SHARED(T, partial, [32]);
  const int lane = threadIdx.x % warpSize, warp = threadIdx.x / warpSize;
  v = warp_reduce(v, f);
  __syncthreads();  // an earlier call may still be read
  if (lane == 0) partial[warp] = v;
  __syncthreads();
  if (warp == 0) {
    v = lane < int(blockDim.x) / warpSize ? partial[lane] : identity;
    v = warp_reduce(v, f);
    if (lane == 0) partial[0] = v;
  }
  __syncthreads();
  return partial[0];
}

__global__ void sum_kernel(const float* in, float* out, int n) {
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += in[i];
  sum = block_reduce(sum, 0.0f, Add());
  if (threadIdx.x == 0) atomicAdd(out, sum);
}

// in (rows, columns) -> out (columns, rows); blocks of 32 x 8 threads.
template <class T>
__global__ void transpose_kernel(const T* in, T* out, int rows, int columns) {
  __shared__ T tile[32][33];
  const int c = blockIdx.x * 32 + threadIdx.x, r0 = blockIdx.y * 32;
  for (int r = threadIdx.y; r < 32; r += blockDim.y)
    if (r0 + r < rows && c < columns) tile[r][threadIdx.x] = in[(r0 + r) * columns + c];
  __syncthreads();
  const int r = r0 + threadIdx.x;
  for (int k = threadIdx.y; k < 32; k += blockDim.y)
    if (int(blockIdx.x) * 32 + k < columns && r < rows) out[(blockIdx.x * 32 + k) * rows + r] = tile[threadIdx.x][k];
}

// Counts per block in dynamic shared memory (bins x 4 bytes), then one atomic per bin.
__global__ void histogram_kernel(const unsigned char* in, unsigned* bins, int n, int count) {
  MG_DYN_SHARED(unsigned, local);
  for (int b = threadIdx.x; b < count; b += blockDim.x) local[b] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    atomicAdd(&local[in[i] % count], 1u);
  __syncthreads();
  for (int b = threadIdx.x; b < count; b += blockDim.x) atomicAdd(&bins[b], local[b]);
}

// One block per row; T is float, __half or __nv_bfloat16, the arithmetic float.
template <class T>
__global__ void softmax_kernel(const T* in, T* out, int columns) {
  const T* x = in + blockIdx.x * columns;
  float top = -INFINITY, sum = 0;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) top = fmaxf(top, static_cast<float>(x[c]));
  top = block_reduce(top, -INFINITY, Max());
  for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += expf(static_cast<float>(x[c]) - top);
  sum = block_reduce(sum, 0.0f, Add());
  for (int c = threadIdx.x; c < columns; c += blockDim.x)
    out[blockIdx.x * columns + c] = static_cast<T>(expf(static_cast<float>(x[c]) - top) / sum);
}

// Keeps the positive numbers of one warp in order (ballot), and writes the inclusive sums of all (shuffle up).
__global__ void warp_kernel(const int* in, int* kept, int* sums, unsigned* equal) {
  const int lane = threadIdx.x, v = in[lane];
  const unsigned ballot = __ballot_sync(0xffffffffu, v > 0);
  if (v > 0) kept[__popc(ballot & ((1u << lane) - 1))] = v;
  int sum = v;
  for (int delta = 1; delta < 32; delta *= 2) {
    const int left = __shfl_up_sync(0xffffffffu, sum, delta);
    if (lane >= delta) sum += left;
  }
  sums[lane] = sum;
  equal[lane] = __match_any_sync(0xffffffffu, v);
}

// Two half warps work under their own masks, at different places and different times.
__global__ void half_warps_kernel(int* out) {
  const int lane = threadIdx.x;
  int v = lane;
  if (lane < 16) {
    for (int i = 0; i < 3; ++i) v = __shfl_sync(0x0000ffffu, v, (lane + 1) % 16, 16);
  } else {
    v = __shfl_xor_sync(0xffff0000u, v, 1);
  }
  __syncwarp();
  out[lane] = v + 100 * __any_sync(0xffffffffu, lane == 31) + 1000 * __all_sync(0xffffffffu, lane < 31);
}

// The last block to finish sums the partial results: no block waits for another.
__global__ void last_block_kernel(const int* in, int* partial, unsigned* finished, int* out) {
  const int sum = block_reduce(in[blockIdx.x * blockDim.x + threadIdx.x], 0, Add());
  MG_SHARED(bool, last);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    last = atomicAdd(finished, 1u) == gridDim.x - 1;
  }
  if (__syncthreads_or(threadIdx.x == 0 && last) && threadIdx.x == 0) {
    *out = 0;
    for (unsigned b = 0; b < gridDim.x; ++b) *out += partial[b];
  }
}

// Planted faults.
__global__ void reverse_kernel(const float* in, float* out, bool with_barrier) {
  MG_SHARED(float, staged, [256]);
  staged[threadIdx.x] = in[threadIdx.x];
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = staged[blockDim.x - 1 - threadIdx.x];
}
__global__ void neighbour_kernel(const float* in, float* out) {  // a missing barrier that forward order hides
  MG_SHARED(float, staged, [256]);
  staged[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = threadIdx.x == 0 ? 0.0f : staged[threadIdx.x - 1];
}
__global__ void divergent_kernel(int* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    out[0] = 1;
    __syncthreads();
  }
}
__global__ void deadlock_kernel(int* out) {
  if (threadIdx.x % 32 < 16)
    out[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 0);
  else
    __syncthreads();
}
__global__ void early_exit_kernel(int* out) {  // legal: those that returned are not waited for
  if (threadIdx.x >= 40) return;
  MG_SHARED(int, staged, [40]);
  staged[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = staged[39 - threadIdx.x] + __shfl_sync(0xffffffffu, 100, 0);
}
__global__ void trap_kernel(const int* p) {
  if (threadIdx.x == 5 && p == nullptr) __trap();
}
__device__ inline int deep(int n, volatile char* below) {  // too much stack for any device
  volatile char frame[1024];
  frame[n % 1024] = char(n);
  return n == 0 ? *below : deep(n - 1, frame) + frame[n % 1024];
}
__global__ void deep_kernel(int* out, int depth) { *out = deep(depth, reinterpret_cast<volatile char*>(out)); }
__global__ void big_shared_kernel(int* out) {
  MG_SHARED(int, big, [12 * 1024]);
  MG_SHARED(int, more, [1]);
  out[0] = big[0] + more[0];
}
__global__ void write_at_kernel(char* p, long long offset) { p[offset] = 1; }
__global__ void read_kernel(const int* p, int* out) { *out = *p; }
__global__ void shared_overrun_kernel(int offset) {
  MG_SHARED(int, small, [8]);
  small[threadIdx.x + offset] = 1;
}
__global__ void fill_kernel(int* p, int n, int value) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) p[i] = value;
}
__global__ void scale_kernel(int* p, int n, int factor) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) p[i] *= factor;
}
