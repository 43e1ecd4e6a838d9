// The walk of a group over its elements. Its values may have different shapes as long as they number the same elements in the same order:
// a view that only regroups dimensions changes nothing, and one number per row is that in whatever shape (64,), (64, 1) or expanded.
#pragma once
#include <optional>
#include <vector>

#include "graph.h"

namespace mg {

struct FuseSpace {
  Dims shape, layout;             // of one member: all of them have it where the walk is not row-major
  bool dense = true;              // row-major
  int64_t elements = 1, row = 0;  // row: elements of the inner axis, where something is reduced along it or over all others; else 0
  std::vector<int64_t> cuts;      // rising: inner parts of so many elements, at whose end some operand does not simply go on

  FuseSpace(const Dims& shape, const Dims& layout);
  int64_t rows() const { return row == 0 ? elements : elements / row; }
  bool by_row(const Dims& shape) const;  // it has one number per row, not one per element

  /// An operand that lies like this over `shape`.
  void add_operand(const Dims& strides);
  /// One walk over both; false, and nothing changed, where there is none. join_rows: of the other are all rows' numbers.
  /// Nor where one would cut the other's rows, which a reduction of these may want to have whole (group norm's gradients: 0.84 the speed).
  bool join(const FuseSpace& other) { return elements == other.elements && !cuts_rows(other) && !other.cuts_rows(*this) && take(other, other.cuts); }
  bool join_rows(const FuseSpace& other);

  /// Axes, the inner one last.
  Dims sizes() const;
  /// Strides along them of what lies like this over a member's shape; none where they are not one per axis.
  std::optional<Dims> strides(const Dims& shape, const Dims& strides) const;
  /// What lies like this over a member's shape is, element by element, a dense value with one number per element (or `per_row`) of the space.
  bool repeats(const Dims& shape, const Dims& strides, bool per_row) const;

 private:
  bool cuts_rows(const FuseSpace& other) const { return !cuts.empty() && !(shape == other.shape) && other.shape.size() > 1 && cuts[0] < other.shape.back(); }
  bool take(const FuseSpace& other, const std::vector<int64_t>& cuts);
};

}  // namespace mg
