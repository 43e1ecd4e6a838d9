// Runs the blocks of a grid one after another on the calling thread.
//
// Lazy fibers: a fiber's loop runs fresh CUDA threads as plain calls; a thread that must wait leaves its stack where it
// is and the next one starts on another fiber. Kernels without barriers and warp operations thus switch twice per
// block. Order: ready threads first (so a warp finishes before the next begins and few stacks are alive), then fresh
// ones. When neither is left and some threads still wait, that is a deadlock, and the report says who waits where.
#include <cstdio>
#include <map>
#include <sstream>

#include "switch.h"

namespace cudasim {
namespace {
enum class State : uint8_t { Fresh, Running, Ready, AtBarrier, InWarp, Done };
struct Fiber {
  Stack stack;
  char* memory;
  size_t number;
};
struct Thread : Place {
  State state;
  unsigned mask;
  Fiber* fiber;
  Combine combine;
  const char* what;
  Where where;
};
struct SharedArray {
  const void* site;
  const char* name;
  size_t offset, nbytes;
};
constexpr size_t kMaxThreads = 1024, kFenceBytes = 64;

struct Engine {
  Thread threads[kMaxThreads];
  Warp warps[kMaxThreads / 32];
  Thread* queue[kMaxThreads];  // ready threads, a ring: each is in it once at most
  size_t queue_head = 0, queue_size = 0, count = 0, fresh = 0, done = 0;
  size_t at_barrier = 0, votes = 0;
  Votes last_votes{};
  Thread* current = nullptr;
  Fiber* running = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
  Stack main;
  const Launch* launch = nullptr;
  const std::function<void()>* body = nullptr;
  bool failed = false;
  std::vector<SharedArray> arrays;
  size_t shared_used = 0;
  alignas(256) unsigned char shared[kMaxSharedOptIn + 64 * (kFenceBytes + 256)];
};
Engine& engine = *new Engine;  // never destroyed: kernels may run at exit
bool reversed = false;
char* stack_slab = nullptr;

std::string coordinates(uint3 v) {
  char text[40];
  std::snprintf(text, sizeof text, "(%u,%u,%u)", v.x, v.y, v.z);
  return text;
}
std::string here() {
  return current_operation() + ": block " + coordinates(frame.block_idx) +
         (engine.current ? " thread " + coordinates(engine.current->thread_idx) : "") + ": ";
}
bool same_place(const Where& a, const Where& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

void fiber_entry();
void make_stack(Fiber& fiber) { fiber.stack.make(fiber.memory, fiber.number, fiber_entry); }

Fiber* take_fiber() {
  if (engine.idle.empty()) {
    const size_t stride = kStackBytes + kStackGuard, number = engine.fibers.size();
    if (stack_slab == nullptr)
      stack_slab = static_cast<char*>(
          mmap(nullptr, kMaxThreads * stride, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    char* memory = stack_slab + number * stride + kStackGuard;
    mprotect(memory, kStackBytes, PROT_READ | PROT_WRITE);
    engine.fibers.push_back(std::make_unique<Fiber>(Fiber{{}, memory, number}));
    make_stack(*engine.fibers.back());
    return engine.fibers.back().get();
  }
  Fiber* fiber = engine.idle.back();
  engine.idle.pop_back();
  return fiber;
}

void run_on(Stack& from, Fiber* fiber) {
  engine.running = fiber;
  from.switch_to(fiber->stack);
}

// Leaves the running fiber, whose thread waits or which has nothing to run, for whatever can go on.
void leave() {
  Fiber* self = engine.running;
  if (engine.queue_size > 0) {
    Thread* next = engine.queue[engine.queue_head];
    engine.queue_head = (engine.queue_head + 1) % kMaxThreads;
    --engine.queue_size;
    next->state = State::Running;
    engine.current = next;
    place = next;
    run_on(self->stack, next->fiber);
  } else if (engine.fresh < engine.count) {
    run_on(self->stack, take_fiber());
  } else {
    engine.running = nullptr;
    self->stack.switch_to(engine.main);
  }
}

void wake(Thread& thread) {
  if (&thread == engine.current) {
    thread.state = State::Running;  // the last to arrive goes straight on
    return;
  }
  thread.state = State::Ready;
  engine.queue[(engine.queue_head + engine.queue_size++) % kMaxThreads] = &thread;
}

void wait(State state, Where where) {
  Thread& self = *engine.current;
  self.state = state;
  self.where = where;
  self.fiber = engine.running;
}

// Who waits where, one line per place: the report of a deadlock or a divergent barrier.
std::string waiting_threads() {
  std::map<std::string, std::vector<size_t>> groups;
  for (size_t i = 0; i < engine.count; ++i) {
    const Thread& t = engine.threads[i];
    std::ostringstream key;
    if (t.state == State::AtBarrier) key << "at __syncthreads, " << text_of(t.where);
    if (t.state == State::InWarp) {
      key << "in " << t.what << " with mask 0x" << std::hex << t.mask << ", " << text_of(t.where);
    }
    if (t.state == State::Done) key << "have returned";
    groups[key.str()].push_back(i);
  }
  std::string text;
  for (const auto& [where, members] : groups) {
    text += "\n    " + std::to_string(members.size()) + " threads " + where + " (";
    for (size_t i = 0; i < std::min<size_t>(members.size(), 4); ++i)
      text += (i ? ", " : "") + std::to_string(members[i]);
    text += members.size() > 4 ? ", ...)" : ")";
  }
  return text;
}

void release_barrier() {
  const size_t live = engine.count - engine.done;
  if (engine.at_barrier == 0 || engine.at_barrier != live) return;
  const Thread* first = nullptr;
  for (size_t i = 0; i < engine.count; ++i) {
    const Thread& t = engine.threads[i];
    if (t.state != State::AtBarrier) continue;
    if (first == nullptr) first = &t;
    if (!same_place(first->where, t.where))
      abandon(cudaErrorLaunchFailure,
              "divergent barrier: threads of one block meet at different __syncthreads" + waiting_threads());
  }
  engine.last_votes = {int(engine.votes), int(live)};
  engine.at_barrier = engine.votes = 0;
  for (size_t k = 0; k < engine.count; ++k) {
    Thread& t = engine.threads[reversed ? engine.count - 1 - k : k];
    if (t.state == State::AtBarrier) wake(t);
  }
}

// Lets the lanes of one mask go on once all of them that still run have arrived at the same operation.
void release_warp(Warp& warp, Thread* lanes, unsigned mask) {
  const unsigned present = mask & ~warp.exited;
  if (present == 0 || (warp.waiting & present) != present) return;
  const Thread& first = lanes[std::countr_zero(present)];
  for (unsigned rest = present; rest != 0; rest &= rest - 1) {
    const Thread& t = lanes[std::countr_zero(rest)];
    if (t.mask != mask || t.combine != first.combine || !same_place(t.where, first.where)) return;
  }
  first.combine(warp, present);
  warp.waiting &= ~present;
  for (unsigned rest = present; rest != 0; rest &= rest - 1) wake(lanes[std::countr_zero(rest)]);
}

void finish_thread(Thread& thread) {
  thread.state = State::Done;
  ++engine.done;
  Warp& warp = engine.warps[thread.index / 32];
  warp.exited |= 1u << (thread.index & 31);
  engine.current = nullptr;
  Thread* lanes = engine.threads + thread.index / 32 * 32;
  for (unsigned rest = warp.waiting; rest != 0; rest &= warp.waiting & (rest - 1))
    release_warp(warp, lanes, lanes[std::countr_zero(rest)].mask);
  release_barrier();
}

void fiber_entry() {
  Stack::arrived(nullptr);
  for (;;) {
    while (engine.queue_size == 0 && engine.fresh < engine.count) {
      const size_t k = engine.fresh++;
      Thread& thread = engine.threads[reversed ? engine.count - 1 - k : k];
      engine.current = &thread;
      place = &thread;
      thread.state = State::Running;
      (*engine.body)();
      finish_thread(thread);
    }
    engine.idle.push_back(engine.running);
    leave();
  }
}

void begin_block(uint3 index) {
  frame.block_idx = index;
  const dim3 size = frame.block_dim;
  engine.count = size_t(size.x) * size.y * size.z;
  engine.fresh = engine.done = engine.queue_size = engine.at_barrier = engine.votes = 0;
  size_t i = 0;
  for (unsigned z = 0; z < size.z; ++z)
    for (unsigned y = 0; y < size.y; ++y)
      for (unsigned x = 0; x < size.x; ++x, ++i) {
        static_cast<Place&>(engine.threads[i]) = {{x, y, z}, unsigned(i)};
        engine.threads[i].state = State::Fresh;
      }
  for (size_t w = 0; w * 32 < engine.count; ++w) {
    const size_t lanes = std::min<size_t>(32, engine.count - w * 32);
    engine.warps[w].waiting = 0;
    engine.warps[w].exited = lanes == 32 ? 0 : ~0u << lanes;  // lanes that never existed are as good as gone
  }
  engine.arrays.clear();
  engine.shared_used = 0;
  if (engine.launch->shared > 0) static_shared(&engine, "dynamic shared memory", engine.launch->shared, 16);
}

void check_shared() {
  for (const SharedArray& a : engine.arrays) {
    ASAN_UNPOISON_MEMORY_REGION(engine.shared + a.offset + a.nbytes, kFenceBytes);
    const unsigned char* fence = engine.shared + a.offset + a.nbytes;
    for (size_t i = 0; i < kFenceBytes; ++i) {
      if (fence[i] == kFence) continue;
      report(cudaErrorIllegalAddress, here() + "wrote " + std::to_string(i) + " bytes past the end of shared " +
                                          a.name + " (" + std::to_string(a.nbytes) + " bytes)");
      engine.failed = true;
      break;
    }
  }
}

void run_block(uint3 index) {
  begin_block(index);
  run_on(engine.main, take_fiber());
  engine.running = nullptr;
  if (!engine.failed && engine.done != engine.count) {
    engine.current = nullptr;
    report(cudaErrorLaunchFailure, here() + "deadlock: these threads wait for ever" + waiting_threads());
    engine.failed = true;
  }
  engine.current = nullptr;
  check_shared();
  if (!engine.failed) return;
  reopen_memory();
  engine.idle.clear();  // threads given up half way: their stacks start afresh
  for (auto& fiber : engine.fibers) make_stack(*fiber), engine.idle.push_back(fiber.get());
}
}  // namespace

const Place* place = nullptr;
Frame frame{};

bool on_device() { return engine.running != nullptr; }
void set_reversed(bool value) { reversed = value; }
bool in_fiber_guard(const void* address) {
  const size_t offset = size_t(static_cast<const char*>(address) - stack_slab), stride = kStackBytes + kStackGuard;
  return stack_slab != nullptr && offset < kMaxThreads * stride && offset % stride < kStackGuard;
}

void abandon(cudaError_t error, std::string text) {
  report(error, here() + text);
  engine.failed = true;
  Fiber* self = engine.running;
  engine.running = nullptr;
  std::string().swap(text);  // this stack is never returned to: free what it holds
  self->stack.switch_to(engine.main);
  __builtin_unreachable();
}

void run_grid(const Launch& launch, const std::function<void()>& thread) {
  engine.launch = &launch;
  engine.body = &thread;
  engine.failed = false;
  engine.main.bottom = nullptr;  // learnt again: another host thread may be driving
  frame.grid_dim = launch.grid;
  frame.block_dim = launch.block;
  const uint64_t plane = uint64_t(launch.grid.x) * launch.grid.y, blocks = plane * launch.grid.z;
  for (uint64_t k = 0; k < blocks && !engine.failed; ++k) {
    const uint64_t b = reversed ? blocks - 1 - k : k;
    run_block({unsigned(b % launch.grid.x), unsigned(b % plane / launch.grid.x), unsigned(b / plane)});
  }
}

Votes barrier(bool predicate, Where where) {
  wait(State::AtBarrier, where);
  ++engine.at_barrier;
  engine.votes += predicate;
  Thread* self = engine.current;
  release_barrier();
  if (self->state == State::AtBarrier) leave();
  return engine.last_votes;
}

uint64_t exchange(unsigned mask, uint64_t value, unsigned source, Combine combine, const char* what, Where where) {
  Thread& self = *engine.current;
  const unsigned lane = self.index & 31;
  if ((mask >> lane & 1) == 0)
    abandon(cudaErrorLaunchFailure, std::string(what) + ": the mask does not name the calling lane, " + text_of(where));
  Warp& warp = engine.warps[self.index / 32];
  wait(State::InWarp, where);
  self.mask = mask;
  self.combine = combine;
  self.what = what;
  warp.value[lane] = value;
  warp.source[lane] = uint8_t(source);
  warp.waiting |= 1u << lane;
  release_warp(warp, &self - lane, mask);
  if (self.state == State::InWarp) leave();
  return warp.result[lane];
}

// A lane outside the mask or gone has no value to give: the reader gets poison, as reading it is undefined.
void combine_shuffle(Warp& warp, unsigned lanes) {
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    warp.result[l] = lanes >> (warp.source[l] & 31) & 1 ? warp.value[warp.source[l] & 31] : ~uint64_t(0);
  }
}
void combine_ballot(Warp& warp, unsigned lanes) {
  uint64_t votes = 0;
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1)
    votes |= uint64_t(warp.value[std::countr_zero(rest)] != 0) << std::countr_zero(rest);
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) warp.result[std::countr_zero(rest)] = votes << 32 | lanes;
}
void combine_match(Warp& warp, unsigned lanes) {
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    uint64_t same = 0;
    for (unsigned other = lanes; other != 0; other &= other - 1)
      same |= uint64_t(warp.value[std::countr_zero(other)] == warp.value[std::countr_zero(rest)])
              << std::countr_zero(other);
    warp.result[std::countr_zero(rest)] = uint64_t(lanes) << 32 | same;
  }
}

