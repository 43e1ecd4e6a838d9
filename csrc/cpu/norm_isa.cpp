// Leaf kernels of norm_table.h. Statistics: the mean first, then the squared deviations of the cached row (no
// cancellation).
#include "../simd/row_math.h"
#include "norm_table.h"

namespace mg::cpu::MG_ISA_NS {

using namespace simd::MG_ISA_NS;

template <class T>
void norm_row(T* y, const T* x, const T* w, const T* b, int64_t n, double eps, T* mean_out, T* rstd_out, bool rms) {
  const double count = double(n);
  const T mean = rms ? T(0) : T(sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA { return get(x + i, k); }) / count);
  const Vec<T> m = mean;
  const double squares = sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA {
    const Vec<T> d = get(x + i, k) - m;
    return d * d;
  });
  const T rstd = T(1 / __builtin_sqrt(squares / count + eps));
  const Vec<T> r = rstd;
  each<T>(n, [&](int64_t i, int k) MG_LAMBDA {
    Vec<T> v = (get(x + i, k) - m) * r;
    if (w) v = v * get(w + i, k);
    if (b) v = v + get(b + i, k);
    put(y + i, v, k);
  });
  *mean_out = mean;
  *rstd_out = rstd;
}

template <class T>
void norm_backward_row(T* dx, const T* g, const T* x, const T* w, int64_t n, T mean, T rstd, T* dw, T* db, bool rms) {
  const Vec<T> m = mean, r = rstd;
  auto scaled = [&](int64_t i, int k) MG_LAMBDA { return w ? get(g + i, k) * get(w + i, k) : get(g + i, k); };
  const double count = double(n);
  const double sg = rms ? 0 : sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA { return scaled(i, k); });
  const double sgx = sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA { return scaled(i, k) * ((get(x + i, k) - m) * r); });
  const Vec<T> a = T(sg / count), c = T(sgx / count);
  each<T>(n, [&](int64_t i, int k) MG_LAMBDA {
    const Vec<T> gv = get(g + i, k), hat = (get(x + i, k) - m) * r;
    const Vec<T> gw = w ? gv * get(w + i, k) : gv;
    put(dx + i, (gw - a - hat * c) * r, k);
    if (dw) put(dw + i, get(dw + i, k) + gv * hat, k);
    if (db) put(db + i, get(db + i, k) + gv, k);
  });
}

template <class T>
void moments(const T* x, int64_t n, double eps, T* mean_out, T* rstd_out) {
  const double count = double(n);
  const T mean = T(sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA { return get(x + i, k); }) / count);
  const Vec<T> m = mean;
  const double squares = sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA {
    const Vec<T> d = get(x + i, k) - m;
    return d * d;
  });
  *mean_out = mean;
  *rstd_out = T(1 / __builtin_sqrt(squares / count + eps));
}
template <class T>
void normalise(T* y, const T* x, int64_t n, T mean, T rstd, T w, T b) {
  const Vec<T> m = mean, a = rstd * w, bv = b;
  each<T>(n, [&](int64_t i, int k) MG_LAMBDA { put(y + i, fma(get(x + i, k) - m, a, bv), k); });
}
template <class T>
void blend_centred(T* y, const T* g, const T* x, int64_t n, T a, T b, T m, T c) {
  const Vec<T> av = a, bv = b, mv = m, cv = c;
  each<T>(n,
          [&](int64_t i, int k) MG_LAMBDA { put(y + i, fma(get(g + i, k), av, fma(get(x + i, k) - mv, bv, cv)), k); });
}

template <class T>
void affine(T* y, const T* x, int64_t n, T a, T b) {
  const Vec<T> av = a, bv = b;
  each<T>(n, [&](int64_t i, int k) MG_LAMBDA { put(y + i, fma(get(x + i, k), av, bv), k); });
}
template <class T>
void affine_columns(T* y, const T* x, int64_t rows, int64_t n, const T* a, const T* b) {
  for (int64_t r = 0; r < rows; ++r, y += n, x += n)
    each<T>(n, [&](int64_t i, int k) MG_LAMBDA { put(y + i, fma(get(x + i, k), get(a + i, k), get(b + i, k)), k); });
}
template <class T>
void blend(T* y, const T* g, const T* x, int64_t n, T a, T b, T c) {
  const Vec<T> av = a, bv = b, cv = c;
  each<T>(n, [&](int64_t i, int k) MG_LAMBDA { put(y + i, fma(get(g + i, k), av, fma(get(x + i, k), bv, cv)), k); });
}
template <class T>
void blend_columns(T* y, const T* g, const T* x, int64_t rows, int64_t n, const T* a, const T* b, const T* c) {
  for (int64_t r = 0; r < rows; ++r, y += n, g += n, x += n)
    each<T>(n, [&](int64_t i, int k) MG_LAMBDA {
      put(y + i, fma(get(g + i, k), get(a + i, k), fma(get(x + i, k), get(b + i, k), get(c + i, k))), k);
    });
}

template <class T>
void dot(const T* g, const T* x, int64_t n, T m, double* sg, double* sgx) {
  const Vec<T> mv = m;
  *sg = sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA { return get(g + i, k); });
  *sgx = sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA { return get(g + i, k) * (get(x + i, k) - mv); });
}

template <class T>
void dot_columns(const T* g, const T* x, int64_t nrows, int64_t ld, int64_t ncols, const T* m, double* sg,
                 double* sgx) {
  constexpr int64_t kBlock = 64;
  alignas(64) T a[kDotColumns + Vec<T>::size], b[kDotColumns + Vec<T>::size];
  for (int64_t r = 0; r < nrows; r += kBlock) {
    const int64_t end = nrows - r < kBlock ? nrows : r + kBlock;
    for (int64_t c = 0; c < ncols; ++c) a[c] = b[c] = T(0);
    for (int64_t q = r; q < end; ++q)
      each<T>(ncols, [&](int64_t c, int k) MG_LAMBDA {
        const Vec<T> gv = get(g + q * ld + c, k);
        put(a + c, get(a + c, k) + gv, k);
        put(b + c, get(b + c, k) + gv * (get(x + q * ld + c, k) - get(m + c, k)), k);
      });
    for (int64_t c = 0; c < ncols; ++c) {
      sg[c] += double(a[c]);
      sgx[c] += double(b[c]);
    }
  }
}

extern const NormTable norm_table;
#define MG_NORMS(T)                                                                                              \
  {norm_row<T>, norm_backward_row<T>, moments<T>, normalise<T>,  blend_centred<T>, affine<T>, affine_columns<T>, \
   blend<T>,    blend_columns<T>,     dot<T>,     dot_columns<T>}
constinit const NormTable norm_table = {MG_NORMS(float), MG_NORMS(double)};

}  // namespace mg::cpu::MG_ISA_NS
