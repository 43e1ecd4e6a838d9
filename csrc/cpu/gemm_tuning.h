// Where gemm() changes its path and how it cuts products, one row per instruction set.
//
// `python -m benchmarks.gemm --tune` measures the machine it runs on and rewrites the row of that machine's instruction set.
// No number here changes whether a product is right; all may change its last bits, so they never depend on threads.
#pragma once
#include <cstdint>

namespace mg::cpu {

#define MG_GEMM_TUNING(X)                                                                    \
  X(small_fma)       /* so many multiply-adds: one thread, A is not packed */                \
  X(stream_rows)     /* rows of A for which the rows of B stream by once (gemm_stream.h) */  \
  X(dot_rows)        /* rows of A for dot products, both sides contiguous along k */         \
  X(direct_rows)     /* rows of A for which A and B are read where they lie */               \
  X(direct_rows_far) /* the same for a B that comes from memory */                           \
  X(direct_k)        /* length of the blocks of k there */                                   \
  X(turned_rows)     /* rows of A for which the transposed product is taken (gemm_turned.h) */ \
  X(turned_k)        /* length of the blocks of k there (float; half of it for double) */ \
  X(narrow_columns)  /* columns of B that are packed side by side, A being read in place */  \
  X(few_rows)        /* rows of A that are packed once and shared, each task packing its B */ \
  X(block_rows)      /* rows of A packed at once otherwise (float; half as many of double) */ \
  X(block_k)         /* length of the blocks of k (float; half of it for double) */

struct GemmTuning {
#define MG_FIELD(name) int64_t name;
  MG_GEMM_TUNING(MG_FIELD)
#undef MG_FIELD
};

// clang-format off
constexpr GemmTuning kGemmTuning[] = {
    {65536, 4, 8, 16, 8, 320, 128, 800, 96, 128, 192, 512},  // portable
    {65536, 2, 8, 8, 8, 512, 128, 256, 96, 192, 192, 512},  // avx2
    {65536, 4, 8, 24, 8, 320, 128, 800, 192, 192, 192, 512},  // avx512
};
// clang-format on

GemmTuning& gemm_tuning();  // the row of this machine; only tests and benchmarks change it

}  // namespace mg::cpu
