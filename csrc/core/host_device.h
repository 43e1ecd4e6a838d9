// MG_HD: a function for both sides, the CPU's kernels of every instruction set and CUDA's.
#pragma once

#if defined(__CUDACC__)
#define MG_HD __host__ __device__ __forceinline__
#else
#define MG_HD __attribute__((always_inline)) inline  // never emitted out of line: compiled once per instruction set
#endif
