// Exchange of memory with other libraries by DLPack (https://dmlc.github.io/dlpack): v1.0 and the older unversioned capsule.
#include "py.h"

#include "../autograd/handler.h"
#include "../core/backend_module.h"
#include "../core/dataless.h"
#include "../core/lent.h"
#include "../core/layout.h"

namespace mg::python {

namespace {

struct DLDevice {
  int32_t type, id;
};
struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};
struct DLManaged {
  DLTensor tensor;
  void* context;
  void (*deleter)(DLManaged*);
};
struct DLManagedVersioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(DLManagedVersioned*);
  uint64_t flags;
  DLTensor tensor;
};
struct Export {
  Tensor keep;
  Lent lent;
  Dims sizes, strides;
};

DLDataType dl_dtype(DType d) {
  const uint8_t bits = uint8_t(itemsize(d) * 8);
  const uint8_t code = d == DType::Bool ? 6 : d == DType::UInt8 ? 1 : d == DType::BFloat16 ? 4 : is_complex(d) ? 5 : is_floating(d) ? 2 : 0;
  return {code, bits, 1};
}

DType from_dl_dtype(DLDataType t) {
  for (int k = 0; k < kDTypes; ++k) {
    const DLDataType d = dl_dtype(DType(k));
    if (t.code == d.code && t.bits == d.bits && t.lanes == 1) return DType(k);
  }
  fail(ErrorKind::Type, "from_dlpack: unsupported element type: code ", int(t.code), ", ", int(t.bits), " bits, ", t.lanes, " lanes");
}

template <class Managed> py::object export_dlpack(const Tensor& t, const char* name) {
  settle_pending("__dlpack__");
  need_data(*t, "__dlpack__");
  if (t.device().type == DeviceType::Meta) {
    PyErr_SetString(PyExc_BufferError, "Cannot pack tensors on meta");
    throw PythonError{};
  }
  auto* ex = new Export{t, Lent(*t), t.sizes(), t.strides()};
  auto* m = new Managed{};
  m->tensor = {t->data(), {t.device().type == DeviceType::CPU ? 1 : 2, t.device().index}, t.dim(), dl_dtype(t.dtype()),
               ex->sizes.data(), ex->strides.data(), 0};
  m->context = ex;
  m->deleter = [](Managed* self) {
    delete static_cast<Export*>(self->context);
    delete self;
  };
  if constexpr (std::is_same_v<Managed, DLManagedVersioned>) m->major = 1;
  PyObject* capsule = PyCapsule_New(m, name, [](PyObject* c) {
    const char* n = PyCapsule_GetName(c);
    if (n && std::strncmp(n, "used", 4) != 0) {
      auto* left = static_cast<Managed*>(PyCapsule_GetPointer(c, n));
      if (left && left->deleter) left->deleter(left);
    }
  });
  return py::reinterpret_steal<py::object>(checked(capsule));
}

template <class Managed> Tensor import_dlpack(py::handle capsule, const char* name, const char* used) {
  auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (m == nullptr) throw PythonError{};
  const DLTensor& d = m->tensor;
  // DLPack's numbers: 1 the CPU, 2 CUDA, 3 pinned memory of the host, 13 memory that CUDA moves by itself.
  const bool cuda = d.device.type == 2 || d.device.type == 13;
  MG_CHECK(cuda || d.device.type == 1 || d.device.type == 3, Runtime, "from_dlpack: only CPU and CUDA memory is supported: got device type ",
           d.device.type);
  const Device device = cuda ? Device{DeviceType::CUDA, int8_t(d.device.id)} : Device{};
  check_device(device);
  if (cuda) cuda_in_use = true;
  const DType dtype = from_dl_dtype(d.dtype);
  Dims sizes(std::span<const int64_t>(d.shape, size_t(d.ndim)));
  Dims strides = d.strides ? Dims(std::span<const int64_t>(d.strides, size_t(d.ndim))) : contiguous_strides(sizes);
  int64_t last = 0;
  for (int k = 0; k < sizes.size(); ++k) {
    MG_CHECK(strides[k] >= 0, Value, "from_dlpack: negative strides are not supported. Try a copy.");
    if (sizes[k] > 0) last += (sizes[k] - 1) * strides[k];
  }
  const bool none = checked_numel(sizes, "from_dlpack") == 0;
  PyCapsule_SetName(capsule.ptr(), used);
  Tensor t(make_ref<TensorImpl>());
  t->dtype = dtype;
  t->device = device;
  t->storage = Storage::foreign(static_cast<char*>(d.data) + d.byte_offset, none ? 0 : size_t((last + 1) * itemsize(dtype)), device,
                                [](void* owner) {
                                  auto* managed = static_cast<Managed*>(owner);
                                  if (managed->deleter) managed->deleter(managed);
                                },
                                m);
  t->set_layout(sizes, strides);
  return t;
}

}  // namespace

void bind_dlpack(py::module_& m) {
  m.def("to_dlpack", [](const Tensor& t, bool versioned) {
    MG_CHECK(!needs_grad(*t), Type, "__dlpack__: can't export tensors that require gradient, use tensor.detach()");
    return versioned ? export_dlpack<DLManagedVersioned>(t, "dltensor_versioned") : export_dlpack<DLManaged>(t, "dltensor");
  });
  m.def("from_dlpack", [](py::object capsule) {
    const char* name = PyCapsule_GetName(capsule.ptr());
    if (name && std::strcmp(name, "dltensor_versioned") == 0)
      return import_dlpack<DLManagedVersioned>(capsule, "dltensor_versioned", "used_dltensor_versioned");
    return import_dlpack<DLManaged>(capsule, "dltensor", "used_dltensor");
  });
}

}  // namespace mg::python
