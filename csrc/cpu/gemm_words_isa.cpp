// Products of bfloat16 and of int8 whose packed panels hold 32-bit words of 2 or 4 elements, each multiplied and added
// by one instruction. PackedTable (gemm_table.h) is the map.
//
// bfloat16: pairs, vdpbf16ps, twice the rate of float32. int8: quads, vpdpbusd, which wants one side unsigned: A goes
// with 128 added to it and the last row of a panel of B takes it back, being what the sums start from. Where there are
// no such instructions int8 is widened to pairs of int16 (pmaddwd), and bfloat16 to float (gemm_isa.cpp). All int8
// results are exact modulo 2^32.
#include "gemm_dots.h"

namespace mg::cpu::MG_ISA_NS {

namespace {

// A word of A (i, w) holds the elements (i, w * unit ...), of the element type D::Item; zeros beyond k.
template <class D, class S>
MG_INL int32_t word(Strided<S> a, int64_t i, int64_t k0, int64_t left) {
  typename D::Item items[D::kUnit];
  for (int u = 0; u < D::kUnit; ++u)
    items[u] = u < left ? D::item(a.data[i * a.rs + (k0 + u) * a.cs]) : typename D::Item(0);
  int32_t w;
  std::memcpy(&w, items, 4);
  return w;
}

// L rows that are contiguous along k: whole words are moved (or widened), transposed in registers.
template <class D, int L, class S>
MG_INL void words_transposed(int64_t k, Strided<S> a, int32_t* dst, int64_t width, int64_t flip) {
  int64_t w = 0;
  for (; (w + L) * D::kUnit <= k; w += L) {
    typename Lanes<float, L>::type r[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) {
      const S* p = a.data + i * a.rs + w * D::kUnit;
      if constexpr (sizeof(S) * D::kUnit == 4) {
        std::memcpy(&r[i], p, sizeof r[i]);
      } else {
        typedef S Narrow __attribute__((vector_size(L * D::kUnit * sizeof(S))));
        typedef typename D::Item Wide __attribute__((vector_size(L * 4)));
        Narrow narrow;
        std::memcpy(&narrow, p, sizeof narrow);
        const Wide wide = __builtin_convertvector(narrow, Wide);
        std::memcpy(&r[i], &wide, sizeof r[i]);
      }
    }
    transpose<L>(r);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) std::memcpy(dst + (w + i) * width, &r[i], sizeof r[i]);
    if (flip != 0)
      for (int i = 0; i < L; ++i)
        for (int j = 0; j < L; ++j) dst[(w + i) * width + j] ^= int32_t(flip);
  }
  for (; w * D::kUnit < k; ++w)
    for (int i = 0; i < L; ++i)
      dst[w * width + i] = word<D>(a, i, w * D::kUnit, k - w * D::kUnit) ^ int32_t(flip);
}

// n words from D::kUnit rows of B that are contiguous along n. N: n if known, so that the loop is all vectors.
template <class D, int64_t N, class S>
MG_INL void zip_some(int64_t n, const S* b, int64_t ld, int32_t* dst, int32_t flip) {
  if constexpr (N != 0) n = N;
  if constexpr (sizeof(S) == 2) {
    const uint16_t *r0 = reinterpret_cast<const uint16_t*>(b), *r1 = r0 + ld;
    for (int64_t j = 0; j < n; ++j) dst[j] = int32_t(uint32_t(r0[j]) | uint32_t(r1[j]) << 16);
  } else if constexpr (D::kUnit == 4) {
    const uint8_t *r0 = reinterpret_cast<const uint8_t*>(b), *r1 = r0 + ld, *r2 = r1 + ld, *r3 = r2 + ld;
    for (int64_t j = 0; j < n; ++j)
      dst[j] = int32_t(uint32_t(r0[j]) | uint32_t(r1[j]) << 8 | uint32_t(r2[j]) << 16 | uint32_t(r3[j]) << 24) ^ flip;
  } else {
    for (int64_t j = 0; j < n; ++j)
      dst[j] = int32_t(uint32_t(uint16_t(D::item(b[j]))) | uint32_t(uint16_t(D::item(b[ld + j]))) << 16);
  }
}
#if defined(__SSE2__)
MG_INL void zip_bytes(const char* b, int64_t ld, int32_t* dst, int32_t flip) {
  const auto row = [&](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i * ld)); };
  const auto put = [&](int i, __m128i v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + 4 * i), _mm_xor_si128(v, _mm_set1_epi32(flip)));
  };
  const __m128i r0 = row(0), r1 = row(1), r2 = row(2), r3 = row(3);
  const __m128i lo01 = _mm_unpacklo_epi8(r0, r1), hi01 = _mm_unpackhi_epi8(r0, r1);
  const __m128i lo23 = _mm_unpacklo_epi8(r2, r3), hi23 = _mm_unpackhi_epi8(r2, r3);
  put(0, _mm_unpacklo_epi16(lo01, lo23));
  put(1, _mm_unpackhi_epi16(lo01, lo23));
  put(2, _mm_unpacklo_epi16(hi01, hi23));
  put(3, _mm_unpackhi_epi16(hi01, hi23));
}
#endif
template <class D, class S>
MG_INL void zip(int64_t n, const S* b, int64_t ld, int32_t* dst, int32_t flip) {
  constexpr int64_t W = Vec<int32_t>::size;
  int64_t j = 0;
#if defined(__SSE2__)
  if constexpr (sizeof(S) == 1 && D::kUnit == 4)  // the compiler widens and shifts, four times slower
    for (; j + 16 <= n; j += 16) zip_bytes(reinterpret_cast<const char*>(b + j), ld, dst + j, flip);
#endif
  for (; j + W <= n; j += W) zip_some<D, W>(W, b + j, ld, dst + j, flip);
  if (j < n) zip_some<D, 0>(n - j, b + j, ld, dst + j, flip);
}

