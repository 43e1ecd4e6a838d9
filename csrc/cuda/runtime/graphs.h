// CUDA graphs: what a stream is given between capture_begin and capture_end is recorded instead of run, with its addresses, and replay()
// runs it again. Memory allocated meanwhile comes from a private pool of the caching allocator, which lives as long as a graph that uses it,
// so that the addresses stay what they were. Nothing may wait for the device during a capture.
#pragma once
#include "../../core/stream_cache.h"
#include "streams.h"

namespace mg::cuda {

using MemoryPool = StreamCache::Pool;
MemoryPool new_memory_pool();       // a number of its own
MemoryPool capture_pool();          // of the capture of this thread, 0 without one
inline bool capturing() { return capture_pool() != 0; }
void refuse_in_capture(const char* what);  // raises while this thread captures

class Graph {
 public:
  ~Graph();
  void capture_begin(MemoryPool pool, cudaStreamCaptureMode mode);  // of the current stream; pool 0: one of its own
  void capture_end();
  void replay() const;  // on the current stream
  void reset();
  MemoryPool pool() const;

 private:
  cudaGraphExec_t executable_ = nullptr;
  const StreamHandle* stream_ = nullptr;  // of the capture
  MemoryPool pool_ = 0;
  int device_ = 0;
  bool recording_ = false;
};

}  // namespace mg::cuda
