// Loops over patches for one instruction set: packing for the products of forward and weight.
// conv.h is the map.
#include "conv.h"
#include "gemm_pack.h"

namespace mg::cpu::MG_ISA_NS {

template <class T>
static void pack_patches(int64_t taps, const int64_t* tap_offset, const T* src, const PatchRun* runs, int count,
                         int64_t stride, T* dst, int64_t width) {
  constexpr int W = Vec<T>::size;
  for (int64_t p = 0; p < taps; ++p, dst += width) {
    T* d = dst;
    const T* base = src + tap_offset[p];
    for (int r = 0; r < count; ++r) {
      const T* s = base + runs[r].source;
      const int n = runs[r].length;
      if (stride == 1) {
        int j = 0;
        for (; j + W <= n; j += W) Vec<T>::load(s + j).store(d + j);
        if (j < n) Vec<T>::load(s + j, n - j).store(d + j, n - j);
      } else {
        for (int j = 0; j < n; ++j) d[j] = s[j * stride];
      }
      d += n;
    }
    for (; d < dst + width; ++d) *d = 0;
  }
}

template <class T>
static void pack_patches_transposed(int64_t taps, const int64_t* tap_offset, const T* src, const PatchRun* runs,
                                    int count, int64_t stride, T* dst, int64_t width) {
  constexpr int L = Vec<T>::size;
  for (int r = 0; r < count; ++r) {
    const T* s = src + runs[r].source;
    const int n = runs[r].length;
    int64_t p = 0;
    for (; p + L <= taps && stride == 1; p += L) {
      int q = 0;
      for (; q + L <= n; q += L) {
        typename Lanes<T, L>::type tile[L];
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) std::memcpy(&tile[i], s + tap_offset[p + i] + q, sizeof tile[i]);
        transpose<L>(tile);
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) std::memcpy(dst + (q + i) * width + p, &tile[i], sizeof tile[i]);
      }
      for (; q < n; ++q)
        for (int i = 0; i < L; ++i) dst[q * width + p + i] = s[tap_offset[p + i] + q];
    }
    for (int q = 0; q < n; ++q) {
      for (int64_t i = p; i < taps; ++i) dst[q * width + i] = s[tap_offset[i] + q * stride];
      for (int64_t i = taps; i < width; ++i) dst[q * width + i] = 0;
    }
    dst += n * width;
  }
}

template <class T>
static constexpr ConvTable<T> conv_row() {
  return {pack_patches<T>, pack_patches_transposed<T>};
}
extern constinit const ConvTables conv_table = {conv_row<float>(), conv_row<double>()};

}  // namespace mg::cpu::MG_ISA_NS
