// Tensor = counted handle on a TensorImpl: (storage, offset, sizes, strides, dtype, device) plus what autograd and Python hang on it.
//
// Who may use it: everything in csrc. Invariants: strides are >= 0; every reachable element lies inside the storage (views are
// checked when made); `numel` and `contiguous` are kept in step with sizes/strides (set_layout is the only writer).
// Autograd's part is opaque here (csrc/autograd/node.h). Read next: layout.h (views, loop plans), op.h (call()).
#pragma once
#include <atomic>
#include <cstdint>

#include "dims.h"
#include "dtype.h"
#include "error.h"
#include "pool.h"
#include "storage.h"

namespace mg {

struct AutogradMeta;
struct Node;

struct TensorImpl : Pooled<TensorImpl> {
  std::atomic<uint32_t> refs{0};
  DType dtype = DType::Float32;
  Device device;
  bool contiguous = true;
  bool requires_grad = false;    // leaf that asks for a gradient, or result with a grad_fn; views: see autograd needs_grad()
  bool inference = false;        // made under inference_mode
  bool untracked_version = false;  // `.data`: writes do not bump the version, as in PyTorch
  bool is_wrapped_number = false;  // 0-d tensor that came from a Python number: takes part in promotion as a number
  bool owns_pyobj = false;       // the wrapper outlived its last Python reference and lives as long as this impl
  bool dataless = false;         // only shape and dtype: a Handler computes for it (vmap, tracing; csrc/autograd/handler.h)
  Ref<Storage> storage;
  int64_t offset = 0;  // in elements
  int64_t numel = 0;
  Dims sizes, strides;  // strides in elements
  // History (csrc/autograd/node.h): the op that made this tensor, and for a view the tensor, itself no view, whose storage it shows.
  Node* grad_fn = nullptr;           // counted
  uint32_t grad_output = 0;          // which output of grad_fn
  uint32_t view_version = 0;         // of the storage when grad_fn was derived (views)
  bool view_in_no_grad = false;
  Ref<TensorImpl> base;
  AutogradMeta* autograd = nullptr;  // what few tensors have: .grad, hooks …
  void* pyobj = nullptr;  // the one Python wrapper, borrowed unless owns_pyobj

  // Unsigned, because as_strided may give a tensor without elements an offset far outside of anything.
  char* data() const {
    return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(storage->data) + uint64_t(offset) * uint64_t(itemsize(dtype)));
  }
  template <class T> T* ptr() const { return reinterpret_cast<T*>(data()); }
  int dim() const { return sizes.size(); }
  int64_t nbytes() const { return numel * itemsize(dtype); }
  void set_layout(const Dims& new_sizes, const Dims& new_strides);
  void set_contiguous(const Dims& new_sizes);
  static void destroy(TensorImpl* t);
};

// Counts a write to t, for saved tensors and for what was prepared of it.
inline void note_write(TensorImpl& t) { ++(t.untracked_version ? t.storage->unseen_writes : t.storage->version); }

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(TensorImpl* impl) : impl_(impl) {}
  explicit Tensor(Ref<TensorImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const { return bool(impl_); }
  explicit operator bool() const { return defined(); }
  TensorImpl* get() const { return impl_.get(); }
  TensorImpl* operator->() const { return impl_.get(); }
  TensorImpl& operator*() const { return *impl_; }
  bool is(const Tensor& o) const { return impl_ == o.impl_; }
  const Dims& sizes() const { return impl_->sizes; }
  const Dims& strides() const { return impl_->strides; }
  DType dtype() const { return impl_->dtype; }
  Device device() const { return impl_->device; }
  int dim() const { return impl_->dim(); }
  int64_t numel() const { return impl_->numel; }
  int64_t size(int d) const { return impl_->sizes[d < 0 ? d + dim() : d]; }
  template <class T> T* ptr() const { return impl_->ptr<T>(); }
  uint32_t use_count() const { return impl_.use_count(); }
  void reset() { impl_.reset(); }
  TensorImpl* detach_ref() { return impl_.detach(); }

 private:
  Ref<TensorImpl> impl_;
};

// Raises when `t` is data-less, naming what wanted its elements and the remedy.
[[noreturn]] void fail_dataless(const TensorImpl& t, const char* what);

// Uninitialised, contiguous (or with the given strides). Overflowing sizes raise before anything is allocated.
Tensor empty(Dims sizes, DType dtype, Device device = {});
Tensor empty_contiguous_like(const TensorImpl& like, DType dtype);  // same sizes; they cannot overflow
Tensor empty_strided(const Dims& sizes, const Dims& strides, DType dtype, Device device = {});
// A new impl on the same storage. No autograd history. Bounds are the caller's (meta's) duty; see check_in_bounds in layout.h.
Tensor alias(const TensorImpl& base, const Dims& sizes, const Dims& strides, int64_t offset);
Tensor alias(const TensorImpl& base);

// On-device copies without autograd; `copy_into` converts dtype and layout, the shapes must be equal.
void copy_into(const Tensor& dst, const Tensor& src);
Tensor contiguous(const Tensor& t);                      // itself when already contiguous
Tensor cast(const Tensor& t, DType dtype);               // itself when already of that dtype
Tensor to_contiguous(const TensorImpl& t, DType dtype);  // both in one pass
void fill_zero(const Tensor& t);                         // any layout

// Reads one element (converted) from a host-accessible or device tensor.
void resize_contiguous(TensorImpl& t, const Dims& sizes, const char* op);  // the storage grows where it has to
double read_double(const TensorImpl& t, int64_t element_offset = 0);
int64_t read_int(const TensorImpl& t, int64_t element_offset = 0);

}  // namespace mg
