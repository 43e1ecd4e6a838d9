// See device_memory.h.
#include "device_memory.h"

#include <cstdlib>
#include <cstring>
#include <set>

#include "../../core/allocator.h"
#include "graphs.h"

namespace mg::cuda {
namespace {

const StreamHandle* handle_of(StreamUpstream::Stream s) { return static_cast<const StreamHandle*>(s); }
void* key_of(const StreamHandle* s) { return const_cast<StreamHandle*>(s); }

// Null when there is no memory; anything else that goes wrong is raised.
void* memory_or_null(cudaError_t error, void* data, const char* what) {
  if (error == cudaSuccess) return data;
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(error, what);
  return nullptr;
}

bool caching() {
  const char* wanted = std::getenv("MINIGRAD_CUDA_CACHE");
  return wanted != nullptr ? std::strcmp(wanted, "0") != 0 : !simulated;
}

constexpr BlockCache::Policy kDevicePolicy{.granule = 512, .large = 1 << 20, .small_segment = 2 << 20, .medium_segment = 32 << 20};
constexpr BlockCache::Policy kPinnedPolicy{.granule = 512, .large = 1 << 20, .small_segment = 1 << 20, .medium_segment = 8 << 20};

}  // namespace

// Tensors are freed in destructors, also after a device fault, when every call fails: nothing here may raise. A null mark has passed.
StreamUpstream::Mark RuntimeUpstream::record(Stream stream) {
  const StreamHandle& s = *handle_of(stream);
  const DeviceGuard guard(s.device);
  cudaEvent_t event = nullptr;
  if (cudaEventCreateWithFlags(&event, cudaEventDisableTiming) != cudaSuccess) return nullptr;
  cudaEventRecord(event, s.stream);
  return event;
}
bool RuntimeUpstream::passed(Mark mark) {
  if (mark == nullptr || cudaEventQuery(static_cast<cudaEvent_t>(mark)) != cudaErrorNotReady) return true;
  cudaGetLastError();
  return false;
}
void RuntimeUpstream::wait(Mark mark) {
  if (mark != nullptr) cudaEventSynchronize(static_cast<cudaEvent_t>(mark));
}
void RuntimeUpstream::drop(Mark mark) {
  if (mark != nullptr) cudaEventDestroy(static_cast<cudaEvent_t>(mark));
}

void* DeviceUpstream::allocate(size_t nbytes) {
  const DeviceGuard guard(device);
  const RelaxedCapture relaxed;
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, nbytes);
  return memory_or_null(error, data, "cudaMalloc");
}
void DeviceUpstream::release(void* data, size_t) {
  const DeviceGuard guard(device);
  cudaFree(data);
}
void* DeviceUpstream::allocate_on(size_t nbytes, Stream stream) {
  const DeviceGuard guard(device);
  void* data = nullptr;
  const cudaError_t error = cudaMallocAsync(&data, nbytes, handle_of(stream)->stream);
  return memory_or_null(error, data, "cudaMallocAsync");
}
void DeviceUpstream::release_on(void* data, size_t, Stream stream, const std::vector<Stream>& after) {
  const DeviceGuard guard(device);
  for (Stream other : after) {
    const Mark mark = record(other);
    if (mark != nullptr) cudaStreamWaitEvent(handle_of(stream)->stream, static_cast<cudaEvent_t>(mark), 0);
    drop(mark);
  }
  cudaFreeAsync(data, handle_of(stream)->stream);  // no check: at exit the driver may be gone
}

void* HostUpstream::allocate(size_t nbytes) {
  const RelaxedCapture relaxed;
  void* data = nullptr;
  const cudaError_t error = cudaHostAlloc(&data, nbytes, cudaHostAllocDefault);
  return memory_or_null(error, data, "cudaHostAlloc");
}
void HostUpstream::release(void* data, size_t) { cudaFreeHost(data); }
void* HostUpstream::allocate_on(size_t nbytes, Stream) { return allocate(nbytes); }
void HostUpstream::release_on(void* data, size_t nbytes, Stream, const std::vector<Stream>&) { release(data, nbytes); }

static thread_local const std::string* memory_owner = nullptr;

// Names live for ever: blocks and snapshots point to them. There are as many as modules, and modules times their ops.
static const std::string* kept(std::string name) {
  static std::mutex mutex;
  static auto* names = new std::set<std::string>;
  std::lock_guard lock(mutex);
  return &*names->insert(std::move(name)).first;
}
void set_memory_owner(const std::string& owner) { memory_owner = owner.empty() ? nullptr : kept(owner); }
static const char* tag_of_allocation() {
  if (memory_owner == nullptr) [[likely]]
    return detail::tl_tag;
  return kept(*memory_owner + ": " + (detail::tl_tag == nullptr ? "untagged" : detail::tl_tag))->c_str();
}

DeviceMemory::DeviceMemory(int device) : upstream_(device), cache_(upstream_, kDevicePolicy, caching()) {}

void* DeviceMemory::allocate(size_t nbytes) {
  std::lock_guard lock(mutex_);
  void* data = cache_.allocate(nbytes, key_of(current_handle(upstream_.device)), tag_of_allocation(), capture_pool());
  if (data == nullptr) fail_out_of_memory(nbytes);
  return data;
}

