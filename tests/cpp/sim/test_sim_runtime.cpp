// The host side: deferred streams, events, copies, graphs, error rules, limits, memory accounting.
#include <cstring>
#include <thread>

#include "device_array.h"
#include "kernels.h"

static constexpr int kN = 64;

static void fill(int* p, int value, cudaStream_t stream) { launch(fill_kernel, 1, kN, 0, stream, p, kN, value); }
static void scale(int* p, int factor, cudaStream_t stream) { launch(scale_kernel, 1, kN, 0, stream, p, kN, factor); }
static int first(const DeviceArray<int>& a, cudaStream_t stream) {
  int value = 0;
  OK(cudaMemcpyAsync(&value, a.data, sizeof value, cudaMemcpyDeviceToHost, stream));
  return value;
}
struct Streams {
  cudaStream_t a, b;
  explicit Streams(unsigned flags = cudaStreamNonBlocking) {
    OK(cudaStreamCreateWithFlags(&a, flags));
    OK(cudaStreamCreateWithFlags(&b, flags));
  }
  ~Streams() {
    OK(cudaStreamDestroy(a));
    OK(cudaStreamDestroy(b));
  }
};

// Two streams without an event: the reader sees poison, always. With one, the writer's work is pulled in first.
static void test_pipeline() {
  Streams s;
  cudaEvent_t ready;
  OK(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming));
  DeviceArray<int> x(kN);
  fill(x.data, 7, s.a);
  CHECK(first(x, s.b) == -1);
  CHECK(cudasim::races() == 1);
  OK(cudaEventRecord(ready, s.a));
  CHECK(cudaEventQuery(ready) == cudaErrorNotReady || cudaEventQuery(ready) == cudaSuccess);
  OK(cudaStreamWaitEvent(s.b, ready));
  scale(x.data, 3, s.b);
  CHECK(first(x, s.b) == 21);
  OK(cudaEventDestroy(ready));
  // A three-stage pipeline over two streams and pinned buffers: copy in, compute, copy out.
  const int chunks = 6;
  int* host;
  OK(cudaMallocHost(&host, chunks * kN * sizeof(int)));
  for (int i = 0; i < chunks * kN; ++i) host[i] = i;
  DeviceArray<int> buffers[2] = {DeviceArray<int>(kN), DeviceArray<int>(kN)};
  for (int c = 0; c < chunks; ++c) {
    const cudaStream_t stream = c % 2 ? s.b : s.a;
    int *chunk = host + c * kN, *device = buffers[c % 2].data;
    OK(cudaMemcpyAsync(device, chunk, kN * sizeof(int), cudaMemcpyHostToDevice, stream));
    scale(device, 2, stream);
    OK(cudaMemcpyAsync(chunk, device, kN * sizeof(int), cudaMemcpyDefault, stream));
  }
  CHECK(host[5] == 5);  // nothing has run: pinned copies are deferred too
  OK(cudaStreamSynchronize(s.a));
  CHECK(host[5] == 10 && host[kN] == kN);
  OK(cudaDeviceSynchronize());
  for (int i = 0; i < chunks * kN; ++i) CHECK(host[i] == 2 * i);
  OK(cudaFreeHost(host));
}

// The default stream waits for blocking streams and they for it; non-blocking ones stand apart.
static void test_default_stream() {
  Streams s(cudaStreamDefault);
  DeviceArray<int> x(kN);
  fill(x.data, 2, s.a);
  scale(x.data, 5, nullptr);
  scale(x.data, 3, s.b);
  CHECK(first(x, s.b) == 30);
  fill(x.data, 4, s.a);
  int value = 0;
  OK(cudaMemcpy(&value, x.data, sizeof value, cudaMemcpyDeviceToHost));
  CHECK(value == 4);
  fill(x.data, 6, s.b);
  OK(cudaStreamSynchronize(nullptr));
  OK(cudaStreamQuery(s.b));
}

