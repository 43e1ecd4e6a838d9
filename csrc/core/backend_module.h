// What a backend in an extension module of its own (`_cuda`) hands to the core when it is loaded, and the tag by which both know that they
// were compiled from the same headers. Kernels compiled into the core itself need nothing of this (kernel.h).
#pragma once
#include <initializer_list>

#include "op.h"

namespace mg {

// Kernels of a module loaded later join the table: for the ops that exist and for those registered from now on. The entries must live
// for ever.
void add_kernels(const KernelEntry* const* begin, const KernelEntry* const* end);
void bind_kernels(Op& op);  // fills op.kernels and op.complex_kernels from the table

// Asked when a device type without a backend is used: may load it (backend(type).alloc is then set).
extern void (*load_backend)(DeviceType type);
extern int (*current_cuda_device)();
// "cuda" is the current CUDA device; any other device is itself. After check_device().
inline Device settle_index(Device d) {
  if (d.type == DeviceType::CUDA && d.index < 0 && current_cuda_device != nullptr) d.index = int8_t(current_cuda_device());
  return d;
}

// True from the first CUDA tensor on: only then may the arguments of a call lie on different devices with memory.
extern std::atomic<bool> cuda_in_use;
// With a CUDA tensor among the arguments: its device is the results' device. Raises for mixtures but those that PyTorch allows: numbers (0-d
// tensors) on the CPU, index lists there, and ops that copy between devices.
void settle_devices(const Op& op, const Value* args, MetaResult& r);

// What the CUDA module does for the core's Python methods; null without it.
struct CudaHooks {
  Tensor (*pin)(const Tensor& t) = nullptr;            // a copy in pinned memory, itself if it is there
  bool (*is_pinned)(const Storage& s) = nullptr;
  void (*record_use)(const Tensor& t, intptr_t stream) = nullptr;  // Tensor.record_stream
  void (*note_use)(const TensorImpl& t) = nullptr;  // a kernel that is no op's is about to use it on the current stream (graph/plan.cpp)
};
extern CudaHooks cuda_hooks;

// The Tensor behind a Python object, null for any other object: set by csrc/python, for modules that take Python arguments of their own
// (the launcher of Triton kernels, csrc/cuda/python/bind_launch.cpp).
extern TensorImpl* (*tensor_of_object)(void* python_object);

// Copies between devices made meanwhile by this thread need not be done on return (copy_ and to with non_blocking=True).
struct NonBlocking {
  static bool wanted();
  explicit NonBlocking(bool on);
  ~NonBlocking();
  NonBlocking(const NonBlocking&) = delete;
  NonBlocking& operator=(const NonBlocking&) = delete;

 private:
  bool previous_;
};

constexpr uint64_t mix_sizes(std::initializer_list<uint64_t> sizes) {
  uint64_t tag = 0xcbf29ce484222325u;
  for (uint64_t s : sizes) tag = (tag ^ s) * 0x100000001b3u;
  return tag;
}
// Counted up by hand when meanings change while sizes stay.
constexpr uint64_t kAbiVersion = 1;
constexpr uint64_t kAbiTag =
    mix_sizes({kAbiVersion, sizeof(Op), sizeof(Value), sizeof(Invocation), sizeof(Storage), sizeof(TensorImpl), sizeof(Dims), sizeof(DeviceBackend),
               sizeof(ThreadState), sizeof(Hooks), sizeof(KernelEntry), uint64_t(kDTypes), uint64_t(kDeviceTypes), uint64_t(kMaxArgs)});
uint64_t core_abi_tag();  // kAbiTag as the core was compiled with

}  // namespace mg
