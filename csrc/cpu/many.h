// One parallel region over the elements of many tensors: a model has few large parameters and many small ones, and a
// region for each would cost more than the work. Pieces depend on the sizes only, so that sums of pieces are the same
// for any number of threads.
#pragma once
#include <algorithm>
#include <vector>

#include "../core/parallel.h"
#include "../core/tensor.h"

namespace mg::cpu {

class ManyTensors {
 public:
  static constexpr int64_t kPiece =
      4096;  // elements; small, so that two threads step about the halves of a weight that they also compute
  std::vector<TensorImpl*> tensors;

  void add(TensorImpl* t) {
    tensors.push_back(t);
    first_.push_back(pieces_);
    pieces_ += (t->numel + kPiece - 1) / kPiece;
    elements_ += t->numel;
  }
  int64_t pieces() const { return pieces_; }

  // f(tensor's number, first element, end, piece's number)
  template <class F>
  void each(F&& f) const {
    parallel_for(0, pieces_, elements_ <= kPiece ? pieces_ : 1, [&](int64_t b, int64_t e) {
      size_t k = size_t(std::upper_bound(first_.begin(), first_.end(), b) - first_.begin()) - 1;
      for (int64_t p = b; p < e; ++p) {
        while (k + 1 < first_.size() && first_[k + 1] <= p) ++k;
        const int64_t begin = (p - first_[k]) * kPiece;
        f(k, begin, std::min(begin + kPiece, tensors[k]->numel), p);
      }
    });
  }

  // Whether no element is in two of the (contiguous) tensors.
  bool disjoint() const {
    std::vector<std::pair<const char*, int64_t>> spans;
    for (const TensorImpl* t : tensors)
      if (t->numel > 0) spans.emplace_back(static_cast<const char*>(t->data()), t->numel * itemsize(t->dtype));
    std::sort(spans.begin(), spans.end());
    for (size_t k = 1; k < spans.size(); ++k)
      if (spans[k - 1].first + spans[k - 1].second > spans[k].first) return false;
    return true;
  }

 private:
  std::vector<int64_t> first_;  // number of each tensor's first piece
  int64_t pieces_ = 0, elements_ = 0;
};

}  // namespace mg::cpu