// Packs `rows` (the short side of the panel) by k, any strides: dst[word * width + row].
template <class D, int L, class S>
MG_INL void pack_words(int64_t rows, int64_t k, Strided<S> a, int32_t* dst, int64_t width, int32_t flip) {
  int64_t i = 0;
  if (a.cs == 1 && a.rs != 1)
    for (; i + L <= rows; i += L) words_transposed<D, L>(k, a.at(i, 0), dst + i, width, flip);
  int64_t w = 0;
  if (a.rs == 1 && a.cs != 1)
    for (; (w + 1) * D::kUnit <= k; ++w) zip<D>(rows, a.data + w * D::kUnit * a.cs, a.cs, dst + w * width, flip);
  for (; w * D::kUnit < k; ++w)
    for (int64_t r = i; r < rows; ++r) dst[w * width + r] = word<D>(a, r, w * D::kUnit, k - w * D::kUnit) ^ flip;
}

template <class D, class S>
void pack_words_a(int64_t m, int64_t k, Strided<S> a, typename D::Sum* dst, int64_t panel_stride) {
  for (int64_t i = 0; i < m; i += kMr, dst += panel_stride)
    pack_words<D, kMr>(m - i < kMr ? m - i : kMr, k, a.at(i, 0), reinterpret_cast<int32_t*>(dst), kMr, D::kFlipA);
}

// All panels of B. Rows that are contiguous along n are read once for all panels.
template <class D, class S>
void pack_words_b(int64_t k, int64_t n, Strided<S> b, int64_t panels, typename D::Sum* to) {
  constexpr int W = Vec<int32_t>::size;
  const int64_t vectors = (n + W - 1) / W, words = (k + D::kUnit - 1) / D::kUnit, rows = words + D::kExtra;
  const int64_t step = b.cs == 1 && b.rs != 1 ? 4 : words;
  int32_t* dst = reinterpret_cast<int32_t*>(to);
  for (int64_t w = 0; w < words; w += step)
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t j = panel_start(p, vectors, panels) * W, width = panel_start(p + 1, vectors, panels) * W - j;
      const int64_t k0 = w * D::kUnit, some = k - k0 < step * D::kUnit ? k - k0 : step * D::kUnit;
      const int64_t columns = n - j < width ? n - j : width;
      int32_t* d = dst + j * rows + w * width;
      pack_words<D, W>(columns, some, b.at(k0, j).mT(), d, width, 0);
      for (int64_t v = 0; v * D::kUnit < some && columns != width; ++v)
        for (int64_t i = columns; i < width; ++i) d[v * width + i] = 0;
    }
  if constexpr (D::kExtra != 0)
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t j = panel_start(p, vectors, panels) * W, width = panel_start(p + 1, vectors, panels) * W - j;
      int32_t* d = dst + j * rows;
      for (int64_t i = 0; i < width; i += W) D::start(words, d + i, width).store(d + words * width + i);
    }
}

