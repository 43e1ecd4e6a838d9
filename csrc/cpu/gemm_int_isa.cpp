// Inner loops of integer matrix products for one instruction set; plain loops that the compiler vectorises. gemm_int.h
// is the map.
#include "../simd/vec_mask.h"
#include "gemm_int.h"

namespace mg::cpu::MG_ISA_NS {

template <class T>
struct WideOf {
  using type = uint32_t;
};
template <>
struct WideOf<uint64_t> {
  using type = uint64_t;
};

template <class T>
static void row(int64_t n, int64_t k, const T* x, int64_t incx, const T* b, int64_t ldb, T* y) {
  using Wide = typename WideOf<T>::type;
  constexpr int kColumns = 512, kRows = 8;
  for (int64_t j0 = 0; j0 < n; j0 += kColumns) {
    Wide acc[kColumns];  // stays in L1 while kRows rows of B stream by
    const int cols = int(n - j0 < kColumns ? n - j0 : kColumns);
    for (int j = 0; j < cols; ++j) acc[j] = 0;
    int64_t p = 0;
    for (; p + kRows <= k; p += kRows) {
      const T* r = b + p * ldb + j0;
      Wide w[kRows];
      for (int i = 0; i < kRows; ++i) w[i] = x[(p + i) * incx];
      for (int j = 0; j < cols; ++j)
        acc[j] += w[0] * Wide(r[j]) + w[1] * Wide(r[ldb + j]) + w[2] * Wide(r[2 * ldb + j]) +
                  w[3] * Wide(r[3 * ldb + j]) + w[4] * Wide(r[4 * ldb + j]) + w[5] * Wide(r[5 * ldb + j]) +
                  w[6] * Wide(r[6 * ldb + j]) + w[7] * Wide(r[7 * ldb + j]);
    }
    for (; p < k; ++p) {
      const T* r = b + p * ldb + j0;
      const Wide w = x[p * incx];
      for (int j = 0; j < cols; ++j) acc[j] += w * Wide(r[j]);
    }
    for (int j = 0; j < cols; ++j) y[j0 + j] = T(acc[j]);
  }
}

template <class T>
static T dot(int64_t k, const T* x, const T* y) {
  using Wide = typename WideOf<T>::type;
  Wide sum = 0;
  for (int64_t p = 0; p < k; ++p) sum += Wide(x[p]) * Wide(y[p]);
  return T(sum);
}

extern const IntTables int_table;
constinit const IntTables int_table = {{row<uint8_t>, dot<uint8_t>},
                                       {row<uint16_t>, dot<uint16_t>},
                                       {row<uint32_t>, dot<uint32_t>},
                                       {row<uint64_t>, dot<uint64_t>}};

}  // namespace mg::cpu::MG_ISA_NS
