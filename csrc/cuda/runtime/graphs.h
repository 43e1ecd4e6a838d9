// CUDA graphs: what a stream is given between capture_begin and capture_end is recorded instead of run, with its addresses, and replay()
// runs it again. Memory allocated meanwhile comes from a private pool of the caching allocator, which lives as long as a graph that uses it,
// so that the addresses stay what they were. Nothing may wait for the device during a capture.
#pragma once
#include <deque>

#include "../../core/stream_cache.h"
#include "../kernels/random.h"
#include "streams.h"

namespace mg::cuda {

using MemoryPool = StreamCache::Pool;
MemoryPool new_memory_pool();       // a number of its own
MemoryPool capture_pool();          // of the capture of this thread, 0 without one
inline bool capturing() { return capture_pool() != 0; }
void refuse_in_capture(const char* what);  // raises while this thread captures

// Places in the stream of `generator` for the graph that this thread captures.
RandomRange reserve_in_capture(Generator& generator, uint64_t n_numbers);

class Graph {
 public:
  ~Graph();
  void capture_begin(MemoryPool pool, cudaStreamCaptureMode mode);  // of the current stream; pool 0: one of its own
  void capture_end();
  void replay() const;  // on the current stream
  void reset();
  MemoryPool pool() const;
  void add_generator(Generator& generator);  // one that outlives the graph; before the capture. The device's default one needs no word

 private:
  friend RandomRange reserve_in_capture(Generator&, uint64_t);
  // A generator and what the graph draws from it: each replay takes a new piece of its stream and tells the kernels where it starts.
  struct Draws {
    Generator* generator;
    RandomCapture places;
    Tensor start;  // seed and position, in the graph's pool
  };
  void watch_generators(bool on);

  std::deque<Draws> draws_;  // stays in place: generators point to `places`
  cudaGraphExec_t executable_ = nullptr;
  const StreamHandle* stream_ = nullptr;  // of the capture
  MemoryPool pool_ = 0;
  int device_ = 0;
  bool recording_ = false;
};

}  // namespace mg::cuda
