// See graphs.h.
#include "graphs.h"

#include <atomic>
#include <map>
#include <mutex>

#include "device_memory.h"

namespace mg::cuda {
namespace {

thread_local MemoryPool active = 0;
thread_local Graph* recorder = nullptr;
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
  recorder = this;
  recording_ = true;
  add_generator(default_generator({DeviceType::CUDA, int8_t(device_)}));
  // Before anything else: memory that the recording has used and freed would be written again by each replay.
  for (Draws& d : draws_) d.start = workspace(2, DType::Int64, {DeviceType::CUDA, int8_t(device_)});
  watch_generators(true);
}

void Graph::add_generator(Generator& generator) {
  MG_CHECK(executable_ == nullptr, Runtime, "CUDAGraph.register_generator_state: this graph has captured already");
  for (const Draws& d : draws_)
    if (d.generator == &generator) return;
  draws_.push_back({&generator, {}, {}});
}

void Graph::watch_generators(bool on) {
  for (Draws& d : draws_) d.generator->set_capture(on ? &d.places : nullptr);
}

RandomRange reserve_in_capture(Generator& generator, uint64_t n_numbers) {
  for (Graph::Draws& d : recorder->draws_) {
    if (d.generator != &generator) continue;
    return {{0, d.places.take(n_numbers)}, reinterpret_cast<const uint64_t*>(d.start->data())};
  }
  fail(ErrorKind::Runtime, "a generator is used in a CUDA graph that does not know it. Try CUDAGraph.register_generator_state(generator) before the capture.");
}

void Graph::capture_end() {
  MG_CHECK(recording_, Runtime, "CUDAGraph.capture_end: no capture is under way");
  MG_CHECK(current_handle(current_device()) == stream_, Runtime, "CUDAGraph.capture_end: the capture must end on the stream where it began");
  cudaGraph_t graph = nullptr;
  const cudaError_t error = cudaStreamEndCapture(stream_->stream, &graph);
  active = 0;
  recorder = nullptr;
  recording_ = false;
  watch_generators(false);
  device_memory(device_).set_capturing(false);
  check(error, "CUDAGraph.capture_end");
  const cudaError_t made = cudaGraphInstantiate(&executable_, graph, 0);
  cudaGraphDestroy(graph);
  check(made, "CUDAGraph.capture_end");
}

void Graph::replay() const {
  MG_CHECK(executable_ != nullptr, Runtime, "CUDAGraph.replay: nothing was captured");
  const DeviceGuard guard(device_);
  for (const Draws& d : draws_) {
    if (d.places.most == 0) continue;
    if (several_streams()) note_use(*d.start);
    write_range(d.start.ptr<int64_t>(), {d.generator->reserve(d.places.most * 4)});
  }
  MG_CUDA(cudaGraphLaunch(executable_, current_stream()));
}

void Graph::reset() {
  if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
  executable_ = nullptr;
  if (recording_) watch_generators(false);
  draws_.clear();
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
