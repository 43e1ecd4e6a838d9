// The CUDA runtime API over the queue (queue.cpp) and device memory (memory.cpp), first half: launch(), errors, device,
// memory, copies. runtime.h lists the functions.
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "queue.h"

namespace cudasim {
namespace {
Allocation* owned(void* p) {
  Allocation* a = in_device_memory(p) ? find_allocation(p) : nullptr;
  return a != nullptr && a->start == p && !a->freed && !a->free_queued ? a : nullptr;
}

cudaError_t copy(void* to, const void* from, size_t n, cudaMemcpyKind kind, cudaStream_t stream) {
  const bool to_device = in_device_memory(to), from_device = in_device_memory(from);
  if (!known(stream)) return cudaErrorInvalidResourceHandle;
  if (kind != cudaMemcpyDefault && kind != (from_device ? 2 : 0) + (to_device ? 1 : 0)) {
    report(cudaSuccess,
           "cudaMemcpy: the kind does not fit the pointers: to " + describe(to) + ", from " + describe(from));
    return kind > cudaMemcpyDefault ? cudaErrorInvalidMemcpyDirection : cudaErrorInvalidValue;
  }
  if (n == 0) return cudaSuccess;
  CUgraph_st* capture = stream_of(stream)->capture;
  const bool waits = !to_device && !is_pinned(to);  // a pageable destination is complete on return
  if (capture != nullptr && waits) return invalidate(capture, cudaErrorStreamCaptureUnsupported);
  Operation op{"copy of " + std::to_string(n) + " bytes" + on_stream(stream), {}, {}};
  if (to_device || is_pinned(to)) op.pointers.push_back({1, to, true});
  if (from_device || is_pinned(from)) op.pointers.push_back({2, from, false});
  // Pageable host memory is read at once, as the driver stages it; pinned memory when the copy gets its turn.
  std::shared_ptr<std::string> staged;
  if (!from_device && !is_pinned(from) && capture == nullptr)
    staged = std::make_shared<std::string>(static_cast<const char*>(from), n);
  op.run = [to, from, n, staged, what = op.what] {
    if (check_range(what, to, n) && check_range(what, from, n)) std::memmove(to, staged ? staged->data() : from, n);
  };
  CUDASIM_TRY(enqueue(stream, std::move(op)));
  if (waits) settle(Op(stream_of(stream)->tail));
  return cudaSuccess;
}

cudaError_t set(void* p, int value, size_t n, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  if (!in_device_memory(p)) return cudaErrorInvalidValue;
  const std::string what = "memset of " + std::to_string(n) + " bytes" + on_stream(stream);
  const auto run = [=] {
    if (check_range(what, p, n)) std::memset(p, value, n);
  };
  return enqueue(stream, {what, run, {{1, p, true}}});
}

cudaError_t check_launch(const Launch& l) {
  const auto bad = [&](cudaError_t error, const std::string& text) {
    report(cudaSuccess, "launch at " + text_of(l.where) + ": " + text);
    return error;
  };
  const dim3 g = l.grid, b = l.block;
  const auto shape = [](dim3 d) { return std::to_string(d.x) + "x" + std::to_string(d.y) + "x" + std::to_string(d.z); };
  if (b.x == 0 || b.y == 0 || b.z == 0 || b.x > 1024 || b.y > 1024 || b.z > 64 || uint64_t(b.x) * b.y * b.z > 1024)
    return bad(cudaErrorInvalidConfiguration, "block " + shape(b) + ": needs 1 to 1024 threads, z at most 64");
  if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535)
    return bad(cudaErrorInvalidConfiguration, "grid " + shape(g) + ": needs 1 to 2147483647 x 65535 x 65535 blocks");
  if (l.shared > l.shared_limit)
    return bad(cudaErrorInvalidValue, std::to_string(l.shared) + " bytes of dynamic shared memory, limit " +
                                          std::to_string(l.shared_limit) + " (raise it with cudaFuncSetAttribute)");
  return cudaSuccess;
}
}  // namespace

cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}

