// Operands of the kernels that want contiguous memory in their compute dtype (softmax, norms, losses, scans, sort): a copy is made only
// where the tensor is not like that already, and results are copied back converted (rounded once).
#pragma once
#include "tensor.h"

namespace mg {

// float64 computes in double, everything else floating in float.
constexpr DType float_compute(DType d) { return d == DType::Float64 ? DType::Float64 : DType::Float32; }

inline Tensor staged(const TensorImpl& t, DType dtype) {
  return t.contiguous && t.dtype == dtype ? Tensor(const_cast<TensorImpl*>(&t)) : to_contiguous(t, dtype);
}

// A result: write to ptr<T>(), contiguous, then commit(), which converts and spreads it if the output is not like that itself.
class StagedOut {
 public:
  StagedOut(const Tensor& out, DType dtype)
      : out_(out), work_(out->contiguous && out.dtype() == dtype ? out : empty(out.sizes(), dtype, out.device())) {}
  template <class T>
  T* ptr() const {
    return work_.ptr<T>();
  }
  void commit() const {
    if (!work_.is(out_)) copy_into(out_, work_);
  }

 private:
  Tensor out_, work_;
};

}  // namespace mg
