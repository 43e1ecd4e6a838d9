// The register-tile kernels of the GEMM family, over simd::Vec. Included by gemm_isa.cpp only (one build per
// instruction set).
//
// tile<MR, NV>: MR rows by NV vectors of C held in registers (8x3 of 32 registers on AVX-512: 24 sums, 3 of B, 1
// broadcast; 4x3 of 16 on AVX2). Dot products: gemm_dots.h.
// Read next: gemm_pack.h, gemm_isa.cpp.
#pragma once
#include "gemm_tile.h"

namespace mg::cpu::MG_ISA_NS {

constexpr int kAhead = 16;  // rows of B that are asked for in advance
// Sums longer than this are added up in equal parts, or their rounding errors would exceed those of other libraries;
// moving a tile's sums to memory and back once per part takes about a hundredth of the time. Without fused operations the
// products are rounded too.
constexpr int64_t kChain = simd::MG_ISA_NS::kHasFma ? 128 : 64;

// Packed: A is a panel [k][kMr] (strides known to the compiler), B one [k][ldb]. Copying: so is A, but B is read where it
// lies and written to `copy` as a packed panel, for the tiles of the rows below: the copy hides behind the
// multiplications. Direct: A and B as they lie; Partial: the same, the only vector of B loaded up to `last` lanes.
// Far variants ask for rows of B in advance, for matrices that come from memory: the hardware does not prefetch rows
// that are a page apart.
// PackedAhead asks for one line per k of the columns that are copied next.
enum class Tile { Packed, PackedAhead, Copying, CopyingFar, Direct, DirectFar, Partial };
constexpr bool whole_only(Tile kind) {  // exists for kMr rows alone
  return kind == Tile::PackedAhead || kind == Tile::Copying || kind == Tile::CopyingFar;
}

template <class T, int MR, int NV, Tile Kind>
void tile(int64_t k, const TileArgs<T>& t) {
  constexpr bool packed_a = Kind == Tile::Packed || whole_only(Kind);
  constexpr bool copying = Kind == Tile::Copying || Kind == Tile::CopyingFar;
  constexpr bool far = Kind == Tile::CopyingFar || Kind == Tile::DirectFar;
  constexpr int W = Vec<T>::size;
  static_assert(Kind != Tile::Partial || NV == 1);
  Vec<T> acc[MR][NV], total[MR][NV];
  clear_tile(acc);
  if (Kind == Tile::Packed && t.add != nullptr)  // far away when k is cut into blocks: ask for it before the loop
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) __builtin_prefetch(t.add + i * t.add_rs + j * W);
  const T *a = t.a, *b = t.b;
  T* copy = t.copy;
  const bool cut = Kind == Tile::Partial || (copying && t.last != W);
  const int64_t rs = packed_a ? 1 : t.a_rs, cs = packed_a ? kMr : t.a_cs, ldb = t.ldb;
  const int64_t parts = (k + kChain - 1) / kChain, part = parts <= 1 ? k : (k + parts - 1) / parts;
  int64_t p = 0;
  bool more = false;  // `total` has earlier parts
  for (int64_t end = part;; end += part) {
    for (const int64_t stop = end < k ? end : k; p < stop; ++p, a += cs, b += ldb) {
      Vec<T> row[NV];
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j)
        row[j] = cut && j + 1 == NV ? Vec<T>::load(b + j * W, t.last) : Vec<T>::load(b + j * W);
      if constexpr (far)
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) __builtin_prefetch(b + kAhead * ldb + j * W);
      if constexpr (Kind == Tile::PackedAhead) __builtin_prefetch(t.next + p * t.next_ld, 0, 2);
      if constexpr (copying) {
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) row[j].store(copy + j * W);
        copy += NV * W;
      }
#pragma GCC unroll 8
      for (int i = 0; i < MR; ++i) {
        const Vec<T> x(a[i * rs]);
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, row[j], acc[i][j]);
      }
    }
    if (more) add_tiles(acc, total);
    if (end >= k) break;
    more = true;
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) total[i][j] = acc[i][j];
    clear_tile(acc);
  }
  write_tile<T, MR, NV>(acc, t);
}

template <class T>
using TileFn = void (*)(int64_t k, const TileArgs<T>& t);

// [rows - 1][vectors - 1]
template <class T, Tile Kind>
struct Tiles {
  TileFn<T> fn[kMr][kNv];
  template <int MR>
  constexpr void fill() {
    if constexpr (Kind == Tile::Partial) {
      fn[MR - 1][0] = tile<T, MR, 1, Kind>;
    } else {
      fn[MR - 1][0] = tile<T, MR, 1, Kind>;
      fn[MR - 1][1] = tile<T, MR, 2, Kind>;
      if constexpr (kNv > 2) fn[MR - 1][2] = tile<T, MR, kNv, Kind>;
    }
    if constexpr (MR > 1 && !whole_only(Kind)) fill<MR - 1>();
  }
  constexpr Tiles() : fn{} { fill<kMr>(); }
};
template <class T, Tile Kind>
constexpr Tiles<T, Kind> kTileOf{};

}  // namespace mg::cpu::MG_ISA_NS
