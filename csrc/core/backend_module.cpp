// See backend_module.h.
#include "backend_module.h"

namespace mg {

void (*load_backend)(DeviceType type) = nullptr;
int (*current_cuda_device)() = nullptr;
CudaHooks cuda_hooks;
TensorImpl* (*tensor_of_object)(void* python_object) = nullptr;
std::atomic<bool> cuda_in_use{false};
uint64_t core_abi_tag() { return kAbiTag; }

static thread_local bool non_blocking = false;
bool NonBlocking::wanted() { return non_blocking; }
NonBlocking::NonBlocking(bool on) : previous_(non_blocking) { non_blocking = on; }
NonBlocking::~NonBlocking() { non_blocking = previous_; }

template <class F>
static void for_each_tensor(const Op& op, const Value* args, F&& f) {
  for (int k = 0; k < op.n_args; ++k) {
    if (args[k].is_tensor()) f(args[k].t, k, false);
    if (args[k].kind == Kind::Tensors)
      for (int j = 0; j < args[k].len; ++j)
        if (args[k].tensors[j] != nullptr) f(args[k].tensors[j], k, true);
  }
}

void settle_devices(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl* first = nullptr;
  for_each_tensor(op, args, [&](const TensorImpl* t, int, bool) {
    if (first == nullptr && t->device.type == DeviceType::CUDA) first = t;
  });
  if (first == nullptr || op.family == "copy_into" || op.family == "to_device") return;
  for_each_tensor(op, args, [&](const TensorImpl* t, int k, bool in_list) {
    if (t->device == first->device) return;
    // Numbers, indices, and the sizes of packed sequences, which steer the host, may lie on the CPU.
    const bool host = t->device.type == DeviceType::CPU, index = in_list && op.family.starts_with("index");
    MG_CHECK(host && (t->dim() == 0 || index || op.args[size_t(k)].name == "batch_sizes"), Runtime, op.name,
             ": Expected all tensors to be on the same device, but found at least two devices, ", first->device, " and ", t->device,
             "! Try .to(device).");
  });
  for (int k = 0; k < op.n_out; ++k) r.out[k].device = first->device;
}

}  // namespace mg
