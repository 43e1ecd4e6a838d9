// What a run of a plan works on: its table of tensors, and the regions of memory that those of them that live inside of a run lie in.
#pragma once
#include "../core/layout.h"
#include "../core/region.h"
#include "plan.h"

namespace mg {

struct Plan::State {
  struct Cleared;
  std::vector<Tensor> slots;
  std::vector<Ref<Storage>> storages;  // by number; null where not inside of a region
  std::vector<Region> regions;         // those in use
  std::vector<void*> settled_at;       // where each was last: its storages point there
  /// Takes memory for a region and lets its storages point there.
  void begin(size_t region, const RegionPlan& plan, const std::vector<Place>& places);
};

inline bool same_layout_spec(const OutSpec& a, const OutSpec& b) {
  return a.dtype == b.dtype && a.offset == b.offset && a.sizes == b.sizes && a.strides == b.strides;
}

}  // namespace mg
