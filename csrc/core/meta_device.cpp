// See meta_device.h.
#include "meta_device.h"

namespace mg {

void* meta_alloc(size_t, int) {
  handlers_alive.fetch_add(1, std::memory_order_relaxed);
  return nullptr;
}

void meta_free(void*, size_t, int) { handlers_alive.fetch_sub(1, std::memory_order_relaxed); }

static void check_written(Device to) {
  MG_CHECK(to.type == DeviceType::Meta, NotImplemented, "Cannot copy out of meta tensor; no data!");
}

void meta_copy(void*, Device to, const void*, Device, size_t) { check_written(to); }

void meta_strided_copy(const TensorImpl& dst, const TensorImpl&) { check_written(dst.device); }

namespace {

bool on_meta(const TensorImpl* t) { return t != nullptr && t->device.type == DeviceType::Meta; }

template <class F>
void for_each_tensor(const Op& op, const Value* args, F&& f) {
  for (int k = 0; k < op.n_args; ++k) {
    if (args[k].is_tensor()) f(args[k].t, false);
    if (args[k].kind == Kind::Tensors)
      for (int j = 0; j < args[k].len; ++j)
        if (args[k].tensors[j] != nullptr) f(args[k].tensors[j], true);
  }
}

}  // namespace

void settle_meta_device(const Op& op, const Value* args, MetaResult& r) {
  bool any = false;
  for_each_tensor(op, args, [&](const TensorImpl* t, bool) { any |= on_meta(t); });
  if (!any) return;
  if (op.family == "to_device") return check_written(r.out[0].device);
  if (op.family == "copy_into") check_written(args[0].t->device);
  const bool copies = op.family == "copy_into", indexes = op.family.starts_with("index");
  for_each_tensor(op, args, [&](const TensorImpl* t, bool in_list) {
    const bool may_mix = t->dim() == 0 || copies || (indexes && in_list);
    MG_CHECK(on_meta(t) || may_mix, Runtime, op.name, ": Tensor on device ", t->device, " is not on the expected device meta!");
  });
  for (int k = 0; k < op.n_out; ++k) r.out[k].device = Device{DeviceType::Meta, 0};
}

}  // namespace mg
