// Ops that are a few copies of regions, or write one region of their result: what their meta functions and the kernels of all devices
// share, and the kernels that need nothing but their device's strided copy.
#pragma once
#include "layout.h"
#include "op.h"

namespace mg {

inline bool skipped_by_cat(const TensorImpl& t) { return t.dim() == 1 && t.sizes[0] == 0; }

// Whole kernels.
void cat_by_copies(Invocation& inv);    // cat(tensors, dim)
void stack_by_copies(Invocation& inv);  // stack(tensors, dim)
void roll_by_copies(Invocation& inv);   // roll(input, shifts, dims)
void scatter_region(Invocation& inv);   // (input, src, view arguments …)

// Operand 1, `in` read backwards along these dims, to operand 0.
LoopPlan flip_plan(const TensorImpl& out, const TensorImpl& in, const Dims& dims);

const Op& region_view(const Op& op);  // `_slice` for `_slice_backward` and `slice_scatter`, and so on
// What `view` shows of `base`; the view's own arguments stand at args[first], args[first + 1], …
Tensor region_of(const Op& view, const TensorImpl& base, const Value* args, int first);
// The same for (g, input_shape, view arguments …); raises if g has not the region's shape.
Tensor region_of_gradient(const Invocation& inv, const Op& view, const TensorImpl& base);

// _restride(g, from_stride, from_offset, size, stride, offset): elements of the imagined storage that both geometries reach into.
int64_t restride_length(const Invocation& inv);

}  // namespace mg
