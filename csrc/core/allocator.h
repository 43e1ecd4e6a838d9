// CPU memory for tensors. Every Storage on the CPU comes from cpu_alloc and goes back through cpu_free with the same
// size.
//
//   up to 64 KiB   a freelist per thread and size class, refilled in batches: a few ns, no lock
//   above          BlockCache (block_cache.h) under a mutex: 2 MiB-aligned huge-page segments, best fit, freed blocks
//   keep their pages
//
// A block may be freed by another thread than the one that allocated it: it joins that thread's freelist, and surplus
// lists go back to a central list. All blocks are 64-byte aligned; zero bytes give a valid pointer. Fork-safe. Under
// AddressSanitizer every block is its own malloc, so that overruns and use-after-free are found. Blocks above 64 KiB
// remember the innermost MemoryTag (call() sets the op's name): an OutOfMemory error lists who holds the memory.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "block_cache.h"
#include "error.h"

namespace mg {

struct OutOfMemory : Error {
  explicit OutOfMemory(std::string text) : Error(ErrorKind::Memory, std::move(text)) {}
};

namespace detail {

constexpr size_t kSmallMax = 64 << 10;
constexpr int kClasses = 65;

// Classes 0..16: multiples of 64 up to 1 KiB (class 0 is for zero bytes); then 8 per power of two: at most 1/8 wasted.
constexpr unsigned size_class(size_t n) {
  if (n <= 1024) return unsigned((n + 63) >> 6);
  const unsigned log = unsigned(std::bit_width(n - 1));
  return 9 + (log - 11) * 8 + unsigned((n - 1) >> (log - 4));
}
constexpr size_t class_size(unsigned c) {
  if (c <= 16) return c == 0 ? 64 : c * 64;
  const unsigned k = c - 17;
  return size_t(k % 8 + 9) << (7 + k / 8);
}

struct FreeNode {
  FreeNode* next;
};

// Counters are relaxed atomics with one writer (plain moves on x86), read by memory_stats() in other threads.
struct Bin {
  FreeNode* head = nullptr;
  std::atomic<uint32_t> count{0};
  uint32_t limit = 0;
};
struct ThreadCache {
  Bin bins[kClasses];
  std::atomic<uint64_t> allocs{0};
  ThreadCache* next_cache = nullptr;
};

// initial-exec: a default thread_local in a shared library costs a call to __tls_get_addr for each access.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local ThreadCache* tl_cache;
[[gnu::tls_model("initial-exec")]] extern constinit thread_local const char* tl_tag;

void* alloc_slow(size_t nbytes);
void free_slow(void* data, size_t nbytes) noexcept;

}  // namespace detail

/// At least nbytes of uninitialised memory, 64-byte aligned. Throws OutOfMemory.
inline void* cpu_alloc(size_t nbytes) {
#if !defined(__SANITIZE_ADDRESS__)
  detail::ThreadCache* cache = detail::tl_cache;
  if (nbytes <= detail::kSmallMax && cache != nullptr) [[likely]] {
    detail::Bin& bin = cache->bins[detail::size_class(nbytes)];
    if (detail::FreeNode* node = bin.head) [[likely]] {
      bin.head = node->next;
      bin.count.store(bin.count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
      cache->allocs.store(cache->allocs.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return node;
    }
  }
#endif
  return detail::alloc_slow(nbytes);
}

/// Gives a block back; `nbytes` is what cpu_alloc was asked for. Any thread may call it. Null is allowed.
inline void cpu_free(void* data, size_t nbytes) noexcept {
#if !defined(__SANITIZE_ADDRESS__)
  detail::ThreadCache* cache = detail::tl_cache;
  if (nbytes <= detail::kSmallMax && cache != nullptr && data != nullptr) [[likely]] {
    detail::Bin& bin = cache->bins[detail::size_class(nbytes)];
    const uint32_t count = bin.count.load(std::memory_order_relaxed);
    if (count < bin.limit) [[likely]] {
      auto* node = static_cast<detail::FreeNode*>(data);
      node->next = bin.head;
      bin.head = node;
      bin.count.store(count + 1, std::memory_order_relaxed);
      return;
    }
  }
#endif
  detail::free_slow(data, nbytes);
}

/// Bytes that a request of nbytes may use: storage can grow in place up to this.
size_t cpu_usable_size(size_t nbytes);

/// Names the holder of blocks that this thread allocates while the object lives. `tag` must live for ever: a literal or
/// an op's name.
class MemoryTag {
 public:
  explicit MemoryTag(const char* tag) : previous_(detail::tl_tag) { detail::tl_tag = tag; }
  ~MemoryTag() { detail::tl_tag = previous_; }
  MemoryTag(const MemoryTag&) = delete;
  MemoryTag& operator=(const MemoryTag&) = delete;

 private:
  const char* previous_;
};

struct MemoryStats {
  size_t allocated = 0;  // bytes in live blocks, as rounded by the allocator
  size_t peak_allocated =
      0;                // highest `allocated`; small blocks enter it when a thread refills or a large block is made
  size_t reserved = 0;  // bytes taken from the system
  size_t cached = 0;    // reserved - allocated
  size_t cache_limit = 0;
  size_t memory_limit = 0;  // SIZE_MAX: none
  uint64_t live_blocks = 0;
  uint64_t allocations = 0;   // calls of cpu_alloc so far
  uint64_t system_calls = 0;  // segments taken from or given back to the system so far
};
struct MemorySnapshot {
  MemoryStats stats;
  std::vector<TagUsage> holders;  // by bytes, largest first; small blocks are one entry
};

MemoryStats memory_stats();
MemorySnapshot memory_snapshot();
void reset_peak_memory();

/// Gives free memory back to the system; other threads keep their small freelists. Returns the bytes released.
size_t empty_cache();
/// Upper bound for free bytes kept in segments. Default: a quarter of the machine's memory, at most 4 GiB.
void set_cache_limit(size_t nbytes);
/// Upper bound for `allocated`; SIZE_MAX for none. Checked when a large block is made or a small freelist is refilled.
void set_memory_limit(size_t nbytes);

}  // namespace mg
