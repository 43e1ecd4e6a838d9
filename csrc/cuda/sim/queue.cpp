// Deferred execution. Every asynchronous call appends an Operation to one queue in program order, with the operations
// it must follow: the last of its stream, awaited events, and the default stream's rules. Nothing runs until something
// waits; then exactly what that wait needs runs, in program order (a topological order by construction). A forgotten
// wait thus always shows: the data is still poison. While a stream is captured, its operations go to the graph instead,
// and a replay of the graph is one operation.
#include "queue.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace cudasim {
namespace {
constexpr size_t kQueueLimit = 1024;  // a full launch queue makes the host wait, as on the device

// A pointer argument must point into live device memory or pinned host memory; one past the last byte is allowed.
bool check_pointers(const Operation& op, bool submitting) {
  for (const Pointer& p : op.pointers) {
    const Allocation* a = find_allocation(p.address);
    const bool device = in_device_memory(p.address);
    if (!device && is_pinned(p.address)) continue;
    if (device && a != nullptr && !a->freed && !(submitting && a->free_queued)) continue;
    report(cudaErrorIllegalAddress, op.what + ": argument " + std::to_string(p.argument) +
                                        (device ? " (use after free): " : " is a host pointer: ") +
                                        describe(p.address) +
                                        (a && device && !a->freed ? ", for which a cudaFreeAsync is queued" : ""));
    return false;
  }
  for (const Op& node : op.nodes)
    if (!check_pointers(*node, submitting)) return false;
  return true;
}

template <class F>
void each_pointer(const Operation& op, F f) {
  for (const Pointer& p : op.pointers) f(op, p);
  for (const Op& node : op.nodes) each_pointer(*node, f);
}

// Work that waits on other streams, shares a pointer with `op` and is not ordered before it: a forgotten event, or an
// allocator that gave a block to a second stream too early. A remark, as two streams may well write to different parts.
void check_races(const Op& op) {
  for (const Op& other : runtime().queue) {
    if (other->stream == op->stream) continue;
    const void* shared = nullptr;
    each_pointer(*op, [&](const Operation&, const Pointer& p) {
      each_pointer(*other, [&](const Operation&, const Pointer& q) {
        if (p.address == q.address && (p.writes || q.writes)) shared = p.address;
      });
    });
    if (shared == nullptr || follows(op, other)) continue;
    ++runtime().races;
    return report(cudaSuccess, op->what + ": race: nothing orders it after the " + other->what + ", which also uses " +
                                   describe(shared));
  }
}

void execute(Operation& op) {
  if (runtime().sticky == cudaSuccess && check_pointers(op, false)) {
    runtime().operation = op.what;
    if (op.run) op.run();
    for (const Op& node : op.nodes) execute(*node);
    for (const Pointer& p : op.pointers)
      if (Allocation* a = find_allocation(p.address); a && in_device_memory(p.address)) check_fences(*a, op.what);
  }
  op.finished = Clock::now();
  op.done = true;
}

void at_exit() {
  const char* wish = std::getenv("MINIGRAD_CUDASIM_LEAKS");
  const Leaks l = leaks();
  const size_t count = l.allocations + l.pinned + l.streams + l.events + l.graphs + l.pending;
  if ((wish != nullptr && std::string(wish) == "0") || count == 0) return;
  std::fprintf(
      stderr,
      "cudasim: at exit: %zu device allocations (%zu bytes), %zu pinned, %zu streams, %zu events, %zu graphs not "
      "freed; %zu operations never ran because nothing waited for them\n",
      l.allocations, l.bytes, l.pinned, l.streams, l.events, l.graphs, l.pending);
}
}  // namespace

Runtime& runtime() {
  static Runtime& instance = *[] {  // never destroyed: the host may free at exit
    const char* order = std::getenv("MINIGRAD_CUDASIM_ORDER");
    if (order != nullptr) set_reversed(std::string(order) == "reverse");
    std::atexit(at_exit);
    return new Runtime;
  }();
  return instance;
}

void report(cudaError_t sticky, const std::string& text) {
  std::fprintf(stderr, "cudasim: %s\n", text.c_str());
  runtime().last_report = text;
  if (runtime().sticky == cudaSuccess) runtime().sticky = sticky;
}
std::string last_report() { return runtime().last_report; }
const std::string& current_operation() { return runtime().operation; }
std::string text_of(Where where) {
  const std::string file = where.file_name();
  return file.substr(file.find_last_of('/') + 1) + ":" + std::to_string(where.line());
}
std::string on_stream(cudaStream_t stream) {
  return stream == nullptr ? " on the default stream" : " on stream " + std::to_string(stream->number);
}

