// The two engines behind index_select, index, embedding, index_add, index_copy, index_put and their gradients.
//
// Index k names one slab: all positions of the dims that are not indexed. The slab starts offsets[k] bytes into the
// indexed tensor and k * step bytes into the dense side; `plan` walks it (operand 0 = destination, operand 1 = source;
// finished).
#pragma once
#include "../core/index_plan.h"

namespace mg::cpu {

// dst[k * step + slab] = src[offsets[k] + slab]
void slab_gather(LoopPlan plan, const int64_t* offsets, int64_t n, int64_t step, int64_t item);

// dst[offsets[k] + slab] (reduce)= src[k * step + slab], in the order of k for every destination: the result depends
// neither on the number of threads nor on luck. Negative offsets are skipped. With scale, src is multiplied by it first
// (Add only).
void slab_scatter(LoopPlan plan, const int64_t* offsets, int64_t n, int64_t step, DType dtype, Reduce reduce,
                  double scale = 1);

// The value that leaves a reduction unchanged, as a 0-d tensor.
Tensor identity_of(Reduce reduce, DType dtype);
// target /= counts (int64, of the target's sizes, any strides); integers round down, as PyTorch. Counts of 0 and 1
// change nothing.
void divide_by_counts(TensorImpl& target, const TensorImpl& counts);

}  // namespace mg::cpu
