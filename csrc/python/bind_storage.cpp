// Storages seen from Python: what minigrad/storage.py (UntypedStorage), pickling and minigrad/io build on.
//
// A storage is handed to Python as its bytes: a 1-d uint8 tensor over the whole of it, sharing memory and version counter with every
// other tensor on it, without history. `storage_tensor` is the way back: any tensor that fits into the storage.
// Invariant: everything about sizes, strides, offset and alignment is checked here, so that no file can make a tensor reach outside.
#include "../autograd/handler.h"
#include "../core/backend_module.h"
#include "../core/dataless.h"
#include "../core/layout.h"
#include "py.h"

namespace mg::python {

namespace {

Dims dims_from(const py::object& values, const char* what) {
  Dims out;
  MG_CHECK(py::isinstance<py::tuple>(values) || py::isinstance<py::list>(values), Type, "storage_tensor: ", what, " must be a tuple of ints");
  MG_CHECK(py::len(values) <= size_t(kMaxDims), Runtime, "storage_tensor: tensors have at most ", kMaxDims, " dimensions: got ", py::len(values));
  for (auto v : values) {
    MG_CHECK(PyIndex_Check(v.ptr()), Type, "storage_tensor: ", what, " must be a tuple of ints");
    const Py_ssize_t n = PyNumber_AsSsize_t(v.ptr(), PyExc_OverflowError);
    if (n == -1 && PyErr_Occurred()) throw py::error_already_set();
    out.push_back(n);
  }
  return out;
}

Tensor storage_bytes(const Tensor& t) {
  settle_pending("untyped_storage()");
  need_data(*t, "untyped_storage()");
  Tensor out = alias(*t);
  out->dtype = DType::UInt8;
  out->offset = 0;
  const Dims sizes{int64_t(t->storage->nbytes)};
  out->set_layout(sizes, contiguous_strides(sizes));
  return out;
}

Tensor storage_tensor(const Tensor& bytes, const py::object& dtype, const py::object& size, const py::object& stride, int64_t offset) {
  need_data(*bytes, "storage_tensor");
  DType d;
  MG_CHECK(dtype_from(dtype.ptr(), d), Type, "storage_tensor: dtype must be a minigrad.dtype");
  const Dims sizes = dims_from(size, "size"), strides = dims_from(stride, "stride");
  MG_CHECK(reinterpret_cast<uintptr_t>(bytes->storage->data) % size_t(itemsize(d)) == 0, Value,
           "storage_tensor: the storage is not aligned to the elements of ", d);
  Tensor out = alias(*bytes);
  out->dtype = d;
  check_in_bounds(sizes, strides, offset, *out, "storage_tensor");
  const int64_t count = checked_numel(sizes, "storage_tensor");
  MG_CHECK(count <= INT64_MAX / 16, Runtime, "storage_tensor: shape ", sizes, " has more than 2**63 bytes");
  // An empty tensor keeps its offset only where that points into the storage.
  out->offset = count != 0 || offset <= int64_t(bytes->storage->nbytes) / itemsize(d) ? offset : 0;
  out->set_layout(sizes, strides);
  return out;
}

}  // namespace

static void load_cuda() {
  if (cuda_hooks.pin == nullptr && load_backend != nullptr) load_backend(DeviceType::CUDA);
}

void bind_storage(py::module_& m) {
  m.def("pin_memory", [](const Tensor& t) {
    need_data(*t, "pin_memory");
    load_cuda();
    MG_CHECK(cuda_hooks.pin != nullptr, Runtime, "Cannot access accelerator device when none is available.");
    return cuda_hooks.pin(t);
  });
  m.def("is_pinned", [](const Tensor& t) { return t->storage && cuda_hooks.is_pinned != nullptr && cuda_hooks.is_pinned(*t->storage); });
  m.def("record_use", [](const Tensor& t, intptr_t stream) {
    MG_CHECK(cuda_hooks.record_use != nullptr, Runtime, "record_stream: expected a CUDA tensor");
    cuda_hooks.record_use(t, stream);
  });
  m.def("storage_bytes", &storage_bytes, py::arg("tensor"), "The whole storage of a tensor as a 1-d uint8 tensor that shares its memory.");
  m.def("storage_tensor", &storage_tensor, py::arg("bytes"), py::arg("dtype"), py::arg("size"), py::arg("stride"), py::arg("offset"),
        "A tensor over the storage of `bytes`; RuntimeError when it would reach outside.");
  m.def("storage_id", [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t->storage.get()); }, py::arg("tensor"),
        "A number that two living tensors have in common exactly if they share a storage.");
  m.def("storage_nbytes", [](const Tensor& t) { return t->storage->nbytes; }, py::arg("tensor"));
  m.def(
      "storage_resize",
      [](const Tensor& t, size_t nbytes) {
        if (nbytes < t->storage->nbytes) {
          // Tensors of the old size would reach outside, and nobody knows them all.
          PyErr_SetString(PyExc_NotImplementedError, "storage.resize_: storages can grow, but not shrink. Try x.data = x.new_empty(0).");
          throw py::error_already_set();
        }
        t->storage->resize(nbytes);
      },
      py::arg("tensor"), py::arg("nbytes"), "Make a storage larger; the values at its beginning stay.");
}

}  // namespace mg::python
