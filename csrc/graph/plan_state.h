// What a run of a plan works on: its table of tensors, and the arena that those of them that live inside of a run lie in.
#pragma once
#include <mutex>

#include "../core/layout.h"
#include "plan.h"

namespace mg {

// Idle arenas. A run takes one and gives it back, so the plans of a program share them.
class ArenaPool {
 public:
  Ref<Storage> take(int64_t bytes);
  void give(Ref<Storage> arena);

 private:
  std::mutex mutex_;
  std::vector<Ref<Storage>> idle_;
};
ArenaPool& arena_pool();

struct Plan::State {
  struct Cleared;
  std::vector<Tensor> slots;
  std::vector<Ref<Storage>> storages;  // by number; null where not in the arena
  Ref<Storage> arena;
  void* settled_at = nullptr;
  /// Lets the storages point into this arena.
  void settle(Ref<Storage> in, const std::vector<Place>& places);
};

inline bool same_layout_spec(const OutSpec& a, const OutSpec& b) {
  return a.dtype == b.dtype && a.offset == b.offset && a.sizes == b.sizes && a.strides == b.strides;
}

}  // namespace mg
