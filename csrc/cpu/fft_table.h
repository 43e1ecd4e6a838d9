// Butterfly passes of the Fourier transform (fft_isa.cpp). Data are split arrays re[n * lanes], im[n * lanes]: `lanes`
// signals side by side, so that every inner loop is contiguous whatever the radix.
#pragma once
#include <cstdint>

#include "isa.h"

namespace mg::cpu {

// Stockham, decimation in frequency: with p = radix and x the previous pass's output,
//   y[s (p q + j) + k] = w^(q j) sum_i x[s (q + m i) + k] exp(-2 pi i (i j) / p),  w = exp(-2 pi i / (p m)),  q < m, k
//   < s.
template <class T>
struct FftStage {
  int64_t radix, m, s;  // s: product of the radices before; the lanes multiply it
  const T* twiddle;     // [q][j - 1] complex
  const T* roots;       // exp(-2 pi i j / radix), j < radix
};

constexpr int64_t kFftMaxRadix = 61;  // larger primes go through Bluestein's convolution

template <class T>
struct FftFns {
  // Runs the passes forth and back between a and b. True if the result is in b.
  bool (*stages)(const FftStage<T>* stage, int64_t count, int64_t lanes, T* a_re, T* a_im, T* b_re, T* b_im);
  // (re, im) *= (f_re, f_im), row by row: n factors for rows of `lanes`.
  void (*multiply)(T* re, T* im, const T* f_re, const T* f_im, int64_t n, int64_t lanes);

  // Between memory of any strides and blocks (fft_move_isa.cpp). Pair j of line l lies at data[offset[l] + j * step]
  // and data[... + second]: interleaved complex numbers have second = 1, neighbouring reals the distance of neighbours.
  void (*gather)(T* re, T* im, const T* data, const int64_t* offset, int64_t step, int64_t second, int64_t n,
                 int64_t lanes);
  void (*scatter)(const T* re, const T* im, T* data, const int64_t* offset, int64_t step, int64_t second, int64_t n,
                  int64_t lanes, T re_scale, T im_scale);
  // block[j * lanes + l] = rows[l * distance + j] for j < n
  void (*transpose)(T* block, const T* rows, int64_t distance, int64_t n, int64_t lanes);
  // The step between a real transform of 2h points and a complex one of h points; w = exp(-2 pi i k / 2h). Results
  // times 1/2 and 1.
  void (*untangle)(const T* re, const T* im, T* x_re, T* x_im, const T* w, int64_t h, int64_t lanes);
  void (*tangle)(const T* x_re, const T* x_im, T* re, T* im, const T* w, int64_t h, int64_t lanes);
};
struct FftTable {
  FftFns<float> f32;
  FftFns<double> f64;
};
// The moving half of FftFns, made by fft_move_isa.cpp and put into the table by fft_isa.cpp.
#ifdef MG_ISA_NS
namespace MG_ISA_NS {
template <class T>
struct FftMoves {
  static void gather(T*, T*, const T*, const int64_t*, int64_t, int64_t, int64_t, int64_t);
  static void scatter(const T*, const T*, T*, const int64_t*, int64_t, int64_t, int64_t, int64_t, T, T);
  static void transpose(T*, const T*, int64_t, int64_t, int64_t);
  static void untangle(const T*, const T*, T*, T*, const T*, int64_t, int64_t);
  static void tangle(const T*, const T*, T*, T*, const T*, int64_t, int64_t);
};
}  // namespace MG_ISA_NS
#endif
const FftTable& fft_table();
template <class T>
const FftFns<T>& fft_fns();

}  // namespace mg::cpu
