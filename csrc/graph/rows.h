// What values of a graph are for a few rows of numbers in place of its own: for patterns that are found by what they compute, not by how they
// are written (random interpretation: Gulwani and Necula, 2003). Two values that are made of one tensor by pointwise ops and reductions of its
// rows are taken for equal if they are equal there. So that this cannot be a coincidence of sizes, numbers that take part are 0, 1, -1, inf.
#pragma once
#include <optional>

#include "pattern.h"

namespace mg {

class Rows {
 public:
  static constexpr int kCount = 12, kColumns = 7;
  /// In the shape of value `like`: ties, masked entries, nothing but -inf, inf, NaN, numbers whose exponentials overflow or vanish …
  Rows(const Pattern& p, int like);
  /// … or of a gradient: nothing special.
  Tensor special() const, random() const;

  bool has(int id) const { return values_[size_t(id)].defined(); }
  const Tensor& operator[](int id) const { return values_[size_t(id)]; }
  void give(int id, Tensor rows) { values_[size_t(id)] = std::move(rows); }
  /// Of the shape and dtype of `like`.
  bool is_full(int id) const { return p_.spec(id).sizes == full_ && p_.spec(id).dtype == dtype_; }
  /// Pointwise, or over rows, or another look at them.
  static bool can_take(const GraphCall& c);

  /// Computes what it can of the calls from one place to another, and says which.
  std::vector<int> compute(int from, int to);
  void forget(const std::vector<int>& calls);

 private:
  std::optional<Dims> image(const Dims& sizes) const;
  bool knows_arguments(const GraphCall& c) const;
  bool compute(const GraphCall& c);

  const Pattern& p_;
  std::vector<Tensor> values_;
  const DType dtype_;
  const Dims full_;
  Dims kept_, reduced_;  // of one number per row
};

/// The first result of an op; no history.
Tensor computed(const char* op, const std::vector<Value>& args);
/// Equal but for rounding, infinities too; NaN in the same rows.
bool same_rows(const Tensor& a, const Tensor& b);

}  // namespace mg
