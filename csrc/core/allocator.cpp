// The slow half of allocator.h: thread caches, the central lists behind them, limits. Statistics: allocator_report.cpp.
//
// One mutex guards everything in Central. It is the only lock here: nothing called with it held takes another.
// Where blocks up to 64 KiB live when no thread has them:
//   up to 4 KiB  cut from 64 KiB slabs, in a list per class; empty_cache() gives whole slabs back to the BlockCache
//   above        single blocks of the BlockCache, which merges them when they come back
// The bytes in use by small blocks are derived (blocks cut minus blocks free): the fast path has no room for counting.
#include <pthread.h>

#include <algorithm>
#include <iterator>
#include <new>

#include "allocator_central.h"
#include "long_lived.h"

namespace mg {

namespace detail {
constinit thread_local ThreadCache* tl_cache = nullptr;
constinit thread_local const char* tl_tag = "untagged";
}  // namespace detail

using namespace detail;

namespace {

bool slabbed(unsigned c) { return class_size(c) <= kSlabMax; }
uint32_t cache_limit_of(unsigned c) { return uint32_t(std::clamp<size_t>((256 << 10) / class_size(c), 4, 256)); }
uint32_t batch_of(unsigned c) { return uint32_t(std::clamp<size_t>((32 << 10) / class_size(c), 1, 32)); }

// ---- central lists (mutex held) ----

// Gives whole slabs back to the BlockCache: count the free blocks of each, unlink those of whole ones, free the slabs.
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

void* take_block(Central& m, BlockCache& from, size_t nbytes, const char* tag) {
  void* data = from.allocate(nbytes, tag);
  if (data == nullptr && release_all(m) > 0) data = from.allocate(nbytes, tag);
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
    data = take_block(m, m.blocks, size, nullptr);
    ++list.cut;
  } else {
    if (list.slab_left == 0) {
      char* slab = static_cast<char*>(take_block(m, m.blocks, kSlab, nullptr));
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

constinit thread_local bool tl_long_lived = false;
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
  BlockCache& from = tl_long_lived ? m.kept : m.blocks;
  void* data = take_block(m, from, nbytes, detail::tl_tag);
  if (tl_long_lived) m.kept_blocks.insert(data);
  m.large_bytes += from.block_size(data);
  ++m.large_blocks;
  ++m.slow_allocs;
  update_peak(m);
  return data;
}

}  // namespace

Central& detail::central() {
  static Central& instance = []() -> Central& {
    Central* m = new Central;  // leaked: tensors may be freed until the process is gone
    m->cache_limit = m->trim_at = std::min(total_memory() / 4, size_t(4) << 30);
    pthread_atfork([] { central().mutex.lock(); }, [] { central().mutex.unlock(); }, [] { central().mutex.unlock(); });
    return *m;
  }();
  return instance;
}

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
  if (!m.kept_blocks.empty() && m.kept_blocks.erase(data) != 0) {
    m.large_bytes -= m.kept.block_size(data);
    m.kept.free(data);
    m.kept.trim(0);
    return;
  }
  m.large_bytes -= m.blocks.block_size(data);
  m.blocks.free(data);
  trim_over_limit(m);
}

LongLived::LongLived() : previous_(tl_long_lived) { tl_long_lived = true; }
LongLived::~LongLived() { tl_long_lived = previous_; }

size_t cpu_usable_size(size_t nbytes) {
  if (kPassThrough) return nbytes;
  return nbytes <= kSmallMax ? class_size(size_class(nbytes)) : central().blocks.rounded(nbytes);
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
