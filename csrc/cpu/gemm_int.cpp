// Integer matrix products: exact modulo 2^bits, as PyTorch's. Rows of C in parallel over a row-major copy of B; no
// packing.
#include "gemm_int.h"

#include <algorithm>
#include <type_traits>

#include "../core/parallel.h"
#include "gemm.h"
#include "isa.h"

namespace mg::cpu {

template <class U>
static const IntTable<U>& table_of() {
  static const IntTables& tables = MG_PICK(int_table);
  if constexpr (sizeof(U) == 1)
    return tables.u8;
  else if constexpr (sizeof(U) == 2)
    return tables.u16;
  else if constexpr (sizeof(U) == 4)
    return tables.u32;
  else
    return tables.u64;
}

// int8 through the int32 product, some rows at a time, cut to 8 bits.
static void gemm_int8(int64_t m, int64_t n, int64_t k, Strided<int8_t> a, Strided<int8_t> b, int8_t* c) {
  const int64_t step = std::max<int64_t>(1, (1 << 20) / n);
  int32_t* sums = scratch<int32_t>(ScratchSlot::Tile, std::min(step, m) * n);
  for (int64_t i = 0; i < m; i += step) {
    const int64_t count = std::min(step, m - i) * n;
    gemm<int8_t, int32_t>(std::min(step, m - i), n, k, a.at(i, 0), b, sums, n);
    for (int64_t j = 0; j < count; ++j) c[i * n + j] = int8_t(sums[j]);
  }
}

template <class T>
void gemm_int(int64_t m, int64_t n, int64_t k, Strided<T> a, Strided<T> b, T* c) {
  if constexpr (std::is_same_v<T, int8_t>)
    if (m >= 4 && n >= 16 && k >= 16) return gemm_int8(m, n, k, a, b, c);
  using U = std::make_unsigned_t<T>;  // wraps instead of overflowing
  if (m == 0 || n == 0) return;
  const IntTable<U>& table = table_of<U>();
  const auto as_unsigned = [](const T* p) { return reinterpret_cast<const U*>(p); };
  const T* rows = b.data;
  if (n > 1 ? b.cs != 1 : b.rs != 1) {
    T* copy = scratch<T>(ScratchSlot::PackB, n * k);
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) copy[p * n + j] = b.data[p * b.rs + j * b.cs];
    rows = copy;
    b.rs = n;
  }
  const bool dots = n == 1 && (a.cs == 1 || k == 1);
  parallel_for(0, m, ceil_div(kTaskFma / 4, n * std::max<int64_t>(k, 1)), [&](int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; ++i) {
      const U* x = as_unsigned(a.data) + i * a.rs;
      U* y = reinterpret_cast<U*>(c) + i * n;
      if (dots)
        *y = table.dot(k, x, as_unsigned(rows));
      else
        table.row(n, k, x, a.cs, as_unsigned(rows), b.rs, y);
    }
  });
}

template void gemm_int(int64_t, int64_t, int64_t, Strided<uint8_t>, Strided<uint8_t>, uint8_t*);
template void gemm_int(int64_t, int64_t, int64_t, Strided<int8_t>, Strided<int8_t>, int8_t*);
template void gemm_int(int64_t, int64_t, int64_t, Strided<int16_t>, Strided<int16_t>, int16_t*);
template void gemm_int(int64_t, int64_t, int64_t, Strided<int32_t>, Strided<int32_t>, int32_t*);
template void gemm_int(int64_t, int64_t, int64_t, Strided<int64_t>, Strided<int64_t>, int64_t*);

}  // namespace mg::cpu
