// Complex kernels made of real ones: a complex tensor seen as real (views of the same storage), and the op's own real kernel run on them.
#pragma once
#include "../kernel.h"

namespace mg::cuda {

// The real (which = 0) or imaginary (1) parts: a real tensor of the same shape with doubled strides.
inline Tensor part(const TensorImpl& t, int which) {
  Dims strides = t.strides;
  for (int64_t& s : strides) s *= 2;
  Tensor view = alias(t, t.sizes, strides, t.offset * 2 + which);
  view->dtype = to_real(t.dtype);
  return view;
}

// Both parts: a real tensor with a last dim of size 2.
inline Tensor pairs(const TensorImpl& t) {
  Dims sizes = t.sizes, strides = t.strides;
  for (int64_t& s : strides) s *= 2;
  sizes.push_back(2);
  strides.push_back(1);
  Tensor view = alias(t, sizes, strides, t.offset * 2);
  view->dtype = to_real(t.dtype);
  view->set_layout(sizes, strides);
  return view;
}

// The op's real kernel with other arguments and outputs.
inline void run_real(const Op& op, const Value* args, Tensor* outs, DType compute) {
  Invocation real{op, args, outs, compute};
  op.kernels[int(DeviceType::CUDA)](real);
}

// A copy of the boxed arguments, to be changed. Views refer to tensors that the caller keeps.
struct Arguments : ValueArray {
  explicit Arguments(const Invocation& inv) { std::copy_n(inv.args, inv.op.args.size(), values); }
};

}  // namespace mg::cuda
