#include "pointwise_table.h"

#include <cstring>

#include "isa.h"

namespace mg::cpu {

#define MG_DECLARE_TABLES(ns)                                                  \
  namespace ns {                                                               \
  extern const PointwiseKernel unary_table[], binary_table[], ternary_table[], special_table[]; \
  }
MG_DECLARE_TABLES(portable)
MG_DECLARE_TABLES(avx2)
MG_DECLARE_TABLES(avx512)

PointwiseTables pointwise_tables(Isa i) {
#if MG_HAVE_avx512
  if (i == Isa::Avx512) return {avx512::unary_table, avx512::binary_table, avx512::ternary_table, avx512::special_table};
#endif
#if MG_HAVE_avx2
  if (i == Isa::Avx2) return {avx2::unary_table, avx2::binary_table, avx2::ternary_table, avx2::special_table};
#endif
  (void)i;
  return {portable::unary_table, portable::binary_table, portable::ternary_table, portable::special_table};
}

const PointwiseKernel* find_pointwise(const char* name) {
  const PointwiseTables tables = pointwise_tables(isa());
  for (const PointwiseKernel* row : {tables.unary, tables.binary, tables.ternary, tables.special})
    for (; row->name != nullptr; ++row)
      if (std::strcmp(row->name, name) == 0) return row;
  return nullptr;
}

}  // namespace mg::cpu
