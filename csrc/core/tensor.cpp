// Storage and TensorImpl: birth, death, and the few copies that core itself needs (through the device table).
#include "device_names.h"
#include "tensor.h"
#include "dataless.h"

#include "allocator.h"
#include "backend_module.h"
#include "layout.h"
#include "meta_device.h"
#include "op.h"
#include "prepared.h"

namespace mg {

void fail_complex_dispatch(DType d) { fail(ErrorKind::NotImplemented, "not implemented for ", d, ": expected a real dtype"); }


DeviceBackend& backend(DeviceType type) {
  static constinit DeviceBackend table[kDeviceTypes] = {{}, {}, meta_backend()};
  return table[int(type)];
}

void check_device(Device d) {
  if (d.type == DeviceType::CPU) return;
  const std::string_view name = device_name(d.type);
  MG_CHECK(name != "xpu", Assertion, "Torch not compiled with XPU enabled");
  MG_CHECK(int(d.type) < kDeviceTypes, NotImplemented, "device: minigrad has no '", device_name(d.type), "' device. Try device='cpu'.");
  const DeviceBackend& b = backend(d.type);
  if (b.alloc == nullptr && load_backend != nullptr) load_backend(d.type);
  MG_CHECK(b.alloc != nullptr, Assertion, "Torch not compiled with CUDA enabled");  // PyTorch's words: programs look for them
  int n = b.device_count();
  MG_CHECK(d.index < n, Runtime, "device: ", d, " does not exist: this machine has ", n, " ", device_type_name(d.type),
           " device(s)");
}

Ref<Storage> Storage::allocate(size_t nbytes, Device device) {
  Ref<Storage> s = make_ref<Storage>();
  s->nbytes = nbytes;
  s->device = device;
  s->data = device.type == DeviceType::CPU ? cpu_alloc(nbytes) : backend(device.type).alloc(nbytes, device.index);
  return s;
}

Ref<Storage> Storage::foreign(void* data, size_t nbytes, Device device, void (*release)(void*), void* owner) {
  Ref<Storage> s = make_ref<Storage>();
  s->data = data;
  s->nbytes = nbytes;
  s->device = device;
  s->release = release;
  s->owner = owner;
  s->resizable = false;
  return s;
}

static void free_bytes(Storage* s) {
  if (s->release != nullptr) {
    s->release(s->owner);
  } else if (s->device.type != DeviceType::CPU) {
    backend(s->device.type).free(s->data, s->nbytes, s->device.index);
  } else if (s->data != nullptr) {
    cpu_free(s->data, s->nbytes);
  }
}

void Storage::resize(size_t n) {
  MG_CHECK(resizable, Runtime, "resize_: the storage belongs to someone else (NumPy, DLPack or a file). Try x.clone() first.");
  Ref<Storage> grown = allocate(n, device);
  size_t common = std::min(n, nbytes);
  if (common != 0 && device.type != DeviceType::Meta) {
    if (device.type == DeviceType::CPU)
      std::memcpy(grown->data, data, common);
    else
      backend(device.type).copy(grown->data, device, data, device, common);
  }
  std::swap(data, grown->data);
  std::swap(nbytes, grown->nbytes);
}

void Storage::destroy(Storage* s) {
  if (s->has_prepared) forget_prepared(s);
  free_bytes(s);
  delete s;
}

// Kernels and loop plans keep kMaxDims entries on the stack: no tensor may have more.
[[noreturn, gnu::cold]] static void fail_dims(int n) {
  fail(ErrorKind::Runtime, "tensors have at most ", kMaxDims, " dimensions: got ", n, ". Try reshape() to fewer.");
}

void TensorImpl::set_contiguous(const Dims& new_sizes) {
  if (new_sizes.size() > kMaxDims) [[unlikely]] fail_dims(new_sizes.size());
  sizes = new_sizes;
  const int n = sizes.size();
  strides.resize_uninitialized(n);
  int64_t step = 1, count = 1;
  for (int i = n - 1; i >= 0; --i) {
    strides[i] = step;
    count *= sizes[i];
    step *= std::max<int64_t>(sizes[i], 1);
  }
  numel = count;
  contiguous = true;
}

void TensorImpl::set_layout(const Dims& new_sizes, const Dims& new_strides) {
  if (new_sizes.size() > kMaxDims) [[unlikely]] fail_dims(new_sizes.size());
  sizes = new_sizes;
  strides = new_strides;
  const int64_t *size = sizes.data(), *stride = strides.data();
  int64_t count = 1;
  bool dense = true, bad = false;
  for (int i = sizes.size() - 1; i >= 0; --i) {  // the stride of a dim of size 1 does not matter, PyTorch's rule
    dense &= size[i] == 1 || stride[i] == count;
    bad |= __builtin_mul_overflow(count, size[i], &count);  // expand() to 2**31 x 2**33
  }
  if (bad) [[unlikely]] fail(ErrorKind::Runtime, "numel: the number of elements of shape ", sizes, " overflows 64 bits");
  numel = count;
  contiguous = dense || count == 0;
}

void TensorImpl::destroy(TensorImpl* t) {
  if (t->grad_fn != nullptr) hooks.drop_node(t->grad_fn);
  if (t->autograd != nullptr) hooks.destroy_meta(t->autograd);
  if (t->owns_pyobj) hooks.destroy_pyobj(t);
  delete t;
}

[[noreturn, gnu::cold, gnu::noinline]] static void bad_sizes(const Dims& sizes, DType dtype) {
  if (sizes.size() > kMaxDims) fail_dims(sizes.size());
  checked_numel(sizes, "empty");
  fail(ErrorKind::Runtime, "empty: shape ", sizes, " of ", dtype, " has more than 2**63 bytes");
}

Tensor empty(Dims sizes, DType dtype, Device device) {
  Tensor t(make_ref<TensorImpl>());
  TensorImpl& impl = *t;
  impl.sizes = std::move(sizes);
  const int n = impl.sizes.size();
  impl.strides.resize_uninitialized(n);
  const int64_t* size = impl.sizes.data();
  int64_t* stride = impl.strides.data();
  int64_t step = 1, count = 1;
  bool bad = n > kMaxDims;
  for (int i = n - 1; i >= 0; --i) {
    stride[i] = step;
    bad |= size[i] < 0 || __builtin_mul_overflow(count, size[i], &count);
    bad |= __builtin_mul_overflow(step, std::max<int64_t>(size[i], 1), &step);
  }
  int64_t bytes;
  bad |= __builtin_mul_overflow(count, itemsize(dtype), &bytes);
  if (bad) [[unlikely]] bad_sizes(impl.sizes, dtype);
  impl.numel = count;
  impl.dtype = dtype;
  impl.device = device;
  impl.storage = Storage::allocate(size_t(bytes), device);
  return t;
}

Tensor empty_contiguous_like(const TensorImpl& like, DType dtype) {
  Tensor t(make_ref<TensorImpl>());
  TensorImpl& impl = *t;
  impl.sizes = like.sizes;
  const int n = impl.sizes.size();
  impl.strides.resize_uninitialized(n);
  const int64_t* size = impl.sizes.data();
  int64_t* stride = impl.strides.data();
  for (int64_t i = n - 1, step = 1; i >= 0; --i) {
    stride[i] = step;
    step *= std::max<int64_t>(size[i], 1);
  }
  impl.numel = like.numel;
  impl.dtype = dtype;
  impl.device = like.device;
  impl.storage = Storage::allocate(size_t(impl.nbytes()), like.device);
  return t;
}

Tensor empty_strided(const Dims& sizes, const Dims& strides, DType dtype, Device device) {
  checked_numel(sizes, "empty_strided");
  int64_t last = 0;
  bool none = false;
  for (int i = 0; i < sizes.size(); ++i) {
    int64_t span;
    MG_CHECK(strides[i] >= 0, Runtime, "empty_strided: negative stride ", strides[i], " is not supported");
    none |= sizes[i] == 0;
    MG_CHECK(none || (!__builtin_mul_overflow(sizes[i] - 1, strides[i], &span) && !__builtin_add_overflow(last, span, &last)),
             Runtime, "empty_strided: sizes ", sizes, " and strides ", strides, " overflow");
  }
  int64_t bytes = 0;
  MG_CHECK(none || !__builtin_mul_overflow(last + 1, itemsize(dtype), &bytes), Runtime, "empty_strided: sizes ", sizes,
           " and strides ", strides, " overflow");
  Tensor t(make_ref<TensorImpl>());
  t->dtype = dtype;
  t->device = device;
  t->storage = Storage::allocate(none ? 0 : size_t(bytes), device);
  t->set_layout(sizes, strides);
  return t;
}

Tensor alias(const TensorImpl& base, const Dims& sizes, const Dims& strides, int64_t offset) {
  Tensor t(make_ref<TensorImpl>());
  t->dtype = base.dtype;
  t->device = base.device;
  t->storage = base.storage;
  t->offset = offset;
  t->inference = base.inference;
  t->untracked_version = base.untracked_version;
  t->set_layout(sizes, strides);
  if (base.dataless) [[unlikely]] hooks.alias_dataless(base, *t);
  return t;
}

void (*provide_data)(const TensorImpl& t, const char* what) = nullptr;

void fail_dataless(const TensorImpl& t, const char* what) {
  fail(ErrorKind::Runtime, what, ": ", hooks.why_dataless(t));
}

Tensor alias(const TensorImpl& base) { return alias(base, base.sizes, base.strides, base.offset); }

void copy_into(const Tensor& dst, const Tensor& src) {
  MG_INTERNAL(dst.sizes() == src.sizes(), "copy_into of different shapes");
  need_data(*dst, "copy");
  need_data(*src, "copy");
  if (dst.numel() == 0) return;
  Device d = dst.device().type != DeviceType::CPU ? dst.device() : src.device();
  backend(d.type).strided_copy(*dst, *src);
}

Tensor contiguous(const Tensor& t) { return t->contiguous ? t : to_contiguous(*t, t.dtype()); }

Tensor cast(const Tensor& t, DType dtype) { return t.dtype() == dtype ? t : to_contiguous(*t, dtype); }

Tensor to_contiguous(const TensorImpl& t, DType dtype) {
  need_data(t, "copy");
  Tensor out = empty(t.sizes, dtype, t.device);
  if (t.numel != 0) backend(t.device.type).strided_copy(*out, t);
  return out;
}

void fill_zero(const Tensor& t) {
  need_data(*t, "fill");
  if (t.numel() == 0) return;
  if (t->contiguous && t.device().type == DeviceType::CPU) {
    std::memset(t->data(), 0, size_t(t->nbytes()));
    return;
  }
  Tensor zero = empty({}, t.dtype(), Device{});
  std::memset(zero->data(), 0, size_t(zero->nbytes()));
  const Dims strides(t.dim());
  copy_into(t, alias(*zero, t.sizes(), strides, 0));
}

template <class T>
static T read_element(const TensorImpl& t, int64_t element_offset) {
  need_data(t, "item");
  const char* p = t.data() + element_offset * itemsize(t.dtype);
  char host[8];
  MG_CHECK(t.device.type != DeviceType::Meta, Runtime, "Tensor.item() cannot be called on meta tensors");
  if (t.device.type != DeviceType::CPU) {
    backend(t.device.type).copy(host, Device{}, p, t.device, size_t(itemsize(t.dtype)));
    p = host;
  }
  return dispatch(t.dtype, [&](auto tag) {
    decltype(tag) v;
    std::memcpy(&v, p, sizeof v);
    return static_cast<T>(v);
  });
}

void resize_contiguous(TensorImpl& t, const Dims& sizes, const char* op) {
  int64_t need = 0;
  if (checked_numel(sizes, op) != 0) {
    MG_CHECK(!__builtin_add_overflow(checked_numel(sizes, op), t.offset, &need) && !__builtin_mul_overflow(need, itemsize(t.dtype), &need),
             Runtime, op, ": shape ", sizes, " of ", t.dtype, " at offset ", t.offset, " has more than 2**63 bytes");
    if (need > int64_t(t.storage->nbytes)) t.storage->resize(size_t(need));
  }
  t.set_contiguous(sizes);
}

double read_double(const TensorImpl& t, int64_t o) { return read_element<double>(t, o); }
int64_t read_int(const TensorImpl& t, int64_t o) {
  if (is_floating(t.dtype)) return int64_t(read_element<double>(t, o));
  return read_element<int64_t>(t, o);
}

}  // namespace mg
