// Products of device tensors for kernels that need one (rnn.cu).
#pragma once
#include "../kernel.h"

namespace mg::cuda {

// alpha * product + beta * t; t broadcasts to the product.
struct Addend {
  const TensorImpl* t = nullptr;
  complex128 alpha{1, 0}, beta{1, 0};

  // For integer sums: whole numbers, modulo.
  template <class Acc>
  static Acc factor(complex128 v) {
    if constexpr (std::is_integral_v<Acc>) return Acc(int64_t(v.re));
    else return convert<Acc>(v);
  }
};

// result = left @ right (+ addend), by the rules of the op matmul.
void matrix_product(const TensorImpl& left, const TensorImpl& right, const Tensor& result, const Addend& addend = {});

}  // namespace mg::cuda
