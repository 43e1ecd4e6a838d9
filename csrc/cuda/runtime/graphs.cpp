// See graphs.h.
#include "graphs.h"

#include <atomic>
#include <map>
#include <mutex>

#include "device_memory.h"

namespace mg::cuda {
namespace {

thread_local MemoryPool active = 0;
std::mutex mutex;

// How many graphs write to a pool.
std::map<std::pair<int, MemoryPool>, int>& owners() {
  static auto* counts = new std::map<std::pair<int, MemoryPool>, int>;
  return *counts;
}

}  // namespace

MemoryPool new_memory_pool() {
  static std::atomic<MemoryPool> next{1};
  return next++;
}
MemoryPool capture_pool() { return active; }

void refuse_in_capture(const char* what) {
  MG_CHECK(!capturing(), Runtime, what,
           ": not allowed while a CUDA graph is being captured, because it waits for work that is only recorded. Try doing it before or after.");
}

void Graph::capture_begin(MemoryPool pool, cudaStreamCaptureMode mode) {
  MG_CHECK(executable_ == nullptr && !recording_, Runtime, "CUDAGraph.capture_begin: this graph has captured already. Try a new CUDAGraph.");
  MG_CHECK(!capturing(), Runtime, "CUDAGraph.capture_begin: another capture is under way in this thread");
  device_ = current_device();
  stream_ = current_handle(device_);
  MG_CHECK(stream_->stream != nullptr, Runtime,
           "CUDAGraph.capture_begin: CUDA graphs must be captured on a non-default stream. Try `with minigrad.cuda.graph(g):`.");
  pool_ = pool == 0 ? new_memory_pool() : pool;
  DeviceMemory& memory = device_memory(device_);
  memory.set_capturing(true);
  const cudaError_t error = cudaStreamBeginCapture(stream_->stream, mode);
  if (error != cudaSuccess) memory.set_capturing(false);
  check(error, "CUDAGraph.capture_begin");
  std::lock_guard lock(mutex);
  ++owners()[{device_, pool_}];
  active = pool_;
  recording_ = true;
}

void Graph::capture_end() {
  MG_CHECK(recording_, Runtime, "CUDAGraph.capture_end: no capture is under way");
  MG_CHECK(current_handle(current_device()) == stream_, Runtime, "CUDAGraph.capture_end: the capture must end on the stream where it began");
  cudaGraph_t graph = nullptr;
  const cudaError_t error = cudaStreamEndCapture(stream_->stream, &graph);
  active = 0;
  recording_ = false;
  device_memory(device_).set_capturing(false);
  check(error, "CUDAGraph.capture_end");
  const cudaError_t made = cudaGraphInstantiate(&executable_, graph, 0);
  cudaGraphDestroy(graph);
  check(made, "CUDAGraph.capture_end");
}

void Graph::replay() const {
  MG_CHECK(executable_ != nullptr, Runtime, "CUDAGraph.replay: nothing was captured");
  const DeviceGuard guard(device_);
  MG_CUDA(cudaGraphLaunch(executable_, current_stream()));
}

void Graph::reset() {
  if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
  executable_ = nullptr;
  if (pool_ == 0) return;
  bool last;
  {
    std::lock_guard lock(mutex);
    last = --owners()[{device_, pool_}] == 0;
  }
  if (last) device_memory(device_).drop_pool(pool_);
  pool_ = 0;
}

MemoryPool Graph::pool() const {
  MG_CHECK(pool_ != 0, Runtime, "CUDAGraph.pool: nothing was captured");
  return pool_;
}

Graph::~Graph() { reset(); }

}  // namespace mg::cuda
