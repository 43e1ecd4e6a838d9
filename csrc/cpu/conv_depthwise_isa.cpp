// Loops of depthwise convolution for one instruction set; conv_depthwise.h is the map.
#include "conv_depthwise.h"
#include "load_run.h"

namespace mg::cpu::MG_ISA_NS {

using simd::MG_ISA_NS::Vec;

template <class T>
static void copy_rows(int64_t rows, int64_t n, const T* src, int64_t src_rs, int64_t src_cs, T* dst, int64_t dst_rs,
                      int64_t dst_cs) {
  constexpr int L = Vec<T>::size;
  for (int64_t r = 0; r < rows; ++r, src += src_rs, dst += dst_rs) {
    int64_t j = 0;
    if (dst_cs == 1 && src_cs <= 2) {
      for (; j + L <= n; j += L) load_run(src + j * src_cs, src_cs, L).store(dst + j);
      if (j < n) load_run(src + j * src_cs, src_cs, int(n - j)).store(dst + j, int(n - j));
      continue;
    }
    for (; j < n; ++j) dst[j * dst_cs] = src[j * src_cs];
  }
}

template <class T, int NV>
MG_INL void run_block(int last, int64_t taps, const int64_t* tap_offset, const T* w, const T* src, T bias, T* y) {
  constexpr int L = Vec<T>::size;
  Vec<T> acc[NV];
#pragma GCC unroll 4
  for (int j = 0; j < NV; ++j) acc[j] = Vec<T>(bias);
  for (int64_t p = 0; p < taps; ++p) {
    const Vec<T> x(w[p]);
    const T* s = src + tap_offset[p];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) acc[j] = fma(x, Vec<T>::load(s + j * L), acc[j]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < NV - 1; ++j) acc[j].store(y + j * L);
  if (last == L)
    acc[NV - 1].store(y + (NV - 1) * L);
  else
    acc[NV - 1].store(y + (NV - 1) * L, last);
}

template <class T>
static void run(int64_t n, int64_t taps, const int64_t* tap_offset, const T* w, const T* src, T bias, T* y) {
  constexpr int L = Vec<T>::size;
  int64_t i = 0;
  for (; n - i > 4 * L; i += 4 * L) run_block<T, 4>(L, taps, tap_offset, w, src + i, bias, y + i);
  const int64_t vectors = (n - i + L - 1) / L;
  const int last = int(n - i - (vectors - 1) * L);
  if (vectors == 4) run_block<T, 4>(last, taps, tap_offset, w, src + i, bias, y + i);
  if (vectors == 3) run_block<T, 3>(last, taps, tap_offset, w, src + i, bias, y + i);
  if (vectors == 2) run_block<T, 2>(last, taps, tap_offset, w, src + i, bias, y + i);
  if (vectors == 1) run_block<T, 1>(last, taps, tap_offset, w, src + i, bias, y + i);
}

template <class T, int N>
static void weight_block(int64_t n, const int64_t* tap_offset, const T* dy, const T* src, T* acc) {
  constexpr int L = Vec<T>::size;
  Vec<T> sum[N];
  const T* s[N];
#pragma GCC unroll 10
  for (int p = 0; p < N; ++p) sum[p] = Vec<T>(T(0)), s[p] = src + tap_offset[p];
  int64_t i = 0;
  for (; i + L <= n; i += L) {
    const Vec<T> g = Vec<T>::load(dy + i);
#pragma GCC unroll 10
    for (int p = 0; p < N; ++p) sum[p] = fma(g, Vec<T>::load(s[p] + i), sum[p]);
  }
  if (i < n) {
    const int rest = int(n - i);
    const Vec<T> g = Vec<T>::load(dy + i, rest);
#pragma GCC unroll 10
    for (int p = 0; p < N; ++p) sum[p] = fma(g, Vec<T>::load(s[p] + i, rest), sum[p]);
  }
#pragma GCC unroll 10
  for (int p = 0; p < N; ++p) (Vec<T>::load(acc + p * L) + sum[p]).store(acc + p * L);
}

constexpr int kTapBlock = 10;

template <class T, int N = kTapBlock>
static auto pick_block(int64_t taps) {
  if constexpr (N > 1)
    if (taps < N) return pick_block<T, N - 1>(taps);
  return &weight_block<T, N>;
}

template <class T>
static void run_weight(int64_t n, int64_t taps, const int64_t* tap_offset, const T* dy, const T* src, T* acc) {
  const int64_t blocks = (taps + kTapBlock - 1) / kTapBlock;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t p = b * taps / blocks, count = (b + 1) * taps / blocks - p;
    pick_block<T>(count)(n, tap_offset + p, dy, src, acc + p * Vec<T>::size);
  }
}

template <class T>
static constexpr DepthwiseTable<T> depthwise_row() {
  return {Vec<T>::size, copy_rows<T>, run<T>, run_weight<T>};
}
extern constinit const DepthwiseTables depthwise_table = {depthwise_row<float>(), depthwise_row<double>()};

}  // namespace mg::cpu::MG_ISA_NS
