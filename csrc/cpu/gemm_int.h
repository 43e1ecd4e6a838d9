// Inner loops of integer matrix products, per instruction set (gemm_int_isa.cpp). Sums wrap modulo 2^bits; the 8- and
// 16-bit types are summed in 32 bits and cut at the end, which gives the same bits.
#pragma once
#include <cstdint>

namespace mg::cpu {

template <class T>
struct IntTable {
  // y[n] = x[k] B[k, n], rows of B contiguous.
  void (*row)(int64_t n, int64_t k, const T* x, int64_t incx, const T* b, int64_t ldb, T* y);
  // The sum of x[i] y[i].
  T (*dot)(int64_t k, const T* x, const T* y);
};
struct IntTables {
  IntTable<uint8_t> u8;
  IntTable<uint16_t> u16;
  IntTable<uint32_t> u32;
  IntTable<uint64_t> u64;
};

namespace avx512 {
extern const IntTables int_table;
}
namespace avx2 {
extern const IntTables int_table;
}
namespace portable {
extern const IntTables int_table;
}

}  // namespace mg::cpu
