// Complex kernels made of real ones, on any device: a complex tensor seen as real (views of the same storage), and the op's own real
// kernel run on such views.
#pragma once
#include <algorithm>
#include <array>

#include "op.h"

namespace mg {

// The real (which = 0) or imaginary (1) parts: a real tensor of the same shape with doubled strides.
Tensor part(const TensorImpl& t, int which);
// Both parts: a real tensor with a last dim of size 2.
Tensor pairs(const TensorImpl& t);

// The op's real kernel, on the device of the outputs, with other arguments and outputs.
void run_real(const Op& op, const Value* args, Tensor* outs, DType compute);

// A copy of the boxed arguments, to be changed. Views refer to tensors that the caller keeps.
struct Arguments : ValueArray {
  explicit Arguments(const Invocation& inv) { std::copy_n(inv.args, inv.op.args.size(), values); }
};

// Whole kernels.
void complex_sum(Invocation& inv);      // sum, mean: of each part
void complex_truth(Invocation& inv);    // any, all, count_nonzero, _nonzero: of the truth of each element
void complex_normal(Invocation& inv);   // normal_: both parts from the same distribution of half the variance
void complex_uniform(Invocation& inv);  // uniform_: likewise

// Kernels but for the arithmetic of one element: the variances of both parts, to be added; a norm of magnitudes that were computed first.
std::array<Tensor, 2> variances_of_parts(Invocation& inv);
void norm_of_magnitudes(Invocation& inv, const Tensor& magnitudes);

}  // namespace mg