static void test_events_and_queries() {
  Streams s;
  cudaEvent_t begin, end;
  OK(cudaEventCreate(&begin));
  OK(cudaEventCreate(&end));
  DeviceArray<int> x(kN);
  OK(cudaEventQuery(begin));  // never recorded: complete
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaErrorInvalidResourceHandle);
  OK(cudaEventRecord(begin, s.a));
  for (int i = 0; i < 5; ++i) fill(x.data, i, s.a);
  OK(cudaEventRecord(end, s.a));
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaErrorNotReady);
  int polls = 1;
  while (cudaEventQuery(end) == cudaErrorNotReady) ++polls;
  CHECK(polls == 7);  // one operation a poll
  OK(cudaEventElapsedTime(&milliseconds, begin, end));
  CHECK(milliseconds >= 0);
  CHECK(cudaGetLastError() == cudaErrorNotReady);
  int calls = 0;
  OK(cudaLaunchHostFunc(s.a, [](void* p) { ++*static_cast<int*>(p); }, &calls));
  CHECK(calls == 0);
  OK(cudaEventRecord(end, s.a));
  OK(cudaEventSynchronize(end));
  CHECK(calls == 1);
  OK(cudaEventDestroy(begin));
  OK(cudaEventDestroy(end));
  for (int i = 0; i < 3000; ++i) fill(x.data, i, s.a);  // beyond the queue's length
  CHECK(first(x, s.a) == 2999);
}

static void test_graphs() {
  Streams s;
  cudaEvent_t forked, joined;
  OK(cudaEventCreate(&forked));
  OK(cudaEventCreate(&joined));
  DeviceArray<int> x(kN), y(kN);
  fill(x.data, 1, s.a);
  fill(y.data, 1, s.a);
  OK(cudaStreamSynchronize(s.a));
  OK(cudaStreamBeginCapture(s.a, cudaStreamCaptureModeGlobal));
  scale(x.data, 2, s.a);
  OK(cudaEventRecord(forked, s.a));
  OK(cudaStreamWaitEvent(s.b, forked));
  cudaStreamCaptureStatus status;
  OK(cudaStreamIsCapturing(s.b, &status));
  CHECK(status == cudaStreamCaptureStatusActive);
  OK(cudaMemcpyAsync(y.data, x.data, kN * sizeof(int), cudaMemcpyDeviceToDevice, s.b));
  OK(cudaEventRecord(joined, s.b));
  OK(cudaStreamWaitEvent(s.a, joined));
  scale(y.data, 10, s.a);
  cudaGraph_t graph;
  OK(cudaStreamEndCapture(s.a, &graph));
  cudaGraphExec_t executable;
  OK(cudaGraphInstantiate(&executable, graph));
  OK(cudaGraphDestroy(graph));
  CHECK(first(x, s.a) == 1);  // capturing runs nothing
  for (int i = 1; i <= 4; ++i) {
    OK(cudaGraphLaunch(executable, s.b));
    CHECK(first(y, s.b) == 10 << i);
  }
  OK(cudaGraphExecDestroy(executable));

  // What may not be captured, and says so.
  const auto refused = [&](auto body, cudaError_t error, cudaError_t at_end) {
    OK(cudaStreamBeginCapture(s.a, cudaStreamCaptureModeGlobal));
    CHECK(body() == error);
    CHECK(cudaStreamEndCapture(s.a, &graph) == at_end && graph == nullptr);
    (void)cudaGetLastError();
  };
  void* p = nullptr;
  refused([&] { return cudaStreamSynchronize(s.a); }, cudaErrorStreamCaptureUnsupported,
          cudaErrorStreamCaptureInvalidated);
  refused([&] { return cudaMalloc(&p, 4); }, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated);
  int value;
  refused([&] { return cudaMemcpyAsync(&value, x.data, 4, cudaMemcpyDeviceToHost, s.a); },
          cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated);
  OK(cudaEventRecord(forked, s.b));
  refused([&] { return cudaStreamWaitEvent(s.a, forked); }, cudaErrorStreamCaptureIsolation,
          cudaErrorStreamCaptureInvalidated);
  refused(
      [&] {
        OK(cudaEventRecord(forked, s.a));
        OK(cudaStreamWaitEvent(s.b, forked));
        fill(y.data, 0, s.b);
        return cudaSuccess;
      },
      cudaSuccess, cudaErrorStreamCaptureUnjoined);
  OK(cudaEventDestroy(forked));
  OK(cudaEventDestroy(joined));
}