size_t races() { return runtime().races; }
Leaks leaks() {
  Runtime& r = runtime();
  const Usage u = usage();
  return {u.allocations,    u.bytes,         r.pinned.size(),
          r.streams.size(), r.events.size(), r.graphs.size() + r.executables.size(),
          r.queue.size()};
}

CUstream_st* stream_of(cudaStream_t stream) { return stream == nullptr ? &runtime().legacy : stream; }
bool known(cudaStream_t stream) { return stream == nullptr || runtime().streams.contains(stream); }
bool is_pinned(const void* p) {
  const auto& pinned = runtime().pinned;
  const auto it = pinned.upper_bound(static_cast<const char*>(p));
  return it != pinned.begin() && p <= std::prev(it)->first + std::prev(it)->second;
}

cudaError_t invalidate(CUgraph_st* capture, cudaError_t error) {
  capture->invalid = true;
  return error;
}

void settle(const Op& last) {
  Runtime& r = runtime();
  if (last && last->done) return;
  std::vector<Op> open{last};
  while (last && !open.empty()) {
    const Op op = open.back();
    open.pop_back();
    if (op->done || std::exchange(op->wanted, true)) continue;
    open.insert(open.end(), op->after.begin(), op->after.end());
  }
  open_memory();
  for (const Op& op : std::vector<Op>(r.queue)) {
    if (last && !op->wanted) continue;
    execute(*op);
    op->after.clear();
    op->run = nullptr;
    op->nodes.clear();
  }
  std::erase_if(r.queue, [](const Op& op) { return op->done; });
  close_memory(r.operation);
}

cudaError_t poll(const Op& last) {
  if (!last || last->done) return cudaSuccess;
  Op next = last;
  for (const Op* before = &last; before != nullptr;) {
    next = *before;
    before = nullptr;
    for (const Op& candidate : next->after)
      if (!candidate->done) before = &candidate;
  }
  settle(next);
  return last->done ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t enqueue(cudaStream_t handle, Operation operation, Op extra) {
  Runtime& r = runtime();
  if (!known(handle)) return cudaErrorInvalidResourceHandle;
  CUstream_st* stream = stream_of(handle);
  const Op op = std::make_shared<Operation>(std::move(operation));
  op->stream = stream;
  if (extra) op->after.push_back(extra);
  if (stream->tail) op->after.push_back(stream->tail);
  if (stream->capture != nullptr) {
    if (stream->capture->invalid) return cudaErrorStreamCaptureInvalidated;
    op->captured = true;
    stream->capture->nodes.push_back(op);
    stream->tail = op;
    return cudaSuccess;
  }
  if (handle == nullptr) {
    for (CUgraph_st* capture : r.captures)
      if (capture->origin->blocking) return invalidate(capture, cudaErrorStreamCaptureImplicit);
    for (CUstream_st* other : r.streams)
      if (other->blocking && other->tail) op->after.push_back(other->tail);
  } else if (stream->blocking && r.legacy.tail) {
    op->after.push_back(r.legacy.tail);
  }
  if (!check_pointers(*op, true)) return r.sticky;
  std::erase_if(op->after, [](const Op& before) { return before->done || before->captured; });
  check_races(op);
  stream->tail = op;
  r.queue.push_back(op);
  if (r.queue.size() >= kQueueLimit) settle(Op(r.queue.front()));
  return cudaSuccess;
}

bool follows(const Op& last, const Op& op) {
  std::vector<Op> open{last};
  std::set<Operation*> seen;
  while (!open.empty()) {
    const Op next = open.back();
    open.pop_back();
    if (next == op) return true;
    if (next && seen.insert(next.get()).second) open.insert(open.end(), next->after.begin(), next->after.end());
  }
  return false;
}

// When a cudaFreeAsync gets its turn, every user it was ordered behind is done. One still waiting runs too late.
void free_now(Allocation& a, const std::string& what) {
  for (const Op& op : runtime().queue)
    each_pointer(*op, [&](const Operation& user, const Pointer& p) {
      if (!op->done && find_allocation(p.address) == &a)
        report(cudaErrorIllegalAddress,
               what + ": use after free across streams: " + user.what +
                   " still needs it and nothing orders it before the free: " + describe(p.address));
    });
  release(a);
}

bool check_range(const std::string& what, const void* p, size_t n) {
  if (!in_device_memory(p)) return true;
  Allocation* a = find_allocation(p);
  const char* first = static_cast<const char*>(p);
  if (a != nullptr && !a->freed && first >= a->start && first + n <= a->start + a->nbytes) return touch(*a, p, n);
  report(cudaErrorIllegalAddress, what + ": out of bounds: " + std::to_string(n) + " bytes at " + describe(p));
  return false;
}

}  // namespace cudasim