// The launching function without its parameters: launch_rows<float>.
static std::string function_of(const Where& where) {
  const std::string text = where.function_name();
  const size_t end = text.find('('), start = text.find_last_of(" :", end);
  const size_t with = text.find(" [with");
  return text.substr(start + 1, end - start - 1) + (with == std::string::npos ? "" : text.substr(with));
}

void submit(Launch l, std::function<void()> thread, std::vector<Pointer> pointers) {
  api([&](Runtime& r) -> cudaError_t {
    const auto limit = r.shared_limits.find(l.kernel);
    l.shared_limit = limit == r.shared_limits.end() ? kMaxShared : std::max(kMaxShared, limit->second);
    CUDASIM_TRY(check_launch(l));
    if (!known(l.stream)) return cudaErrorInvalidResourceHandle;
    const std::string what =
        "kernel launched at " + text_of(l.where) + " in " + function_of(l.where) + on_stream(l.stream);
    return enqueue(l.stream, {what, [l, thread = std::move(thread)] { run_grid(l, thread); }, std::move(pointers)});
  });
}
cudaError_t set_shared_limit(const void* kernel, size_t nbytes) {
  return api([&](Runtime& r) {
    if (nbytes > kMaxSharedOptIn) return cudaErrorInvalidValue;
    r.shared_limits[kernel] = nbytes;
    return cudaSuccess;
  });
}
}  // namespace cudasim

using namespace cudasim;

cudaError_t cudaGetLastError() {
  const cudaError_t error = std::exchange(last_error(), cudaSuccess);
  return runtime().sticky != cudaSuccess ? runtime().sticky : error;
}
cudaError_t cudaPeekAtLastError() { return runtime().sticky != cudaSuccess ? runtime().sticky : last_error(); }
const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define CUDASIM_NAME(name) \
  case name:               \
    return #name;
    CUDASIM_NAME(cudaSuccess)
    CUDASIM_NAME(cudaErrorInvalidValue)
    CUDASIM_NAME(cudaErrorMemoryAllocation)
    CUDASIM_NAME(cudaErrorInvalidConfiguration)
    CUDASIM_NAME(cudaErrorInvalidMemcpyDirection) CUDASIM_NAME(cudaErrorInvalidDevice)
        CUDASIM_NAME(cudaErrorInvalidResourceHandle) CUDASIM_NAME(cudaErrorNotReady)
            CUDASIM_NAME(cudaErrorIllegalAddress) CUDASIM_NAME(cudaErrorLaunchFailure)
                CUDASIM_NAME(cudaErrorStreamCaptureUnsupported) CUDASIM_NAME(cudaErrorStreamCaptureInvalidated)
                    CUDASIM_NAME(cudaErrorStreamCaptureUnmatched) CUDASIM_NAME(cudaErrorStreamCaptureUnjoined)
                        CUDASIM_NAME(cudaErrorStreamCaptureIsolation) CUDASIM_NAME(cudaErrorStreamCaptureImplicit)
                            CUDASIM_NAME(cudaErrorCapturedEvent)
