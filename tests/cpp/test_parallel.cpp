// The thread pool: coverage and determinism of chunks, nesting, exceptions, concurrent callers, fork, thread counts,
// idle cost.
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

#include "../../csrc/core/error.h"
#include "../../csrc/core/parallel.h"
#include "check.h"

using namespace mg;

#if defined(__SANITIZE_THREAD__)
constexpr bool kTsan = true;
#else
constexpr bool kTsan = false;
#endif

using Chunks = std::set<std::pair<int64_t, int64_t>>;

static Chunks chunks_of(int64_t begin, int64_t end, int64_t grain) {
  Chunks chunks;
  std::mutex mutex;
  parallel_for(begin, end, grain, [&](int64_t b, int64_t e) {
    std::lock_guard lock(mutex);
    CHECK(chunks.emplace(b, e).second);
  });
  return chunks;
}

static void test_chunks() {
  const int64_t big = std::numeric_limits<int64_t>::max();
  const int64_t cases[][3] = {{0, 0, 4},         {5, 5, 1},          {5, 2, 1},   {0, 1, 1},     {0, 10, 100},
                              {-7, 9, 4},        {0, 100, 1},        {0, 100, 0}, {0, 100, -3},  {3, 100000, 7},
                              {0, 1 << 20, 333}, {big - 50, big, 8}, {0, big, 1}, {-1, 1023, 1}, {0, 1025, 1}};
  for (const auto& c : cases) {
    Chunks reference;
    for (int threads : {1, 2, 3, 8}) {
      set_num_threads(threads);
      const Chunks chunks = chunks_of(c[0], c[1], c[2]);
      int64_t at = c[0];
      for (const auto& [b, e] : chunks) {
        CHECK(b == at && e > b && (e - b >= std::min(c[2], c[1] - b)));
        CHECK((b - c[0]) % std::max<int64_t>(c[2], 1) == 0);
        at = e;
      }
      CHECK(at == std::max(c[0], c[1]));
      CHECK(chunks.size() <= 1024);
      if (threads == 1) reference = chunks;
      CHECK(chunks == reference);
    }
  }
}

// A float sum by chunks is bit-identical for every thread count.
static void test_sums() {
  std::vector<float> data(300001);
  for (size_t i = 0; i < data.size(); ++i) data[i] = std::sin(float(i));
  float reference = 0;
  for (int threads : {1, 2, 4, 7}) {
    set_num_threads(threads);
    const int64_t n = int64_t(data.size()), size = parallel_chunk_size(n, 1000);
    std::vector<float> partial(size_t((n - 1) / size + 1));
    parallel_for(0, n, 1000, [&](int64_t b, int64_t e) {
      float sum = 0;
      for (int64_t i = b; i < e; ++i) sum += data[size_t(i)];
      partial[size_t(b / size)] = sum;
    });
    const float sum = std::accumulate(partial.begin(), partial.end(), 0.0f);
    if (threads == 1) reference = sum;
    CHECK(sum == reference);
  }
}

static void test_many_tiny_regions() {
  set_num_threads(4);
  std::vector<int64_t> counts(64);
  const int regions = kTsan ? 5000 : 100000;
  for (int r = 0; r < regions; ++r) {
    parallel_chunks(r % 7, [&](int64_t c) { ++counts[size_t(c)]; });
  }
  for (int c = 0; c < 6; ++c) {
    int expected = 0;
    for (int r = 0; r < regions; ++r) expected += c < r % 7;
    CHECK(counts[size_t(c)] == expected);
  }
}

static void test_nesting() {
  set_num_threads(4);
  std::vector<std::atomic<int>> hits(64 * 64);
  std::atomic<int> wrong{0};
  CHECK(!in_parallel_region());
  parallel_chunks(64, [&](int64_t i) {
    const auto self = std::this_thread::get_id();
    if (!in_parallel_region()) ++wrong;
    parallel_for(0, 64, 4, [&](int64_t b, int64_t e) {
      if (std::this_thread::get_id() != self) ++wrong;
      for (int64_t j = b; j < e; ++j) ++hits[size_t(i * 64 + j)];
    });
  });
  CHECK(!in_parallel_region());
  CHECK(wrong == 0);
  for (const auto& h : hits) CHECK(h == 1);
}

