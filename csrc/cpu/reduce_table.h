// Leaf kernels of the reductions, one table per instruction set (reduce_isa.cpp). They see contiguous float, double or
// int64 elements only: layouts and other dtypes are staged by reduce.h.
//
// Numerics: float sums run in float within a block of at most 512 elements per lane group (64 rows for columns) and in
// double across blocks, so the error does not grow with the length; double sums block the same way. The order depends
// on the shape alone.
#pragma once
#include <cstdint>

namespace mg::cpu {

// What is accumulated over the elements x; m is a value per output (mean or maximum), p the exponent.
enum class Fold : int {
  Sum,
  NanSum,
  Prod,
  Max,
  Min,
  AnyNonzero,
  AllNonzero,
  CountNonzero,
  AbsSum,
  SquareSum,
  AbsPowSum,
  AbsMax,
  AbsMin,
  SquareDiff /* (x-m)^2 */,
  ExpDiff /* exp(x-m) */,
  kCount
};

template <class T>
struct Accumulator {
  using type = double;
};
template <>
struct Accumulator<int64_t> {
  using type = int64_t;
};
template <class T>
using Acc = typename Accumulator<T>::type;

template <class T>
struct FoldFns {
  // out[r] = fold of x[r * ld .. + n], with m[r]. m may be null when the fold does not use it.
  void (*rows)(Acc<T>* out, const T* x, int64_t nrows, int64_t ld, int64_t n, const T* m, double p);
  // acc[c] = fold over r of x[r * ld + c], with m[c]; ncols <= kFoldColumns.
  void (*columns)(Acc<T>* acc, const T* x, int64_t nrows, int64_t ld, int64_t ncols, const T* m, double p);
  // total (combine)= fold of x[0 .. n], then of x[n .. 2 * n] …; of folds that need no m and no p.
  void (*onto)(Acc<T>* total, const T* x, int64_t nrows, int64_t n);
};
constexpr int64_t kFoldColumns = 512;

template <class T>
struct ArgFns {
  // First position of the extreme element of each row (the first NaN if there is one), and its value.
  void (*rows)(T* value, int64_t* index, const T* x, int64_t nrows, int64_t ld, int64_t n);
  // The same down the columns (ncols <= kFoldColumns, nrows < 2^31, nrows >= 1).
  void (*columns)(T* value, int64_t* index, const T* x, int64_t nrows, int64_t ld, int64_t ncols);
};

struct ReduceTable {
  FoldFns<float> f32[int(Fold::kCount)];
  FoldFns<double> f64[int(Fold::kCount)];
  FoldFns<int64_t> i64[int(Fold::kCount)];
  ArgFns<float> arg32[2];  // [0] max, [1] min
  ArgFns<double> arg64[2];
  ArgFns<int64_t> argi[2];
};
const ReduceTable& reduce_table();

}  // namespace mg::cpu
