// The host side of the CUDA backend, for kernels and bindings: errors, the current device and stream, the door through which every CUDA
// kernel of an op is called, and the list of those kernels. Kernel authors include ../kernel.h, which includes this.
#pragma once
#include "../../core/op.h"
#include "../cuda_portable.h"

namespace mg::cuda {

// Raises RuntimeError `<what>: CUDA error: <text> (<name>)` unless `error` is cudaSuccess.
void check(cudaError_t error, const std::string& what);
#define MG_CUDA(call) ::mg::cuda::check(call, #call)

int device_count();    // 0 without a driver or a GPU
int current_device();  // of this thread
void set_device(int index);
class DeviceGuard {  // the current device for a scope; costs nothing when it is the right one already
 public:
  explicit DeviceGuard(int index) : previous_(current_device()) {
    if (index != previous_) set_device(index);
  }
  ~DeviceGuard() {
    if (current_device() != previous_) set_device(previous_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_;
};

// What is unsafe during a capture but harmless here (cudaMalloc, a library that allocates) has to be asked for by its name.
class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

cudaStream_t current_stream();  // of the current device in this thread; nullptr is the default stream
int multiprocessors();          // of the current device

void note_use(const TensorImpl& t);  // on the current stream, when there are several_streams()

// The door: makes the result's device current, calls `kernel`, and raises what went wrong, naming the op. The operands are on that device,
// but for numbers and index lists (core/backend_module.h).
void run(Invocation& inv, KernelFn kernel);

// A list of the kernels, made by static constructors when the module is loaded (MG_CUDA_KERNEL).
struct Registration : KernelEntry {
  Registration(const char* op, KernelFn fn, bool complex);
};
void install_kernels();  // hands the list to the core
void install_backend();  // fills the CUDA row of the device table

}  // namespace mg::cuda
