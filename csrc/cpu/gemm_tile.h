// The sums of a register tile and where they go: the arguments of the kernels in gemm_kernel.h, and C = alpha * sums +
// beta * addend. Included by gemm_kernel.h only.
#pragma once
#include "../simd/vec.h"
#include "gemm_table.h"

namespace mg::cpu::MG_ISA_NS {

using simd::MG_ISA_NS::Vec;

#if defined(__AVX512F__)
constexpr int kMr = 8, kNv = 3, kVectorRegisters = 32;
#elif defined(__AVX2__)
constexpr int kMr = 4, kNv = 3, kVectorRegisters = 16;
#else
constexpr int kMr = 4, kNv = 2, kVectorRegisters = 16;
#endif

// What a tile needs beyond k: A with its strides, B with its row stride, C, and how many lanes of the last vector are
// real.
template <class T>
struct TileArgs {
  const T* a;
  int64_t a_rs, a_cs;
  const T* b;
  int64_t ldb;
  T* copy;  // Tile::Copying*: the panel that B is copied to
  const T* next;  // Tile::PackedAhead
  int64_t next_ld;
  T* c;
  int64_t ldc;
  int last;      // lanes of the last vector, 1..Vec<T>::size
  const T* add;  // where the addend of this tile starts, or null
  int64_t add_rs, add_cs;
  T alpha, beta;
};

template <class T>
MG_INL void set_tile_c(TileArgs<T>& t, T* c, int64_t ldc, const Epilogue<T>& e, int64_t i, int64_t j) {
  t.c = c + i * ldc + j;
  t.ldc = ldc;
  t.add = e.add == nullptr ? nullptr : e.add + i * e.add_rs + j * e.add_cs;
  t.add_rs = e.add_rs;
  t.add_cs = e.add_cs;
  t.alpha = e.alpha;
  t.beta = e.beta;
}

template <class T>
MG_INL Vec<T> times_plus(Vec<T> a, Vec<T> b, Vec<T> c) {
  if constexpr (std::is_floating_point_v<T>)
    return fma(a, b, c);
  else
    return a * b + c;
}

enum class Addend { None, Rows, Column };

template <Addend Kind, class T, int MR, int NV>
MG_INL void write_rows(const Vec<T> (&acc)[MR][NV], const TileArgs<T>& t) {
  constexpr int W = Vec<T>::size;
  const Vec<T> alpha(t.alpha), beta(t.beta);
  const bool full = t.last == W;
  const int64_t ldc = t.ldc, add_rs = t.add_rs;
  T* c = t.c;
  const T* d = t.add;
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i, c += ldc, d += add_rs) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) {
      Vec<T> v = acc[i][j] * alpha;
      if constexpr (Kind == Addend::Column) v = times_plus(beta, Vec<T>(*d), v);
      if (j + 1 < NV || full) {
        if constexpr (Kind == Addend::Rows) v = times_plus(beta, Vec<T>::load(d + j * W), v);
        v.store(c + j * W);
      } else {
        if constexpr (Kind == Addend::Rows) v = times_plus(beta, Vec<T>::load(d + j * W, t.last), v);
        v.store(c + j * W, t.last);
      }
    }
  }
}
template <class T, int MR, int NV>
MG_INL void write_tile(const Vec<T> (&acc)[MR][NV], const TileArgs<T>& t) {
  if (t.add == nullptr)
    write_rows<Addend::None>(acc, t);
  else if (t.add_cs != 0)
    write_rows<Addend::Rows>(acc, t);
  else
    write_rows<Addend::Column>(acc, t);
}

template <class T, int MR, int NV>
MG_INL void add_tiles(Vec<T> (&acc)[MR][NV], const Vec<T> (&other)[MR][NV]) {
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) acc[i][j] = acc[i][j] + other[i][j];
}
template <class T, int MR, int NV>
MG_INL void clear_tile(Vec<T> (&acc)[MR][NV]) {
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) acc[i][j] = Vec<T>(T(0));
}

}  // namespace mg::cpu::MG_ISA_NS
