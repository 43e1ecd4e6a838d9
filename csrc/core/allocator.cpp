// The slow half of allocator.h: thread caches, the central lists behind them, limits, statistics, the out-of-memory
// report.
//
// One mutex guards everything in Central. Lock order: it is the only lock, and nothing is called with it held that
// could take another. Where blocks up to 64 KiB live when no thread has them:
//   up to 4 KiB    cut from 64 KiB slabs, kept in a list per class; a slab goes back to the BlockCache when all its
//   blocks are in the list above          single blocks of the BlockCache, which merges them when they come back
// The bytes in use by small blocks are not counted per call (the fast path has no room for it) but derived: blocks cut
// minus blocks free.
#include "allocator.h"

#include <pthread.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>

#include "system_memory.h"

namespace mg {

namespace detail {
constinit thread_local ThreadCache* tl_cache = nullptr;
constinit thread_local const char* tl_tag = "untagged";
}  // namespace detail

using detail::class_size;
using detail::FreeNode;
using detail::kClasses;
using detail::kSmallMax;
using detail::size_class;
using detail::ThreadCache;

namespace {

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

bool slabbed(unsigned c) { return class_size(c) <= kSlabMax; }
uint32_t cache_limit_of(unsigned c) { return uint32_t(std::clamp<size_t>((256 << 10) / class_size(c), 4, 256)); }
uint32_t batch_of(unsigned c) { return uint32_t(std::clamp<size_t>((32 << 10) / class_size(c), 1, 32)); }

// ---- statistics (mutex held) ----

size_t small_in_use(Central& m, uint64_t* n_blocks = nullptr, uint64_t* n_allocs = nullptr) {
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

void update_peak(Central& m) {
  if (m.large_bytes + m.small_handed > m.peak) m.peak = std::max(m.peak, m.large_bytes + small_in_use(m));
}

MemoryStats stats_locked(Central& m) {
  MemoryStats s;
  s.allocated = m.large_bytes + small_in_use(m, &s.live_blocks, &s.allocations);
  m.peak = std::max(m.peak, s.allocated);
  s.peak_allocated = m.peak;
  s.reserved = kPassThrough ? s.allocated : m.blocks.reserved();
  s.cached = s.reserved - std::min(s.reserved, s.allocated);
  s.cache_limit = m.cache_limit;
  s.memory_limit = m.memory_limit;
  s.live_blocks += m.large_blocks;
  s.allocations += m.slow_allocs;
  s.system_calls = m.blocks.upstream_calls();
  return s;
}

std::vector<TagUsage> holders_locked(Central& m) {
  std::vector<TagUsage> holders;
  if (kPassThrough) {
    std::map<std::string, TagUsage> by_tag;
    for (const auto& [data, block] : m.malloced) {
      TagUsage& usage = by_tag[block.second];
      usage = TagUsage{block.second, usage.nbytes + block.first, usage.blocks + 1};
    }
    for (auto& entry : by_tag) holders.push_back(entry.second);
  } else {
    holders = m.blocks.usage();
    uint64_t n = 0;
    const size_t bytes = small_in_use(m, &n);
    if (n > 0) holders.push_back(TagUsage{"blocks up to 64 KiB", bytes, n});
  }
  std::stable_sort(holders.begin(), holders.end(),
                   [](const TagUsage& a, const TagUsage& b) { return a.nbytes > b.nbytes; });
  return holders;
}

std::string human(size_t nbytes) {
  static const char* const kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = double(nbytes);
  int unit = 0;
  for (; value >= 1024 && unit < 6; ++unit) value /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text;
}

[[noreturn, gnu::cold]] void throw_out_of_memory(Central& m, size_t request, const char* why) {
  const MemoryStats s = stats_locked(m);
  std::string text = str("cpu allocator: out of memory (", why, "): got a request for ", human(request), " with ",
                         human(s.allocated), " allocated and ", human(s.cached), " cached, expected at most ",
                         s.memory_limit == SIZE_MAX ? human(available_memory()) + " more (available in the system)"
                                                    : human(s.memory_limit) + " in total (set_memory_limit)",
                         ".");
  const std::vector<TagUsage> holders = holders_locked(m);
  if (!holders.empty()) text += " Held by:";
  for (size_t i = 0; i < holders.size() && i < 10; ++i) {
    text +=
        str(i == 0 ? " " : "; ", holders[i].tag, " ", human(holders[i].nbytes), " in ", holders[i].blocks, " blocks");
  }
  text += str(holders.empty() ? "" : ".",
              " Try a smaller batch, no_grad() where no gradient is needed, or deleting tensors that are done with.");
  throw OutOfMemory(std::move(text));
}

// ---- central lists (mutex held) ----

// Gives slabs whose blocks are all in the central list back to the BlockCache: count the free blocks of each slab, then
// unlink them.
void reclaim_slabs(Central& m) {
  std::unordered_map<char*, uint32_t> free_blocks;
  const auto slab_of = [&](void* p) { return std::prev(m.slabs.upper_bound(static_cast<char*>(p)))->first; };
  for (unsigned c = 0; c < kClasses; ++c) {
    if (!slabbed(c)) continue;
    for (FreeNode* node = m.lists[c].head; node != nullptr; node = node->next) ++free_blocks[slab_of(node)];
    if (m.lists[c].slab != nullptr) free_blocks[m.lists[c].slab] += m.lists[c].slab_left;
  }
  const auto whole = [&](char* slab, unsigned c) { return free_blocks[slab] == kSlab / class_size(c); };
  for (unsigned c = 0; c < kClasses; ++c) {
    ClassList& list = m.lists[c];
    if (!slabbed(c)) continue;
    for (FreeNode** link = &list.head; *link != nullptr;) {
      if (whole(slab_of(*link), c)) {
        *link = (*link)->next;
        --list.count;
        --list.cut;
      } else {
        link = &(*link)->next;
      }
    }
    if (list.slab != nullptr && whole(list.slab, c)) {
      list.slab = nullptr;
      list.slab_left = 0;
    }
  }
  for (auto it = m.slabs.begin(); it != m.slabs.end();) {
    if (whole(it->first, it->second)) {
      m.blocks.free(it->first);
      it = m.slabs.erase(it);
    } else {
      ++it;
    }
  }
}

size_t release_all(Central& m) {
  reclaim_slabs(m);
  return m.blocks.trim(0);
}

void* take_block(Central& m, size_t nbytes, const char* tag) {
  void* data = m.blocks.allocate(nbytes, tag);
  if (data == nullptr && release_all(m) > 0) data = m.blocks.allocate(nbytes, tag);
  if (data == nullptr) throw_out_of_memory(m, nbytes, "refused by the system");
  return data;
}

// Exact only when the cheap upper bound is over the limit.
void check_limit(Central& m, size_t request) {
  if (m.memory_limit == SIZE_MAX) return;
  const auto over = [&](size_t used) { return used > m.memory_limit || request > m.memory_limit - used; };
  if (over(m.large_bytes + m.small_handed) && over(m.large_bytes + small_in_use(m))) {
    throw_out_of_memory(m, request, "over the memory limit");
  }
}

void give_small(Central& m, unsigned c, FreeNode* node) {
  ClassList& list = m.lists[c];
  m.small_handed -= class_size(c);
  if (slabbed(c)) {
    node->next = list.head;
    list.head = node;
    ++list.count;
  } else {
    --list.cut;
    m.blocks.free(node);
  }
}

FreeNode* take_small(Central& m, unsigned c) {
  ClassList& list = m.lists[c];
  const size_t size = class_size(c);
  void* data = nullptr;
  if (list.head != nullptr) {
    data = list.head;
    list.head = list.head->next;
    --list.count;
  } else if (!slabbed(c)) {
    data = take_block(m, size, nullptr);
    ++list.cut;
  } else {
    if (list.slab_left == 0) {
      char* slab = static_cast<char*>(take_block(m, kSlab, nullptr));
      m.slabs.emplace(slab, c);
      list.slab = slab;
      list.slab_left = uint32_t(kSlab / size);
    }
    data = list.slab + size * --list.slab_left;
    ++list.cut;
  }
  m.small_handed += size;
  return ::new (data) FreeNode{nullptr};
}

void trim_over_limit(Central& m) {
  if (m.blocks.free_bytes() <= m.trim_at) return;
  m.blocks.trim(m.cache_limit);
  // What is left may be unreleasable pieces of segments in use: don't look again until there is notably more.
  m.trim_at = std::max(m.cache_limit, m.blocks.free_bytes() + m.cache_limit / 8);
  if (m.blocks.free_bytes() <= m.cache_limit) m.trim_at = m.cache_limit;
}

// ---- thread caches ----

void push(detail::Bin& bin, FreeNode* node) {
  node->next = bin.head;
  bin.head = node;
  bin.count.store(bin.count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}
FreeNode* pop(detail::Bin& bin) {
  FreeNode* node = bin.head;
  bin.head = node->next;
  bin.count.store(bin.count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  return node;
}

// Mutex held.
void flush(Central& m, ThreadCache& cache) {
  for (unsigned c = 0; c < kClasses; ++c) {
    while (cache.bins[c].head != nullptr) give_small(m, c, pop(cache.bins[c]));
  }
}

constinit thread_local bool tl_ended [[gnu::tls_model("initial-exec")]] = false;

// Hands the thread's lists back when the thread ends. Blocks that other thread-local destructors free later go straight
// to the centre.
struct ThreadEnd {
  ThreadCache* cache;
  ~ThreadEnd() {
    tl_ended = true;
    detail::tl_cache = nullptr;
    Central& m = central();
    std::lock_guard lock(m.mutex);
    flush(m, *cache);
    try {
      m.spare.push_back(cache);
    } catch (const std::bad_alloc&) {  // then the empty cache just stays unused
    }
  }
};

// This thread's cache, made at its first slow call; null once the thread is ending.
ThreadCache* thread_cache() {
  if (detail::tl_cache != nullptr || tl_ended) return detail::tl_cache;
  ThreadCache* cache = nullptr;
  {
    Central& m = central();
    std::lock_guard lock(m.mutex);
    if (!m.spare.empty()) {
      cache = m.spare.back();
      m.spare.pop_back();
    } else {
      cache = new ThreadCache;
      for (unsigned c = 0; c < kClasses; ++c) cache->bins[c].limit = cache_limit_of(c);
      cache->next_cache = m.caches;
      m.caches = cache;
    }
  }
  static thread_local ThreadEnd end{cache};
  (void)end;
  return detail::tl_cache = cache;
}

Central& central() {
  static Central& instance = []() -> Central& {
    Central* m = new Central;  // leaked: tensors may be freed until the process is gone
    m->cache_limit = m->trim_at = std::min(total_memory() / 4, size_t(4) << 30);
    pthread_atfork([] { central().mutex.lock(); }, [] { central().mutex.unlock(); }, [] { central().mutex.unlock(); });
    return *m;
  }();
  return instance;
}

void* alloc_malloc(Central& m, size_t nbytes) {
  check_limit(m, nbytes);
  void* data = m.malloc_source.allocate(nbytes);
  if (data == nullptr) throw_out_of_memory(m, nbytes, "refused by the system");
  m.malloced.emplace(data, std::pair(nbytes, detail::tl_tag));
  m.large_bytes += nbytes;
  return data;
}

void* alloc_small(ThreadCache* cache, size_t nbytes) {
  const unsigned c = size_class(nbytes);
  if (cache != nullptr && cache->bins[c].head != nullptr) return pop(cache->bins[c]);
  Central& m = central();
  std::lock_guard lock(m.mutex);
  check_limit(m, class_size(c));
  FreeNode* node = take_small(m, c);
  try {
    for (uint32_t i = 1; cache != nullptr && i < batch_of(c); ++i) push(cache->bins[c], take_small(m, c));
  } catch (const Error&) {  // we have the one that was asked for
  }
  ++m.slow_allocs;
  update_peak(m);
  return node;
}

void* alloc_large(size_t nbytes) {
  Central& m = central();
  std::lock_guard lock(m.mutex);
  if (nbytes > size_t(PTRDIFF_MAX) / 2) throw_out_of_memory(m, nbytes, "no machine has that much");
  if (kPassThrough) {
    void* data = alloc_malloc(m, nbytes);
    ++m.large_blocks;
    ++m.slow_allocs;
    update_peak(m);
    return data;
  }
  check_limit(m, m.blocks.rounded(nbytes));
  void* data = take_block(m, nbytes, detail::tl_tag);
  m.large_bytes += m.blocks.block_size(data);
  ++m.large_blocks;
  ++m.slow_allocs;
  update_peak(m);
  return data;
}

}  // namespace

void* detail::alloc_slow(size_t nbytes) {
  try {
    if (nbytes <= kSmallMax && !kPassThrough) return alloc_small(thread_cache(), nbytes);
    return alloc_large(nbytes);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory(
        str("cpu allocator: out of memory: no room for its own bookkeeping of a request for ", nbytes, " bytes."));
  }
}

void detail::free_slow(void* data, size_t nbytes) noexcept {
  if (data == nullptr) return;
  Central& m = central();
  if (nbytes <= kSmallMax && !kPassThrough) {
    ThreadCache* cache = nullptr;
    try {
      cache = thread_cache();
    } catch (const std::bad_alloc&) {  // no cache then
    }
    const unsigned c = size_class(nbytes);
    auto* node = ::new (data) FreeNode{nullptr};
    std::lock_guard lock(m.mutex);
    if (cache == nullptr) return give_small(m, c, node);
    while (cache->bins[c].count.load(std::memory_order_relaxed) > cache_limit_of(c) / 2)
      give_small(m, c, pop(cache->bins[c]));
    push(cache->bins[c], node);
    return trim_over_limit(m);
  }
  std::lock_guard lock(m.mutex);
  --m.large_blocks;
  if (kPassThrough) {
    m.large_bytes -= m.malloced.at(data).first;
    m.malloced.erase(data);
    m.malloc_source.release(data, nbytes);
    return;
  }
  m.large_bytes -= m.blocks.block_size(data);
  m.blocks.free(data);
  trim_over_limit(m);
}

size_t cpu_usable_size(size_t nbytes) {
  if (kPassThrough) return nbytes;
  return nbytes <= kSmallMax ? class_size(size_class(nbytes)) : central().blocks.rounded(nbytes);
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

size_t empty_cache() {
  Central& m = central();
  std::lock_guard lock(m.mutex);
  if (detail::tl_cache != nullptr) flush(m, *detail::tl_cache);
  return release_all(m);
}

void set_cache_limit(size_t nbytes) {
  Central& m = central();
  std::lock_guard lock(m.mutex);
  m.cache_limit = m.trim_at = nbytes;
  trim_over_limit(m);
}

void set_memory_limit(size_t nbytes) {
  Central& m = central();
  std::lock_guard lock(m.mutex);
  m.memory_limit = nbytes;
}

}  // namespace mg
