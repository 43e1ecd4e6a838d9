// The GEMM kernels of one instruction set: loops over register tiles, gathered in one constant table. gemm_table.h is
// the map.
#include "gemm_dots.h"

namespace mg::cpu::MG_ISA_NS {

template <class T>
static void packed(int64_t m, int64_t n, int64_t k, const T* a, const T* b, int64_t panels, int64_t p0, int64_t p1,
                   T* c, int64_t ldc, const Epilogue<T>& e) {
  constexpr int W = Vec<T>::size;
  const int64_t vectors = (n + W - 1) / W;
  TileArgs<T> t;
  t.a_rs = 1;
  t.a_cs = kMr;
  for (int64_t p = p0; p < p1; ++p) {
    const int64_t v0 = panel_start(p, vectors, panels), v1 = panel_start(p + 1, vectors, panels), j = v0 * W;
    t.b = b + j * k;
    t.ldb = (v1 - v0) * W;
    t.last = int(v1 == vectors ? n - (v1 - 1) * W : W);
    for (int64_t i = 0; i < m; i += kMr) {
      t.a = a + i * k;
      set_tile_c(t, c, ldc, e, i, j);
      kTileOf<T, Tile::Packed>.fn[(m - i < kMr ? m - i : kMr) - 1][v1 - v0 - 1](k, t);
    }
  }
}

template <class T, bool Far>
static void direct(int64_t m, int64_t n, int64_t k, Strided<T> a, const T* b, int64_t ldb, T* c, int64_t ldc,
                   const Epilogue<T>& e) {
  constexpr int W = Vec<T>::size;
  constexpr Tile whole = Far ? Tile::DirectFar : Tile::Direct;
  const int64_t vectors = n / W, panels = (vectors + kNv - 1) / kNv;
  const bool partial = n % W != 0;
  TileArgs<T> t;
  t.a_rs = a.rs;
  t.a_cs = a.cs;
  t.ldb = ldb;
  for (int64_t p = 0; p < panels + partial; ++p) {
    const int64_t v0 = p < panels ? panel_start(p, vectors, panels) : vectors;
    const int64_t nv = p < panels ? panel_start(p + 1, vectors, panels) - v0 : 1;
    t.b = b + v0 * W;
    t.last = p < panels ? W : int(n % W);
    for (int64_t i = 0; i < m; i += kMr) {
      const int64_t rows = (m - i < kMr ? m - i : kMr) - 1;
      t.a = a.data + i * a.rs;
      set_tile_c(t, c, ldc, e, i, v0 * W);
      (p < panels ? kTileOf<T, whole>.fn[rows][nv - 1] : kTileOf<T, Tile::Partial>.fn[rows][0])(k, t);
    }
  }
}

template <class T>
static void skinny(int64_t m, int64_t n, int64_t k, const T* a, const T* b, int64_t ldb, bool far, T* panel, T* c,
                   int64_t ldc, const Epilogue<T>& e) {
  constexpr int W = Vec<T>::size;
  const int64_t vectors = (n + W - 1) / W, panels = (vectors + kNv - 1) / kNv;
  TileArgs<T> t;
  t.copy = panel;
  t.next_ld = ldb;
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t v0 = panel_start(p, vectors, panels), v1 = panel_start(p + 1, vectors, panels), j = v0 * W;
    t.last = int(v1 == vectors ? n - (v1 - 1) * W : W);
    for (int64_t i = 0; i < m; i += kMr) {
      t.a = a + i * k;
      set_tile_c(t, c, ldc, e, i, j);
      if (i == 0) {
        t.b = b + j;
        t.ldb = ldb;
        (far ? kTileOf<T, Tile::CopyingFar>.fn : kTileOf<T, Tile::Copying>.fn)[kMr - 1][v1 - v0 - 1](k, t);
        t.b = panel;
        t.ldb = (v1 - v0) * W;
      } else if (p + 1 < panels && i <= kNv * kMr && m - i >= kMr) {
        t.next = b + v1 * W + (i / kMr - 1) * W;
        kTileOf<T, Tile::PackedAhead>.fn[kMr - 1][v1 - v0 - 1](k, t);
      } else {
        kTileOf<T, Tile::Packed>.fn[(m - i < kMr ? m - i : kMr) - 1][v1 - v0 - 1](k, t);
      }
    }
  }
}

