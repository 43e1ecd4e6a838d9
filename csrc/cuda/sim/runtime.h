// The host side of the simulator: launch() and the part of the CUDA runtime API minigrad uses, with CUDA's names,
// values and error rules. Everything asynchronous is queued and runs only when something waits for it (queue.cpp).
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "device.h"

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidMemcpyDirection = 21,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureUnmatched = 903,
  cudaErrorStreamCaptureUnjoined = 904,
  cudaErrorStreamCaptureIsolation = 905,
  cudaErrorStreamCaptureImplicit = 906,
  cudaErrorCapturedEvent = 907,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice };
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};
enum cudaStreamCaptureStatus {
  cudaStreamCaptureStatusNone,
  cudaStreamCaptureStatusActive,
  cudaStreamCaptureStatusInvalidated
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
inline constexpr unsigned cudaStreamDefault = 0, cudaStreamNonBlocking = 1, cudaEventDefault = 0,
                          cudaEventDisableTiming = 2, cudaHostAllocDefault = 0;
using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
  void *devicePointer, *hostPointer;
};
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin;
  int regsPerBlock, warpSize, maxThreadsPerBlock, maxThreadsDim[3], maxGridSize[3], major, minor, multiProcessorCount,
      maxThreadsPerMultiProcessor, l2CacheSize;
};

cudaError_t cudaGetLastError();  // returns the last error of this thread and forgets it, a sticky one excepted
cudaError_t cudaPeekAtLastError();
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaDeviceReset();  // drops queued work, frees everything and clears a sticky error

cudaError_t cudaMalloc(void** p, size_t nbytes);
cudaError_t cudaFree(void* p);
cudaError_t cudaMallocAsync(void** p, size_t nbytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* p, cudaStream_t stream);
cudaError_t cudaHostAlloc(void** p, size_t nbytes, unsigned flags);
cudaError_t cudaMallocHost(void** p, size_t nbytes);
cudaError_t cudaFreeHost(void* p);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p);
cudaError_t cudaMemcpy(void* to, const void* from, size_t nbytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t nbytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
cudaError_t cudaMemset(void* p, int value, size_t nbytes);
cudaError_t cudaMemsetAsync(void* p, int value, size_t nbytes, cudaStream_t stream = nullptr);

cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority);  // the priority says nothing here
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);  // runs one queued operation, so that polling ends
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*f)(void*), void* argument);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode);  // relaxed: this thread may allocate during captures
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

template <class T>
cudaError_t cudaMalloc(T** p, size_t nbytes) {
  return cudaMalloc(reinterpret_cast<void**>(p), nbytes);
}
template <class T>
cudaError_t cudaMallocHost(T** p, size_t nbytes) {
  return cudaMallocHost(reinterpret_cast<void**>(p), nbytes);
}
template <class T>
cudaError_t cudaMallocAsync(T** p, size_t n, cudaStream_t s) {
  return cudaMallocAsync(reinterpret_cast<void**>(p), n, s);
}

namespace cudasim {
// Everything the simulator finds is printed to stderr and kept; a fault of the device also makes a sticky error.
std::string last_report();
void set_reversed(bool reversed);      // MINIGRAD_CUDASIM_ORDER=reverse: blocks and threads run last to first
void set_memory_limit(size_t nbytes);  // MINIGRAD_CUDASIM_MEMORY: what cudaMalloc may hand out at a time
struct Leaks {
  size_t allocations, bytes, pinned, streams, events, graphs, pending;
};
Leaks leaks();        // printed at exit unless MINIGRAD_CUDASIM_LEAKS=0
size_t races();       // pairs of operations on two streams that share a pointer, one writing, and nothing orders them
const char* guard();  // how host code is kept out of device memory: "pkey", "mprotect" or "off"

struct Pointer {
  int argument;
  const void* address;
  bool writes;  // not a pointer to const
};
struct Launch {
  dim3 grid, block;
  size_t shared;
  cudaStream_t stream;
  const void* kernel;
  Where where;
  size_t shared_limit = 0;  // submit() fills it in
};
void submit(Launch launch, std::function<void()> thread, std::vector<Pointer> pointers);
cudaError_t set_shared_limit(const void* kernel, size_t nbytes);

// The grid argument brings the line of the launch along, for reports.
struct Grid : dim3 {
  Where where;
  template <class D>
    requires std::is_convertible_v<D, dim3>
  Grid(D size, CUDASIM_HERE) : dim3(size), where(where) {}
};

template <class... P, class... A>
void launch(void (*kernel)(P...), Grid grid, dim3 block, size_t shared, cudaStream_t stream, A&&... args) {
  static_assert((std::is_trivially_copyable_v<P> && ...), "kernel arguments are copied bit by bit");
  static_assert(sizeof...(P) == sizeof...(A), "wrong number of kernel arguments");
  std::vector<Pointer> pointers;
  int argument = 0;
  std::tuple<P...> values{static_cast<P>(std::forward<A>(args))...};
  const auto note = [&]<class T>(const T& v) {
    ++argument;
    if constexpr (std::is_pointer_v<T>)
      if (v != nullptr)
        pointers.push_back({argument, reinterpret_cast<const void*>(v), !std::is_const_v<std::remove_pointer_t<T>>});
  };
  std::apply([&](const auto&... v) { (note(v), ...); }, values);
  submit(
      {grid, block, shared, stream, reinterpret_cast<const void*>(kernel), grid.where},
      [kernel, values] { std::apply(kernel, values); }, std::move(pointers));
}
}  // namespace cudasim

template <class... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute, int value) {
  return cudasim::set_shared_limit(reinterpret_cast<const void*>(kernel), size_t(value));
}
