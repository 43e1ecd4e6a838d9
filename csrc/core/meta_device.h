// The meta device: tensors with shape, strides, dtype, storage size and history, but without memory. It is a device like the others: a row
// in the backend table whose allocations are empty, and no kernels, which call() takes to mean that there is nothing to compute.
//
// No kernel of another device may see a meta tensor: it would read a null pointer. Each meta storage counts as a handler (op.h), so call()
// asks settle_meta_device() while one lives and at no other time.
#pragma once
#include "op.h"

namespace mg {

// With a meta tensor among the arguments: the results go to meta, whatever the family's meta function says. Raises for a mix of devices
// (a number on the CPU, or indices there, may be mixed in) and for a copy out of meta.
void settle_meta_device(const Op& op, const Value* args, MetaResult& r);

// For ops whose result has a size that depends on values.
inline void require_values(const Op& op, const TensorImpl& t) {
  MG_CHECK(t.device.type != DeviceType::Meta, NotImplemented, op.name,
           ": attempted to run this operator with Meta tensors: the size of its result depends on their values");
}

void* meta_alloc(size_t nbytes, int index);
void meta_free(void* data, size_t nbytes, int index);
void meta_copy(void* dst, Device to, const void* src, Device from, size_t nbytes);
void meta_strided_copy(const TensorImpl& dst, const TensorImpl& src);
constexpr DeviceBackend meta_backend() { return {meta_alloc, meta_free, meta_copy, [] { return 1; }, meta_strided_copy}; }

}  // namespace mg
