// What engine.cpp, memory.cpp, queue.cpp and api.cpp share; nobody else includes it. It all runs under the API's one
// lock.
#pragma once
#include "runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

namespace cudasim {
// Fresh memory: NaN in every float format, -1 in every integer: wrong values that show.
inline constexpr unsigned char kPoison = 0xff;
inline constexpr unsigned char kFence = 0xa5;
inline constexpr size_t kMaxShared = 48 << 10, kMaxSharedOptIn = 227 << 10;

// engine.cpp
void run_grid(const Launch& launch, const std::function<void()>& thread);
bool on_device();                                                // is a CUDA thread running just now?
[[noreturn]] void abandon(cudaError_t error, std::string text);  // report and give up the running kernel
bool in_fiber_guard(const void* address);

// memory.cpp
struct Allocation {
  size_t number = 0, nbytes = 0;
  char *start = nullptr, *map = nullptr;
  size_t map_bytes = 0;
  bool freed = false;
  bool free_queued = false;  // by cudaFreeAsync: work submitted from now on must not use it
};
Allocation* find_allocation(const void* address);  // the one holding the address or ending there, freed ones included
bool in_device_memory(const void* address);
std::string describe(const void* address);
void* allocate(size_t nbytes);
void release(Allocation& allocation);
void check_fences(Allocation& allocation, const std::string& after);
bool touch(Allocation& allocation, const void* address, size_t nbytes);  // mprotect guard: lets the device in
void open_memory();
void reopen_memory();  // after a kernel was given up from the signal handler, which runs with all keys closed
void close_memory(const std::string& after);
void reset_memory();
struct Usage {
  size_t allocations, bytes, limit;
};
Usage usage();

// queue.cpp
void report(cudaError_t sticky, const std::string& text);  // sticky = cudaSuccess: a remark only
const std::string& current_operation();
std::string text_of(Where where);
}  // namespace cudasim
