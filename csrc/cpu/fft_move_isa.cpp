// Moving signals in and out of blocks [n][lanes], and the real transforms' extra step. Built once per instruction set.
//
// A signal that lies contiguously becomes a column of the block: W x W pieces are transposed in registers, W being 32
// bytes of T. Signals that lie side by side need no more than separating real and imaginary parts, which the compiler
// vectorises.
#include <cstring>

#include "fft_table.h"

namespace mg::cpu::MG_ISA_NS {

namespace {

#ifdef MG_ISA_portable
constexpr int kBytes = 16;
#else
constexpr int kBytes = 32;
#endif
template <class T>
constexpr int kWidth = kBytes / int(sizeof(T));
template <class T>
struct Register {
  typedef T type __attribute__((vector_size(kBytes)));
};

template <class V>
inline V interleave_low(V a, V b) {
  if constexpr (sizeof(a) / sizeof(a[0]) == 8)
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  else if constexpr (sizeof(a) / sizeof(a[0]) == 4)
    return __builtin_shufflevector(a, b, 0, 4, 1, 5);
  else
    return __builtin_shufflevector(a, b, 0, 2);
}
template <class V>
inline V interleave_high(V a, V b) {
  if constexpr (sizeof(a) / sizeof(a[0]) == 8)
    return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  else if constexpr (sizeof(a) / sizeof(a[0]) == 4)
    return __builtin_shufflevector(a, b, 2, 6, 3, 7);
  else
    return __builtin_shufflevector(a, b, 1, 3);
}

// Row i, element k to row k, element i: log2(W) rounds of perfect shuffles.
template <class T>
inline void transpose_registers(typename Register<T>::type (&r)[kWidth<T>]) {
  constexpr int W = kWidth<T>;
  for (int round = 1; round < W; round *= 2) {
    typename Register<T>::type t[W];
    for (int i = 0; i < W / 2; ++i) {
      t[2 * i] = interleave_low(r[i], r[i + W / 2]);
      t[2 * i + 1] = interleave_high(r[i], r[i + W / 2]);
    }
    for (int i = 0; i < W; ++i) r[i] = t[i];
  }
}

template <class T>
inline typename Register<T>::type load(const T* p) {
  typename Register<T>::type v;
  std::memcpy(&v, p, kBytes);
  return v;
}
template <class T>
inline void store(T* p, typename Register<T>::type v) {
  std::memcpy(p, &v, kBytes);
}

// Contiguous complex lines, W of them, to W columns of the block.
template <class T>
int64_t gather_lines(T* re, T* im, const T* data, const int64_t* offset, int64_t n, int64_t lanes) {
  constexpr int W = kWidth<T>, H = W / 2;
  int64_t j = 0;
  for (; j + H <= n; j += H) {
    typename Register<T>::type r[W];
    for (int i = 0; i < W; ++i) r[i] = load(data + offset[i] + 2 * j);
    transpose_registers<T>(r);
    for (int i = 0; i < H; ++i) store(re + (j + i) * lanes, r[2 * i]), store(im + (j + i) * lanes, r[2 * i + 1]);
  }
  return j;
}
template <class T>
int64_t scatter_lines(const T* re, const T* im, T* data, const int64_t* offset, int64_t n, int64_t lanes, T re_scale,
                      T im_scale) {
  constexpr int W = kWidth<T>, H = W / 2;
  int64_t j = 0;
  for (; j + H <= n; j += H) {
    typename Register<T>::type r[W];
    for (int i = 0; i < H; ++i)
      r[2 * i] = load(re + (j + i) * lanes) * re_scale, r[2 * i + 1] = load(im + (j + i) * lanes) * im_scale;
    transpose_registers<T>(r);
    for (int i = 0; i < W; ++i) store(data + offset[i] + 2 * j, r[i]);
  }
  return j;
}

// Whether the lines start `distance` apart, one after the other.
inline bool evenly_spaced(const int64_t* offset, int64_t lanes, int64_t distance) {
  for (int64_t l = 1; l < lanes; ++l)
    if (offset[l] - offset[l - 1] != distance) return false;
  return true;
}

}  // namespace

template <class T>
void FftMoves<T>::gather(T* re, T* im, const T* data, const int64_t* offset, int64_t step, int64_t second, int64_t n,
                         int64_t lanes) {
  int64_t l = 0;
  if (step == 2 && second == 1) {
    for (; l < lanes;) {
      const int64_t width = l + kWidth<T> <= lanes ? kWidth<T> : 1;
      int64_t j = width > 1 ? gather_lines(re + l, im + l, data, offset + l, n, lanes) : 0;
      for (; j < n; ++j)
        for (int64_t k = l; k < l + width; ++k) {
          re[j * lanes + k] = data[offset[k] + 2 * j];
          im[j * lanes + k] = data[offset[k] + 2 * j + 1];
        }
      l += width;
    }
    return;
  }
  const bool pairs = second == 1 && evenly_spaced(offset, lanes, 2), plain = evenly_spaced(offset, lanes, 1);
  for (int64_t j = 0; j < n; ++j) {
    T* __restrict a = re + j * lanes, * __restrict b = im + j * lanes;
    const T* p = data + offset[0] + j * step;
    if (pairs)
      for (l = 0; l < lanes; ++l) a[l] = p[2 * l], b[l] = p[2 * l + 1];
    else if (plain)
      for (l = 0; l < lanes; ++l) a[l] = p[l], b[l] = p[l + second];
    else
      for (l = 0; l < lanes; ++l) a[l] = data[offset[l] + j * step], b[l] = data[offset[l] + j * step + second];
  }
}

template <class T>
void FftMoves<T>::scatter(const T* re, const T* im, T* data, const int64_t* offset, int64_t step, int64_t second,
                          int64_t n, int64_t lanes, T re_scale, T im_scale) {
  int64_t l = 0;
  if (step == 2 && second == 1) {
    for (; l < lanes;) {
      const int64_t width = l + kWidth<T> <= lanes ? kWidth<T> : 1;
      int64_t j = width > 1 ? scatter_lines(re + l, im + l, data, offset + l, n, lanes, re_scale, im_scale) : 0;
      for (; j < n; ++j)
        for (int64_t k = l; k < l + width; ++k) {
          data[offset[k] + 2 * j] = re[j * lanes + k] * re_scale;
          data[offset[k] + 2 * j + 1] = im[j * lanes + k] * im_scale;
        }
      l += width;
    }
    return;
  }
  const bool pairs = second == 1 && evenly_spaced(offset, lanes, 2), plain = evenly_spaced(offset, lanes, 1);
  for (int64_t j = 0; j < n; ++j) {
    const T *a = re + j * lanes, *b = im + j * lanes;
    T* __restrict p = data + offset[0] + j * step;
    if (pairs) {
      for (l = 0; l < lanes; ++l) p[2 * l] = a[l] * re_scale, p[2 * l + 1] = b[l] * im_scale;
    } else if (plain) {
      for (l = 0; l < lanes; ++l) p[l] = a[l] * re_scale;
      for (l = 0; l < lanes; ++l) p[l + second] = b[l] * im_scale;
    } else {
      for (l = 0; l < lanes; ++l) {
        data[offset[l] + j * step] = a[l] * re_scale;
        data[offset[l] + j * step + second] = b[l] * im_scale;
      }
    }
  }
}

template <class T>
void FftMoves<T>::transpose(T* block, const T* rows, int64_t distance, int64_t n, int64_t lanes) {
  constexpr int W = kWidth<T>;
  int64_t l = 0;
  for (; l + W <= lanes; l += W) {
    int64_t j = 0;
    for (; j + W <= n; j += W) {
      typename Register<T>::type r[W];
      for (int i = 0; i < W; ++i) r[i] = load(rows + (l + i) * distance + j);
      transpose_registers<T>(r);
      for (int i = 0; i < W; ++i) store(block + (j + i) * lanes + l, r[i]);
    }
    for (; j < n; ++j)
      for (int i = 0; i < W; ++i) block[j * lanes + l + i] = rows[(l + i) * distance + j];
  }
  for (; l < lanes; ++l)
    for (int64_t j = 0; j < n; ++j) block[j * lanes + l] = rows[l * distance + j];
}

// 2 X_k = (Z_k + conj Z_{h-k}) - i w^k (Z_k - conj Z_{h-k}), k = 0 … h, Z_h = Z_0
template <class T>
void FftMoves<T>::untangle(const T* re, const T* im, T* x_re, T* x_im, const T* w, int64_t h, int64_t lanes) {
  for (int64_t k = 0; k <= h; ++k) {
    const int64_t i = (k == h ? 0 : k) * lanes, j = (k == 0 ? 0 : h - k) * lanes;
    const T *ar = re + i, *ai = im + i, *br = re + j, *bi = im + j, c = w[2 * k], s = w[2 * k + 1];
    T* __restrict xr = x_re + k * lanes, * __restrict xi = x_im + k * lanes;
    for (int64_t l = 0; l < lanes; ++l) {
      const T dr = ar[l] - br[l], di = ai[l] + bi[l];
      xr[l] = ar[l] + br[l] + (dr * s + di * c);
      xi[l] = ai[l] - bi[l] - (dr * c - di * s);
    }
  }
}

// Z_k = (X_k + conj X_{h-k}) + i conj(w^k) (X_k - conj X_{h-k}), k < h; the imaginary parts of X_0 and X_h do not
// count.
template <class T>
void FftMoves<T>::tangle(const T* x_re, const T* x_im, T* re, T* im, const T* w, int64_t h, int64_t lanes) {
  for (int64_t l = 0; l < lanes; ++l) {
    const T a = x_re[l], b = x_re[h * lanes + l];
    re[l] = a + b, im[l] = a - b;
  }
  for (int64_t k = 1; k < h; ++k) {
    const int64_t i = k * lanes, j = (h - k) * lanes;
    const T *ar = x_re + i, *ai = x_im + i, *br = x_re + j, *bi = x_im + j, c = w[2 * k], s = -w[2 * k + 1];
    T* __restrict zr = re + i, * __restrict zi = im + i;
    for (int64_t l = 0; l < lanes; ++l) {
      const T dr = ar[l] - br[l], di = ai[l] + bi[l];
      zr[l] = ar[l] + br[l] - (dr * s + di * c);
      zi[l] = ai[l] - bi[l] + (dr * c - di * s);
    }
  }
}

template struct FftMoves<float>;
template struct FftMoves<double>;

}  // namespace mg::cpu::MG_ISA_NS
