// Which CPUs this process may use, and how the pool's workers keep off the caller's. For parallel.cpp.
#pragma once

#include <pthread.h>

#include <chrono>

namespace mg {

/// CPUs in the affinity mask, but no more than the cgroup's quota grants (more threads than that are throttled to a
/// crawl); at least 1.
int usable_cores();

// Note [Apart]: a worker on the CPU of the calling thread is worse than none, and schedulers do put it there: some wake
// a thread where its waker runs and move it only when their balancer comes by, milliseconds later (a kernel that packs
// virtual CPUs: woken after a pause of 5 ms, a worker took no part in 320 us of work; kept apart it halves them). So
// workers may run on all CPUs of the caller but the one on which the caller is. Looked at in every region, changed when
// the caller has moved, and not more often than once a millisecond, for the sake of callers that take turns. Where CPUs
// are not enough, or so many that it hardly matters, workers stay as they are.
class Apart {
 public:
  /// Called by the thread that is about to compute, with the workers that will help it.
  void keep(const pthread_t* workers, int count);

 private:
  int avoided_ = -1;                               // the CPU that the workers keep off
  std::chrono::steady_clock::time_point checked_;  // when we last looked where they may run
};

}  // namespace mg