static void test_exceptions() {
  set_num_threads(4);
  for (int round = 0; round < 300; ++round) {
    std::atomic<int> ran{0};
    bool caught = false;
    try {
      parallel_chunks(50, [&](int64_t c) {
        ++ran;
        if (c % 10 == round % 10) throw std::runtime_error("chunk");
      });
    } catch (const std::runtime_error& e) {
      caught = std::string(e.what()) == "chunk";
    }
    CHECK(caught);
    CHECK(ran >= 1 && ran <= 50);
    CHECK(!in_parallel_region());
    std::atomic<int> sum{0};
    parallel_chunks(50, [&](int64_t c) { sum += int(c); });
    CHECK(sum == 1225);
  }
  CHECK_THROWS(Error, set_num_threads(0));
  CHECK_THROWS(Error, set_num_threads(100000));
  CHECK_THROWS(Error, parallel_chunks(8, [](int64_t) { set_num_threads(2); }));
}

// Two threads of the program compute at once; one of them changes the thread count now and then.
static void test_concurrent_callers() {
  set_num_threads(3);
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([t] {
      for (int round = 0; round < (kTsan ? 300 : 3000); ++round) {
        std::atomic<int64_t> sum{0};
        parallel_for(0, 1000, 10, [&](int64_t b, int64_t e) {
          int64_t s = 0;
          for (int64_t i = b; i < e; ++i) s += i;
          sum += s;
        });
        CHECK(sum == 499500);
        if (t == 0 && round % 50 == 0) set_num_threads(1 + round / 50 % 4);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

static int wait_with_limit(pid_t child, int seconds) {
  for (int i = 0; i < seconds * 100; ++i) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    usleep(10000);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return -2;
}

static int64_t parallel_sum() {
  std::atomic<int64_t> sum{0};
  parallel_for(0, 100000, 100, [&](int64_t b, int64_t e) { sum += (e - b) * (b + e - 1) / 2; });
  return sum;
}

static void test_fork() {
  if (kTsan) return;  // ThreadSanitizer itself stops with "dup thread" when a forked child starts threads
  set_num_threads(4);
  CHECK(parallel_sum() == 4999950000);
  // Another thread keeps the pool busy while we fork: the child must not inherit "busy".
  std::atomic<bool> stop{false}, started{false};
  std::thread other([&] {
    for (; !stop; started = true) parallel_sum();
  });
  while (!started)
    usleep(1000);  // a fork while a thread is starting leaves AddressSanitizer's own lock taken in the child
  for (int round = 0; round < 20; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      bool ok = parallel_sum() == 4999950000 && get_num_threads() == 4;
      std::set<std::thread::id> ids;
      std::mutex mutex;
      for (int i = 0; i < 50 && ids.size() < 2; ++i) {  // its own workers take part
        parallel_chunks(64, [&](int64_t) {
          std::this_thread::sleep_for(std::chrono::microseconds(100));
          std::lock_guard lock(mutex);
          ids.insert(std::this_thread::get_id());
        });
      }
      ok = ok && ids.size() >= 2;
      if (round % 2 == 0) _exit(ok ? 0 : 1);
#if defined(__SANITIZE_ADDRESS__)
      __lsan_disable();  // the leak check cannot stop the parent's threads
#endif
      std::exit(ok ? 0 : 1);  // with exit handlers: joins its workers
    }
    CHECK(wait_with_limit(child, 30) == 0);
  }
  stop = true;
  other.join();
  CHECK(parallel_sum() == 4999950000);
  // A fork from inside a chunk: the child gets an error, not a hang; the parent is unharmed.
  const pid_t parent = getpid();
  const auto main_id = std::this_thread::get_id();
  bool forked = false;
  pid_t child = -1;
  try {
    parallel_chunks(8, [&](int64_t) {
      if (std::this_thread::get_id() == main_id && !std::exchange(forked, true)) child = fork();
    });
  } catch (const Error&) {
    if (getpid() != parent) _exit(7);
    CHECK(false);
  }
  if (getpid() != parent) _exit(8);
  CHECK(!forked || wait_with_limit(child, 30) == 7);
}

static double cpu_seconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void test_idle() {
  set_num_threads(4);
  parallel_sum();
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(cpu_seconds() - before < 0.1);  // four spinning workers would use far more; an idle pool next to nothing
}

// Every chunk runs exactly once however uneven the work of the lanes is, and whichever threads come late.
static void test_uneven_chunks() {
  for (int threads : {2, 3, 8, 20}) {
    set_num_threads(threads);
    for (int64_t n : {1, 2, 3, 7, 8, 9, 31, 100}) {
      for (int slow : {0, 1, 2}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
        if (slow == 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the workers sleep
        parallel_chunks(n, [&](int64_t c) {
          if (slow == 1 && c < n / 3) std::this_thread::sleep_for(std::chrono::microseconds(30));
          ++hits[size_t(c)];
        });
        for (const auto& h : hits) CHECK(h == 1);
      }
    }
  }
}

// The same chunks meet the same thread while nobody is late: what a core has in its caches it meets again. How often
// somebody is late is the machine's affair; that a thread takes of another's lane only after its own is ours.
static void test_lanes_stay() {
  set_num_threads(2);
  const auto self = std::this_thread::get_id();
  std::atomic<int> mine = 0, astray = 0;
  for (int r = 0; r < 2000; ++r) {
    std::atomic<bool> ran[2] = {false, false};
    parallel_chunks(2, [&](int64_t c) {
      const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(20);
      while (std::chrono::steady_clock::now() < until) {
      }
      const int home = std::this_thread::get_id() == self ? 0 : 1;
      mine += c == 0 && home == 0;
      astray += c != home && !ran[home];
      ran[c] = true;
    });
  }
  CHECK(astray == 0);
  CHECK(mine > 0);
}

#if defined(__linux__)
// Workers keep off the CPU of whoever calls, wherever it moves; the caller's own mask stays as it was.
static void test_apart() {
  cpu_set_t before, after;
  CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
  if (CPU_COUNT(&before) < 2) return;
  set_num_threads(1);
  set_num_threads(2);
  int met = 0, same = 0;
  for (int cpu = 0, tried = 0; cpu < CPU_SETSIZE && tried < 2; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    ++tried;
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(cpu, &here);
    CHECK(sched_setaffinity(0, sizeof here, &here) == 0);      // go there ...
    CHECK(sched_setaffinity(0, sizeof before, &before) == 0);  // ... and be free again
    const auto self = std::this_thread::get_id();
    for (int r = 0; r < 20; ++r) {
      std::atomic<int> callers{-1}, workers{-2};
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      parallel_chunks(8, [&](int64_t) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        (std::this_thread::get_id() == self ? callers : workers) = sched_getcpu();
      });
      met += workers >= 0;
      same += workers == callers;
    }
  }
  CHECK(sched_getaffinity(0, sizeof after, &after) == 0 && CPU_EQUAL(&before, &after));
  CHECK(same <= met / 2);  // a caller that moves within the region may still meet one
}
#endif

int main() {
  setenv("MINIGRAD_NUM_THREADS", "two", 1);
  CHECK_THROWS(Error, get_num_threads());
  setenv("MINIGRAD_NUM_THREADS", "3", 1);
  CHECK(get_num_threads() == 3);
  test_chunks();
  test_sums();
  test_many_tiny_regions();
  test_nesting();
  test_exceptions();
  test_concurrent_callers();
  test_fork();
  test_uneven_chunks();
  test_lanes_stay();
#if defined(__linux__)
  test_apart();
#endif
  test_idle();
  return mg_test::report("parallel");
}
