// Vector loops of pooling over one row of outputs, for the windows that lie inside the input in their last dim and
// have stride 1 or 2 (pool.cpp does the borders), and over the channels of one output in channels_last. float and double, one build per instruction set (pool_rows_isa.cpp).
#pragma once
#include <cstdint>

#include "isa.h"

namespace mg::cpu {

// The windows of n outputs: output i looks at x[starts[r] + i * stride + k * dilation], r < rows, k < taps.
struct PoolRun {
  const int64_t* starts;
  int64_t rows, taps, dilation, stride, n;
};

// The window of one output in channels_last: pixel k of it has its n channels from x[at[k] * channels] on.
struct PoolPixel {
  const int64_t* at;
  int64_t count, channels, n;
};

template <class T>
struct PoolRowTable {
  // Largest value and its flat position; the first of equals, the last NaN.
  void (*max)(const T* x, const PoolRun& run, T* y, int64_t* index);
  // (sum of the window) / divisor, summed row by row.
  void (*average)(const T* x, const PoolRun& run, T divisor, T* y);
  // The same for one output in channels_last; there must be a pixel.
  void (*max_pixel)(const T* x, const PoolPixel& pixel, T* y, int64_t* index);
  void (*average_pixel)(const T* x, const PoolPixel& pixel, T divisor, T* y);
  // Adds g / divisor to all pixels of the window.
  void (*spread_pixel)(const T* g, const PoolPixel& pixel, T divisor, T* x);
};
struct PoolRowTables {
  PoolRowTable<float> f32;
  PoolRowTable<double> f64;
};
namespace avx512 {
extern const PoolRowTables pool_row_table;
}
namespace avx2 {
extern const PoolRowTables pool_row_table;
}
namespace portable {
extern const PoolRowTables pool_row_table;
}

template <class T>
const PoolRowTable<T>& pool_rows() {
  static const PoolRowTables& tables = MG_PICK(pool_row_table);
  if constexpr (sizeof(T) == 4)
    return tables.f32;
  else
    return tables.f64;
}

}  // namespace mg::cpu
