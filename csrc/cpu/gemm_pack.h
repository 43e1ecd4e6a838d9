// Packing of A and B into the panels that gemm_table.h describes, from any strides, converting half and bfloat16 on the
// way.
//
// A source that is contiguous along k must be transposed; that is done in registers, tile by tile (transpose()),
// because the scalar loop costs as much as the multiplication itself at sizes near 128. Included by gemm_isa.cpp only.
#pragma once
#include <utility>

#include "gemm_kernel.h"

namespace mg::cpu::MG_ISA_NS {

// Own converters, without branches so that they vectorise (dtype.h's are shared inline functions: see the note in
// simd/vec.h).
MG_INL float widen_element(half h) {
  uint32_t magnitude = uint32_t(h.bits & 0x7fff) << 13, sign = uint32_t(h.bits & 0x8000) << 16;
  float scaled, special;
  const uint32_t inf_nan = magnitude | 0x7f800000u;
  std::memcpy(&scaled, &magnitude, 4);
  scaled *= 0x1p112f;
  std::memcpy(&special, &inf_nan, 4);
  const float f = magnitude >= 0x0f800000u ? special : scaled;
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  bits |= sign;
  float r;
  std::memcpy(&r, &bits, 4);
  return r;
}
MG_INL float widen_element(bfloat16 b) {
  const uint32_t bits = uint32_t(b.bits) << 16;
  float r;
  std::memcpy(&r, &bits, 4);
  return r;
}
MG_INL float widen_element(float f) { return f; }
MG_INL double widen_element(double f) { return f; }

// L lanes of T.
template <class T, int L>
struct Lanes;
#define MG_LANES(T, L)                                          \
  template <>                                                   \
  struct Lanes<T, L> {                                          \
    typedef T type __attribute__((vector_size(L * sizeof(T)))); \
  }
MG_LANES(float, 4);
MG_LANES(float, 8);
MG_LANES(float, 16);
MG_LANES(double, 2);
MG_LANES(double, 4);
MG_LANES(double, 8);
#undef MG_LANES

// r = L consecutive elements of S as lanes of T.
template <int L, class T, class S>
MG_INL void widen_lanes(const S* p, typename Lanes<T, L>::type& r) {
  [[maybe_unused]] typedef uint32_t Words __attribute__((vector_size(L * 4)));
  if constexpr (std::is_same_v<S, T>) {
    std::memcpy(&r, p, sizeof r);
    return;
  }
#if defined(__AVX512F__)
  if constexpr (L == 16 && sizeof(S) == 2) {
    const __m256i narrow = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __mmask16 all(-1);
    if constexpr (std::is_same_v<S, half>)
      r = typename Lanes<T, L>::type(_mm512_maskz_cvtph_ps(all, narrow));
    else
      r = typename Lanes<T, L>::type(Words(_mm512_maskz_cvtepu16_epi32(all, narrow)) << 16);
    return;
  }
#endif
#if defined(__AVX2__)
  if constexpr (L == 8 && sizeof(S) == 2) {
    const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    if constexpr (std::is_same_v<S, half>)
      r = typename Lanes<T, L>::type(_mm256_cvtph_ps(narrow));
    else
      r = typename Lanes<T, L>::type(Words(_mm256_cvtepu16_epi32(narrow)) << 16);
    return;
  }
#endif
  T wide[L];
  for (int j = 0; j < L; ++j) wide[j] = widen_element(p[j]);
  std::memcpy(&r, wide, sizeof r);
}

template <int H, int L, class V, int... I>
MG_INL void exchange(V& a, V& b, std::integer_sequence<int, I...>) {
  const V lo = __builtin_shufflevector(a, b, ((I & H) ? L + (I ^ H) : I)...);
  b = __builtin_shufflevector(a, b, ((I & H) ? L + I : (I | H))...);
  a = lo;
}
// Transposes an L x L tile by exchanging ever larger off-diagonal blocks.
template <int L, int H = 1, class V>
MG_INL void transpose(V (&r)[L]) {
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i)
    if (!(i & H)) exchange<H, L>(r[i], r[i | H], std::make_integer_sequence<int, L>());
  if constexpr (2 * H < L) transpose<L, 2 * H>(r);
}

