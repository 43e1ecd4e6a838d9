// See fuse_space.h.
#include "fuse_space.h"

#include <algorithm>

#include "../core/layout.h"

namespace mg {

namespace {

struct Run {
  int64_t size, stride;
};

// Axes of strides that go on, as one; from the inside out, without those of size 1.
std::vector<Run> runs_of(const Dims& shape, const Dims& strides) {
  std::vector<Run> runs;
  for (int k = shape.size(); k-- > 0;) {
    if (shape[k] == 1) continue;
    if (!runs.empty() && strides[k] == runs.back().stride * runs.back().size) runs.back().size *= shape[k];
    else runs.push_back({shape[k], strides[k]});
  }
  return runs;
}

int64_t product(const Dims& sizes) {
  int64_t n = 1;
  for (int64_t s : sizes) n *= s;
  return n;
}

}  // namespace

FuseSpace::FuseSpace(const Dims& s, const Dims& l) : shape(s), layout(l), dense(is_contiguous(s, l)), elements(product(s)) {}

bool FuseSpace::by_row(const Dims& other) const { return row > 1 && product(other) != elements; }

void FuseSpace::add_operand(const Dims& strides) {
  int64_t inner = 1;
  for (const Run& run : runs_of(shape, strides)) {
    if (inner > 1) cuts.push_back(inner);
    inner *= run.size;
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
}

bool FuseSpace::take(const FuseSpace& other, const std::vector<int64_t>& others) {
  if (!dense || !other.dense) return shape == other.shape && layout == other.layout;
  if (row != 0 && other.row != 0 && row != other.row) return false;
  std::vector<int64_t> all;
  std::set_union(cuts.begin(), cuts.end(), others.begin(), others.end(), std::back_inserter(all));
  const int64_t inner = std::max(row, other.row);
  for (size_t k = 0; k < all.size(); ++k)
    if (all[k] < inner || (k > 0 && all[k] % all[k - 1] != 0)) return false;
  if (inner > 1 && !all.empty() && all[0] % inner != 0) return false;
  cuts = std::move(all);
  row = inner;
  return true;
}

bool FuseSpace::join_rows(const FuseSpace& other) {
  if (!dense || !other.dense || row < 2 || other.row != 0 || other.elements != rows()) return false;
  std::vector<int64_t> outer;
  for (int64_t c : other.cuts) outer.push_back(c * row);
  return take(other, outer);
}

Dims FuseSpace::sizes() const {
  if (!dense) return shape;
  std::vector<int64_t> found;  // from the inside out
  int64_t inner = 1;
  const auto until = [&](int64_t end) {
    if (end > inner || (end == row && found.empty())) found.push_back(end / inner);
    inner = end;
  };
  if (row != 0) until(row);
  for (int64_t c : cuts) until(c);
  until(elements);
  if (found.empty()) found.push_back(1);
  std::reverse(found.begin(), found.end());
  return Dims(std::span<const int64_t>(found));
}

std::optional<Dims> FuseSpace::strides(const Dims& of, const Dims& given) const {
  if (!dense) return given;
  std::vector<Run> runs = runs_of(of, given);
  if (by_row(of)) runs.insert(runs.begin(), {row, 0});
  const Dims axes = sizes();
  Dims out(axes.size());
  size_t at = 0;
  for (int k = axes.size(); k-- > 0;) {
    if (axes[k] == 1) continue;
    while (at < runs.size() && runs[at].size == 1) ++at;
    if (at == runs.size() || runs[at].size % axes[k] != 0) return std::nullopt;
    out[k] = runs[at].stride;
    runs[at].stride *= axes[k];
    runs[at].size /= axes[k];
  }
  return out;
}

bool FuseSpace::repeats(const Dims& of, const Dims& given, bool per_row) const {
  std::vector<Run> runs = runs_of(of, given);
  if (per_row && !by_row(of)) {
    if (runs.empty() || runs[0].stride != 0 || runs[0].size != row) return false;
    runs.erase(runs.begin());
  } else if (per_row != by_row(of)) {
    return false;
  }
  return runs.empty() || (runs.size() == 1 && runs[0].stride == 1);
}

}  // namespace mg
