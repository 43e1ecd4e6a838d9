// The CUDA row of the device table: memory and copies between devices.
#include "../../core/backend_module.h"
#include "../../core/layout.h"
#include "../../core/profile.h"
#include "../kernels/copy.h"
#include "../kernels/faults.h"
#include "device_memory.h"
#include "graphs.h"

namespace mg::cuda {
namespace {

void* cuda_alloc(size_t nbytes, int index) {
  if (!cuda_in_use.load(std::memory_order_relaxed)) cuda_in_use = true;
  return device_memory(index).allocate(nbytes);
}
void cuda_free(void* data, size_t, int index) { device_memory(index).free(data); }

// Returns when the bytes are there, for the host's side of it; copies between devices end before other work of either device begins.
void cuda_copy(void* dst, Device to, const void* src, Device from, size_t nbytes) {
  if (nbytes == 0) return;
  const bool within = to.type == from.type;
  const char* const what = to.type != DeviceType::CUDA ? "copy to the CPU" : "copy between devices";
  if (!within || to.index != from.index) refuse_in_capture(what);
  if (within && to.index != from.index) {
    const DeviceGuard other(from.index);
    check(cudaStreamSynchronize(current_stream()), what);
  }
  const DeviceGuard guard(to.type == DeviceType::CUDA ? to.index : from.index);
  check(cudaMemcpyAsync(dst, src, nbytes, cudaMemcpyDefault, current_stream()), what);
  if (!within || to.index != from.index) check(cudaStreamSynchronize(current_stream()), what);
  if (to.type == DeviceType::CPU) raise_fault();
}

// The same for tensors of one dtype and contiguous layout; in the order of the stream only, where that was asked for and the host's memory
// is pinned.
void move_bytes(const TensorImpl& dst, const TensorImpl& src) {
  const TensorImpl& host = dst.device.type == DeviceType::CPU ? dst : src;
  const Device device = dst.device.type == DeviceType::CUDA ? dst.device : src.device;
  const DeviceGuard guard(device.index);
  if (several_streams()) note_use(dst), note_use(src);
  if (host.device.type != DeviceType::CPU || !NonBlocking::wanted() || !is_pinned(*host.storage))
    return cuda_copy(dst.data(), dst.device, src.data(), src.device, size_t(src.nbytes()));
  record_pinned_use(*host.storage, current_handle(device.index));
  check(cudaMemcpyAsync(dst.data(), src.data(), size_t(src.nbytes()), cudaMemcpyDefault, current_stream()), "copy from pinned memory");
}

// Any devices, dtypes and layouts. Between devices travel contiguous bytes of the destination's dtype; what is left to do is done on either
// side. The host never reads what is still on its way.
void strided_copy(const TensorImpl& dst, const TensorImpl& src) {
  if (dst.numel == 0) return;
  if (dst.device == src.device) {
    const DeviceGuard guard(dst.device.index);
    if (several_streams()) note_use(dst), note_use(src);
    copy_on_device(dst, src);
    return check(cudaGetLastError(), "copy");
  }
  Tensor from(const_cast<TensorImpl*>(&src));
  if (!src.contiguous || src.dtype != dst.dtype) from = to_contiguous(src, dst.dtype);
  if (dst.contiguous) return move_bytes(dst, *from);
  const Tensor landed = empty(dst.sizes, dst.dtype, dst.device);
  move_bytes(*landed, *from);
  backend(dst.device.type).strided_copy(dst, *landed);
}

}  // namespace

static int64_t allocated_everywhere() {
  int64_t bytes = 0;
  for (int index = 0; index < device_count(); ++index) bytes += int64_t(device_memory(index).stats().allocated);
  return bytes;
}

void install_backend() {
  DeviceBackend& row = backend(DeviceType::CUDA);
  row.alloc = cuda_alloc;
  row.free = cuda_free;
  row.copy = cuda_copy;
  row.device_count = device_count;
  row.strided_copy = strided_copy;
  current_cuda_device = current_device;
  profile_hooks.device_allocated = allocated_everywhere;
  cuda_hooks.pin = pinned_copy;
  cuda_hooks.is_pinned = is_pinned;
  cuda_hooks.note_use = [](const TensorImpl& t) {
    if (several_streams()) [[unlikely]] note_use(t);
  };
  cuda_hooks.record_use = [](const Tensor& t, intptr_t stream) {
    MG_CHECK(t.device().type == DeviceType::CUDA, Runtime, "record_stream: expected a CUDA tensor, got one on ", t.device());
    device_memory(t.device().index).record_use(t->storage->data, stream_handle(t.device().index, reinterpret_cast<cudaStream_t>(stream)));
  };
}

}  // namespace mg::cuda
