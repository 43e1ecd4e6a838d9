// The pool behind parallel.h.
//
// One job at a time, cut into lanes of consecutive chunks. A thread takes chunks from its own lane first and then from
// the others': threads that finish early or sleep cost little, and yet the same part of a range meets the same core op
// after op, and so its caches.
//
// `gate` packs an "open" bit and the number of workers inside the current job. A worker may enter
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
#include <cstdlib>
#include <exception>

#include "cpus.h"
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
// How long an idle worker watches for the next job before it sleeps; waking a sleeper takes 40 us or more. While the
// pauses are short, as between the ops of a training step, it watches for kSpinPatient; after a longer pause, for
// kSpinBriefly until a short one comes again, so that a lone region now and then burns little. With more threads than
// cores a spinning thread keeps a working one off its core.
constexpr auto kSpinPatient = std::chrono::microseconds(500), kSpinBriefly = std::chrono::microseconds(50),
               kSpinCrowded = std::chrono::microseconds(4), kSpinGreedily = std::chrono::microseconds(20);

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

using Clock = std::chrono::steady_clock;

// Spins until done() or the time is over. By the clock, because one `pause` takes from 10 to 140 cycles depending on
// the CPU. After kSpinGreedily it offers the core to others at every look at the clock: another process's thread may be
// waiting for it.
template <class Done>
bool spin_until(Done done, Clock::duration limit) {
  const auto begin = Clock::now();
  if (crowded.load(std::memory_order_relaxed)) limit = kSpinCrowded;
  for (auto now = begin; now < begin + limit; now = Clock::now()) {
    if (now > begin + kSpinGreedily) sched_yield();
    for (int i = 0; i < 8; ++i) {
      if (done()) return true;
      cpu_relax();
    }
  }
  return done();
}

constexpr int kMaxLanes = 8;  // more threads share lanes: looking for leftovers stays short

struct alignas(64) Lane {
  std::atomic<int64_t> next{0};
  int64_t end = 0;
};

// What a worker has to know to join lies in one cache line: between cores a line takes from 60 ns to a few hundred.
struct alignas(64) Job {
  std::atomic<uint32_t> gate{0};
  std::atomic<uint32_t> epoch{0};
  detail::ChunkFn fn = nullptr;
  void* ctx = nullptr;
  int lanes = 1;
  int sharing = 1;  // threads per lane
  alignas(64) std::atomic<bool> failed{false};
  std::exception_ptr error;  // written by whoever turned `failed` on
  Lane lane[kMaxLanes];
};

struct Pool;
struct Worker {  // what a new thread is told
  Pool* pool = nullptr;
  int index = 0;
};

struct Pool {
  Job job;
  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  alignas(64) std::atomic<bool> busy{false};  // owned by one caller; guards everything below
  int wanted_workers = 0;                     // workers asked for; fewer may exist if the system refused threads
  int n_workers = 0;
  pthread_t workers[kMaxThreads];  // an array, so that a fork can never catch it half reallocated
  Worker told[kMaxThreads];
  Apart apart;              // from the caller's CPU
  uint32_t generation = 0;  // number of forks since the first process
};

[[gnu::tls_model("initial-exec")]] constinit thread_local bool tl_in_region = false;

