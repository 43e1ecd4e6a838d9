// StreamCache: a caching allocator for a device whose work is queued in streams. Backend-neutral, without a call of CUDA: the device is a
// StreamUpstream, so tests/cpp/test_stream_cache.cpp runs it over a made-up one. One BlockCache (best fit, split, merge) for each stream.
//
// Invariants
//  - A freed block is handed out again on its own stream at once, for what comes later in the stream finds it unused; on another never.
//  - A block that other streams used (record_use) waits after its free until the marks recorded on them then have passed.
//  - Each private pool (a graph capture) has blocks of its own. Marks cannot be recorded or asked for during a capture: blocks that need
//    one wait for its end.
//  - When memory runs out: wait for the marks, give all free segments back, try again. Only then is the answer null.
// No locking here: the owner calls with its mutex held.
#pragma once
#include <map>
#include <memory>

#include "block_cache.h"

namespace mg {

struct StreamUpstream : Upstream {
  using Stream = void*;
  using Mark = void*;
  virtual Mark record(Stream stream) = 0;  // the end of what the stream was given so far
  virtual bool passed(Mark mark) = 0;
  virtual void wait(Mark mark) = 0;  // on the host
  virtual void drop(Mark mark) = 0;
  // Without a cache (the mode for finding mistakes): memory in the order of a stream, freed after what the streams `after` have to do.
  virtual void* allocate_on(size_t nbytes, Stream stream) = 0;
  virtual void release_on(void* data, size_t nbytes, Stream stream, const std::vector<Stream>& after) = 0;

 protected:
  ~StreamUpstream() = default;
};

struct StreamCacheStats {
  size_t allocated = 0, peak_allocated = 0;  // bytes of live blocks, as rounded
  size_t reserved = 0, peak_reserved = 0;    // bytes taken from the device
  size_t pending = 0;                        // of freed blocks that wait for other streams
  size_t largest_free = 0, free = 0;         // in free blocks of segments
  uint64_t live_blocks = 0, peak_blocks = 0, segments = 0, allocations = 0, frees = 0, retries = 0, failures = 0;
  size_t allocated_ever = 0;
};

class StreamCache {
 public:
  using Stream = StreamUpstream::Stream;
  using Pool = uint64_t;  // 0: the common one

  StreamCache(StreamUpstream& upstream, BlockCache::Policy policy, bool caching = true)
      : upstream_(upstream), policy_(policy), caching_(caching) {}

  void* allocate(size_t nbytes, Stream stream, const char* tag, Pool pool = 0);  // null: out of memory
  void free(void* data);
  void record_use(void* data, Stream stream);  // `data`: the start of a live block; others are ignored
  bool owns(void* data) const { return live_.contains(data); }

  void set_capturing(bool on) { capturing_ = on; }
  void drop_pool(Pool pool);  // its free memory goes back, and the rest when it is freed
  size_t empty();             // waits for the marks, gives all free segments back; returns the bytes
  void poll();                // frees what waited and need not any more

  void set_limit(size_t nbytes) { limit_ = nbytes; }  // of live and waiting bytes; SIZE_MAX: none
  size_t limit() const { return limit_; }
  StreamCacheStats stats() const;
  void reset_peak();
  std::vector<TagUsage> usage() const;  // live blocks by tag, largest first
  struct StreamBlock : BlockCache::BlockInfo {
    Stream stream;
    Pool pool;
  };
  std::vector<StreamBlock> blocks() const;
  bool consistent() const;  // for tests

 private:
  struct Live {
    size_t size;
    Stream stream;
    Pool pool;
    const char* tag;
    bool direct;  // without a cache
    std::vector<Stream> users;
  };
  struct Waiting {
    void* data;
    Live block;
    std::vector<StreamUpstream::Mark> marks;  // none yet: freed during a capture
  };

  void* try_allocate(size_t nbytes, Stream stream, const char* tag, Pool pool);
  size_t size_of(size_t nbytes) const;
  void release(void* data, const Live& block);
  void mark(Waiting& waiting);
  bool finish(Waiting& waiting, bool wait);
  void drain(bool wait);
  void note_reserved();

  StreamUpstream& upstream_;
  BlockCache::Policy policy_;
  const bool caching_;
  bool capturing_ = false;
  size_t limit_ = SIZE_MAX;
  std::map<std::pair<Pool, Stream>, std::unique_ptr<BlockCache>> caches_;
  std::unordered_map<void*, Live> live_;
  std::vector<Waiting> waiting_;
  std::set<Pool> dropped_;
  size_t direct_bytes_ = 0;
  StreamCacheStats count_;
};

}  // namespace mg
