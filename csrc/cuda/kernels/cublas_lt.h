// Matrix products by cuBLASLt, where that library is found at run time: the fast way of matmul.cu on a GPU, never needed. It is not linked;
// cublas_lt.cu declares the few functions it calls. MINIGRAD_CUBLASLT=0 turns it off, MINIGRAD_CUBLASLT=path names the library; the simulator
// takes a named one only (tests/cuda/fake_cublas_lt.c).
#pragma once
#include "../kernel.h"

namespace mg::cuda {

struct LtMatrix {
  void* data = nullptr;
  int64_t rs = 0, cs = 0, bs = 0;  // elements; bs: from one batch entry to the next
};

// out = alpha a b + beta add for `batch` entries; add.data may be null.
struct LtProduct {
  DType dtype;
  int64_t m, n, k, batch;
  LtMatrix a, b, out, add;
  double alpha, beta;
};

// False: not done, because the library is missing or has nothing for this problem.
bool lt_product(const LtProduct& p);

}  // namespace mg::cuda