// InPlace: A as it lies, t.a_rs words' worth of bytes apart.
template <class D, int MR, int NV, bool InPlace = false>
void word_tile(int64_t words, const TileArgs<typename D::Sum>& t) {
  using T = typename D::Sum;
  constexpr int W = Vec<T>::size;
  Vec<T> acc[MR][NV];
#pragma GCC unroll 4
  for (int j = 0; j < NV; ++j) {
    const Vec<T> first = D::kExtra != 0 ? Vec<T>::load(t.b + words * t.ldb + j * W) : Vec<T>(T(0));
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) acc[i][j] = first;
  }
  const char* a = reinterpret_cast<const char*>(t.a);
  const int32_t* b = reinterpret_cast<const int32_t*>(t.b);
  const int64_t rs = InPlace ? t.a_rs : 4;
  for (int64_t w = 0; w < words; ++w, a += InPlace ? 4 : kMr * 4, b += t.ldb) {
    Vec<int32_t> row[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) row[j] = Vec<int32_t>::load(b + j * W);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      int32_t word;
      std::memcpy(&word, a + i * rs, 4);
      const Vec<int32_t> x(word);
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) D::multiply_add(acc[i][j], x, row[j]);
    }
  }
  write_tile<T, MR, NV>(acc, t);
}

template <class D, bool InPlace>
struct WordTiles {
  TileFn<typename D::Sum> fn[kMr][kNv];
  template <int MR>
  constexpr void fill() {
    fn[MR - 1][0] = word_tile<D, MR, 1, InPlace>;
    fn[MR - 1][1] = word_tile<D, MR, 2, InPlace>;
    if constexpr (kNv > 2) fn[MR - 1][2] = word_tile<D, MR, kNv, InPlace>;
    if constexpr (MR > 1) fill<MR - 1>();
  }
  constexpr WordTiles() : fn{} { fill<kMr>(); }
};
template <class D, bool InPlace = false>
constexpr WordTiles<D, InPlace> kWordTiles{};

template <class D>
void packed_words(int64_t m, int64_t n, int64_t words, const typename D::Sum* a, const typename D::Sum* b,
                  int64_t panels, int64_t p0, int64_t p1, typename D::Sum* c, int64_t ldc,
                  const Epilogue<typename D::Sum>& e) {
  constexpr int W = Vec<int32_t>::size;
  const int64_t vectors = (n + W - 1) / W;
  TileArgs<typename D::Sum> t;
  for (int64_t p = p0; p < p1; ++p) {
    const int64_t v0 = panel_start(p, vectors, panels), v1 = panel_start(p + 1, vectors, panels), j = v0 * W;
    t.b = b + j * words;
    t.ldb = (v1 - v0) * W;
    t.last = int(v1 == vectors ? n - (v1 - 1) * W : W);
    for (int64_t i = 0; i < m; i += kMr) {
      t.a = a + i * words;
      set_tile_c(t, c, ldc, e, i, j);
      kWordTiles<D>.fn[(m - i < kMr ? m - i : kMr) - 1][v1 - v0 - 1](words - D::kExtra, t);
    }
  }
}

template <class D, class S>
void words_in_place(int64_t m, int64_t n, int64_t words, const S* a, int64_t lda, const typename D::Sum* b,
                    int64_t panels, typename D::Sum* c, int64_t ldc, const Epilogue<typename D::Sum>& e) {
  using T = typename D::Sum;
  static_assert(D::kExtra == 0 && sizeof(S) * D::kUnit == 4);
  constexpr int W = Vec<int32_t>::size;
  const int64_t vectors = (n + W - 1) / W;
  TileArgs<T> t;
  t.a_rs = lda * int64_t(sizeof(S));
  for (int64_t i = 0; i < m; i += kMr) {
    t.a = reinterpret_cast<const T*>(a + i * lda);
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t v0 = panel_start(p, vectors, panels), v1 = panel_start(p + 1, vectors, panels), j = v0 * W;
      t.b = b + j * words;
      t.ldb = (v1 - v0) * W;
      t.last = int(v1 == vectors ? n - (v1 - 1) * W : W);
      set_tile_c(t, c, ldc, e, i, j);
      kWordTiles<D, true>.fn[(m - i < kMr ? m - i : kMr) - 1][v1 - v0 - 1](words, t);
    }
  }
}

// Dot products over words: D with whole vectors of elements, as gemm_dots.h wants them.
template <class D, class S_>
struct DotWords {
  using S = S_;
  using T = typename D::Sum;
  using Reg = Vec<int32_t>;
  static constexpr int kStep = Vec<int32_t>::size * D::kUnit;
  static constexpr bool kShifted = D::kExtra != 0;
  static MG_INL Reg load_b(const S* p) {
    if constexpr (sizeof(S) * D::kUnit == 4)
      return Vec<int32_t>::load(reinterpret_cast<const int32_t*>(p));
    else
      return D::widen(p);
  }
  static MG_INL Reg load_b(const S* p, int n) {
    S part[kStep] = {};
    for (int i = 0; i < n; ++i) part[i] = p[i];
    return load_b(part);
  }
  static MG_INL Reg load_a(const S* p) { return load_b(p) ^ Vec<int32_t>(D::kFlipA); }
  static MG_INL Reg load_a(const S* p, int n) { return load_b(p, n) ^ Vec<int32_t>(D::kFlipA); }
  static MG_INL void multiply_add(Vec<T>& acc, Reg x, Reg y) { D::multiply_add(acc, x, y); }
  static MG_INL void add_shift(Vec<T>& shift, Reg y) { D::multiply_add(shift, Vec<int32_t>(D::kFlipA), y); }
};

