// The pool behind parallel.h.
//
// One job at a time. `gate` packs an "open" bit and the number of workers inside the current job. A worker may enter
// (CAS +1) only while the gate is open and must leave (-1); the caller opens the gate, works itself, closes the gate
// when no chunk is left, and waits until the count is zero. So the job's fields never change under a worker, and a
// worker that sleeps through a job is never waited for. `epoch` is the futex word on which idle workers sleep; it grows
// by one per job.
//
// The pool object is leaked on purpose: workers may touch it until the last instruction of the process. Workers are
// joined at exit. Note [Fork]: only the forking thread exists in the child. The child handler forgets the workers and
// marks the pool free; a fork from inside a chunk is detected by `generation` and raises in the child, since the chunks
// that other threads had taken are lost there.
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "error.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mg {

namespace detail {
constinit std::atomic<int> num_threads{0};
}

namespace {

constexpr int kMaxThreads = 1024;
constexpr uint32_t kOpen = 1u << 31;     // gate: workers may enter
constexpr uint32_t kWaiting = 1u << 30;  // gate: the caller sleeps until the last worker leaves
// A training step of a small model meets a region every 20 to 100 us, and waking a sleeper takes about 50: with 4 us of spinning the
// workers slept through most regions (MLP 784-128-10, batch 64, two threads: 213 us a step, with 100 us of it 115). With more threads
// than cores a spinning one keeps a working one off its core.
constexpr auto kSpin = std::chrono::microseconds(100), kSpinCrowded = std::chrono::microseconds(4);

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
#if defined(__linux__)
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
#else
  word.wait(expected);
#endif
}

void futex_wake(std::atomic<uint32_t>& word, int count) {
#if defined(__linux__)
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
#else
  (void)count;
  word.notify_all();
#endif
}

void cpu_relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constinit std::atomic<bool> crowded{false};  // more threads than usable cores

