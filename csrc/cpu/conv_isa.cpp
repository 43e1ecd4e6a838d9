// Loops over patches for one instruction set: packing for the products of forward and weight.
// conv.h is the map.
#include "conv.h"
#include "gemm_pack.h"
#include "load_run.h"

namespace mg::cpu::MG_ISA_NS {

// n lanes (at most one vector) `step` apart.
template <class T>
MG_INL Vec<T> load_steps(const T* p, int64_t step, int n) {
  if (step <= 2) return load_run(p, step, n);
  Vec<T> v(T(0));
  for (int i = 0; i < n; ++i) v.set(i, p[i * step]);
  return v;
}

template <class T>
static void pack_patches(int64_t taps, const int64_t* tap_offset, const T* src, const PatchRun* runs, int count,
                         int64_t step, T* dst, int64_t width) {
  constexpr int W = Vec<T>::size;
  for (int64_t p = 0; p < taps; ++p, dst += width) {
    T* d = dst;
    const T* base = src + tap_offset[p];
    for (int r = 0; r < count; ++r) {
      const T* s = base + runs[r].source;
      const int n = runs[r].length;
      int j = 0;
      for (; j + W <= n; j += W) load_steps(s + j * step, step, W).store(d + j);
      if (j < n) load_steps(s + j * step, step, n - j).store(d + j);  // what follows overwrites the rest
      d += n;
    }
    for (; d < dst + width; ++d) *d = 0;
  }
}

template <class T>
static void pack_patches_transposed(int64_t taps, const int64_t* tap_offset, const T* src, const PatchRun* runs,
                                    int count, int64_t step, T* dst, int64_t width) {
  constexpr int L = Vec<T>::size;
  for (int r = 0; r < count; ++r) {
    const T* s = src + runs[r].source;
    const int n = runs[r].length;
    int64_t p = 0;
    for (; p + L <= taps; p += L) {
      int q = 0;
      for (; q + L <= n; q += L) {
        typename Lanes<T, L>::type tile[L];
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) tile[i] = load_steps(s + tap_offset[p + i] + q * step, step, L).v;
        transpose<L>(tile);
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) std::memcpy(dst + (q + i) * width + p, &tile[i], sizeof tile[i]);
      }
      for (; q < n; ++q)
        for (int i = 0; i < L; ++i) dst[q * width + p + i] = s[tap_offset[p + i] + q * step];
    }
    for (int q = 0; q < n; ++q) {
      for (int64_t i = p; i < taps; ++i) dst[q * width + i] = s[tap_offset[i] + q * step];
      for (int64_t i = taps; i < width; ++i) dst[q * width + i] = 0;
    }
    dst += n * width;
  }
}

template <class T>
static void copy_rows(int64_t rows, int64_t n, const T* src, int64_t src_rs, int64_t stride, T* dst, int64_t dst_rs) {
  constexpr int W = Vec<T>::size;
  for (int64_t r = 0; r < rows; ++r, src += src_rs, dst += dst_rs) {
    int64_t j = 0;
    if (stride <= 2) {
      for (; j + W <= n; j += W) load_run(src + j * stride, stride, W).store(dst + j);
      if (j < n) load_run(src + j * stride, stride, int(n - j)).store(dst + j, int(n - j));
    } else {
      for (; j < n; ++j) dst[j] = src[j * stride];
    }
  }
}

template <class T>
static void spread_row(int64_t n, const T* src, int64_t stride, T fill, T* dst, int64_t length) {
  int64_t j = 0;
  if (stride == 2)
    for (; 2 * j + 1 < length && j < n; ++j) dst[2 * j] = src[j], dst[2 * j + 1] = fill;
  for (int64_t i = j * stride; i < length; ++i) dst[i] = fill;
  for (; j < n; ++j) dst[j * stride] = src[j];
}

template <class T>
static constexpr ConvTable<T> conv_row() {
  return {pack_patches<T>, pack_patches_transposed<T>, copy_rows<T>, spread_row<T>};
}
extern constinit const ConvTables conv_table = {conv_row<float>(), conv_row<double>()};

}  // namespace mg::cpu::MG_ISA_NS
