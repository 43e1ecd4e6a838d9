// The talking half of allocator.h: statistics, snapshot, and the out-of-memory error that lists who holds the memory.
#include <algorithm>

#include "allocator_central.h"

namespace mg {

using namespace detail;

size_t detail::small_in_use(Central& m, uint64_t* n_blocks, uint64_t* n_allocs) {
  size_t bytes = 0;
  uint64_t count = 0, allocs = 0;
  for (unsigned c = 0; c < kClasses; ++c) {
    uint64_t in_use = m.lists[c].cut - m.lists[c].count;
    for (ThreadCache* cache = m.caches; cache != nullptr; cache = cache->next_cache) {
      in_use -= std::min<uint64_t>(in_use, cache->bins[c].count.load(std::memory_order_relaxed));
    }
    bytes += in_use * class_size(c);
    count += in_use;
  }
  for (ThreadCache* cache = m.caches; cache != nullptr; cache = cache->next_cache) {
    allocs += cache->allocs.load(std::memory_order_relaxed);
  }
  if (n_blocks != nullptr) *n_blocks = count;
  if (n_allocs != nullptr) *n_allocs = allocs;
  return bytes;
}

void detail::update_peak(Central& m) {
  if (m.large_bytes + m.small_handed > m.peak) m.peak = std::max(m.peak, m.large_bytes + small_in_use(m));
}

static MemoryStats stats_locked(Central& m) {
  MemoryStats s;
  s.allocated = m.large_bytes + small_in_use(m, &s.live_blocks, &s.allocations);
  m.peak = std::max(m.peak, s.allocated);
  s.peak_allocated = m.peak;
  s.reserved = kPassThrough ? s.allocated : m.blocks.reserved() + m.kept.reserved();
  s.cached = s.reserved - std::min(s.reserved, s.allocated);
  s.cache_limit = m.cache_limit;
  s.memory_limit = m.memory_limit;
  s.live_blocks += m.large_blocks;
  s.allocations += m.slow_allocs;
  s.system_calls = m.blocks.upstream_calls() + m.kept.upstream_calls();
  return s;
}

static std::vector<TagUsage> holders_locked(Central& m) {
  std::vector<TagUsage> holders;
  if (kPassThrough) {
    std::map<std::string, TagUsage> by_tag;
    for (const auto& [data, block] : m.malloced) {
      TagUsage& usage = by_tag[block.second];
      usage = TagUsage{block.second, usage.nbytes + block.first, usage.blocks + 1};
    }
    for (auto& entry : by_tag) holders.push_back(entry.second);
  } else {
    std::map<std::string, TagUsage> by_tag;
    for (const BlockCache* cache : {&m.blocks, &m.kept})
      for (const TagUsage& u : cache->usage()) {
        TagUsage& all = by_tag[u.tag];
        all = TagUsage{u.tag, all.nbytes + u.nbytes, all.blocks + u.blocks};
      }
    for (auto& entry : by_tag) holders.push_back(entry.second);
    uint64_t n = 0;
    const size_t bytes = small_in_use(m, &n);
    if (n > 0) holders.push_back(TagUsage{"blocks up to 64 KiB", bytes, n});
  }
  std::stable_sort(holders.begin(), holders.end(),
                   [](const TagUsage& a, const TagUsage& b) { return a.nbytes > b.nbytes; });
  return holders;
}

void detail::throw_out_of_memory(Central& m, size_t request, const char* why) {
  const MemoryStats s = stats_locked(m);
  std::string text = str("cpu allocator: out of memory (", why, "): got a request for ", human_size(request), " with ",
                         human_size(s.allocated), " allocated and ", human_size(s.cached), " cached, expected at most ",
                         s.memory_limit == SIZE_MAX ? human_size(available_memory()) + " more (available in the system)"
                                                    : human_size(s.memory_limit) + " in total (set_memory_limit)",
                         ".");
  text += held_by(holders_locked(m)) + " Try a smaller batch, no_grad() where no gradient is needed, or deleting tensors that are done with.";
  throw OutOfMemory(std::move(text));
}

MemoryStats memory_stats() {
  Central& m = central();
  std::lock_guard lock(m.mutex);
  return stats_locked(m);
}

MemorySnapshot memory_snapshot() {
  Central& m = central();
  std::lock_guard lock(m.mutex);
  return MemorySnapshot{stats_locked(m), holders_locked(m)};
}

void reset_peak_memory() {
  Central& m = central();
  std::lock_guard lock(m.mutex);
  m.peak = m.large_bytes + small_in_use(m);
}

}  // namespace mg
