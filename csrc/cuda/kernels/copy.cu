// strided_copy on one device (any two dtypes and layouts), fill, and the ops that are nothing else.
#include "copy.h"

#include <cstring>

#include "../../core/backend_module.h"
#include "../kernel.h"
#include "../runtime/graphs.h"

namespace mg::cuda {
namespace {

template <class D, class S>
__global__ void copy_kernel(D* dst, const S* src, Offsets<2> offsets) {
  MG_GRID_LOOP(i, offsets.count) {
    int64_t at[2];
    offsets.get(i, at);
    *byte_at(dst, at[0]) = convert<D>(*byte_at(src, at[1]));
  }
}

template <class D>
__global__ void fill_kernel(D* dst, D value, Offsets<1> offsets) {
  MG_GRID_LOOP(i, offsets.count) {
    int64_t at[1];
    offsets.get(i, at);
    *byte_at(dst, at[0]) = value;
  }
}

struct Parcel {  // as much as fits the arguments of a launch on all devices
  static constexpr int kWords = 960;
  uint32_t words[kWords];
};
__global__ void unpack_kernel(uint32_t* dst, Parcel parcel, int64_t words) {
  MG_GRID_LOOP(i, words) dst[i] = parcel.words[i];
}

template <class D, class S>
void launch_copy(const LoopPlan& plan) {
  with_offsets<2>(plan, [&](const Offsets<2>& offsets, char* const* base) {
    launch_items(copy_kernel<D, S>, offsets.count, reinterpret_cast<D*>(base[0]), reinterpret_cast<const S*>(base[1]), offsets);
  });
}

bool same_dense_order(const TensorImpl& a, const TensorImpl& b) { return a.contiguous && b.contiguous; }

void fill_with(const TensorImpl& out, const Value& v) {
  if (!v.is_tensor()) return fill(out, v);
  const Tensor value = v.t->device == out.device ? Tensor(v.t) : staged(*v.t, v.t->dtype, out.device);
  copy_on_device(out, *alias(*value, out.sizes, Dims(out.dim()), value->offset));
}

void copy_cuda(Invocation& inv) { copy_into(inv.outs[0], inv.tensor(0)); }
void move_cuda(Invocation& inv) {
  const NonBlocking mode(inv.b(2));
  copy_into(inv.outs[0], inv.tensor(0));
}
void fill_cuda(Invocation& inv) { fill_with(inv.out(), inv.args[1]); }
void zero_cuda(Invocation& inv) { fill(inv.out(), Value(0)); }
void empty_cuda(Invocation&) {}  // call() has allocated it

bool overlap(const TensorImpl& a, const TensorImpl& b) {
  if (a.storage != b.storage || a.numel == 0 || b.numel == 0) return false;
  return !(a.offset == b.offset && a.sizes == b.sizes && a.strides == b.strides && a.dtype == b.dtype);
}

// copy_(input!, src: operand, non_blocking)
void copy_into_cuda(Invocation& inv) {
  TensorImpl& out = inv.out();
  if (!inv.args[1].is_tensor()) return fill(out, inv.args[1]);
  Tensor src = inv.tensor(1);
  if (overlap(out, *src)) src = to_contiguous(*src, src->dtype);
  if (src->sizes != out.sizes) src = alias(*src, out.sizes, broadcast_strides(src->sizes, src->strides, out.sizes), src->offset);
  const NonBlocking mode(inv.b(2));
  copy_into(inv.outs[0], src);
}

}  // namespace

void copy_on_device(const TensorImpl& dst, const TensorImpl& src) {
  if (dst.numel == 0) return;
  if (dst.dtype == src.dtype && same_dense_order(dst, src)) {
    return MG_CUDA(cudaMemcpyAsync(dst.data(), src.data(), size_t(dst.nbytes()), cudaMemcpyDeviceToDevice, current_stream()));
  }
  LoopPlan plan(dst.sizes);
  plan.add(dst);
  plan.add(src);
  plan.finish();
  if (dst.dtype == src.dtype)
    return dispatch_bits(itemsize(dst.dtype), [&](auto bits) { launch_copy<decltype(bits), decltype(bits)>(plan); });
  dispatch_any(dst.dtype, [&](auto d) {
    dispatch_any(src.dtype, [&](auto s) { launch_copy<decltype(d), decltype(s)>(plan); });
  });
}

void fill(const TensorImpl& dst, const Value& number) {
  LoopPlan plan(dst.sizes);
  plan.add(dst);
  plan.finish();
  dispatch_any(dst.dtype, [&](auto d) {
    using D = decltype(d);
    const D value = number.kind == Kind::Complex ? convert<D>(number.as_complex())
                    : number.kind == Kind::Float ? convert<D>(number.f)
                                                 : convert<D>(number.as_int());
    with_offsets<1>(plan, [&](const Offsets<1>& offsets, char* const* base) {
      launch_items(fill_kernel<D>, offsets.count, reinterpret_cast<D*>(base[0]), value, offsets);
    });
  });
}

Tensor uploaded(const void* data, int64_t count, DType dtype, Device device) {
  const int64_t bytes = count * itemsize(dtype), words = (bytes + 3) / 4;
  if (bytes > 16 * int64_t(sizeof(Parcel)) && !capturing()) {  // more launches than the wait costs
    const Tensor here = workspace(count, dtype, Device{});
    std::memcpy(here->data(), data, size_t(bytes));
    return staged(*here, dtype, device);
  }
  const Tensor room = workspace(words * 4 / itemsize(dtype), dtype, device);
  for (int64_t at = 0; at < words; at += Parcel::kWords) {
    Parcel parcel;
    std::memcpy(parcel.words, static_cast<const char*>(data) + at * 4, size_t(std::min<int64_t>(bytes - at * 4, sizeof parcel)));
    const int64_t now = std::min<int64_t>(words - at, Parcel::kWords);
    launch_items(unpack_kernel, now, room.ptr<uint32_t>() + at, parcel, now);
  }
  return room;
}

MG_CUDA_KERNEL("clone", copy_cuda);
MG_CUDA_KERNEL("_to_dtype", copy_cuda);
MG_CUDA_KERNEL("_to_device", move_cuda);
MG_CUDA_KERNEL("_copy_contiguous", copy_cuda);
MG_CUDA_KERNEL("copy_", copy_into_cuda);
MG_CUDA_KERNEL("fill_", fill_cuda);
MG_CUDA_KERNEL("_full", fill_cuda);
MG_CUDA_KERNEL("zero_", zero_cuda);
MG_CUDA_KERNEL("_empty", empty_cuda);
MG_CUDA_KERNEL("_empty_strided", empty_cuda);
MG_CUDA_KERNEL_COMPLEX("clone", nullptr);
MG_CUDA_KERNEL_COMPLEX("_to_dtype", nullptr);
MG_CUDA_KERNEL_COMPLEX("_to_device", nullptr);
MG_CUDA_KERNEL_COMPLEX("_copy_contiguous", nullptr);
MG_CUDA_KERNEL_COMPLEX("copy_", nullptr);
MG_CUDA_KERNEL_COMPLEX("fill_", nullptr);
MG_CUDA_KERNEL_COMPLEX("_full", nullptr);
MG_CUDA_KERNEL_COMPLEX("zero_", nullptr);
MG_CUDA_KERNEL_COMPLEX("_empty", nullptr);
MG_CUDA_KERNEL_COMPLEX("_empty_strided", nullptr);

}  // namespace mg::cuda
