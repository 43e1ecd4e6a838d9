// BlockCache: the backend-neutral part of the allocators. Memory comes from an Upstream (mmap for the CPU, cudaMalloc
// later) in large segments; requests are carved from them by best fit, freed blocks merge with their free neighbours,
// and whole free segments are kept for reuse up to a limit. Reuse keeps the pages: a fresh 64 MiB output costs 3.4x the
// time of the add itself in page faults.
//
// Invariants
//  - The blocks of a segment tile it in address order; two neighbours are never both free.
//  - A block exceeds the request by at most 1/8, or by two granules if that is more.
//  - No locking here: the owner (allocator.cpp) calls with its mutex held.
//  - Two pools: requests below Policy::large share small segments, so that a long-lived small block never pins a large
//  segment.
// A device with streams has one for each stream: stream_cache.h.
#pragma once
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace mg {

// Where segments come from. allocate returns null on failure and never throws.
struct Upstream {
  virtual void* allocate(size_t nbytes) = 0;
  virtual void release(void* data, size_t nbytes) = 0;

 protected:
  ~Upstream() = default;
};

struct TagUsage {
  std::string tag;
  size_t nbytes = 0;
  size_t blocks = 0;
};

std::string human_size(size_t nbytes);                         // 12.50 MiB
std::string held_by(const std::vector<TagUsage>& holders);     // " Held by: a 2 MiB in 3 blocks; …." of the ten largest, or nothing

class BlockCache {
 public:
  struct Policy {
    size_t granule = 512;            // block sizes, and so addresses within a segment, are multiples of it
    size_t large = 1 << 20;          // requests from here on live in the large pool
    size_t small_segment = 4 << 20;  // segment size of the small pool
    size_t medium_segment =
        32 << 20;  // segment size of the large pool for requests up to a quarter of it; bigger ones get their own
  };

  BlockCache(Upstream& upstream, Policy policy) : upstream_(upstream), policy_(policy) {}

  // The size a request becomes: 16 sizes per power of two.
  size_t rounded(size_t nbytes) const;

  // A block of at least nbytes (> 0), or null when neither the free blocks nor the upstream can serve it. `tag` must
  // outlive the block; null leaves the block out of usage().
  void* allocate(size_t nbytes, const char* tag);
  void free(void* data);
  // A live block becomes two, each to be freed by itself; `at` is a multiple of the granule within it.
  void split_live(void* data, size_t at);
  size_t block_size(void* data) const { return live_.at(data)->size; }

  // Returns free segments to the upstream, longest unused first, until at most `keep` free bytes are left. Returns the
  // bytes released.
  size_t trim(size_t keep);

  size_t reserved() const { return reserved_; }      // bytes of all segments
  size_t free_bytes() const { return free_bytes_; }  // of them, in free blocks
  size_t largest_free() const;
  uint64_t upstream_calls() const { return upstream_calls_; }
  // Live blocks grouped by the text of their tag, largest first.
  std::vector<TagUsage> usage() const;
  struct BlockInfo {
    void *segment, *data;  // a segment is named by its first byte
    size_t size;
    bool free;
    const char* tag;
  };
  std::vector<BlockInfo> blocks() const;  // in address order
  // For tests: every invariant above; returns false if one is broken.
  bool consistent() const;

 private:
  struct Block;
  struct BySize {
    bool operator()(const Block* a, const Block* b) const;
  };
  using FreeSet = std::set<Block*, BySize>;
  struct Block {
    char* data;
    size_t size;
    const char* tag;
    Block* prev;  // neighbours in the segment
    Block* next;
    uint64_t freed_at;
    bool free;
    bool large;
    FreeSet::node_type node;  // the set's node while the block is live, so that freeing never allocates
  };

  Block* take_free(FreeSet& pool, size_t size);
  Block* new_segment(size_t size, bool large);
  void split(Block* block, size_t size);
  void merge_next(Block* block);
  void insert_free(Block* block);
  void erase_free(Block* block);
  FreeSet& pool(const Block* block) { return block->large ? free_large_ : free_small_; }

  Upstream& upstream_;
  Policy policy_;
  FreeSet free_small_, free_large_;
  std::unordered_map<void*, Block*> live_;
  size_t reserved_ = 0;
  size_t free_bytes_ = 0;
  uint64_t clock_ = 0;
  uint64_t upstream_calls_ = 0;
};

}  // namespace mg
