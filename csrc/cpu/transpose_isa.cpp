// See transpose_table.h. A block is as many rows as a register has elements: loaded whole, transposed by exchanging
// halves, quarters, … of rows in pairs, and stored whole, so that each line of either side is touched once.
#include "../simd/vec_mask.h"
#include "transpose_table.h"
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace mg::cpu::MG_ISA_NS {

namespace {

constexpr int kBytes = mg::simd::MG_ISA_NS::kVecBytes;

template <class T>
struct Row {
  typedef T type __attribute__((vector_size(kBytes)));
  static constexpr int size = kBytes / int(sizeof(T));
};

// Exchanges the H x H sub-blocks beside the diagonal of every 2H x 2H block.
template <class T, int H>
MG_INL void exchange(typename Row<T>::type* r) {
  constexpr int N = Row<T>::size;
  typename Row<T>::type low, high;
  for (int i = 0; i < N; ++i) {
    const bool upper = (i / H) & 1;
    low[i] = T(upper ? N + i - H : i);
    high[i] = T(upper ? N + i : i + H);
  }
#pragma GCC unroll 32
  for (int i = 0; i < N; ++i) {
    if ((i / H) & 1) continue;
    const auto a = r[i], b = r[i + H];
    r[i] = __builtin_shuffle(a, b, low);
    r[i + H] = __builtin_shuffle(a, b, high);
  }
}

MG_INL void store_around(char* p, const void* row) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), _mm512_loadu_si512(row));
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), _mm256_loadu_si256(static_cast<const __m256i*>(row)));
#elif defined(__SSE2__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), _mm_loadu_si128(static_cast<const __m128i*>(row)));
#else
  std::memcpy(p, row, kBytes);
#endif
}

template <class T, bool Stream>
MG_INL void block(char* dst, int64_t ds, const char* src, int64_t ss) {
  constexpr int N = Row<T>::size;
  typename Row<T>::type r[N];
#pragma GCC unroll 32
  for (int i = 0; i < N; ++i) std::memcpy(&r[i], src + i * ss, kBytes);
  if constexpr (N >= 32) exchange<T, 16>(r);
  if constexpr (N >= 16) exchange<T, 8>(r);
  if constexpr (N >= 8) exchange<T, 4>(r);
  if constexpr (N >= 4) exchange<T, 2>(r);
  exchange<T, 1>(r);
#pragma GCC unroll 32
  for (int i = 0; i < N; ++i) {
    if constexpr (Stream)
      store_around(dst + i * ds, &r[i]);
    else
      std::memcpy(dst + i * ds, &r[i], kBytes);
  }
}

// Elements one by one: i in [i0, i1), j in [j0, j1).
template <class T>
void edge(char* dst, int64_t ds, const char* src, int64_t ss, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  for (int64_t j = j0; j < j1; ++j)
    for (int64_t i = i0; i < i1; ++i)
      std::memcpy(dst + i * ds + j * int64_t(sizeof(T)), src + j * ss + i * int64_t(sizeof(T)), sizeof(T));
}

// Whole blocks: columns of `wide` along j, and within one, lines of src from top to bottom.
template <class T, bool Stream>
MG_INL void blocks(char* dst, int64_t ds, const char* src, int64_t ss, int64_t ni, int64_t nj, int64_t wide) {
  constexpr int64_t N = Row<T>::size, item = sizeof(T);
  for (int64_t j0 = 0; j0 < nj; j0 += wide)
    for (int64_t j = j0; j < (nj - j0 < wide ? nj : j0 + wide); j += N)
      for (int64_t i = 0; i < ni; i += N) block<T, Stream>(dst + i * ds + j * item, ds, src + j * ss + i * item, ss);
}

template <class T>
void transpose(char* dst, int64_t ds, const char* src, int64_t ss, int64_t ni, int64_t nj, bool stream) {
  constexpr int64_t N = Row<T>::size;
  const int64_t wi = ni / N * N, wj = nj / N * N;
  if (stream)
    blocks<T, true>(dst, ds, src, ss, wi, wj, 64);
  else
    blocks<T, false>(dst, ds, src, ss, wi, wj, N);
  edge<T>(dst, ds, src, ss, 0, wi, wj, nj);
  edge<T>(dst, ds, src, ss, wi, ni, 0, nj);
}

}  // namespace

extern const TransposeTable transpose_functions;
constinit const TransposeTable transpose_functions = {transpose<uint16_t>, transpose<uint32_t>, transpose<uint64_t>};

}  // namespace mg::cpu::MG_ISA_NS
