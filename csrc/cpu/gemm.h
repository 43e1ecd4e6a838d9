// gemm(): C = alpha * A B + beta * D for float and double, for half/bfloat16 inputs with a float result and for int8
// inputs with an int32 result; with a last word (activation, residual) on each block of C in cache. Threaded, any
// strides of A, B.
//
// Who may use it: CPU kernels (matmul.cpp, conv_*.cpp, later attention). The caller owns C, which has unit column
// stride, as has D. Invariant: the value of an element depends on the strides and sizes of the problem, never on the
// number of threads. Read next: gemm_table.h (panels and per-instruction-set kernels), gemm.cpp (choice of path,
// blocking, threads), gemm_tuning.h (the numbers that decide).
#pragma once
#include "gemm_table.h"

namespace mg::cpu {

constexpr int64_t kMaxKBlock = 320;  // of the convolutions' own blocking; gemm() has GemmTuning
constexpr int64_t kTaskFma = 256 * 1024;  // multiply-adds worth handing to another thread (~5 us on one AVX-512 core)

template <class S, class T>
void gemm(int64_t m, int64_t n, int64_t k, Strided<S> a, Strided<S> b, T* c, int64_t ldc, const Epilogue<T>& e = {});

// C = A B modulo 2^bits for integer types, C contiguous.
template <class T>
void gemm_int(int64_t m, int64_t n, int64_t k, Strided<T> a, Strided<T> b, T* c);

// Multiply-adds per second, counted as two operations, of independent vectors on all threads: the limit of gemm().
double fma_rate(bool float64);

// Per-thread memory that grows and is reused; a slot's pointer stays valid until the same thread asks for that slot
// again.
enum class ScratchSlot { PackA, PackB, Vector, Tile, Image, Turned, Count };
void* scratch_bytes(ScratchSlot slot, size_t bytes);
template <class T>
T* scratch(ScratchSlot slot, int64_t count) {
  return static_cast<T*>(scratch_bytes(slot, size_t(count) * sizeof(T)));
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace mg::cpu