void* static_shared(const void* site, const char* name, size_t nbytes, size_t align) {
  for (const SharedArray& a : engine.arrays)
    if (a.site == site) return engine.shared + a.offset;
  const size_t offset = (engine.shared_used + align - 1) / align * align;
  const bool dynamic = site == &engine;
  size_t used = nbytes;  // what the hardware would count: our fences apart
  for (const SharedArray& a : engine.arrays) used += a.nbytes;
  const size_t fixed = dynamic ? 0 : used - engine.launch->shared, limit = engine.launch->shared_limit;
  if (fixed > kMaxShared || used > limit)
    abandon(cudaErrorLaunchFailure, "shared memory: " + std::to_string(used) + " bytes with " + name +
                                        ", of which static " + std::to_string(fixed) + "; limits " +
                                        std::to_string(limit) + " and " + std::to_string(kMaxShared));
  if (offset + nbytes + kFenceBytes > sizeof engine.shared)
    abandon(cudaErrorLaunchFailure, "too many shared arrays to fence");
  engine.arrays.push_back({site, name, offset, nbytes});
  engine.shared_used = offset + nbytes + kFenceBytes;
  std::memset(engine.shared + offset, kPoison, nbytes);
  std::memset(engine.shared + offset + nbytes, kFence, kFenceBytes);
  ASAN_POISON_MEMORY_REGION(engine.shared + offset + nbytes, kFenceBytes);
  return engine.shared + offset;
}
void* dynamic_shared() {
  if (engine.launch->shared == 0)
    abandon(cudaErrorIllegalAddress, "uses dynamic shared memory, but the launch gave none");
  return engine.shared + engine.arrays.front().offset;
}
void trap(Where where) { abandon(cudaErrorLaunchFailure, "__trap(), " + text_of(where)); }
}  // namespace cudasim
