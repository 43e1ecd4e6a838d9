// The queue of deferred operations, between the API (api.cpp) and the machine (queue.cpp, engine.cpp, memory.cpp).
#pragma once
#include <chrono>
#include <map>
#include <mutex>
#include <set>

#include "internal.h"

namespace cudasim {
using Clock = std::chrono::steady_clock;
struct Operation {
  std::string what;
  std::function<void()> run;  // none: a mark in the stream
  std::vector<Pointer> pointers;
  std::vector<std::shared_ptr<Operation>> nodes{};  // of a graph launch, instead of run
  std::vector<std::shared_ptr<Operation>> after{};
  const void* stream = nullptr;
  bool done = false, wanted = false, captured = false;
  Clock::time_point finished{};
};
using Op = std::shared_ptr<Operation>;
}  // namespace cudasim

struct CUgraph_st {
  std::vector<cudasim::Op> nodes;  // in the order of capture
  CUstream_st* origin = nullptr;   // while it is being captured
  std::set<CUstream_st*> members;  // streams that joined by waiting for an event of the capture
  bool invalid = false;
};
struct CUgraphExec_st {
  std::vector<cudasim::Op> nodes;
};
struct CUstream_st {
  size_t number = 0;
  bool blocking = true;              // waits for the default stream, and it for this
  cudasim::Op tail, before_capture;  // the last operation, done or not
  CUgraph_st* capture = nullptr;
};
struct CUevent_st {
  bool timing = true;
  cudasim::Op op;
  CUgraph_st* capture = nullptr;
};

namespace cudasim {
struct Runtime {
  std::recursive_mutex mutex;
  std::vector<Op> queue;  // not yet run, in program order
  std::set<CUstream_st*> streams;
  std::set<CUevent_st*> events;
  std::set<CUgraph_st*> graphs, captures;
  std::set<CUgraphExec_st*> executables;
  CUstream_st legacy;
  size_t streams_made = 0, races = 0;
  std::map<const char*, size_t> pinned;
  std::map<const void*, size_t> shared_limits;  // cudaFuncSetAttribute
  cudaError_t sticky = cudaSuccess;
  std::string last_report, operation;
};
Runtime& runtime();

cudaError_t enqueue(cudaStream_t stream, Operation operation, Op extra = nullptr);
void settle(const Op& last);                 // runs what `last` needs and itself; everything if it is null
cudaError_t poll(const Op& last);            // runs one operation that `last` needs
bool follows(const Op& last, const Op& op);  // is `op` among what `last` needs?
void free_now(Allocation& allocation, const std::string& what);
bool check_range(const std::string& what, const void* p, size_t nbytes);
bool is_pinned(const void* p);
bool known(cudaStream_t stream);
CUstream_st* stream_of(cudaStream_t stream);
cudaError_t invalidate(CUgraph_st* capture, cudaError_t error);
std::string on_stream(cudaStream_t stream);

cudaError_t& last_error();  // of this thread
inline cudaError_t note(cudaError_t error) {
  if (error != cudaSuccess) last_error() = error;
  return error;
}
// The frame of every API function: the lock, a sticky error, the call, the last error of this thread.
template <class F>
cudaError_t api(F f) {
  std::lock_guard lock(runtime().mutex);
  if (runtime().sticky != cudaSuccess) return note(runtime().sticky);
  const cudaError_t error = f(runtime());
  return note(error != cudaSuccess ? error : runtime().sticky);
}
#define CUDASIM_TRY(...) \
  if (const cudaError_t cudasim_error = (__VA_ARGS__); cudasim_error != cudaSuccess) return cudasim_error

inline cudaStreamCaptureMode& thread_capture_mode() {
  static thread_local cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  return mode;
}
// Waiting and allocating are not allowed while a stream is being captured; allocating is, where the thread said it knows what it does.
inline cudaError_t refuse_capture() {
  for (CUgraph_st* capture : runtime().captures) return invalidate(capture, cudaErrorStreamCaptureUnsupported);
  return cudaSuccess;
}
}  // namespace cudasim
