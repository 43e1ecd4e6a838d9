// How the functions and tables of csrc/special are declared: plain C++ for the CPU, device code under nvcc.
#pragma once

#if defined(__CUDACC__)
#define MG_SPECIAL __device__ inline
#define MG_TABLE static __device__ const
#else
#define MG_SPECIAL inline
#define MG_TABLE inline constexpr
#endif