// As packed, A read where it lies. All panels for some rows of A at a time: A is the side that is not in cache.
template <class T>
static void in_place(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t panels, T* c,
                     int64_t ldc, const Epilogue<T>& e) {
  constexpr int W = Vec<T>::size;
  const int64_t vectors = (n + W - 1) / W;
  TileArgs<T> t;
  t.a_rs = lda;
  t.a_cs = 1;
  for (int64_t i = 0; i < m; i += kMr) {
    t.a = a + i * lda;
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t v0 = panel_start(p, vectors, panels), v1 = panel_start(p + 1, vectors, panels), j = v0 * W;
      t.b = b + j * k;
      t.ldb = (v1 - v0) * W;
      t.last = int(v1 == vectors ? n - (v1 - 1) * W : W);
      set_tile_c(t, c, ldc, e, i, j);
      kTileOf<T, Tile::Direct>.fn[(m - i < kMr ? m - i : kMr) - 1][v1 - v0 - 1](k, t);
    }
  }
}

template <class T>
static void turn(int64_t m, int64_t n, const T* turned_NM, int64_t ld, T* c, int64_t ldc, const Epilogue<T>& e) {
  constexpr int W = Vec<T>::size;
  const Vec<T> alpha(e.alpha), beta(e.beta);
  for (int64_t j = 0; j < n; j += W) {
    const int columns = int(n - j < W ? n - j : W);
    for (int64_t i = 0; i < m; i += W) {
      typename Lanes<T, W>::type r[W] = {};
      for (int q = 0; q < columns; ++q) std::memcpy(&r[q], turned_NM + (j + q) * ld + i, sizeof r[q]);
      transpose<W>(r);
      for (int q = 0; q < W && i + q < m; ++q) {
        Vec<T> v = Vec<T>(typename Vec<T>::V(r[q])) * alpha;
        T* to = c + (i + q) * ldc + j;
        if (e.add != nullptr) {
          const T* d = e.add + (i + q) * e.add_rs + j * e.add_cs;
          v = fma(beta, e.add_cs == 0 ? Vec<T>(*d) : Vec<T>::load(d, columns), v);
        }
        v.store(to, columns);
      }
    }
  }
}

// n rounds of kMr * kNv independent multiply-adds of vectors: what the processor can do at most.
template <class T>
static int64_t multiply_adds(int64_t n, T* sink) {
  Vec<T> acc[kMr * kNv];
#pragma GCC unroll 24
  for (int j = 0; j < kMr * kNv; ++j) acc[j] = Vec<T>(T(j));  // all different, or the compiler does one
  for (int64_t i = 0; i < n; ++i) {
    asm volatile("" ::: "memory");  // the round is done again
    const Vec<T> x = Vec<T>::load(sink);
#pragma GCC unroll 24
    for (int j = 0; j < kMr * kNv; ++j) acc[j] = fma(x, x, acc[j]);
  }
  Vec<T> sum(T(0));
#pragma GCC unroll 24
  for (int j = 0; j < kMr * kNv; ++j) sum = sum + acc[j];
  sum.store(sink);
  return n * kMr * kNv * Vec<T>::size;
}

// All panels of B. Rows that are contiguous along n are read a few at a time for all panels: short runs of many far rows
// would miss the TLB and defeat prefetching.
template <class S, class T>
static void pack_panels(int64_t k, int64_t n, Strided<S> b, int64_t panels, T* dst) {
  constexpr int W = Vec<T>::size;
  const int64_t vectors = (n + W - 1) / W, step = b.cs == 1 && b.rs != 1 ? 8 : k;
  for (int64_t k0 = 0; k0 < k; k0 += step)
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t j = panel_start(p, vectors, panels) * W, width = panel_start(p + 1, vectors, panels) * W - j;
      pack_b<S, T>(k - k0 < step ? k - k0 : step, n - j < width ? n - j : width, b.at(k0, j), dst + j * k + k0 * width);
    }
}

template <class S, class T>
static constexpr PackedTable<S, T> blocked(decltype(PackedTable<S, T>::skinny) skinny = nullptr,
                                           decltype(PackedTable<S, T>::in_place) in_place = nullptr) {
  return {kMr,       kNv * Vec<T>::size, Vec<T>::size, 1, 0, pack_a<S, T>, pack_panels<S, T>,
          packed<T>, skinny,             in_place,     dots<DotFloats<S, T>>, stream<S, T>};
}
template <class T>
static constexpr GemmTable<T> table() {
  return {kMr,       kNv * Vec<T>::size, Vec<T>::size, {pack_a<T, T>, pack_b<T, T>},
          packed<T>, direct<T, false>,   direct<T, true>, turn<T>, blocked<T, T>(skinny<T>, in_place<T>),
          multiply_adds<T>};
}

extern constinit const GemmTables gemm_table = {table<float>(), table<double>(), blocked<half, float>(),
                                                blocked<bfloat16, float>()};

}  // namespace mg::cpu::MG_ISA_NS
