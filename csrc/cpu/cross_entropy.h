// Cross entropy of one sample: what cross_entropy (loss.cpp) and linear_cross_entropy.cpp share.
#pragma once
#include <algorithm>

#include "../core/reduce_dims.h"
#include "softmax_table.h"
#include "staged.h"

namespace mg::cpu {

// The class of sample i, or -1 for one that does not count. A class index out of range raises IndexError, as PyTorch does.
inline int64_t class_of(const int64_t* target, int64_t i, int64_t classes, int64_t ignore, const Op& op) {
  const int64_t t = target[i];
  if (t == ignore) return -1;
  MG_CHECK(t >= 0 && t < classes, Index, public_name(op), ": target out of bounds: got class ", t, " at sample ", i,
           ", expected 0 <= class < ", classes, " (the class dim of the input), or ignore_index=", ignore);
  return t;
}

// Samples of one group of sums: totals are sums of these groups, added in order.
inline int64_t cross_entropy_grain(int64_t classes) { return std::max<int64_t>(16384 / std::max<int64_t>(classes, 1), 1); }

// weight: one number per class, or null.
template <class T>
struct CrossEntropyRow {
  const T* weight;
  int64_t classes;
  double smoothing;
  const SoftmaxFns<T>& fns = softmax_fns<T>();
  double all = weight ? fns.sum(weight, classes) : double(classes);

  double weight_of(int64_t c) const { return c < 0 ? 0 : weight ? double(weight[c]) : 1.0; }

  // Loss of a row of logits with the logsumexp z.
  double loss(const T* row, int64_t c, double z) const {
    if (c < 0) return 0;
    const double hard = weight_of(c) * (z - double(row[c]));
    if (smoothing == 0) return hard;
    double mixed = 0;  // sum of w_c x_c
    if (weight)
      for (int64_t k = 0; k < classes; ++k) mixed += double(weight[k]) * double(row[k]);
    else
      mixed = fns.sum(row, classes);
    return (1 - smoothing) * hard + smoothing / double(classes) * (all * z - mixed);
  }

  // With q the target distribution times the class weights: dx = scale * (sum(q) softmax(x) - q). dx may be the row itself.
  void gradient(T* dx, const T* row, int64_t c, double z, double scale) const {
    if (c < 0) {
      std::fill(dx, dx + classes, T(0));
      return;
    }
    const double hard = scale * (1 - smoothing) * weight_of(c), soft = scale * smoothing / double(classes);
    fns.cross_entropy_row(dx, row, weight, classes, z, hard + soft * all, soft);
    dx[c] = T(double(dx[c]) - hard);
  }
};

}  // namespace mg::cpu
