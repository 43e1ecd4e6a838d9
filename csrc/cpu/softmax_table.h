// Leaf kernels of softmax and its relatives (softmax_isa.cpp): contiguous float or double, rows (the dim is the last)
// or columns.
#pragma once
#include <cstdint>

namespace mg::cpu {

constexpr int64_t kSoftmaxColumns = 256;  // most columns of one call

template <class T>
struct SoftmaxFns {
  // Rows of n elements, one after the other.
  void (*rows)(T* y, const T* x, int64_t nrows, int64_t n, bool log);
  void (*backward_rows)(T* dx, const T* g, const T* y, int64_t nrows, int64_t n, bool log);
  // Columns [0, ncols) of a block of n rows with distance ld.
  void (*columns)(T* y, const T* x, int64_t n, int64_t ld, int64_t ncols, bool log);
  void (*backward_columns)(T* dx, const T* g, const T* y, int64_t n, int64_t ld, int64_t ncols, bool log);
  // log(sum(exp(x))) of one row, and sum(x).
  double (*logsumexp)(const T* x, int64_t n);
  double (*sum)(const T* x, int64_t n);
  // Cross entropy's gradient of one row: dx = a * exp(x - lse) - b * (w or 1)
  void (*cross_entropy_row)(T* dx, const T* x, const T* w, int64_t n, double lse, double a, double b);
};
struct SoftmaxTable {
  SoftmaxFns<float> f32;
  SoftmaxFns<double> f64;
};
const SoftmaxTable& softmax_table();
template <class T>
const SoftmaxFns<T>& softmax_fns();

}  // namespace mg::cpu
