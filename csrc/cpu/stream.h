// Results too large for any cache are stored around the caches: an ordinary store reads the line first, which is a
// third of the traffic of `a + b`. 16M floats on a Zen 5, 1 thread: copy 3.3 -> 2.7 ms, transposed copy 8.0 -> 6.0, add
// 5.4 -> 5.0.
//
// Kernels go on writing ordinary memory: a block in L1, which a Stream moves out. Not where there is much arithmetic:
// nothing is computed while the burst of stores waits (softmax of rows of 1024: 4.7 -> 5.9 ms, tanh 5.3 -> 6.0). Below
// kStreamBytes the next op may find the result in cache.
//
// How large is measured: on an Ice Lake server with 48 MiB of L3 results of 12 MiB gain already though the next op reads
// them (4M floats, 1 thread: add 4.2 -> 3.2 ms, add and sum 5.6 -> 4.6, transposed copy 7.1 -> 3.3), of 4 MiB lose.
//
// While a block is moved out nothing would be read, so copy() can fetch the lines that the next block is computed from
// (Ahead): abs 3.3 -> 2.5 ms, add 4.4 -> 3.7.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace mg::cpu {

// Bytes of a result that is stored around the caches.
inline const int64_t kStreamBytes = [] {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_is("intel")) return int64_t{16} << 20;
#endif
  return int64_t{32} << 20;
}();

// Where the operands of the next block lie: `line` bytes of each belong to 64 bytes of the result.
struct Ahead {
  static constexpr int kMax = 4;
  const char* next[kMax];
  int64_t line[kMax];
  int operands = 0;

  void add(const char* p, int64_t item, int64_t out_item) {
    next[operands] = p;
    line[operands++] = 64 * item / out_item;
  }
  void fetch_line() {
    for (int k = 0; k < operands; ++k) {
      for (int64_t b = 0; b < line[k]; b += 64) __builtin_prefetch(next[k] + b);
      next[k] += line[k];
    }
  }
};

// One per task (a chunk of a parallel loop): what it stored is visible to the other threads when it goes.
class Stream {
 public:
  explicit Stream(bool used = false) : used_(used) {}  // used: others store around the caches in its lifetime
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() {
#if defined(__SSE2__)
    if (used_) _mm_sfence();
#endif
  }
  void copy(void* to, const void* from, int64_t bytes, Ahead ahead = {}) {
    char* d = static_cast<char*>(to);
    const char* s = static_cast<const char*>(from);
#if defined(__SSE2__)
    used_ = true;
    const int64_t head = -reinterpret_cast<intptr_t>(d) & 63;  // whole lines only
    if (head != 0 && head <= bytes) {
      std::memcpy(d, s, size_t(head));
      d += head, s += head, bytes -= head;
    }
    for (; bytes >= 64; d += 64, s += 64, bytes -= 64) {
      ahead.fetch_line();
      for (int k = 0; k < 64; k += 16)
        _mm_stream_si128(reinterpret_cast<__m128i*>(d + k), _mm_loadu_si128(reinterpret_cast<const __m128i*>(s + k)));
    }
#endif
    std::memcpy(d, s, size_t(bytes));
  }

 private:
  bool used_ = false;
};

}  // namespace mg::cpu
