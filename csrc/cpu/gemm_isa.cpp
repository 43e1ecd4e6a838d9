// The GEMM kernels of one instruction set: loops over register tiles, gathered in one constant table. gemm_table.h is
// the map.
#include "gemm_dots.h"
#include "gemm_pack.h"

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

// Long dot products are cut into blocks of kDotBlock whose sums are added in order: 16 running sums over a million
// terms would lose digits.
constexpr int64_t kDotBlock = 8192;

template <class T>
static void dots(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc,
                 const Epilogue<T>& e) {
  for (int64_t j = 0; j < n; j += 4) {
    const int nj = int(n - j < 4 ? n - j : 4);
    for (int64_t i = 0; i < m; i += 4) {
      const int mi = int(m - i < 4 ? m - i : 4);
      T sums[16], part[16];
      const DotFn<T> fn = kDots<T>[mi - 1][nj - 1];
      fn(k < kDotBlock ? k : kDotBlock, a + i * lda, lda, b + j * ldb, ldb, sums);
      for (int64_t p = kDotBlock; p < k; p += kDotBlock) {
        fn(k - p < kDotBlock ? k - p : kDotBlock, a + i * lda + p, lda, b + j * ldb + p, ldb, part);
        for (int x = 0; x < mi; ++x)
          for (int y = 0; y < nj; ++y) sums[x * 4 + y] += part[x * 4 + y];
      }
      for (int x = 0; x < mi; ++x)
        for (int y = 0; y < nj; ++y) {
          T v = e.alpha * sums[x * 4 + y];
          if (e.add != nullptr) v += e.beta * e.add[(i + x) * e.add_rs + (j + y) * e.add_cs];
          c[(i + x) * ldc + j + y] = v;
        }
    }
  }
}

template <class T>
static void axpys(int64_t n, int64_t k, const T* x, int64_t incx, const T* b, int64_t ldb, T* y, const Epilogue<T>& e) {
  constexpr int W = Vec<T>::size, kColumns = 2048, kRows = 8;
  for (int64_t j0 = 0; j0 < n; j0 += kColumns) {
    T acc[kColumns];  // stays in L1 while kRows rows of B stream by
    const int64_t cols = n - j0 < kColumns ? n - j0 : kColumns, whole = cols / W * W;
    for (int64_t j = 0; j < cols; ++j) acc[j] = 0;
    int64_t p = 0;
    for (; p < k; p += kRows) {
      const int rows = int(k - p < kRows ? k - p : kRows);
      const T* r = b + p * ldb + j0;
      T xs[kRows];
      for (int i = 0; i < rows; ++i) xs[i] = x[(p + i) * incx];
      for (int64_t j = 0; j < whole; j += W) {
        Vec<T> v = Vec<T>::load(acc + j);
        if (rows == kRows) {
#pragma GCC unroll 8
          for (int i = 0; i < kRows; ++i) v = fma(Vec<T>(xs[i]), Vec<T>::load(r + i * ldb + j), v);
        } else {
          for (int i = 0; i < rows; ++i) v = fma(Vec<T>(xs[i]), Vec<T>::load(r + i * ldb + j), v);
        }
        v.store(acc + j);
      }
      for (int64_t j = whole; j < cols; ++j)
        for (int i = 0; i < rows; ++i) acc[j] += xs[i] * r[i * ldb + j];
    }
    for (int64_t j = 0; j < cols; ++j)
      y[j0 + j] = e.alpha * acc[j] + (e.add == nullptr ? T(0) : e.beta * e.add[(j0 + j) * e.add_cs]);
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
static constexpr PackedTable<S, T> blocked(decltype(PackedTable<S, T>::skinny) skinny = nullptr) {
  return {kMr, kNv * Vec<T>::size, Vec<T>::size, 1, 0, pack_a<S, T>, pack_panels<S, T>, packed<T>, skinny};
}
template <class T>
static constexpr GemmTable<T> table() {
  return {kMr,       kNv * Vec<T>::size, Vec<T>::size, {pack_a<T, T>, pack_b<T, T>},
          packed<T>, direct<T, false>,   direct<T, true>, dots<T>, axpys<T>,
          blocked<T, T>(skinny<T>), multiply_adds<T>};
}

extern constinit const GemmTables gemm_table = {table<float>(), table<double>(), blocked<half, float>(),
                                                blocked<bfloat16, float>()};

}  // namespace mg::cpu::MG_ISA_NS
