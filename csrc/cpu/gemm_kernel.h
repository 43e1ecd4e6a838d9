// The register-tile kernels of the GEMM family, over simd::Vec. Included by gemm_isa.cpp only (one build per
// instruction set).
//
// tile<MR, NV>: MR rows by NV vectors of C held in registers (8x3 of 32 registers on AVX-512: 24 sums, 3 of B, 1
// broadcast; 4x3 of 16 on AVX2). dot_tile<MI, NJ>: MI*NJ sums with the vectors along k, for products with a short side.
// Read next: gemm_pack.h, gemm_isa.cpp.
#pragma once
#include "../simd/vec.h"
#include "gemm_table.h"

namespace mg::cpu::MG_ISA_NS {

using simd::MG_ISA_NS::Vec;

#if defined(__AVX512F__)
constexpr int kMr = 8, kNv = 3;
#elif defined(__AVX2__)
constexpr int kMr = 4, kNv = 3;
#else
constexpr int kMr = 4, kNv = 2;
#endif

// What a tile needs beyond k: A with its strides, B with its row stride, C, and how many lanes of the last vector are
// real.
template <class T>
struct TileArgs {
  const T* a;
  int64_t a_rs, a_cs;
  const T* b;
  int64_t ldb;
  T* c;
  int64_t ldc;
  int last;      // lanes of the last vector, 1..Vec<T>::size
  const T* add;  // where the addend of this tile starts, or null
  int64_t add_rs;
  T alpha, beta;
};

template <class T, int MR, int NV>
MG_INL void write_tile(const Vec<T> (&acc)[MR][NV], const TileArgs<T>& t) {
  const Vec<T> alpha(t.alpha), beta(t.beta);
  const bool full = t.last == Vec<T>::size;
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) {
      T* c = t.c + i * t.ldc + j * Vec<T>::size;
      Vec<T> v = acc[i][j] * alpha;
      const T* d = t.add == nullptr ? nullptr : t.add + i * t.add_rs + j * Vec<T>::size;
      if (j + 1 < NV || full) {
        if (d != nullptr) v = fma(beta, Vec<T>::load(d), v);
        v.store(c);
      } else {
        if (d != nullptr) v = fma(beta, Vec<T>::load(d, t.last), v);
        v.store(c, t.last);
      }
    }
  }
}

// Packed: A is a panel [k][kMr] (strides known to the compiler). Partial: the only vector of B is loaded up to `last`
// lanes.
template <class T, int MR, int NV, bool Packed, bool Partial>
void tile(int64_t k, const TileArgs<T>& t) {
  static_assert(!Partial || NV == 1);
  Vec<T> acc[MR][NV];
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) acc[i][j] = Vec<T>(T(0));
  const T *a = t.a, *b = t.b;
  const int64_t rs = Packed ? 1 : t.a_rs, cs = Packed ? kMr : t.a_cs, ldb = t.ldb;
  for (int64_t p = 0; p < k; ++p, a += cs, b += ldb) {
    Vec<T> row[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) row[j] = Partial ? Vec<T>::load(b, t.last) : Vec<T>::load(b + j * Vec<T>::size);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const Vec<T> x(a[i * rs]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, row[j], acc[i][j]);
    }
  }
  write_tile<T, MR, NV>(acc, t);
}

template <class T>
using TileFn = void (*)(int64_t k, const TileArgs<T>& t);

// [rows - 1][vectors - 1], the last column of direct tiles being the partial single vector.
template <class T, bool Packed>
struct Tiles {
  TileFn<T> fn[kMr][kNv];
  TileFn<T> partial[kMr];
  template <int MR>
  constexpr void fill() {
    fn[MR - 1][0] = tile<T, MR, 1, Packed, false>;
    fn[MR - 1][1] = tile<T, MR, 2, Packed, false>;
    if constexpr (kNv > 2) fn[MR - 1][2] = tile<T, MR, kNv, Packed, false>;
    partial[MR - 1] = tile<T, MR, 1, Packed, !Packed>;
    if constexpr (MR > 1) fill<MR - 1>();
  }
  constexpr Tiles() : fn{}, partial{} { fill<kMr>(); }
};
template <class T>
constexpr Tiles<T, true> kPackedTiles{};
template <class T>
constexpr Tiles<T, false> kDirectTiles{};

// C[i][j] = alpha * <A row i, B column j> + beta * D, MI x NJ of them at once; both run along k in memory.
template <class T, int MI, int NJ>
void dot_tile(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* out) {
  constexpr int W = Vec<T>::size;
  Vec<T> acc[MI][NJ];
  for (int i = 0; i < MI; ++i)
    for (int j = 0; j < NJ; ++j) acc[i][j] = Vec<T>(T(0));
  int64_t p = 0;
  for (; p + W <= k; p += W) {
    Vec<T> x[MI];
#pragma GCC unroll 4
    for (int i = 0; i < MI; ++i) x[i] = Vec<T>::load(a + i * lda + p);
#pragma GCC unroll 4
    for (int j = 0; j < NJ; ++j) {
      const Vec<T> y = Vec<T>::load(b + j * ldb + p);
#pragma GCC unroll 4
      for (int i = 0; i < MI; ++i) acc[i][j] = fma(x[i], y, acc[i][j]);
    }
  }
  if (p < k) {
    const int rest = int(k - p);
#pragma GCC unroll 4
    for (int j = 0; j < NJ; ++j) {
      const Vec<T> y = Vec<T>::load(b + j * ldb + p, rest);
#pragma GCC unroll 4
      for (int i = 0; i < MI; ++i) acc[i][j] = fma(Vec<T>::load(a + i * lda + p, rest), y, acc[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < MI; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NJ; ++j) out[i * 4 + j] = hsum(acc[i][j]);
}

template <class T>
using DotFn = void (*)(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* out);
template <class T>
constexpr DotFn<T> kDots[4][4] = {
    {dot_tile<T, 1, 1>, dot_tile<T, 1, 2>, dot_tile<T, 1, 3>, dot_tile<T, 1, 4>},
    {dot_tile<T, 2, 1>, dot_tile<T, 2, 2>, dot_tile<T, 2, 3>, dot_tile<T, 2, 4>},
    {dot_tile<T, 3, 1>, dot_tile<T, 3, 2>, dot_tile<T, 3, 3>, dot_tile<T, 3, 4>},
    {dot_tile<T, 4, 1>, dot_tile<T, 4, 2>, dot_tile<T, 4, 3>, dot_tile<T, 4, 4>},
};

}  // namespace mg::cpu::MG_ISA_NS