#undef CUDASIM_NAME
  }
  return "cudaErrorUnknown";
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }
cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return note(device == 0 ? cudaSuccess : cudaErrorInvalidDevice); }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return note(cudaErrorInvalidDevice);
  *properties = {"CUDA simulator",
                 usage().limit,
                 kMaxShared,
                 kMaxSharedOptIn,
                 65536,
                 32,
                 1024,
                 {1024, 1024, 64},
                 {0x7fffffff, 65535, 65535},
                 9,
                 0,
                 1,
                 2048,
                 32 << 20};
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  return api([](Runtime&) {
    CUDASIM_TRY(refuse_capture());
    return settle(nullptr), cudaSuccess;
  });
}
cudaError_t cudaDeviceReset() {
  std::lock_guard lock(runtime().mutex);
  Runtime& r = runtime();
  r.queue.clear();
  for (CUstream_st* s : r.streams) delete s;
  for (CUevent_st* e : r.events) delete e;
  for (CUgraph_st* g : r.graphs) delete g;
  for (CUgraph_st* g : r.captures) delete g;
  for (CUgraphExec_st* g : r.executables) delete g;
  for (auto& [p, n] : r.pinned) std::free(const_cast<char*>(p));
  r.streams = {}, r.events = {}, r.graphs = r.captures = {}, r.executables = {}, r.pinned = {};
  r.legacy.tail = nullptr;
  reset_memory();
  r.sticky = last_error() = cudaSuccess;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** p, size_t n) {
  return api([&](Runtime&) {
    *p = nullptr;
    if (thread_capture_mode() != cudaStreamCaptureModeRelaxed) CUDASIM_TRY(refuse_capture());
    return n == 0 || (*p = allocate(n)) != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
  });
}
cudaError_t cudaFree(void* p) {
  return api([&](Runtime&) -> cudaError_t {
    CUDASIM_TRY(refuse_capture());
    if (p == nullptr) return cudaSuccess;
    Allocation* a = owned(p);
    if (a == nullptr) {
      report(cudaSuccess, "cudaFree: not the start of a live allocation: " + describe(p));
      return cudaErrorInvalidValue;
    }
    settle(nullptr);  // cudaFree waits for the device
    release(*a);
    return cudaSuccess;
  });
}
cudaError_t cudaMallocAsync(void** p, size_t n, cudaStream_t stream) {
  if (!known(stream)) return note(cudaErrorInvalidResourceHandle);
  return cudaMalloc(p, n);
}
cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
  return api([&](Runtime&) -> cudaError_t {
    if (p == nullptr) return cudaSuccess;
    Allocation* a = owned(p);
    if (a == nullptr || !known(stream)) return cudaErrorInvalidValue;
    const std::string what = "cudaFreeAsync" + on_stream(stream);
    CUDASIM_TRY(enqueue(stream, {what, [a, what] { free_now(*a, what); }, {}}));
    a->free_queued = true;
    return cudaSuccess;
  });
}
cudaError_t cudaHostAlloc(void** p, size_t n, unsigned) {
  return api([&](Runtime& r) {
    *p = std::aligned_alloc(4096, (std::max<size_t>(n, 1) + 4095) / 4096 * 4096);
    if (*p == nullptr) return cudaErrorMemoryAllocation;
    std::memset(*p, kPoison, n);
    r.pinned[static_cast<char*>(*p)] = n;
    return cudaSuccess;
  });
}
cudaError_t cudaMallocHost(void** p, size_t n) { return cudaHostAlloc(p, n, cudaHostAllocDefault); }
cudaError_t cudaFreeHost(void* p) {
  return api([&](Runtime& r) -> cudaError_t {
    if (p == nullptr) return cudaSuccess;
    CUDASIM_TRY(refuse_capture());
    settle(nullptr);
    if (r.pinned.erase(static_cast<char*>(p)) == 0) return cudaErrorInvalidValue;
    return std::free(p), cudaSuccess;
  });
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return api([&](Runtime&) {
    const Usage u = usage();
    *total = u.limit;
    *free = u.limit - std::min(u.limit, u.bytes);
    return cudaSuccess;
  });
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* out, const void* p) {
  return api([&](Runtime&) {
    void* address = const_cast<void*>(p);
    *out = {cudaMemoryTypeUnregistered, -2, nullptr, address};
    if (in_device_memory(p))
      *out = {cudaMemoryTypeDevice, 0, address, nullptr};
    else if (is_pinned(p))
      *out = {cudaMemoryTypeHost, 0, address, address};
    return cudaSuccess;
  });
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t n, cudaMemcpyKind kind) {
  return api([&](Runtime& r) -> cudaError_t {
    CUDASIM_TRY(refuse_capture());
    CUDASIM_TRY(copy(to, from, n, kind, nullptr));
    if (r.legacy.tail) settle(Op(r.legacy.tail));
    return cudaSuccess;
  });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t n, cudaMemcpyKind kind, cudaStream_t stream) {
  return api([&](Runtime&) { return copy(to, from, n, kind, stream); });
}
cudaError_t cudaMemset(void* p, int value, size_t n) { return cudaMemsetAsync(p, value, n, nullptr); }
cudaError_t cudaMemsetAsync(void* p, int value, size_t n, cudaStream_t stream) {
  return api([&](Runtime&) { return set(p, value, n, stream); });
}
