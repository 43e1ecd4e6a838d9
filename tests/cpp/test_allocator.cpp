// The CPU allocator: contents survive random alloc/free sequences (also across threads),
// statistics add up, limits and out-of-memory reports, the cache keeps pages and obeys its cap, fork.
// Under AddressSanitizer the caches are bypassed: those parts are skipped.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../../csrc/core/allocator.h"
#include "../../csrc/core/system_memory.h"
#include "check.h"

using namespace mg;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kCached = false;
#else
constexpr bool kCached = true;
#endif

constexpr size_t kMiB = size_t(1) << 20;

// A live block filled with a pattern of its own.
struct Held {
  unsigned char* data = nullptr;
  size_t nbytes = 0;
  uint32_t key = 0;

  static Held make(size_t nbytes, uint32_t key) {
    Held h{static_cast<unsigned char*>(cpu_alloc(nbytes)), nbytes, key};
    CHECK(h.data != nullptr && reinterpret_cast<uintptr_t>(h.data) % 64 == 0);
    h.each([](unsigned char& byte, unsigned char value) { byte = value; });
    return h;
  }
  bool intact() const {
    bool ok = true;
    each([&](unsigned char& byte, unsigned char value) { ok = ok && byte == value; });
    return ok;
  }
  void drop() {
    CHECK(intact());
    cpu_free(data, nbytes);
  }

 private:
  // Every byte of small blocks, ends and a sample of large ones.
  template <class F>
  void each(F f) const {
    const size_t step = nbytes <= 4096 ? 1 : nbytes / 1024;
    for (size_t i = 0; i < nbytes; i += step) f(data[i], static_cast<unsigned char>(key * 31 + i * 7));
    if (nbytes > 0) f(data[nbytes - 1], static_cast<unsigned char>(key * 31 + (nbytes - 1) * 7));
  }
};

static size_t random_size(std::mt19937& rng) {
  static const size_t kCeilings[] = {0, 64, 1024, 4096, 65536, 70000, kMiB, 5 * kMiB, 20 * kMiB};
  const size_t index = std::min<size_t>(std::geometric_distribution<int>(0.3)(rng), 8);
  return kCeilings[index] == 0 ? 0 : rng() % kCeilings[index] + rng() % 2;
}

static void test_size_classes() {
  for (size_t n = 0; n <= detail::kSmallMax; ++n) {
    const unsigned c = detail::size_class(n);
    CHECK(c < unsigned(detail::kClasses) && detail::class_size(c) >= n && detail::class_size(c) % 64 == 0);
    CHECK(c <= 1 || detail::class_size(c - 1) < n);
    CHECK(n < 1024 || detail::class_size(c) - n <= n / 8);
  }
  for (size_t n = detail::kSmallMax; n < 100 * kMiB; n += n / 37) {
    CHECK(cpu_usable_size(n) >= n && cpu_usable_size(n) - n <= n / 8);
  }
}

static void test_random_sequences() {
  std::mt19937 rng(1);
  const MemoryStats before = memory_stats();
  std::vector<Held> held;
  size_t bytes = 0;
  for (uint32_t i = 0; i < 30000; ++i) {
    if (held.empty() || (rng() % 100 < 52 && bytes < 200 * kMiB)) {
      held.push_back(Held::make(random_size(rng), i));
      bytes += held.back().nbytes;
    } else {
      std::swap(held[rng() % held.size()], held.back());
      bytes -= held.back().nbytes;
      held.back().drop();
      held.pop_back();
    }
    if (i % 1000 == 0) {
      const MemoryStats s = memory_stats();
      CHECK(s.allocated - before.allocated >= bytes && s.allocated <= s.reserved &&
            s.cached == s.reserved - s.allocated);
      CHECK(!kCached || s.live_blocks - before.live_blocks == held.size());
      CHECK(s.peak_allocated >= s.allocated);
      if (i % 5000 == 0) empty_cache();
    }
  }
  // No two live blocks overlap.
  std::map<uintptr_t, size_t> ranges;
  for (const Held& h : held) ranges[reinterpret_cast<uintptr_t>(h.data)] = std::max<size_t>(h.nbytes, 1);
  CHECK(ranges.size() == held.size());
  uintptr_t end = 0;
  for (const auto& [begin, size] : ranges) {
    CHECK(begin >= end);
    end = begin + size;
  }
  for (Held& h : held) h.drop();
  const MemoryStats after = memory_stats();
  CHECK(after.allocated == before.allocated && after.live_blocks == before.live_blocks);
  empty_cache();
  CHECK(memory_stats().reserved <= before.reserved + 8 * kMiB);
}

