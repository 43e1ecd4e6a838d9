// The right sides of batches of linear systems, one thread each (linalg_solve.cu, linalg_ldl.cu).
#pragma once
#include "linalg.h"

namespace mg::cuda {

// Right sides of a batch of systems: rows of x (step 1) or columns; each with the number of its matrix.
struct RightSides {
  Offsets<2> batch;  // (index in x's batch, index of the matrix)
  int64_t n, sides;  // unknowns, right sides of one system
  bool left;
  struct Place {
    int64_t first, step, matrix;
  };
  MG_DEVICE Place at(int64_t i) const {
    const int64_t system = i / sides, side = i - system * sides;
    int64_t index[2];
    batch.get(system, index);
    return {index[0] * n * sides + (left ? side : side * n), left ? sides : 1, index[1]};
  }
};
inline RightSides right_sides(const Dims& a_sizes, const Tensor& x, bool left, const char* op) {
  const Dims batch = batch_dims(x.sizes()), own = batch_dims(a_sizes);
  LoopPlan plan(batch);
  plan.add(nullptr, batch, contiguous_strides(batch), 1);
  plan.add(nullptr, own, contiguous_strides(own), 1);
  plan.finish();
  RightSides sides{{}, a_sizes.back(), left ? x.size(-1) : x.size(-2), left};
  with_offsets<2>(plan, [&](const Offsets<2>& o, char* const*) { sides.batch = o; });
  MG_CHECK(sides.batch.count == plan.numel, NotImplemented, op, ": no cuda kernel for more than ", kOffsetDims, " batch dims.");
  return sides;
}

}  // namespace mg::cuda
