#include "cpus.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>

namespace mg {

namespace {

// CPUs the cgroup (container) grants, rounded up; INT_MAX if unlimited.
int cgroup_cpus() {
  int cpus = INT_MAX;
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "re")) {
    long long quota = 0, period = 0;
    if (std::fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
      cpus = static_cast<int>(std::clamp<long long>((quota + period - 1) / period, 1, INT_MAX));
    }
    std::fclose(file);
  }
  return cpus;
}

}  // namespace

int usable_cores() {
  int cores = 0;
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  if (cores < 1) cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));  // more than 1024 CPUs
#endif
  return std::max(std::min(cores, cgroup_cpus()), 1);
}

void Apart::keep(const pthread_t* workers, int count) {
#if defined(__linux__)
  constexpr int kFew = 16;
  constexpr auto kPause = std::chrono::milliseconds(1);
  const int cpu = sched_getcpu();
  if (cpu == avoided_ || cpu < 0 || count > kFew) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - checked_ < kPause) return;
  checked_ = now;
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof cpus, &cpus) != 0 || CPU_COUNT(&cpus) <= count) return;
  CPU_CLR(cpu, &cpus);
  for (int i = 0; i < count; ++i) pthread_setaffinity_np(workers[i], sizeof cpus, &cpus);
  avoided_ = cpu;
#else
  (void)workers;
  (void)count;
#endif
}

}  // namespace mg