#if defined(__AVX512F__)
// The instructions are written as assembly: this build assumes less than they need (words_native() asks the processor).
struct PairsBf16 {
  using Item = uint16_t;
  using Sum = float;
  static constexpr int kUnit = 2, kExtra = 0, kFlipA = 0;
  static MG_INL Item item(bfloat16 x) { return x.bits; }
  static MG_INL void multiply_add(Vec<float>& acc, Vec<int32_t> x, Vec<int32_t> y) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(acc.v) : "v"(x.v), "v"(y.v));
  }
};
struct QuadsInt8 {
  using Item = int8_t;
  using Sum = int32_t;
  static constexpr int kUnit = 4, kExtra = 1, kFlipA = int32_t(0x80808080u);  // adds 128 to each byte
  static MG_INL Item item(int8_t x) { return x; }
  static MG_INL void multiply_add(Vec<int32_t>& acc, Vec<int32_t> x, Vec<int32_t> y) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc.v) : "v"(x.v), "v"(y.v));
  }
  // -128 times the sums of the columns.
  static MG_INL Vec<int32_t> start(int64_t words, const int32_t* b, int64_t width) {
    Vec<int32_t> sum(0);
    for (int64_t w = 0; w < words; ++w) multiply_add(sum, Vec<int32_t>(0x01010101), Vec<int32_t>::load(b + w * width));
    return Vec<int32_t>(0) - (sum << 7);
  }
};
#endif

struct PairsInt8 {
  using Item = int16_t;
  using Sum = int32_t;
  static constexpr int kUnit = 2, kExtra = 0, kFlipA = 0;
  static MG_INL Item item(int8_t x) { return x; }
  static MG_INL Vec<int32_t> widen(const int8_t* p) {
    constexpr int L = 2 * Vec<int32_t>::size;
#if defined(__AVX512BW__)
    return Vec<int32_t>(Vec<int32_t>::V(_mm512_maskz_cvtepi8_epi16(__mmask32(-1), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))));
#elif defined(__AVX2__)
    return Vec<int32_t>(Vec<int32_t>::V(_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))));
#endif
    typedef int8_t Narrow __attribute__((vector_size(L)));
    typedef int16_t Wide __attribute__((vector_size(2 * L)));
    Narrow bytes;
    std::memcpy(&bytes, p, L);
    return Vec<int32_t>(Vec<int32_t>::V(__builtin_convertvector(bytes, Wide)));
  }
  static MG_INL void multiply_add(Vec<int32_t>& acc, Vec<int32_t> x, Vec<int32_t> y) {
#if defined(__AVX512BW__)
    acc = acc + Vec<int32_t>(Vec<int32_t>::V(_mm512_madd_epi16(__m512i(x.v), __m512i(y.v))));
#elif defined(__AVX2__)
    acc = acc + Vec<int32_t>(Vec<int32_t>::V(_mm256_madd_epi16(__m256i(x.v), __m256i(y.v))));
#elif defined(__SSE2__)
    acc = acc + Vec<int32_t>(Vec<int32_t>::V(_mm_madd_epi16(__m128i(x.v), __m128i(y.v))));
#else
    acc = acc + ((x << 16) >> 16) * ((y << 16) >> 16) + (x >> 16) * (y >> 16);
#endif
  }
};

template <class D, class S>
constexpr PackedTable<S, typename D::Sum> words_row(decltype(PackedTable<S, typename D::Sum>::in_place) in_place = nullptr,
    decltype(PackedTable<S, typename D::Sum>::stream) stream = nullptr) {
  return {kMr,     kNv * Vec<int32_t>::size, Vec<int32_t>::size, D::kUnit, D::kExtra, pack_words_a<D, S>, pack_words_b<D, S>,
          packed_words<D>, nullptr, in_place, dots<DotWords<D, S>>, stream};
}

}  // namespace

extern constinit const PackedTable<int8_t, int32_t> int8_pairs = words_row<PairsInt8, int8_t>();
#if defined(__AVX512F__)
extern constinit const PackedTable<int8_t, int32_t> int8_quads = words_row<QuadsInt8, int8_t>();
extern constinit const PackedTable<bfloat16, float> bfloat16_pairs =
    words_row<PairsBf16, bfloat16>(words_in_place<PairsBf16, bfloat16>, stream<bfloat16, float>);
#endif

}  // namespace mg::cpu::MG_ISA_NS
