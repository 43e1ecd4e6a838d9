// Memory of the devices and pinned memory of the host: StreamCache (core/stream_cache.h) over cudaMalloc and cudaHostAlloc, one for each
// device, behind a lock. MINIGRAD_CUDA_CACHE=0 (the default in the simulator) makes every block an allocation of its own, freed in stream
// order, so that the simulator and compute-sanitizer see each of them.
#pragma once
#include <mutex>

#include "../../core/stream_cache.h"
#include "streams.h"

namespace mg::cuda {

// cudaMalloc and events, as StreamCache wants them; a Stream is a StreamHandle, a Mark an event.
struct RuntimeUpstream : StreamUpstream {
  Mark record(Stream stream) override;
  bool passed(Mark mark) override;
  void wait(Mark mark) override;
  void drop(Mark mark) override;

 protected:
  ~RuntimeUpstream() = default;
};
struct DeviceUpstream final : RuntimeUpstream {
  explicit DeviceUpstream(int index) : device(index) {}
  int device;
  void* allocate(size_t nbytes) override;
  void release(void* data, size_t nbytes) override;
  void* allocate_on(size_t nbytes, Stream stream) override;
  void release_on(void* data, size_t nbytes, Stream stream, const std::vector<Stream>& after) override;
};
struct HostUpstream final : RuntimeUpstream {
  void* allocate(size_t nbytes) override;
  void release(void* data, size_t nbytes) override;
  void* allocate_on(size_t nbytes, Stream stream) override;
  void release_on(void* data, size_t nbytes, Stream stream, const std::vector<Stream>& after) override;
};

class DeviceMemory {
 public:
  explicit DeviceMemory(int device);
  void* allocate(size_t nbytes);  // on the current stream, from the pool of the capture under way; raises OutOfMemoryError
  void free(void* data);
  void record_use(void* data, const StreamHandle* stream);
  void set_capturing(bool on);
  void drop_pool(StreamCache::Pool pool);
  size_t empty();
  void set_limit(size_t nbytes);
  size_t limit();
  void reset_peak();
  StreamCacheStats stats();
  std::vector<StreamCache::StreamBlock> blocks();
  std::vector<TagUsage> usage();

 private:
  [[noreturn]] void fail_out_of_memory(size_t nbytes);
  std::recursive_mutex mutex_;
  DeviceUpstream upstream_;
  StreamCache cache_;
};
DeviceMemory& device_memory(int index);  // lives for ever

// Blocks that this thread allocates are tagged `<owner>: <op>` from now on; "": by the op alone, which costs nothing.
void set_memory_owner(const std::string& owner);

// Pinned host memory: copies to and from the device need no detour and may be asynchronous. A block that such copies use is not handed out
// again before they are done.
void* pinned_alloc(size_t nbytes);
void pinned_free(void* data);
void record_pinned_use(const Storage& storage, const StreamHandle* stream);
bool is_pinned(const Storage& storage);
Tensor pinned_copy(const Tensor& t);

}  // namespace mg::cuda
