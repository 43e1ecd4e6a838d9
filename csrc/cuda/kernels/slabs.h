// The two engines behind index_select, index, embedding, index_add, index_copy, index_put, the scatter family and their gradients.
//
// Index k names one slab: all positions of the dims that are not indexed. keys[k] (int64, on the device; negative: skip) is where it starts
// in the indexed tensor, in bytes; on the dense side it starts k * step bytes in. `plan` walks the slab (operand 0 written, operand 1 read;
// finished). Several indices of one slab are taken in the order of k, so results are those of the CPU and the same in every run: the keys
// are sorted (stable), and the thread at the start of a run of equal keys goes through it.
#pragma once
#include "../../core/index_plan.h"
#include "../kernel.h"
#include "faults.h"

namespace mg::cuda {

// int64[n] of zeros, and += index * stride for one index tensor; -1 from an index out of range on, which is noted as a fault.
Tensor new_keys(int64_t n, Device device);
void add_index(const Op& op, const Tensor& keys, const Tensor& index, int64_t size, int64_t stride_bytes, bool wrap);

void slab_gather(const LoopPlan& plan, const Tensor& keys, int64_t step, int64_t item);
// Low precision is added up in float and rounded once.
void slab_scatter(const LoopPlan& plan, const Tensor& keys, int64_t step, DType dtype, const ScatterRule& rule);

// Positions of `keys` in ascending order, equal ones in their own.
struct Sorted {
  Tensor keys, order;
};
Sorted sorted_keys(const Tensor& keys);

// `v` as a 0-d tensor of `dtype` on the device; raises if it does not fit, for which a tensor's number is waited for where it might not.
Tensor number_tensor(const Op& op, const Value& v, DType dtype, Device device);

}  // namespace mg::cuda