static void test_errors_and_limits() {
  DeviceArray<int> x(kN);
  const auto configuration = [&](dim3 grid, dim3 block, size_t shared) {
    launch(fill_kernel, grid, block, shared, nullptr, x.data, 0, 0);
    const cudaError_t error = cudaPeekAtLastError();
    CHECK(cudaGetLastError() == error && cudaGetLastError() == cudaSuccess);
    return error;
  };
  CHECK(configuration(1, 1025, 0) == cudaErrorInvalidConfiguration);
  CHECK(configuration(1, dim3(1, 1, 65), 0) == cudaErrorInvalidConfiguration);
  CHECK(configuration(dim3(1, 65536), 1, 0) == cudaErrorInvalidConfiguration);
  CHECK(configuration(0, 32, 0) == cudaErrorInvalidConfiguration);
  CHECK(configuration(1, 32, 48 * 1024 + 1) == cudaErrorInvalidValue);
  OK(cudaGetLastError());
  OK(cudaFuncSetAttribute(fill_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10));
  CHECK(configuration(1, 32, 100 << 10) == cudaSuccess);
  CHECK(cudaFuncSetAttribute(fill_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10) ==
        cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess);
  CHECK(cudaFree(x.data + 1) == cudaErrorInvalidValue);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  int host = 0;
  CHECK(cudaMemcpy(x.data, &host, 4, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaStreamSynchronize(reinterpret_cast<cudaStream_t>(&host)) == cudaErrorInvalidResourceHandle);
  CHECK(std::strcmp(cudaGetErrorName(cudaGetLastError()), "cudaErrorInvalidResourceHandle") == 0);
  cudaDeviceProp properties;
  OK(cudaGetDeviceProperties(&properties, 0));
  CHECK(std::strcmp(properties.name, "CUDA simulator") == 0 && properties.warpSize == 32);
  cudaPointerAttributes attributes;
  OK(cudaPointerGetAttributes(&attributes, x.data + 3));
  CHECK(attributes.type == cudaMemoryTypeDevice);
  OK(cudaPointerGetAttributes(&attributes, &host));
  CHECK(attributes.type == cudaMemoryTypeUnregistered);
}

static void test_memory() {
  size_t before, after, total;
  OK(cudaMemGetInfo(&before, &total));
  {
    DeviceArray<char> odd(1001);
    CHECK(reinterpret_cast<uintptr_t>(odd.data) % 256 == 0);
    OK(cudaMemGetInfo(&after, &total));
    CHECK(before - after == 1001 && cudasim::leaks().allocations == 1);
    for (const char c : odd.host()) CHECK(c == char(0xff));
  }
  void* p = nullptr;
  OK(cudaMalloc(&p, 0));
  CHECK(p == nullptr);
  cudasim::set_memory_limit(64 << 10);
  DeviceArray<char> half(40 << 10);
  CHECK(cudaMalloc(&p, 30 << 10) == cudaErrorMemoryAllocation && p == nullptr &&
        cudaGetLastError() == cudaErrorMemoryAllocation);
  OK(cudaMalloc(&p, 24 << 10));
  OK(cudaFree(p));
  cudasim::set_memory_limit(total);
  cudaStream_t stream;
  OK(cudaStreamCreate(&stream));
  OK(cudaMallocAsync(&p, kN * sizeof(int), stream));
  fill(static_cast<int*>(p), 1, stream);
  OK(cudaFreeAsync(p, stream));
  CHECK(cudasim::leaks().allocations == 2 && cudasim::leaks().pending == 2);
  OK(cudaStreamSynchronize(stream));
  CHECK(cudasim::leaks().allocations == 1);
  OK(cudaStreamDestroy(stream));
}

// Host threads may drive the device at the same time; each waits for its own stream.
static void test_host_threads() {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([t] {
      cudaStream_t stream;
      OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
      DeviceArray<float> in(std::vector<float>(64, float(t))), out(64);
      for (int i = 0; i < 50; ++i) {
        launch(reverse_kernel, 1, 64, 0, stream, in.data, out.data, true);
        OK(cudaStreamSynchronize(stream));
      }
      CHECK(out.host()[7] == float(t));
      OK(cudaStreamDestroy(stream));
    });
  for (std::thread& thread : threads) thread.join();
}

int main() {
  test_pipeline();
  test_default_stream();
  test_events_and_queries();
  test_graphs();
  test_errors_and_limits();
  test_memory();
  test_host_threads();
  const cudasim::Leaks l = cudasim::leaks();
  CHECK(l.allocations + l.pinned + l.streams + l.events + l.graphs + l.pending == 0);
  return mg_test::report("test_sim_runtime");
}
