// Walking a LoopPlan row by row (a row = the innermost, merged dim), in parallel. Long rows are cut, short rows are
// batched, so that one task covers about kRowGrain elements whatever the shape; the cut depends on the shape alone.
#pragma once
#include "../core/layout.h"
#include "../core/parallel.h"

namespace mg::cpu {

constexpr int64_t kRowGrain = 32768;

// Pointers of all operands at a row, advanced without division.
class RowCursor {
 public:
  RowCursor(const LoopPlan& plan, int64_t row) : plan_(plan) {
    plan.row_pointers(row, ptr_);
    for (int i = plan.ndim - 2; i >= 0; --i) {
      at_[i] = row % plan.sizes[i];
      row /= plan.sizes[i];
    }
  }
  char** pointers() { return ptr_; }
  void next() {
    for (int i = plan_.ndim - 2; i >= 0; --i) {
      const bool carry = ++at_[i] == plan_.sizes[i];
      const int64_t steps = carry ? 1 - plan_.sizes[i] : 1;
      for (int k = 0; k < plan_.operands; ++k) ptr_[k] += steps * plan_.strides[k][i];
      if (!carry) return;
      at_[i] = 0;
    }
  }

 private:
  const LoopPlan& plan_;
  char* ptr_[LoopPlan::kMaxOperands];
  int64_t at_[kMaxDims];
};

// f(char** pointers, int64_t n): n elements of the inner dim from these pointers; strides are plan.inner_stride(k).
// `cost`: work per element, in units of a plain copy; pieces keep 256 elements, for whole cache lines.
template <class F>
void for_rows(const LoopPlan& plan, F&& f, int64_t cost = 1) {
  if (plan.numel == 0) return;
  const int64_t inner = plan.inner(), rows = plan.rows(),
                grain = std::max<int64_t>(kRowGrain / std::max<int64_t>(cost, 1), 256);
  if (inner > 1 && inner >= grain / 2) {  // cut each row
    const int64_t pieces = (inner - 1) / grain + 1;
    parallel_for(0, rows * pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        char* p[LoopPlan::kMaxOperands];
        plan.row_pointers(item / pieces, p);
        const int64_t start = item % pieces * grain;
        for (int k = 0; k < plan.operands; ++k) p[k] += start * plan.inner_stride(k);
        f(p, std::min(grain, inner - start));
      }
    });
    return;
  }
  parallel_for(0, rows, std::max<int64_t>(grain / inner, 1), [&](int64_t begin, int64_t end) {
    RowCursor cursor(plan, begin);
    for (int64_t r = begin; r < end; ++r, cursor.next()) {
      char* p[LoopPlan::kMaxOperands];
      for (int k = 0; k < plan.operands; ++k) p[k] = cursor.pointers()[k];
      f(p, inner);
    }
  });
}

}  // namespace mg::cpu
