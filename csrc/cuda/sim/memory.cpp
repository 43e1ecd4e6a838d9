// Device memory: one large reservation of addresses, of which every allocation takes fresh pages, so that no address is
// ever used twice and a stale pointer always points at nothing.
//
//   | front gap | data ........ | slack | guard page |      data ends at the last multiple of 256 before the guard page
//
// A write or read beyond the pages stops at the kernel's line; gap and slack (< 256 bytes behind the data) hold a
// pattern that is checked after each operation. Host code is kept out: by a protection key where the CPU has them (a
// register write opens and closes everything), else by mprotect, which opens 64 KiB at the device's first touch of them
// and closes what it opened when the queue has run. MINIGRAD_CUDASIM_GUARD=mprotect|off chooses.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include "internal.h"

namespace cudasim {
namespace {
constexpr size_t kArenaBytes = size_t(1) << 42, kPage = 4096, kAlign = 256, kFrontFence = 64, kSignalStack = 64 << 10,
                 kChunk = 64 << 10;

enum class Guard { Key, Pages, Off };
struct Range {
  Allocation* allocation;
  char* first;
  size_t nbytes;
};
struct Memory {
  char* base = nullptr;
  size_t top = 0;
  Guard guard = Guard::Pages;
  int key = -1;
  std::map<const char*, Allocation> blocks;  // by first page; freed ones stay, to be named in reports
  std::vector<Range> opened;                 // by touch(), since the last close
  size_t live = 0, bytes = 0, made = 0, limit = size_t(8) << 30;
  int depth = 0;  // open_memory() calls not yet closed
  struct sigaction previous{};
};
Memory& memory = *new Memory;       // never destroyed: the host may free at exit
thread_local bool driving = false;  // this thread runs device work; others are host code even then

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

void protect(const Allocation& a, int rights) {
  if (memory.guard == Guard::Key)
    pkey_mprotect(a.map, a.map_bytes, rights, memory.key);
  else
    mprotect(a.map, a.map_bytes, rights);
}

std::string hex(const void* p) {
  char text[32];
  std::snprintf(text, sizeof text, "%p", p);
  return text;
}

void on_segv(int signal, siginfo_t* info, void*) {
  const void* address = info->si_addr;
  Allocation* a = find_allocation(address);
  if (driving) {
    const bool ours = a != nullptr && !a->freed && address < a->map + a->map_bytes;
    if (ours && memory.guard == Guard::Pages && touch(*a, address, 1)) return;
    if (on_device()) {
      if (in_fiber_guard(address))
        abandon(cudaErrorLaunchFailure, "stack overflow: a CUDA thread has 256 KiB of stack here");
      abandon(cudaErrorIllegalAddress, "access to " + describe(address));
    }
  } else if (in_device_memory(address)) {
    report(cudaSuccess, "host code touches device memory: " + describe(address) + ". Copy it with cudaMemcpy");
  }
  sigaction(signal, &memory.previous, nullptr);  // the access faults again, under whoever was here before us
}

void start() {
  const char* wish = std::getenv("MINIGRAD_CUDASIM_GUARD");
  const std::string mode = wish == nullptr ? "" : wish;
  if (const char* limit = std::getenv("MINIGRAD_CUDASIM_MEMORY")) memory.limit = std::strtoull(limit, nullptr, 10);
  memory.base =
      static_cast<char*>(mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (mode == "off") memory.guard = Guard::Off;
  if (mode.empty() && (memory.key = pkey_alloc(0, PKEY_DISABLE_ACCESS)) >= 0) memory.guard = Guard::Key;
  struct sigaction action{};
  action.sa_sigaction = on_segv;
  action.sa_flags =
      SA_SIGINFO | SA_ONSTACK | SA_NODEFER;  // no defer: a kernel is given up by leaving the handler sideways
  sigaction(SIGSEGV, &action, &memory.previous);
}

// A stack for the handler, so that a CUDA thread's stack overflow can be reported at all.
void ensure_signal_stack() {
  thread_local bool ready = false;
  if (std::exchange(ready, true)) return;
  stack_t current{};
  sigaltstack(nullptr, &current);
  if ((current.ss_flags & SS_DISABLE) == 0) return;
  current = {};
  current.ss_sp = mmap(nullptr, kSignalStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  current.ss_size = kSignalStack;
  sigaltstack(&current, nullptr);
}

// The first changed byte of [p, p + n), or n.
size_t damage(const char* p, size_t n) {
  for (size_t i = 0; i < n; ++i)
    if (static_cast<unsigned char>(p[i]) != kFence) return i;
  return n;
}

void fence(const Allocation& a, bool up) {
  const size_t front = size_t(a.start - a.map), slack = a.map_bytes - front - a.nbytes;
  if (up) {
    ASAN_POISON_MEMORY_REGION(a.map, front);
    ASAN_POISON_MEMORY_REGION(a.start + a.nbytes, slack);
  } else {
    ASAN_UNPOISON_MEMORY_REGION(a.map, a.map_bytes);
  }
}
}  // namespace

const char* guard() {
  if (memory.base == nullptr) start();
  return memory.guard == Guard::Key ? "pkey" : memory.guard == Guard::Pages ? "mprotect" : "off";
}
void set_memory_limit(size_t nbytes) {
  if (memory.base == nullptr) start();
  memory.limit = nbytes;
}
Usage usage() {
  if (memory.base == nullptr) start();
  return {memory.live, memory.bytes, memory.limit};
}

bool in_device_memory(const void* address) {
  const char* p = static_cast<const char*>(address);
  return memory.base != nullptr && p >= memory.base && p < memory.base + kArenaBytes;
}

Allocation* find_allocation(const void* address) {
  auto it = memory.blocks.upper_bound(static_cast<const char*>(address));
  if (it == memory.blocks.begin()) return nullptr;
  Allocation& a = std::prev(it)->second;
  return address <= a.map + a.map_bytes ? &a : nullptr;
}

std::string describe(const void* address) {
  const char* p = static_cast<const char*>(address);
  if (!in_device_memory(p)) return hex(p) + ", which is not device memory";
  const auto next = memory.blocks.upper_bound(p);
  if (next == memory.blocks.begin()) return hex(p) + ", where nothing was allocated";
  const Allocation& a = std::prev(next)->second;
  const std::string name = std::string(a.freed ? "freed " : "") + "allocation #" + std::to_string(a.number) + " of " +
                           std::to_string(a.nbytes) + " bytes";
  if (p < a.start) return hex(p) + ", " + std::to_string(a.start - p) + " bytes before " + name;
  if (p < a.start + a.nbytes) return hex(p) + ", byte " + std::to_string(p - a.start) + " of " + name;
  return hex(p) + ", " + std::to_string(p - a.start - a.nbytes) + " bytes past the end of " + name;
}

void* allocate(size_t nbytes) {
  if (memory.base == nullptr) start();
  ensure_signal_stack();
  const size_t pages = round_up(nbytes, kPage);
  if (nbytes > memory.limit - std::min(memory.limit, memory.bytes) || memory.top + pages + kPage > kArenaBytes)
    return nullptr;
  Allocation a;
  a.number = ++memory.made;
  a.nbytes = nbytes;
  a.map = memory.base + memory.top;
  a.map_bytes = pages;
  a.start = a.map + pages - round_up(nbytes, kAlign);
  memory.top += pages + kPage;
  memory.live += 1;
  memory.bytes += nbytes;
  open_memory();
  protect(a, PROT_READ | PROT_WRITE);
  std::memset(a.map, kFence, pages);
  std::memset(a.start, kPoison, nbytes);
  fence(a, true);
  Allocation& kept = memory.blocks[a.map] = a;
  if (memory.guard == Guard::Pages) memory.opened.push_back({&kept, kept.map, kept.map_bytes});
  close_memory("cudaMalloc");
  return kept.start;
}

void release(Allocation& a) {
  open_memory();
  check_fences(a, "cudaFree");
  close_memory("cudaFree");
  a.freed = true;
  memory.live -= 1;
  memory.bytes -= a.nbytes;
  ASAN_POISON_MEMORY_REGION(a.map, a.map_bytes);
  mmap(a.map, a.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
       0);  // the pages go, the addresses stay taken
}

void check_fences(Allocation& a, const std::string& after) {
  if (a.nbytes == 0 || a.freed) return;
  fence(a, false);
  const size_t front = std::min(size_t(a.start - a.map), kFrontFence),
               slack = size_t(a.map + a.map_bytes - a.start) - a.nbytes;
  touch(a, a.start - front, front);
  touch(a, a.start + a.nbytes, slack);
  const size_t before = damage(a.start - front, front), past = damage(a.start + a.nbytes, slack);
  const char* hit = before < front ? a.start - front + before : past < slack ? a.start + a.nbytes + past : nullptr;
  if (hit != nullptr) {
    report(cudaErrorIllegalAddress, after + ": wrote to " + describe(hit));
    std::memset(a.start - front, kFence, front);
    std::memset(a.start + a.nbytes, kFence, slack);
  }
  fence(a, true);
}

// Opens the chunks of [address, address + nbytes); false if the system refuses.
bool touch(Allocation& a, const void* address, size_t nbytes) {
  if (memory.guard != Guard::Pages || a.freed || nbytes == 0) return true;
  const size_t offset = size_t(static_cast<const char*>(address) - a.map), first = offset / kChunk * kChunk;
  const Range range{&a, a.map + first, std::min(a.map_bytes, round_up(offset + nbytes, kChunk)) - first};
  if (mprotect(range.first, range.nbytes, PROT_READ | PROT_WRITE) != 0) return false;
  memory.opened.push_back(range);
  return true;
}

void open_memory() {
  ensure_signal_stack();
  driving = true;
  if (memory.depth++ == 0 && memory.guard == Guard::Key) pkey_set(memory.key, 0);
}

void reopen_memory() {
  if (memory.guard == Guard::Key && memory.depth > 0) pkey_set(memory.key, 0);
}

void close_memory(const std::string& after) {
  if (--memory.depth > 0) return;
  std::set<Allocation*> touched;
  for (const Range& range : memory.opened) touched.insert(range.allocation);
  for (Allocation* a : touched) check_fences(*a, after);
  for (const Range& range : memory.opened)
    if (!range.allocation->freed) mprotect(range.first, range.nbytes, PROT_NONE);
  memory.opened.clear();
  driving = false;
  if (memory.guard == Guard::Key) pkey_set(memory.key, PKEY_DISABLE_ACCESS);
}

void reset_memory() {
  for (auto& [map, a] : memory.blocks)
    if (!a.freed) release(a);
}
}  // namespace cudasim
