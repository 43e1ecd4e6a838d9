// Butterflies of fft_table.h: radix 4 and 2 written out, odd radices through sums and differences of mirrored terms.
// Built once per instruction set; the compiler vectorises the loops over k.
#include "fft_table.h"

namespace mg::cpu::MG_ISA_NS {

namespace {

template <class T, bool unit>
inline void butterfly4(const T* const* xr, const T* const* xi, T* const* yr, T* const* yi, const T* w, int64_t s) {
  const T *ar = xr[0], *br = xr[1], *cr = xr[2], *dr = xr[3], *ai = xi[0], *bi = xi[1], *ci = xi[2], *di = xi[3];
  T* __restrict y0r = yr[0], * __restrict y1r = yr[1], * __restrict y2r = yr[2], * __restrict y3r = yr[3];
  T* __restrict y0i = yi[0], * __restrict y1i = yi[1], * __restrict y2i = yi[2], * __restrict y3i = yi[3];
  const T w1r = unit ? T(1) : w[0], w1i = unit ? T(0) : w[1], w2r = unit ? T(1) : w[2], w2i = unit ? T(0) : w[3],
          w3r = unit ? T(1) : w[4], w3i = unit ? T(0) : w[5];
  for (int64_t k = 0; k < s; ++k) {
    const T t0r = ar[k] + cr[k], t0i = ai[k] + ci[k], t1r = ar[k] - cr[k], t1i = ai[k] - ci[k];
    const T t2r = br[k] + dr[k], t2i = bi[k] + di[k], t3r = bi[k] - di[k], t3i = dr[k] - br[k];  // t3 = -i (b - d)
    const T u1r = t1r + t3r, u1i = t1i + t3i, u2r = t0r - t2r, u2i = t0i - t2i, u3r = t1r - t3r, u3i = t1i - t3i;
    y0r[k] = t0r + t2r;
    y0i[k] = t0i + t2i;
    y1r[k] = unit ? u1r : u1r * w1r - u1i * w1i;
    y1i[k] = unit ? u1i : u1r * w1i + u1i * w1r;
    y2r[k] = unit ? u2r : u2r * w2r - u2i * w2i;
    y2i[k] = unit ? u2i : u2r * w2i + u2i * w2r;
    y3r[k] = unit ? u3r : u3r * w3r - u3i * w3i;
    y3i[k] = unit ? u3i : u3r * w3i + u3i * w3r;
  }
}

template <class T>
inline void butterfly2(const T* const* xr, const T* const* xi, T* const* yr, T* const* yi, const T* w, int64_t s) {
  const T *ar = xr[0], *br = xr[1], *ai = xi[0], *bi = xi[1], wr = w[0], wi = w[1];
  T* __restrict y0r = yr[0], * __restrict y1r = yr[1], * __restrict y0i = yi[0], * __restrict y1i = yi[1];
  for (int64_t k = 0; k < s; ++k) {
    const T ur = ar[k] - br[k], ui = ai[k] - bi[k];
    y0r[k] = ar[k] + br[k];
    y0i[k] = ai[k] + bi[k];
    y1r[k] = ur * wr - ui * wi;
    y1i[k] = ur * wi + ui * wr;
  }
}

constexpr int64_t kChunk = 16;

// Odd radix, kChunk values of k at a time. P = 0: known at run time only. With sums a = x_i + x_{p-i} and differences b
// = x_i - x_{p-i}: y_j = x_0 + sum a cos + (sum b sin)(-i), y_{p-j} the same with +i.
template <class T, int P>
inline void butterfly_odd(int64_t radix, const T* const* xr, const T* const* xi, T* const* yr, T* const* yi, const T* w,
                          const T* roots, int64_t at, int64_t n) {
  const int64_t p = P != 0 ? P : radix, h = (p - 1) / 2;
  constexpr int64_t H = ((P != 0 ? P : kFftMaxRadix) - 1) / 2;
  T sr[H][kChunk], si[H][kChunk], dr[H][kChunk], di[H][kChunk], zr[kChunk], zi[kChunk], tr[kChunk], ti[kChunk];
  for (int64_t k = 0; k < n; ++k) tr[k] = zr[k] = xr[0][at + k], ti[k] = zi[k] = xi[0][at + k];
  for (int64_t i = 1; i <= h; ++i) {
    const T *ur = xr[i] + at, *ui = xi[i] + at, *vr = xr[p - i] + at, *vi = xi[p - i] + at;
    T *Sr = sr[i - 1], *Si = si[i - 1], *Dr = dr[i - 1], *Di = di[i - 1];
    for (int64_t k = 0; k < n; ++k) {
      Sr[k] = ur[k] + vr[k], Si[k] = ui[k] + vi[k];
      Dr[k] = ur[k] - vr[k], Di[k] = ui[k] - vi[k];
      tr[k] += Sr[k], ti[k] += Si[k];
    }
  }
  for (int64_t k = 0; k < n; ++k) yr[0][at + k] = tr[k], yi[0][at + k] = ti[k];
  for (int64_t j = 1; j <= h; ++j) {
    T cr[kChunk], ci[kChunk], er[kChunk], ei[kChunk];
    for (int64_t k = 0; k < n; ++k) cr[k] = zr[k], ci[k] = zi[k], er[k] = 0, ei[k] = 0;
    for (int64_t i = 1, r = j; i <= h; ++i) {
      const T c = roots[2 * r], s = roots[2 * r + 1];
      for (int64_t k = 0; k < n; ++k) {
        cr[k] += c * sr[i - 1][k], ci[k] += c * si[i - 1][k];
        er[k] -= s * di[i - 1][k], ei[k] += s * dr[i - 1][k];  // i s (b): s is minus the sine
      }
      r += j;
      if (r >= p) r -= p;
    }
    const T ar = w[2 * (j - 1)], ai = w[2 * (j - 1) + 1], br = w[2 * (p - j - 1)], bi = w[2 * (p - j - 1) + 1];
    T *Ar = yr[j] + at, *Ai = yi[j] + at, *Br = yr[p - j] + at, *Bi = yi[p - j] + at;
    for (int64_t k = 0; k < n; ++k) {
      const T fr = cr[k] + er[k], fi = ci[k] + ei[k], gr = cr[k] - er[k], gi = ci[k] - ei[k];
      Ar[k] = fr * ar - fi * ai, Ai[k] = fr * ai + fi * ar;
      Br[k] = gr * br - gi * bi, Bi[k] = gr * bi + gi * br;
    }
  }
}

template <class T, int P>
inline void butterflies_odd(const FftStage<T>& st, const T* const* xr, const T* const* xi, T* const* yr, T* const* yi,
                            const T* w, int64_t s) {
  int64_t k = 0;
  for (; k + kChunk <= s; k += kChunk) butterfly_odd<T, P>(st.radix, xr, xi, yr, yi, w, st.roots, k, kChunk);
  if (k < s) butterfly_odd<T, P>(st.radix, xr, xi, yr, yi, w, st.roots, k, s - k);
}

template <class T>
void pass(const FftStage<T>& st, int64_t lanes, const T* re, const T* im, T* out_re, T* out_im) {
  const int64_t p = st.radix, s = st.s * lanes;
  const T *xr[kFftMaxRadix], *xi[kFftMaxRadix];
  T *yr[kFftMaxRadix], *yi[kFftMaxRadix];
  for (int64_t q = 0; q < st.m; ++q) {
    for (int64_t i = 0; i < p; ++i) {
      xr[i] = re + s * (q + st.m * i), xi[i] = im + s * (q + st.m * i);
      yr[i] = out_re + s * (p * q + i), yi[i] = out_im + s * (p * q + i);
    }
    const T* w = st.twiddle + 2 * q * (p - 1);
    switch (p) {
      case 2:
        butterfly2(xr, xi, yr, yi, w, s);
        break;
      case 3:
        butterflies_odd<T, 3>(st, xr, xi, yr, yi, w, s);
        break;
      case 4:
        if (q == 0)
          butterfly4<T, true>(xr, xi, yr, yi, w, s);
        else
          butterfly4<T, false>(xr, xi, yr, yi, w, s);
        break;
      case 5:
        butterflies_odd<T, 5>(st, xr, xi, yr, yi, w, s);
        break;
      case 7:
        butterflies_odd<T, 7>(st, xr, xi, yr, yi, w, s);
        break;
      default:
        butterflies_odd<T, 0>(st, xr, xi, yr, yi, w, s);
    }
  }
}

template <class T>
bool stages(const FftStage<T>* stage, int64_t count, int64_t lanes, T* a_re, T* a_im, T* b_re, T* b_im) {
  for (int64_t i = 0; i < count; ++i) {
    if (i % 2 == 0)
      pass(stage[i], lanes, a_re, a_im, b_re, b_im);
    else
      pass(stage[i], lanes, b_re, b_im, a_re, a_im);
  }
  return count % 2 != 0;
}

template <class T>
void multiply(T* re, T* im, const T* f_re, const T* f_im, int64_t n, int64_t lanes) {
  if (lanes == 1) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
      const T a = re[i], b = im[i];
      re[i] = a * f_re[i] - b * f_im[i];
      im[i] = a * f_im[i] + b * f_re[i];
    }
    return;
  }
  for (int64_t i = 0; i < n; ++i, re += lanes, im += lanes) {
    const T c = f_re[i], d = f_im[i];
#pragma GCC ivdep
    for (int64_t l = 0; l < lanes; ++l) {
      const T a = re[l], b = im[l];
      re[l] = a * c - b * d;
      im[l] = a * d + b * c;
    }
  }
}

}  // namespace

extern const FftTable fft_table;
#define MG_ROW(T)          \
  {stages<T>,              \
   multiply<T>,            \
   FftMoves<T>::gather,    \
   FftMoves<T>::scatter,   \
   FftMoves<T>::transpose, \
   FftMoves<T>::untangle,  \
   FftMoves<T>::tangle}
constinit const FftTable fft_table = {MG_ROW(float), MG_ROW(double)};

}  // namespace mg::cpu::MG_ISA_NS
