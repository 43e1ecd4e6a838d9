// Leaf kernels of the normalisation layers (norm_isa.cpp): contiguous float or double rows of n elements, and
// per-channel columns.
#pragma once
#include <cstdint>

namespace mg::cpu {

template <class T>
struct NormFns {
  // y = (x - mean) * rstd * w + b of one row (w, b may be null); *mean and *rstd are set. rms: mean 0, rstd =
  // 1/sqrt(mean(x^2) + eps).
  void (*row)(T* y, const T* x, const T* w, const T* b, int64_t n, double eps, T* mean, T* rstd, bool rms);
  // Gradient of row(); dw += g * xhat and db += g where not null.
  void (*backward_row)(T* dx, const T* g, const T* x, const T* w, int64_t n, T mean, T rstd, T* dw, T* db, bool rms);
  // The statistics of row() alone, and y = (x - mean) * rstd * w + b with scalars.
  void (*moments)(const T* x, int64_t n, double eps, T* mean, T* rstd);
  void (*normalise)(T* y, const T* x, int64_t n, T mean, T rstd, T w, T b);
  // y = g * a + (x - m) * b + c
  void (*blend_centred)(T* y, const T* g, const T* x, int64_t n, T a, T b, T m, T c);
  // y = x * a + b with scalars, and with one pair per column.
  void (*affine)(T* y, const T* x, int64_t n, T a, T b);
  void (*affine_columns)(T* y, const T* x, int64_t rows, int64_t n, const T* a, const T* b);
  // y = g * a + x * b + c with scalars, and per column.
  void (*blend)(T* y, const T* g, const T* x, int64_t n, T a, T b, T c);
  void (*blend_columns)(T* y, const T* g, const T* x, int64_t rows, int64_t n, const T* a, const T* b, const T* c);
  // Sums of g and of g * (x - m): of one row, or per column over nrows rows (added to sg, sgx).
  void (*dot)(const T* g, const T* x, int64_t n, T m, double* sg, double* sgx);
  void (*dot_columns)(const T* g, const T* x, int64_t nrows, int64_t ld, int64_t ncols, const T* m, double* sg,
                      double* sgx);
};
struct NormTable {
  NormFns<float> f32;
  NormFns<double> f64;
};
constexpr int64_t kDotColumns = 256;  // most columns of one dot_columns call
template <class T>
const NormFns<T>& norm_fns();

}  // namespace mg::cpu
