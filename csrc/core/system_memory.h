// What the operating system says and gives: sizes of memory, and the mmap source of the CPU allocator's segments.
#pragma once
#include <cstddef>

#include "block_cache.h"

namespace mg {

// Memory this process may use at all: the machine's, or the container's limit if that is lower.
size_t total_memory();
// Memory that can still be had without swapping or being killed; SIZE_MAX when the system does not say. Reads files:
// ~50 us.
size_t available_memory();

// 2 MiB-aligned anonymous mappings, with huge pages asked for (without them page faults dominate: 69 against 32 ms for
// a fresh 64 MiB add). Refuses requests of 256 MiB and more that exceed available_memory(): Linux would grant them and
// kill the process at first use.
struct MmapUpstream final : Upstream {
  void* allocate(size_t nbytes) override;
  void release(void* data, size_t nbytes) override;
};

}  // namespace mg
