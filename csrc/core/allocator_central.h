// Shared by allocator.cpp and allocator_report.cpp only: the state behind allocator.h.
#pragma once
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "allocator.h"
#include "system_memory.h"

namespace mg::detail {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kPassThrough = true;
#else
constexpr bool kPassThrough = false;
#endif

constexpr size_t kSlabMax = 4 << 10;
constexpr size_t kSlab = 64 << 10;

// ASan mode: every segment is one malloc of exactly the requested size, so its red zones sit at the ends of the tensor.
struct MallocUpstream final : Upstream {
  void* allocate(size_t nbytes) override {
    if (nbytes >= size_t(256) << 20 && nbytes > available_memory()) return nullptr;
    void* data = nullptr;
    return posix_memalign(&data, 64, std::max<size_t>(nbytes, 1)) == 0 ? data : nullptr;
  }
  void release(void* data, size_t) override { std::free(data); }
};

struct ClassList {
  FreeNode* head = nullptr;
  uint32_t count = 0;  // blocks in the list
  uint32_t cut = 0;    // blocks that exist: in use, in thread caches or in the list
  char* slab = nullptr;
  uint32_t slab_left = 0;  // blocks not yet cut from the newest slab
};

struct Central {
  std::mutex mutex;
  MmapUpstream system;
  BlockCache blocks{system, BlockCache::Policy{}};
  BlockCache kept{system, BlockCache::Policy{}};  // long_lived.h; gives whole free segments back at once
  std::unordered_set<void*> kept_blocks;
  ClassList lists[kClasses];
  std::map<char*, unsigned> slabs;  // address -> class
  ThreadCache* caches = nullptr;    // all ever made; a dead thread's cache is empty and waits in `spare`
  std::vector<ThreadCache*> spare;
  size_t large_bytes = 0;  // in live blocks above 64 KiB
  uint64_t large_blocks = 0;
  uint64_t slow_allocs = 0;  // not counted by a thread cache
  size_t small_handed = 0;   // bytes of small blocks outside the central lists: upper bound of those in use
  size_t peak = 0;
  size_t cache_limit = 0;
  size_t trim_at = 0;  // free bytes that trigger the next trim
  size_t memory_limit = SIZE_MAX;
  // ASan mode only
  MallocUpstream malloc_source;
  std::unordered_map<void*, std::pair<size_t, const char*>> malloced;
};

Central& central();

// All of these with the mutex held.
size_t small_in_use(Central& m, uint64_t* n_blocks = nullptr, uint64_t* n_allocs = nullptr);
void update_peak(Central& m);
[[noreturn, gnu::cold]] void throw_out_of_memory(Central& m, size_t request, const char* why);

}  // namespace mg::detail
