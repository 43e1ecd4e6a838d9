// Registers of Winograd's loops for one instruction set: vectors of channels and squares of them. Included by
// conv_winograd_isa.cpp and conv_winograd_tiles_isa.cpp; conv_winograd.h is the map and the legend.
#pragma once
#include "conv_winograd.h"
#include "gemm_pack.h"

namespace mg::cpu::MG_ISA_NS {

using V = Vec<float>;
constexpr int L = V::size;
#if defined(__AVX512F__)
constexpr int kTiles = 6, kVectors = 4;  // 24 sums, 4 of U and a broadcast of 32 registers
#elif defined(__AVX2__)
constexpr int kTiles = 6, kVectors = 2;  // 12 sums, 2 and 1 of 16
#else
constexpr int kTiles = 4, kVectors = 2;
#endif
constexpr int kBlock = kVectors * L;

MG_INL void transpose_square(V (&r)[L]) {
  V::V raw[L];
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) raw[i] = r[i].v;
  transpose<L>(raw);
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) r[i].v = raw[i];
}

// Row i of a tile of `lanes` rows, n columns each; zero outside.
MG_INL void load_square(const float* x, int64_t stride, int lanes, int n, V (&r)[L]) {
  if (lanes == L && n == L) {
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) r[i] = V::load(x + i * stride);
    return;
  }
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) r[i] = i < lanes ? V::load(x + i * stride, n) : V(0.0f);
}

MG_INL void zeros(float* p, int64_t vectors) {
  for (int64_t i = 0; i < vectors; ++i) V(0.0f).store(p + i * L);
}

}  // namespace mg::cpu::MG_ISA_NS
