// See streams.h.
#include "streams.h"

#include <atomic>
#include <map>
#include <memory>
#include <mutex>

#include "graphs.h"

namespace mg::cuda {
namespace {

constexpr int kMaxDevices = 128, kPooled = 32;
std::mutex mutex;
std::atomic<bool> several{false};
thread_local const StreamHandle* current[kMaxDevices] = {};

struct Pool {
  const StreamHandle* streams[kPooled] = {};
  int next = 0;
};

const StreamHandle* handle_locked(int device, cudaStream_t stream) {
  static auto* handles = new std::map<std::pair<int, cudaStream_t>, std::unique_ptr<StreamHandle>>;
  auto& handle = (*handles)[{device, stream}];
  if (!handle) handle.reset(new StreamHandle{device, stream});
  return handle.get();
}

}  // namespace

const StreamHandle* stream_handle(int device, cudaStream_t stream) {
  std::lock_guard lock(mutex);
  return handle_locked(device, stream);
}

const StreamHandle* pooled_stream(int device, int priority) {
  static auto* pools = new std::map<std::pair<int, bool>, Pool>;
  std::lock_guard lock(mutex);
  const DeviceGuard guard(device);
  Pool& pool = (*pools)[{device, priority < 0}];
  const StreamHandle*& slot = pool.streams[pool.next++ % kPooled];
  if (slot == nullptr) {
    cudaStream_t stream;
    int least = 0, greatest = 0;
    MG_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    MG_CUDA(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, priority < 0 ? greatest : least));
    slot = handle_locked(device, stream);
  }
  return slot;
}

const StreamHandle* current_handle(int device) {
  const StreamHandle*& slot = current[device];
  if (slot == nullptr) slot = stream_handle(device, nullptr);
  return slot;
}

void set_current_stream(const StreamHandle* handle) {
  current[handle->device] = handle;
  if (handle->stream != nullptr) several = true;
}

bool several_streams() { return several.load(std::memory_order_relaxed); }
cudaStream_t current_stream() { return current_handle(current_device())->stream; }

Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);  // no check: the driver may be gone at exit
}

void Event::record(const StreamHandle* stream) {
  const DeviceGuard guard(stream->device);
  if (event_ == nullptr) {
    MG_CUDA(cudaEventCreateWithFlags(&event_, timing_ ? cudaEventDefault : cudaEventDisableTiming));
    device_ = stream->device;
  }
  MG_CHECK(device_ == stream->device, Runtime, "Event.record: the event belongs to cuda:", device_, ", the stream to cuda:", stream->device);
  MG_CUDA(cudaEventRecord(event_, stream->stream));
}

void Event::block(const StreamHandle* stream) const {
  const DeviceGuard guard(stream->device);
  if (event_ != nullptr) MG_CUDA(cudaStreamWaitEvent(stream->stream, event_, 0));
}

bool Event::query() const {
  if (event_ == nullptr) return true;
  const cudaError_t error = cudaEventQuery(event_);
  if (error == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check(error, "Event.query");
  return true;
}

void Event::synchronize() const {
  refuse_in_capture("Event.synchronize");
  if (event_ != nullptr) MG_CUDA(cudaEventSynchronize(event_));
}

float Event::milliseconds_to(const Event& end) const {
  MG_CHECK(event_ != nullptr && end.event_ != nullptr, Value, "Event.elapsed_time: both events must be recorded first");
  MG_CHECK(timing_ && end.timing_, Value, "Event.elapsed_time: both events must be made with enable_timing=True");
  MG_CHECK(query() && end.query(), Runtime, "Event.elapsed_time: both events must be completed first. Try end.synchronize().");
  float ms = 0;
  MG_CUDA(cudaEventElapsedTime(&ms, event_, end.event_));
  return ms;
}

}  // namespace mg::cuda
