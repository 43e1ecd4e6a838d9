// Streams and events. A stream is known by its handle: one object for each (device, cudaStream_t), which lives for ever; the default stream
// of a device is one of them. Every thread has a current stream for each device.
#pragma once
#include <vector>

#include "runtime.h"

namespace mg::cuda {

struct StreamHandle {
  int device;
  cudaStream_t stream;  // nullptr: the default stream
};
const StreamHandle* stream_handle(int device, cudaStream_t stream);
const StreamHandle* pooled_stream(int device, int priority);  // one of 32 for each priority (0 or below: high), by turns; made on first use
const StreamHandle* current_handle(int device);
void set_current_stream(const StreamHandle* handle);  // of its device, in this thread
// Whether a stream other than a default one was ever current: before that, nobody needs to record who uses what.
bool several_streams();

// An event of the runtime; owns it. Made on the device of the first record().
class Event {
 public:
  explicit Event(bool timing) : timing_(timing) {}
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const StreamHandle* stream);
  void block(const StreamHandle* stream) const;  // later work of the stream waits for the event
  bool query() const;                            // nothing was recorded, or it has passed
  void synchronize() const;
  float milliseconds_to(const Event& end) const;
  int device() const { return device_; }
  cudaEvent_t handle() const { return event_; }

 private:
  bool timing_;
  int device_ = -1;
  cudaEvent_t event_ = nullptr;
};

}  // namespace mg::cuda
