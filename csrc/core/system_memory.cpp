// See system_memory.h.
#include "system_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace mg {

// The number after `key` in a file of "key number" lines, or the file's first number for an empty key; `fallback` if
// there is none.
static size_t read_number(const char* path, const char* key, size_t fallback) {
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return fallback;
  size_t result = fallback;
  char line[256];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    unsigned long long value = 0;
    const size_t length = std::strlen(key);
    if (std::strncmp(line, key, length) == 0 && std::sscanf(line + length, "%llu", &value) == 1) {
      result = size_t(value);
      break;
    }
  }
  std::fclose(file);
  return result;
}

static size_t container_limit() {
  return read_number("/sys/fs/cgroup/memory.max", "", SIZE_MAX);
}  // "max" reads as no number

size_t total_memory() {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  const size_t machine = pages > 0 && page > 0 ? size_t(pages) * size_t(page) : SIZE_MAX;
  return std::min(machine, container_limit());
}

size_t available_memory() {
  const size_t kib = read_number("/proc/meminfo", "MemAvailable:", SIZE_MAX);
  size_t available = kib == SIZE_MAX ? SIZE_MAX : kib * 1024;
  const size_t limit = container_limit();
  if (limit != SIZE_MAX) {
    // The page cache counts as used but is given up under pressure.
    const size_t used = read_number("/sys/fs/cgroup/memory.current", "", 0);
    const size_t cache = std::min(used, read_number("/sys/fs/cgroup/memory.stat", "file ", 0));
    available = std::min(available, limit - std::min(limit, used - cache));
  }
  return available;
}

void* MmapUpstream::allocate(size_t nbytes) {
  constexpr size_t kHuge = size_t(2) << 20;
  if (nbytes > SIZE_MAX - 2 * kHuge) return nullptr;
  if (nbytes >= size_t(256) << 20 && nbytes > available_memory()) return nullptr;
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  nbytes = (nbytes + page - 1) / page * page;
  const size_t mapped = nbytes + kHuge - page;
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  char* begin = static_cast<char*>(base);
  const size_t head = (kHuge - reinterpret_cast<uintptr_t>(begin) % kHuge) % kHuge;
  if (head > 0) munmap(begin, head);
  if (mapped - head > nbytes) munmap(begin + head + nbytes, mapped - head - nbytes);
#if defined(MADV_HUGEPAGE)
  madvise(begin + head, nbytes, MADV_HUGEPAGE);
#endif
  return begin + head;
}

void MmapUpstream::release(void* data, size_t nbytes) {
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  munmap(data, (nbytes + page - 1) / page * page);
}

}  // namespace mg
