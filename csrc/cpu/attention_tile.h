// Products of the small matrices of a block, all of them in L1 or L2 and read as they lie: C = alpha A B (+ C).
// Included by attention_isa.cpp only.
//
// A tile is MR rows by NV vectors of C in registers. 8 x 2 on AVX-512: a head of 64 is two tiles wide without a rest,
// and 10 loads feed 16 multiply-adds. Every element is one chain of fused multiply-adds over k, whatever tile it is in.
#pragma once
#include "../simd/row_math.h"
#include "attention_table.h"

namespace mg::cpu::MG_ISA_NS {

using simd::MG_ISA_NS::Vec;

#if defined(__AVX512F__)
constexpr int kTileRows = 8, kTileVectors = 3;
#elif defined(__AVX2__)
constexpr int kTileRows = 4, kTileVectors = 3;
#else
constexpr int kTileRows = 4, kTileVectors = 2;
#endif

// Column: A's rows are next to each other in memory (rs = 1), so that their addresses are constants.
template <class T, int MR, int NV, bool Column>
void block_tile(const BlockProduct<T>& p, const T* a, const T* b, T* c, int last) {
  constexpr int W = Vec<T>::size;
  Vec<T> acc[MR][NV];
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) acc[i][j] = Vec<T>(T(0));
  const int64_t rs = Column ? 1 : p.a.rs, cs = p.a.cs, ldb = p.ldb;
  const bool whole = last == W;
  for (int64_t k = 0; k < p.k; ++k, a += cs, b += ldb) {
    Vec<T> row[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) row[j] = NV > 1 || whole ? Vec<T>::load(b + j * W) : Vec<T>::load(b, last);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const Vec<T> x(a[i * rs]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, row[j], acc[i][j]);
    }
  }
  const Vec<T> alpha(p.alpha);
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) {
      T* at = c + i * p.ldc + j * W;
      if (NV > 1 || whole) {
        (p.add ? fma(alpha, acc[i][j], Vec<T>::load(at)) : alpha * acc[i][j]).store(at);
      } else {
        (p.add ? fma(alpha, acc[i][j], Vec<T>::load(at, last)) : alpha * acc[i][j]).store(at, last);
      }
    }
}

template <class T>
using BlockTileFn = void (*)(const BlockProduct<T>& p, const T* a, const T* b, T* c, int last);

template <class T, bool Column>
struct BlockTiles {
  BlockTileFn<T> fn[kTileRows][kTileVectors];
  template <int MR>
  constexpr void fill() {
    fn[MR - 1][0] = block_tile<T, MR, 1, Column>;
    fn[MR - 1][1] = block_tile<T, MR, 2, Column>;
    if constexpr (kTileVectors > 2) fn[MR - 1][2] = block_tile<T, MR, kTileVectors, Column>;
    if constexpr (MR > 1) fill<MR - 1>();
  }
  constexpr BlockTiles() : fn{} { fill<kTileRows>(); }
};
template <class T, bool Column>
constexpr BlockTiles<T, Column> kBlockTiles{};

// Whole vectors are dealt evenly over panels of at most kTileVectors; lanes left over are a panel of their own.
template <class T>
void block_product(const BlockProduct<T>& p) {
  constexpr int W = Vec<T>::size;
  const int64_t vectors = p.n / W, panels = (vectors + kTileVectors - 1) / kTileVectors;
  const int rest = int(p.n % W);
  for (int64_t j = 0; j < panels + (rest != 0); ++j) {
    const int64_t v0 = j < panels ? j * vectors / panels : vectors;
    const int64_t nv = j < panels ? (j + 1) * vectors / panels - v0 : 1;
    for (int64_t i = 0; i < p.m; i += kTileRows) {
      const int64_t rows = p.m - i < kTileRows ? p.m - i : kTileRows;
      const auto& fn = p.a.rs == 1 ? kBlockTiles<T, true>.fn : kBlockTiles<T, false>.fn;
      fn[rows - 1][nv - 1](p, p.a.data + i * p.a.rs, p.b + v0 * W, p.c + i * p.ldc + v0 * W, j < panels ? W : rest);
    }
  }
}

}  // namespace mg::cpu::MG_ISA_NS
