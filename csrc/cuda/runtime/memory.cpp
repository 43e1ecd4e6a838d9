// The CUDA row of the device table: memory and copies between devices.
#include <cstring>

#include "../../core/backend_module.h"
#include "../../core/layout.h"
#include "../kernels/copy.h"
#include "runtime.h"

namespace mg::cuda {
namespace {

void* cuda_alloc(size_t nbytes, int index) {
  const DeviceGuard guard(index);
  if (!cuda_in_use.load(std::memory_order_relaxed)) cuda_in_use = true;
  void* data = nullptr;
  MG_CUDA(cudaMallocAsync(&data, std::max<size_t>(nbytes, 1), current_stream()));
  return data;
}

void cuda_free(void* data, size_t, int index) {
  const DeviceGuard guard(index);
  cudaFreeAsync(data, current_stream());  // fails after the end of the driver, at exit: nothing is left to do then
}

void cuda_copy(void* dst, Device to, const void* src, Device from, size_t nbytes) {
  const DeviceGuard guard(to.type == DeviceType::CUDA ? to.index : from.index);
  const cudaMemcpyKind kind = to.type != DeviceType::CUDA     ? cudaMemcpyDeviceToHost
                              : from.type == DeviceType::CUDA ? cudaMemcpyDeviceToDevice
                                                              : cudaMemcpyHostToDevice;
  check(cudaMemcpyAsync(dst, src, nbytes, kind, current_stream()), "copy between devices");
  if (kind != cudaMemcpyDeviceToDevice) check(cudaStreamSynchronize(current_stream()), "copy between devices");
}

void move_bytes(const TensorImpl& dst, const TensorImpl& src) {
  cuda_copy(dst.data(), dst.device, src.data(), src.device, size_t(src.nbytes()));
}

// Any devices, dtypes and layouts. Between devices travel contiguous bytes of the destination's dtype; what is left to do is done on either side.
void strided_copy(const TensorImpl& dst, const TensorImpl& src) {
  if (dst.numel == 0) return;
  if (dst.device == src.device) {
    const DeviceGuard guard(dst.device.index);
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

void install_backend() {
  DeviceBackend& row = backend(DeviceType::CUDA);
  row.alloc = cuda_alloc;
  row.free = cuda_free;
  row.copy = cuda_copy;
  row.device_count = device_count;
  row.strided_copy = strided_copy;
  current_cuda_device = current_device;
}

}  // namespace mg::cuda