void DeviceMemory::fail_out_of_memory(size_t nbytes) {
  const StreamCacheStats s = cache_.stats();
  const DeviceGuard guard(upstream_.device);
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  const bool limited = cache_.limit() != SIZE_MAX;
  fail(ErrorKind::Memory, "CUDA out of memory. Tried to allocate ", human_size(nbytes), " on cuda:", upstream_.device, ", which has ",
       human_size(total), " of which ", human_size(free), " are free", limited ? " (this process may use " + human_size(cache_.limit()) + ")" : "",
       ". minigrad holds ", human_size(s.reserved), ": ", human_size(s.allocated), " in ", s.live_blocks, " tensors, ", human_size(s.pending),
       " waiting for other streams, ", human_size(s.free), " cached (largest block ", human_size(s.largest_free), ").", held_by(cache_.usage()),
       " Try a smaller batch, no_grad() where no gradient is needed, or deleting tensors that are done with.");
}

void DeviceMemory::free(void* data) {
  std::lock_guard lock(mutex_);
  cache_.free(data);
}
void DeviceMemory::record_use(void* data, const StreamHandle* stream) {
  std::lock_guard lock(mutex_);
  cache_.record_use(data, key_of(stream));
}
void DeviceMemory::set_capturing(bool on) {
  std::lock_guard lock(mutex_);
  cache_.set_capturing(on);
}
void DeviceMemory::drop_pool(StreamCache::Pool pool) {
  std::lock_guard lock(mutex_);
  cache_.drop_pool(pool);
}
size_t DeviceMemory::empty() {
  refuse_in_capture("empty_cache");
  std::lock_guard lock(mutex_);
  return cache_.empty();
}
void DeviceMemory::set_limit(size_t nbytes) {
  std::lock_guard lock(mutex_);
  cache_.set_limit(nbytes);
}
size_t DeviceMemory::limit() {
  std::lock_guard lock(mutex_);
  return cache_.limit();
}
void DeviceMemory::reset_peak() {
  std::lock_guard lock(mutex_);
  cache_.reset_peak();
}
StreamCacheStats DeviceMemory::stats() {
  std::lock_guard lock(mutex_);
  return cache_.stats();
}
std::vector<StreamCache::StreamBlock> DeviceMemory::blocks() {
  std::lock_guard lock(mutex_);
  return cache_.blocks();
}
std::vector<TagUsage> DeviceMemory::usage() {
  std::lock_guard lock(mutex_);
  return cache_.usage();
}

DeviceMemory& device_memory(int index) {
  static std::mutex mutex;
  static DeviceMemory* devices[128] = {};
  DeviceMemory* found = __atomic_load_n(&devices[index], __ATOMIC_ACQUIRE);
  if (found != nullptr) [[likely]]
    return *found;
  std::lock_guard lock(mutex);
  if (devices[index] == nullptr) __atomic_store_n(&devices[index], new DeviceMemory(index), __ATOMIC_RELEASE);
  return *devices[index];
}

// --- pinned memory: the host's own work needs no order, so its "stream" is one that no device has

namespace {
struct Pinned {
  std::recursive_mutex mutex;
  HostUpstream upstream;
  StreamCache cache{upstream, kPinnedPolicy};
  StreamHandle host{-1, nullptr};
};
Pinned& pinned() {
  static auto* p = new Pinned;
  return *p;
}
}  // namespace

void* pinned_alloc(size_t nbytes) {
  Pinned& p = pinned();
  std::lock_guard lock(p.mutex);
  void* data = p.cache.allocate(nbytes, key_of(&p.host), detail::tl_tag);
  MG_CHECK(data != nullptr, Memory, "pin_memory: out of pinned memory: got a request for ", human_size(nbytes), ".", held_by(p.cache.usage()));
  return data;
}
void pinned_free(void* data) {
  Pinned& p = pinned();
  std::lock_guard lock(p.mutex);
  p.cache.free(data);
}
void record_pinned_use(const Storage& storage, const StreamHandle* stream) {
  Pinned& p = pinned();
  std::lock_guard lock(p.mutex);
  p.cache.record_use(storage.data, key_of(stream));
}
bool is_pinned(const Storage& storage) { return storage.release == &pinned_free; }

Tensor pinned_copy(const Tensor& t) {
  MG_CHECK(t.device().type == DeviceType::CPU, Runtime, "cannot pin '", t.device(), "' tensors: only dense CPU tensors can be pinned");
  if (is_pinned(*t->storage)) return t;
  // Made by the core: make_ref here would give this module thread-local freelists of its own, in the static TLS block, of which a module
  // loaded late may find none left.
  Tensor copy = empty(Dims{0}, t.dtype());
  void* data = pinned_alloc(size_t(t->nbytes()));
  copy->storage = Storage::foreign(data, size_t(t->nbytes()), Device{}, pinned_free, data);
  copy->set_contiguous(t.sizes());
  copy_into(copy, t);
  return copy;
}

}  // namespace mg::cuda
