// Vector loops of pooling over one row of outputs, for the windows that lie inside the input in their last dim and
// have stride 1 or 2; pool.cpp does the borders. float and double, one build per instruction set (pool_rows_isa.cpp).
#pragma once
#include <cstdint>

#include "isa.h"

namespace mg::cpu {

// The windows of n outputs: output i looks at x[starts[r] + i * stride + k * dilation], r < rows, k < taps.
struct PoolRun {
  const int64_t* starts;
  int64_t rows, taps, dilation, stride, n;
};

template <class T>
struct PoolRowTable {
  // Largest value and its flat position; the first of equals, the last NaN.
  void (*max)(const T* x, const PoolRun& run, T* y, int64_t* index);
  // (sum of the window) / divisor, summed row by row.
  void (*average)(const T* x, const PoolRun& run, T divisor, T* y);
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
  static const PoolRowTables& tables = []() -> const PoolRowTables& {
#if MG_HAVE_avx512
    if (isa() == Isa::Avx512) return avx512::pool_row_table;
#endif
#if MG_HAVE_avx2
    if (isa() == Isa::Avx2) return avx2::pool_row_table;
#endif
    return portable::pool_row_table;
  }();
  if constexpr (sizeof(T) == 4)
    return tables.f32;
  else
    return tables.f64;
}

}  // namespace mg::cpu