// Takes chunks until none is left, from lane `own` on. Big bites first, single chunks at the end: few atomic operations
// and still a balanced tail.
void work(Job& job, int own) {
  for (int k = 0; k < job.lanes; ++k) {
    Lane& lane = job.lane[(own + k) % job.lanes];
    for (;;) {
      const int64_t left = lane.end - lane.next.load(std::memory_order_relaxed);
      if (left <= 0) break;
      const int64_t bite = std::max<int64_t>(1, left / (4 * job.sharing + 4));
      const int64_t begin = lane.next.fetch_add(bite, std::memory_order_relaxed);
      const int64_t end = std::min(begin + bite, lane.end);
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
}

// Chunks [0, n) as lanes, one per thread if they are few.
void fill_lanes(Job& job, int64_t n, int threads) {
  job.lanes = static_cast<int>(std::min<int64_t>({n, threads, kMaxLanes}));
  job.sharing = (threads - 1) / job.lanes + 1;
  int64_t at = 0;
  for (int k = 0; k < job.lanes; ++k) {
    job.lane[k].next.store(at, std::memory_order_relaxed);
    at += n / job.lanes + (k < n % job.lanes);
    job.lane[k].end = at;
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
  const Worker me = *static_cast<Worker*>(arg);
  Pool& pool = *me.pool;
  Job& job = pool.job;
  tl_in_region = true;  // anything a chunk calls runs inline
  uint32_t seen = job.epoch.load(std::memory_order_acquire);
  bool patient = true;
  while (!pool.stop.load(std::memory_order_acquire)) {
    if (enter(job.gate)) {
      seen = job.epoch.load(std::memory_order_relaxed);
      work(job, me.index % job.lanes);
      leave(job.gate);
    }
    const auto changed = [&] { return job.epoch.load(std::memory_order_acquire) != seen; };
    const auto idle_since = Clock::now();
    if (!spin_until(changed, patient ? kSpinPatient : kSpinBriefly)) {
      pool.sleepers.fetch_add(1, std::memory_order_seq_cst);
      while (!changed()) futex_wait(job.epoch, seen);
      pool.sleepers.fetch_sub(1, std::memory_order_relaxed);
    }
    patient = Clock::now() - idle_since < kSpinPatient;
    seen = job.epoch.load(std::memory_order_acquire);
  }
  return nullptr;
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
    pool.told[pool.n_workers] = {&pool, pool.n_workers + 1};  // the caller is 0
    if (pthread_create(&thread, nullptr, worker_main, &pool.told[pool.n_workers]) != 0)
      break;  // no more threads to be had: go on with fewer
#if defined(__linux__)
    pthread_setname_np(thread, "minigrad");
#endif
    ++pool.n_workers;
  }
  pool.apart = {};
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

// Joins all workers; the caller owns `busy`, so none is inside a job for long.
void stop_workers(Pool& pool) {
  pool.stop.store(true, std::memory_order_release);
  pool.job.epoch.fetch_add(1, std::memory_order_seq_cst);
  futex_wake(pool.job.epoch, INT_MAX);
  for (int i = 0; i < pool.n_workers; ++i) pthread_join(pool.workers[i], nullptr);
  pool.n_workers = 0;
  pool.wanted_workers = 0;
  pool.stop.store(false, std::memory_order_release);
}

Pool* pool_instance = nullptr;  // for the handlers, which must not create one

void after_fork_in_child() {
  Pool& pool = *pool_instance;
  pool.job.gate.store(0);
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
void close_gate(std::atomic<uint32_t>& gate) {
  gate.fetch_and(~kOpen, std::memory_order_acq_rel);
  if (spin_until([&] { return gate.load(std::memory_order_acquire) == 0; }, kSpinPatient)) return;
  uint32_t g = gate.fetch_or(kWaiting, std::memory_order_acq_rel) | kWaiting;
  while (g != kWaiting) {
    futex_wait(gate, g);
    g = gate.load(std::memory_order_acquire);
  }
  gate.store(0, std::memory_order_relaxed);
}

// The calling thread's part of a job; the pool is ours.
void run_on_pool(Pool& pool, int64_t n_chunks, detail::ChunkFn fn, void* ctx, int threads) {
  if (pool.wanted_workers < threads - 1) start_workers(pool, threads - 1);
  const uint32_t generation = pool.generation;
  Job& job = pool.job;
  job.fn = fn;
  job.ctx = ctx;
  fill_lanes(job, n_chunks, threads);
  job.failed.store(false, std::memory_order_relaxed);
  if (!crowded.load(std::memory_order_relaxed)) pool.apart.keep(pool.workers, pool.n_workers);
  job.gate.store(kOpen, std::memory_order_release);
  job.epoch.fetch_add(1, std::memory_order_seq_cst);
  if (pool.sleepers.load(std::memory_order_seq_cst) > 0) {
    futex_wake(job.epoch, static_cast<int>(std::min<int64_t>(n_chunks, threads) - 1));
  }
  tl_in_region = true;
  work(job, 0);
  tl_in_region = false;
  if (pool.generation != generation) {
    fail(ErrorKind::Runtime, "parallel: the process forked inside a parallel region: the child cannot finish it. ",
         "Try forking outside of minigrad operations.");
  }
  close_gate(job.gate);
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
    n = std::min(usable_cores(), kMaxThreads);
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
