// The thread pool. Kernels call parallel_for / parallel_chunks; nothing else in the project starts compute threads.
//
// Invariants
//  - Chunk boundaries depend on (begin, end, grain) only, never on the thread count, and are the same on every path
//  (serial, nested, parallel).
//    A kernel that stores one partial result per chunk and combines them in order is therefore deterministic.
//  - f must be safe to run for several chunks at once. Which thread runs a chunk, and in which order, is unspecified.
//  - A range of one chunk, a nested call, a pool of one thread and a pool in use by another caller all run inline in
//  the calling thread:
//    no allocation, no std::function, no lock.
//  - An exception thrown by f reaches the caller; chunks not yet started are then skipped. If several chunks throw, one
//  of the exceptions wins.
//  - Nobody waits for a sleeping worker: it joins if it wakes in time. Idle workers spin for half a millisecond at most, less after long
//  pauses, then sleep in the kernel. They keep off the CPU of the calling thread.
//  - A forked child starts without workers and makes its own when it needs them.
// Read next: parallel.cpp.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace mg {

namespace detail {

// 0 until the first use, then the number of threads a parallel region may use (the caller included).
extern std::atomic<int> num_threads;
int init_num_threads();

// Runs fn(ctx, c) once for every c in [0, n_chunks), on the pool if it is free and on this thread otherwise.
using ChunkFn = void (*)(void* ctx, int64_t chunk);
void run_chunks(int64_t n_chunks, ChunkFn fn, void* ctx);

}  // namespace detail

/// Number of threads a parallel region uses, the caller included. Default: usable cores (affinity mask, cgroup CPU
/// quota), or the environment variable MINIGRAD_NUM_THREADS.
inline int get_num_threads() {
  const int n = detail::num_threads.load(std::memory_order_relaxed);
  return n != 0 ? n : detail::init_num_threads();
}

/// Sets the number of threads (1 to 1024) for later regions. Throws inside a parallel region.
void set_num_threads(int n);

/// True while this thread runs a chunk of a region that was handed to the pool: a parallel call would run inline.
bool in_parallel_region();

/// Calls f(chunk_index) for every index in [0, n_chunks).
template <class F>
void parallel_chunks(int64_t n_chunks, F&& f) {
  if (n_chunks <= 1 || get_num_threads() == 1) {
    for (int64_t c = 0; c < n_chunks; ++c) f(c);
    return;
  }
  using Fn = std::remove_reference_t<F>;
  detail::run_chunks(
      n_chunks, [](void* ctx, int64_t c) { (*static_cast<Fn*>(ctx))(c); },
      const_cast<void*>(static_cast<const void*>(std::addressof(f))));
}

/// Size of the chunks that parallel_for makes: `grain`, or the multiple of it that gives at most 1024 chunks.
inline int64_t parallel_chunk_size(int64_t range, int64_t grain) {
  constexpr int64_t kMaxChunks = 1024;  // enough to balance 100 cores; bounds the per-chunk cost on huge ranges
  grain = std::max<int64_t>(grain, 1);
  if (range <= grain) return grain;
  const int64_t grains = (range - 1) / grain + 1;
  return ((grains - 1) / kMaxChunks + 1) * grain;
}

/// Calls f(b, e) for consecutive pieces [b, e) of [begin, end), each starting a multiple of `grain` after begin and,
/// but for the last, a multiple of `grain` long. Nothing happens for an empty range.
template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, F&& f) {
  if (begin >= end) return;
  const int64_t range = end - begin;
  if (range <= grain) {
    f(begin, end);
    return;
  }
  const int64_t size = parallel_chunk_size(range, grain);
  const int64_t n_chunks = (range - 1) / size + 1;
  parallel_chunks(n_chunks, [&](int64_t c) {
    const int64_t b = begin + c * size;
    f(b, c + 1 == n_chunks ? end : b + size);
  });
}

}  // namespace mg