// Spins until done() or the time is over. By the clock, because one `pause` takes from 10 to 140 cycles depending on
// the CPU.
template <class Done>
bool spin_until(Done done) {
  const auto end = std::chrono::steady_clock::now() + (crowded.load(std::memory_order_relaxed) ? kSpinCrowded : kSpin);
  do {
    for (int i = 0; i < 8; ++i) {
      if (done()) return true;
      cpu_relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

struct Job {
  detail::ChunkFn fn = nullptr;
  void* ctx = nullptr;
  int64_t n_chunks = 0;
  int threads = 1;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;  // written by whoever turned `failed` on
};

struct Pool {
  alignas(64) std::atomic<uint32_t> gate{0};
  alignas(64) std::atomic<uint32_t> epoch{0};
  std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  alignas(64) std::atomic<bool> busy{false};  // owned by one caller; guards everything below
  int wanted_workers = 0;                     // workers asked for; fewer may exist if the system refused threads
  int n_workers = 0;
  pthread_t workers[kMaxThreads];  // an array, so that a fork can never catch it half reallocated
  uint32_t generation = 0;         // number of forks since the first process
  alignas(64) Job job;
};

[[gnu::tls_model("initial-exec")]] constinit thread_local bool tl_in_region = false;

// Takes chunks until none is left. Big bites first, single chunks at the end: few atomic operations and still a
// balanced tail.
void work(Job& job) {
  for (;;) {
    const int64_t left = job.n_chunks - job.next.load(std::memory_order_relaxed);
    if (left <= 0) return;
    const int64_t bite = std::max<int64_t>(1, left / (4 * job.threads));
    const int64_t begin = job.next.fetch_add(bite, std::memory_order_relaxed);
    const int64_t end = std::min(begin + bite, job.n_chunks);
    for (int64_t c = begin; c < end; ++c) {
      if (job.failed.load(std::memory_order_relaxed)) return;
      try {
        job.fn(job.ctx, c);
      } catch (...) {
        if (!job.failed.exchange(true)) job.error = std::current_exception();
        return;
      }
    }
  }
}

bool enter(std::atomic<uint32_t>& gate) {
  uint32_t g = gate.load(std::memory_order_relaxed);
  while (g & kOpen) {
    if (gate.compare_exchange_weak(g, g + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
  }
  return false;
}

void leave(std::atomic<uint32_t>& gate) {
  if (gate.fetch_sub(1, std::memory_order_acq_rel) - 1 == kWaiting) futex_wake(gate, 1);
}

void* worker_main(void* arg) {
  Pool& pool = *static_cast<Pool*>(arg);
  tl_in_region = true;  // anything a chunk calls runs inline
  uint32_t seen = pool.epoch.load(std::memory_order_acquire);
  while (!pool.stop.load(std::memory_order_acquire)) {
    if (enter(pool.gate)) {
      seen = pool.epoch.load(std::memory_order_relaxed);
      work(pool.job);
      leave(pool.gate);
    }
    const auto changed = [&] { return pool.epoch.load(std::memory_order_acquire) != seen; };
    if (!spin_until(changed)) {
      pool.sleepers.fetch_add(1, std::memory_order_seq_cst);
      while (!changed()) futex_wait(pool.epoch, seen);
      pool.sleepers.fetch_sub(1, std::memory_order_relaxed);
    }
    seen = pool.epoch.load(std::memory_order_acquire);
  }
  return nullptr;
}

// CPUs the cgroup (container) grants, rounded up; INT_MAX if unlimited. More threads than that are throttled to a
// crawl.
int cgroup_cpus() {
  int cpus = INT_MAX;
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "re")) {
    long long quota = 0, period = 0;
    if (std::fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
      cpus = static_cast<int>(std::clamp<long long>((quota + period - 1) / period, 1, kMaxThreads));
    }
    std::fclose(file);
  }
  return cpus;
}

int usable_cores() {
  int cores = 0;
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  if (cores < 1) cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));  // more than 1024 CPUs
#endif
  return std::clamp(std::min(cores, cgroup_cpus()), 1, kMaxThreads);
}

// Adds workers up to `wanted`; the caller owns `busy`. Signals stay with the program's own threads (Python expects them
// in its main one).
void start_workers(Pool& pool, int wanted) {
  pool.wanted_workers = wanted;
  crowded.store(wanted >= usable_cores(), std::memory_order_relaxed);
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  while (pool.n_workers < wanted) {
    pthread_t& thread = pool.workers[pool.n_workers];
    if (pthread_create(&thread, nullptr, worker_main, &pool) != 0)
      break;  // no more threads to be had: go on with fewer
#if defined(__linux__)
    pthread_setname_np(thread, "minigrad");
#endif
    ++pool.n_workers;
  }
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

// Joins all workers; the caller owns `busy`, so none is inside a job for long.
void stop_workers(Pool& pool) {
  pool.stop.store(true, std::memory_order_release);
  pool.epoch.fetch_add(1, std::memory_order_seq_cst);
  futex_wake(pool.epoch, INT_MAX);
  for (int i = 0; i < pool.n_workers; ++i) pthread_join(pool.workers[i], nullptr);
  pool.n_workers = 0;
  pool.wanted_workers = 0;
  pool.stop.store(false, std::memory_order_release);
}

Pool* pool_instance = nullptr;  // for the handlers, which must not create one

void after_fork_in_child() {
  Pool& pool = *pool_instance;
  pool.gate.store(0);
  pool.sleepers.store(0);
  pool.stop.store(false);
  pool.wanted_workers = 0;
  pool.n_workers = 0;
  ++pool.generation;
  pool.busy.store(false);
}

void at_exit() {
  Pool& pool = *pool_instance;
  // In a region (exit() called by a chunk, or a daemon thread still computing) joining could wait for ourselves: leave
  // the threads alone.
  if (tl_in_region || pool.busy.exchange(true, std::memory_order_acquire)) return;
  stop_workers(pool);  // and keep `busy`: whoever still computes after this does so serially
}

Pool& get_pool() {
  static Pool& pool = []() -> Pool& {
    pool_instance = new Pool;
    pthread_atfork(nullptr, nullptr, after_fork_in_child);
    std::atexit(at_exit);
    return *pool_instance;
  }();
  return pool;
}

// Blocks until no worker is inside the job: a short spin, since they are finishing their last chunk, then sleep.
void close_gate(Pool& pool) {
  pool.gate.fetch_and(~kOpen, std::memory_order_acq_rel);
  if (spin_until([&] { return pool.gate.load(std::memory_order_acquire) == 0; })) return;
  uint32_t g = pool.gate.fetch_or(kWaiting, std::memory_order_acq_rel) | kWaiting;
  while (g != kWaiting) {
    futex_wait(pool.gate, g);
    g = pool.gate.load(std::memory_order_acquire);
  }
  pool.gate.store(0, std::memory_order_relaxed);
}

// The calling thread's part of a job; the pool is ours.
void run_on_pool(Pool& pool, int64_t n_chunks, detail::ChunkFn fn, void* ctx, int threads) {
  if (pool.wanted_workers < threads - 1) start_workers(pool, threads - 1);
  const uint32_t generation = pool.generation;
  Job& job = pool.job;
  job.fn = fn;
  job.ctx = ctx;
  job.n_chunks = n_chunks;
  job.threads = threads;
  job.next.store(0, std::memory_order_relaxed);
  job.failed.store(false, std::memory_order_relaxed);
  pool.gate.store(kOpen, std::memory_order_release);
  pool.epoch.fetch_add(1, std::memory_order_seq_cst);
  if (pool.sleepers.load(std::memory_order_seq_cst) > 0) {
    futex_wake(pool.epoch, static_cast<int>(std::min<int64_t>(n_chunks, threads) - 1));
  }
  tl_in_region = true;
  work(job);
  tl_in_region = false;
  if (pool.generation != generation) {
    fail(ErrorKind::Runtime, "parallel: the process forked inside a parallel region: the child cannot finish it. ",
         "Try forking outside of minigrad operations.");
  }
  close_gate(pool);
  std::exception_ptr error = std::move(job.error);
  job.error = nullptr;
  pool.busy.store(false, std::memory_order_release);
  if (error) std::rethrow_exception(error);
}

}  // namespace

int detail::init_num_threads() {
  int n = 0;
  const char* text = std::getenv("MINIGRAD_NUM_THREADS");
  if (text != nullptr && *text != '\0') {
    char* rest = nullptr;
    const long value = std::strtol(text, &rest, 10);
    MG_CHECK(*rest == '\0' && value >= 1 && value <= kMaxThreads, Value,
             "MINIGRAD_NUM_THREADS: not a thread count: got '", text, "', expected an integer from 1 to ", kMaxThreads,
             ". Try unsetting it.");
    n = static_cast<int>(value);
  } else {
    n = usable_cores();
  }
  int expected = 0;  // set_num_threads in another thread wins
  num_threads.compare_exchange_strong(expected, n);
  return num_threads.load();
}

void set_num_threads(int n) {
  MG_CHECK(n >= 1 && n <= kMaxThreads, Value, "set_num_threads: bad thread count: got ", n, ", expected 1 to ",
           kMaxThreads, ".");
  MG_CHECK(!tl_in_region, Runtime,
           "set_num_threads: called inside a parallel region. Try calling it between operations.");
  Pool& pool = get_pool();
  while (pool.busy.exchange(true, std::memory_order_acquire)) sched_yield();  // another thread computes: let it finish
  if (n - 1 < pool.wanted_workers) stop_workers(pool);
  detail::num_threads.store(n, std::memory_order_relaxed);
  pool.busy.store(false, std::memory_order_release);
}

bool in_parallel_region() { return tl_in_region; }

void detail::run_chunks(int64_t n_chunks, ChunkFn fn, void* ctx) {
  if (!tl_in_region) {
    const int threads = get_num_threads();
    Pool& pool = get_pool();
    if (threads > 1 && !pool.busy.exchange(true, std::memory_order_acquire)) {
      run_on_pool(pool, n_chunks, fn, ctx, threads);
      return;
    }
  }
  for (int64_t c = 0; c < n_chunks; ++c) fn(ctx, c);
}

}  // namespace mg