// A vector of S as T.
template <class T, class S>
MG_INL Vec<T> load_wide(const S* p) {
  typename Lanes<T, Vec<T>::size>::type r;
  widen_lanes<Vec<T>::size, T>(p, r);
  return Vec<T>(typename Vec<T>::V(r));
}
// The first n lanes, zeros behind them.
template <class T, class S>
MG_INL Vec<T> load_wide(const S* p, int n) {
  if constexpr (std::is_same_v<S, T>) {
    return Vec<T>::load(p, n);
  } else {
    S part[Vec<T>::size] = {};
    for (int i = 0; i < n; ++i) part[i] = p[i];
    return load_wide<T>(part);
  }
}

// dst[k * dst_stride + i] = src[i * src_stride + k] for i < L, k < n.
template <int L, class S, class T>
MG_INL void pack_transposed(int64_t n, const S* src, int64_t src_stride, T* dst, int64_t dst_stride) {
  int64_t p = 0;
  for (; p + L <= n; p += L) {
    typename Lanes<T, L>::type r[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) widen_lanes<L, T>(src + i * src_stride + p, r[i]);
    transpose<L>(r);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) std::memcpy(dst + (p + i) * dst_stride, &r[i], sizeof r[i]);
  }
  for (; p < n; ++p)
    for (int i = 0; i < L; ++i) dst[p * dst_stride + i] = widen_element(src[i * src_stride + p]);
}

// Packs `rows` rows (the panel's short side) by n (k), any strides; dst[k * width + i].
template <class S, class T>
MG_INL void pack_generic(int64_t rows, int64_t n, Strided<S> a, T* dst, int64_t width) {
  for (int64_t p = 0; p < n; ++p, dst += width) {
    const S* s = a.data + p * a.cs;
    if (a.rs == 1) {
      for (int64_t i = 0; i < rows; ++i) dst[i] = widen_element(s[i]);
    } else {
      for (int64_t i = 0; i < rows; ++i) dst[i] = widen_element(s[i * a.rs]);
    }
  }
}

template <class S, class T>
void pack_a(int64_t m, int64_t k, Strided<S> a, T* dst, int64_t panel_stride) {
  for (int64_t i = 0; i < m; i += kMr, dst += panel_stride) {
    const Strided<S> rows = a.at(i, 0);
    if (m - i < kMr)
      pack_generic(m - i, k, rows, dst, kMr);
    else if (a.cs == 1)
      pack_transposed<kMr>(k, rows.data, a.rs, dst, kMr);
    else
      pack_generic(kMr, k, rows, dst, kMr);
  }
}

template <class S, class T>
void pack_b(int64_t k, int64_t n, Strided<S> b, T* dst) {
  constexpr int W = Vec<T>::size;
  const int64_t width = (n + W - 1) / W * W;
  if (b.cs == 1) {
    for (int64_t p = 0; p < k; ++p) {
      const S* s = b.data + p * b.rs;
      T* d = dst + p * width;
      int64_t j = 0;
      for (; j + W <= n; j += W) load_wide<T>(s + j).store(d + j);
      if (j < n) load_wide<T>(s + j, int(n - j)).store(d + j);
    }
    return;
  }
  int64_t j = 0;
  if (b.rs == 1 && b.cs != 1)
    for (; j + W <= n; j += W) pack_transposed<W>(k, b.data + j * b.cs, b.cs, dst + j, width);
  if (j == n) return;
  pack_generic(n - j, k, b.at(0, j).mT(), dst + j, width);
  if (n != width)
    for (int64_t p = 0; p < k; ++p)
      for (int64_t i = n; i < width; ++i) dst[p * width + i] = 0;
}

}  // namespace mg::cpu::MG_ISA_NS
