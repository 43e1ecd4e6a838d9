// Integer matrix products: exact modulo 2^bits, as PyTorch's. A blocked loop over rows of B that the compiler vectorises; no packing.
#include <algorithm>
#include <type_traits>

#include "../core/parallel.h"
#include "gemm.h"

namespace mg::cpu {

template <class T>
void gemm_int(int64_t m, int64_t n, int64_t k, Strided<T> a, Strided<T> b, T* c) {
  using U = std::make_unsigned_t<T>;  // wraps instead of overflowing
  using Wide = std::conditional_t<sizeof(T) < 4, uint32_t, U>;  // uint16 * uint16 would be done in int, which overflows
  if (m == 0 || n == 0) return;
  const T* rows = b.data;
  if (b.cs != 1 || b.rs != n) {
    T* copy = scratch<T>(ScratchSlot::PackB, n * k);
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) copy[p * n + j] = b.data[p * b.rs + j * b.cs];
    rows = copy;
  }
  parallel_for(0, m, ceil_div(kTaskFma / 4, n * std::max<int64_t>(k, 1)), [&](int64_t i0, int64_t i1) {
    constexpr int64_t kColumns = 1024;  // a piece of a row of C that stays in L1 while k runs
    for (int64_t j0 = 0; j0 < n; j0 += kColumns)
      for (int64_t i = i0; i < i1; ++i) {
        U* out = reinterpret_cast<U*>(c + i * n + j0);
        const int64_t cols = std::min(kColumns, n - j0);
        std::fill_n(out, cols, U(0));
        for (int64_t p = 0; p < k; ++p) {
          const Wide x = U(a.data[i * a.rs + p * a.cs]);
          const T* row = rows + p * n + j0;
          for (int64_t j = 0; j < cols; ++j) out[j] = U(out[j] + x * U(row[j]));
        }
      }
  });
}

template void gemm_int(int64_t, int64_t, int64_t, Strided<uint8_t>, Strided<uint8_t>, uint8_t*);
template void gemm_int(int64_t, int64_t, int64_t, Strided<int8_t>, Strided<int8_t>, int8_t*);
template void gemm_int(int64_t, int64_t, int64_t, Strided<int16_t>, Strided<int16_t>, int16_t*);
template void gemm_int(int64_t, int64_t, int64_t, Strided<int32_t>, Strided<int32_t>, int32_t*);
template void gemm_int(int64_t, int64_t, int64_t, Strided<int64_t>, Strided<int64_t>, int64_t*);

}  // namespace mg::cpu