// Threads pass blocks to each other, so most blocks die on another thread than they were born on; threads come and go.
static void test_threads() {
  const MemoryStats before = memory_stats();
  std::mutex mutex;
  std::deque<Held> shared;
  for (int generation = 0; generation < 3; ++generation) {
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 rng(t + 10);
        for (uint32_t i = 0; i < 4000; ++i) {
          Held mine = Held::make(std::min(random_size(rng), size_t(300000)), t * 100000 + i);
          Held other;
          {
            std::lock_guard lock(mutex);
            shared.push_back(mine);
            if (shared.size() > 200) {
              other = shared.front();
              shared.pop_front();
            }
          }
          if (other.data != nullptr) other.drop();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  for (Held& h : shared) h.drop();
  const MemoryStats after = memory_stats();
  CHECK(after.allocated == before.allocated && after.live_blocks == before.live_blocks);

  // One thread only makes, another only frees: the lists must not grow without bound.
  const size_t reserved = memory_stats().reserved;
  std::atomic<void*> slot{nullptr};
  std::thread consumer([&] {
    for (int i = 0; i < 200000; ++i) {
      void* p = nullptr;
      while ((p = slot.exchange(nullptr)) == nullptr) std::this_thread::yield();
      cpu_free(p, 1000);
    }
  });
  for (int i = 0; i < 200000; ++i) {
    void* p = cpu_alloc(1000);
    void* expected = nullptr;
    while (!slot.compare_exchange_weak(expected, p)) {
      expected = nullptr;
      std::this_thread::yield();
    }
  }
  consumer.join();
  CHECK(memory_stats().reserved <= reserved + 8 * kMiB);
}

// Frees in the destructors of other thread-local objects, after the thread's cache is gone.
struct LateFree {
  void* data = nullptr;
  ~LateFree() {
    cpu_free(data, 100);
    cpu_free(cpu_alloc(200), 200);
  }
};

static void test_late_free() {
  const size_t before = memory_stats().allocated;
  std::thread([] {
    static thread_local LateFree late;
    late.data = nullptr;  // constructed before the cache, so destroyed after it
    late.data = cpu_alloc(100);
  }).join();
  CHECK(memory_stats().allocated == before);
}

static void test_limits() {
  const MemoryStats s = memory_stats();
  set_memory_limit(s.allocated + 10 * kMiB);
  void* a = nullptr;
  void* b = nullptr;
  {
    MemoryTag outer("conv2d");
    a = cpu_alloc(4 * kMiB);
    MemoryTag inner("matmul");
    b = cpu_alloc(3 * kMiB);
  }
  std::string text;
  try {
    cpu_alloc(5 * kMiB);
  } catch (const OutOfMemory& e) {
    text = e.what();
    CHECK(e.kind == ErrorKind::Memory);
  }
  std::printf("%s\n", text.c_str());
  CHECK(text.find("5.00 MiB") != std::string::npos && text.find("memory limit") != std::string::npos);
  CHECK(text.find("conv2d 4.00 MiB in 1 blocks; matmul 3.00 MiB in 1 blocks") != std::string::npos);
  CHECK(text.find("Try ") != std::string::npos);
  const MemorySnapshot snapshot = memory_snapshot();
  CHECK(snapshot.holders.size() >= 2 && snapshot.holders[0].tag == "conv2d" && snapshot.holders[1].nbytes == 3 * kMiB);
  // Small requests hit the limit too, and the limit leaves everything usable.
  CHECK_THROWS(OutOfMemory, {
    std::vector<void*> small;
    try {
      for (;;) small.push_back(cpu_alloc(4096));
    } catch (...) {
      CHECK(small.size() > 100 && small.size() <= 3 * kMiB / 4096 + 72);  // + one freelist: only refills are checked
      for (void* p : small) cpu_free(p, 4096);
      throw;
    }
  });
  set_memory_limit(SIZE_MAX);
  cpu_free(cpu_alloc(50 * kMiB), 50 * kMiB);
  cpu_free(a, 4 * kMiB);
  cpu_free(b, 3 * kMiB);
  CHECK(memory_stats().allocated == s.allocated);
  for (size_t n : {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2, size_t(1) << 62, size_t(1) << 50, total_memory() * 2}) {
    CHECK_THROWS(OutOfMemory, cpu_alloc(n));
  }
  cpu_free(nullptr, 10);
  cpu_free(nullptr, 10 * kMiB);
  CHECK(available_memory() > 0 && total_memory() > 0);
}

static void test_peak() {
  reset_peak_memory();
  const size_t base = memory_stats().allocated;
  void* a = cpu_alloc(8 * kMiB);
  void* b = cpu_alloc(8 * kMiB);
  cpu_free(b, 8 * kMiB);
  CHECK(memory_stats().peak_allocated == base + 16 * kMiB && memory_stats().allocated == base + 8 * kMiB);
  reset_peak_memory();
  CHECK(memory_stats().peak_allocated == base + 8 * kMiB);
  cpu_free(a, 8 * kMiB);
  const uint64_t calls = memory_stats().allocations;
  for (int i = 0; i < 1000; ++i) cpu_free(cpu_alloc(size_t(i)), size_t(i));
  CHECK(memory_stats().allocations == calls + 1000);
}

static long page_faults() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

static void test_cache() {
  if (!kCached) return;
  empty_cache();
  const size_t limit = memory_stats().cache_limit;
  CHECK(limit > 0 && limit <= size_t(4) << 30);
  // Reuse: same memory, no system call, no page faults.
  void* a = cpu_alloc(64 * kMiB);
  std::memset(a, 1, 64 * kMiB);
  cpu_free(a, 64 * kMiB);
  const uint64_t calls = memory_stats().system_calls;
  const long faults = page_faults();
  for (int i = 0; i < 20; ++i) {
    void* b = cpu_alloc(64 * kMiB - size_t(i) * 1000);
    CHECK(b == a && reinterpret_cast<uintptr_t>(b) % (2 * kMiB) == 0);
    std::memset(b, i, 64 * kMiB - size_t(i) * 1000);
    cpu_free(b, 64 * kMiB - size_t(i) * 1000);
  }
  CHECK(memory_stats().system_calls == calls);
  CHECK(page_faults() - faults < 100);  // without the cache: 20 x 32 (huge) or 20 x 16384 (4 KiB)
  // The cap: free bytes beyond it go back, the longest unused first.
  set_cache_limit(100 * kMiB);
  std::vector<void*> blocks;
  for (int i = 0; i < 10; ++i) blocks.push_back(cpu_alloc(20 * kMiB));
  for (void* p : blocks) cpu_free(p, 20 * kMiB);
  CHECK(memory_stats().cached <= 100 * kMiB + 4 * kMiB);
  CHECK(cpu_alloc(20 * kMiB) != nullptr);
  cpu_free(blocks.back(), 20 * kMiB);
  set_cache_limit(0);
  CHECK(memory_stats().cached <= 8 * kMiB);
  cpu_free(cpu_alloc(20 * kMiB), 20 * kMiB);
  CHECK(memory_stats().cached <= 8 * kMiB);
  set_cache_limit(limit);
  // Slabs of small blocks go back as well.
  std::vector<void*> small;
  const size_t reserved = memory_stats().reserved;
  for (int i = 0; i < 100000; ++i) small.push_back(cpu_alloc(512));
  CHECK(memory_stats().reserved > reserved + 40 * kMiB);
  for (void* p : small) cpu_free(p, 512);
  CHECK(memory_stats().reserved > reserved + 40 * kMiB);
  CHECK(empty_cache() > 40 * kMiB);
  CHECK(memory_stats().reserved <= reserved + 4 * kMiB);
}

static void test_fork() {
  Held mine = Held::make(1000, 5), large = Held::make(3 * kMiB, 6);
  std::atomic<bool> stop{false}, started{false};
  std::thread other([&] {  // holds the lock now and then while we fork
    for (; !stop; started = true) cpu_free(cpu_alloc(200000), 200000);
  });
  while (!started) usleep(1000);
  for (int round = 0; round < (kCached ? 20 : 3); ++round) {  // a fork is slow with ASan's shadow memory
    const pid_t child = fork();
    if (child == 0) {
      const int failed_before = mg_test::failures;
      alarm(30);  // a deadlock ends by a signal
      mine.drop();
      large.drop();
      for (uint32_t i = 0; i < 300; ++i) Held::make(i * 1000, i).drop();
      _exit(mg_test::failures == failed_before ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(status == 0);
  }
  stop = true;
  other.join();
  mine.drop();
  large.drop();
}

// Not a pass/fail matter, but printed: the price of a tiny and of a large pair.
static void report_speed() {
  const auto time = [](size_t nbytes, int n) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < n; ++i) {
      void* p = cpu_alloc(nbytes);
      asm volatile("" : : "r"(p) : "memory");
      cpu_free(p, nbytes);
    }
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / n;
  };
  time(32, 1000);
  std::printf("alloc + free: 32 B %.1f ns, 8 KiB %.1f ns, 100 KiB %.0f ns, 64 MiB %.0f ns\n", time(32, 1000000),
              time(8192, 1000000), time(102400, 100000), time(64 * kMiB, 100000));
}

int main() {
  test_late_free();
  test_size_classes();
  test_random_sequences();
  test_threads();
  test_limits();
  test_peak();
  test_cache();
  test_fork();
  if (kCached) report_speed();
  return mg_test::report("allocator");
}
