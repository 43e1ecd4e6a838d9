// Tensors from and to the outside: Python numbers and lists, NumPy (zero-copy through __array_interface__). DLPack: dlpack.cpp.
// NumPy itself is never linked: its arrays describe themselves.
#include "py.h"

#include <cmath>

#include "../autograd/handler.h"
#include "../core/backend_module.h"
#include "../core/dataless.h"
#include "../core/lent.h"
#include "../core/layout.h"
#include "../core/meta.h"
#include "../core/random.h"
#include "construct.h"

namespace mg::python {

namespace {

// ---- Python data -> tensor -------------------------------------------------------------------------------------------------

struct Scan {  // first pass: shape and the widest kind of number
  Dims shape;
  int kind = -1;  // 0 bool, 1 int, 2 float, 3 complex
  bool has_arrays = false;
};

bool is_sequence(PyObject* o) { return PyList_Check(o) || PyTuple_Check(o) || PyRange_Check(o); }

void scan(PyObject* o, int depth, Scan& s) {
  if (is_sequence(o)) {
    MG_CHECK(depth < kMaxDims, Value, "tensor: too many dimensions, at most ", kMaxDims, " are supported");
    const Py_ssize_t n = PySequence_Size(o);
    if (depth == s.shape.size()) {
      MG_CHECK(s.kind < 0, Value, "tensor: expected a number at dim ", depth, ", got a sequence of length ", n);
      s.shape.push_back(n);
    }
    MG_CHECK(s.shape[depth] == n, Value, "tensor: expected sequence of length ", s.shape[depth], " at dim ", depth, " (got ", n, ")");
    for (Py_ssize_t k = 0; k < n; ++k) {
      PyObject* item = checked(PySequence_GetItem(o, k));
      struct Drop {
        PyObject* o;
        ~Drop() { Py_DECREF(o); }
      } drop{item};
      scan(item, depth + 1, s);
    }
    return;
  }
  if (is_tensor(o)) {
    s.has_arrays = true;
    return;
  }
  MG_CHECK(depth == s.shape.size(), Value, "tensor: expected a sequence of length ", s.shape[std::min(depth, s.shape.size() - 1)],
           " at dim ", depth, ", got a number");
  if (PyBool_Check(o)) s.kind = std::max(s.kind, 0);
  else if (PyLong_Check(o)) s.kind = std::max(s.kind, 1);
  else if (PyFloat_Check(o)) s.kind = std::max(s.kind, 2);
  else if (PyComplex_Check(o)) s.kind = std::max(s.kind, 3);
  else if (PyObject_HasAttrString(o, "__array_interface__")) s.has_arrays = true;
  else if (PyUnicode_Check(o) || PyBytes_Check(o)) fail(ErrorKind::Type, "tensor: new(): invalid data type '", Py_TYPE(o)->tp_name, "'");
  else if (PyObject_HasAttrString(o, "__len__") && PyObject_HasAttrString(o, "__getitem__")) s.has_arrays = true;
  else if (PyIndex_Check(o)) s.kind = std::max(s.kind, 1);
  else if (Py_TYPE(o)->tp_as_number && Py_TYPE(o)->tp_as_number->nb_float) s.kind = std::max(s.kind, 2);
  else
    fail(ErrorKind::Runtime, "tensor: could not infer dtype of ", Py_TYPE(o)->tp_name);
}

template <class T> void store(PyObject* o, T& out) {
  if constexpr (std::is_same_v<T, complex64> || std::is_same_v<T, complex128>) {
    const Py_complex v = PyComplex_AsCComplex(o);
    if (v.real == -1 && PyErr_Occurred()) throw PythonError{};
    out = T(decltype(T::re)(v.real), decltype(T::re)(v.imag));
  } else if constexpr (std::is_floating_point_v<T>) {
    const double v = PyFloat_AsDouble(o);
    if (v == -1 && PyErr_Occurred()) throw PythonError{};
    out = T(v);
  } else if constexpr (std::is_same_v<T, half> || std::is_same_v<T, bfloat16>) {
    const double v = PyFloat_AsDouble(o);
    if (v == -1 && PyErr_Occurred()) throw PythonError{};
    out = T(float(v));
  } else if constexpr (std::is_same_v<T, bool>) {
    const int v = PyObject_IsTrue(o);
    if (v < 0) throw PythonError{};
    out = v != 0;
  } else {
    if (PyFloat_Check(o)) {
      const double v = PyFloat_AS_DOUBLE(o);
      check_fits("tensor", Value(v), dtype_of<T>());
      out = T(int64_t(v));
      return;
    }
    PyObject* index = checked(PyNumber_Index(o));
    int overflow = 0;
    const int64_t v = PyLong_AsLongLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    MG_CHECK(overflow == 0, Overflow, "tensor: integer does not fit into 64 bits");
    check_fits("tensor", Value(v), dtype_of<T>());
    out = T(v);
  }
}

template <class T> void fill(PyObject* o, int depth, const Dims& shape, T*& out) {
  if (depth == shape.size()) {
    store(o, *out++);
    return;
  }
  for (int64_t k = 0; k < shape[depth]; ++k) {
    PyObject* item = checked(PySequence_GetItem(o, Py_ssize_t(k)));
    struct Drop {
      PyObject* o;
      ~Drop() { Py_DECREF(o); }
    } drop{item};
    fill(item, depth + 1, shape, out);
  }
}

Tensor to_device(Tensor t, Device device) {
  if (t.device() == device) return t;
  check_device(device);
  device = settle_index(device);
  if (t.device() == device) return t;
  Tensor c = contiguous(t);
  Tensor out = empty(t.sizes(), t.dtype(), device);
  DeviceType mover = device.type != DeviceType::CPU ? device.type : t.device().type;
  backend(mover).copy(out->data(), device, c->data(), t.device(), size_t(c->nbytes()));
  return out;
}

// ---- NumPy ------------------------------------------------------------------------------------------------------------------

void drop_object(void* o) {
  if (!Py_IsInitialized()) return;
  PyGILState_STATE gil = PyGILState_Ensure();
  Py_DECREF(static_cast<PyObject*>(o));
  PyGILState_Release(gil);
}

DType dtype_from_typestr(const std::string& s) {
  static const std::pair<const char*, DType> names[] = {
      {"|b1", DType::Bool},  {"|u1", DType::UInt8},   {"|i1", DType::Int8},    {"<i2", DType::Int16},  {"<i4", DType::Int32},
      {"<i8", DType::Int64}, {"<f2", DType::Float16}, {"<f4", DType::Float32}, {"<f8", DType::Float64},
      {"<c8", DType::Complex64}, {"<c16", DType::Complex128}};
  for (const auto& [name, d] : names)
    if (s == name) return d;
  fail(ErrorKind::Type, "from_numpy: can't convert an array with typestr '", s,
       "'; supported: bool, uint8, int8, int16, int32, int64, float16, float32, float64, complex64, complex128 in native byte order");
}

Tensor copy_of(const Tensor& t, DType dtype) { return to_contiguous(*t, dtype); }

}  // namespace

// The same dictionary, about memory of the CPU (`__array_interface__`) or of a CUDA device (`__cuda_array_interface__`).
static Tensor from_interface(PyObject* o, const char* attribute, Device device) {
  py::object array = py::reinterpret_borrow<py::object>(o);
  py::dict info = array.attr(attribute);
  const DType dtype = dtype_from_typestr(info["typestr"].cast<std::string>());
  py::tuple shape = info["shape"], data = info["data"];
  Dims sizes, strides;
  for (auto s : shape) sizes.push_back(s.cast<int64_t>());
  py::object byte_strides = info.contains("strides") ? py::object(info["strides"]) : py::none();
  if (byte_strides.is_none()) {
    strides = contiguous_strides(sizes);
  } else {
    for (auto s : byte_strides) {
      const int64_t b = s.cast<int64_t>();
      MG_CHECK(b >= 0, Value, "from_numpy: at least one stride is negative, which is not supported. Try array.copy().");
      MG_CHECK(b % itemsize(dtype) == 0, Value, "from_numpy: stride ", b, " is no multiple of the element size. Try array.copy().");
      strides.push_back(b / itemsize(dtype));
    }
  }
  int64_t last = 0;
  for (int k = 0; k < sizes.size(); ++k)
    if (sizes[k] > 0) last += (sizes[k] - 1) * strides[k];
  void* address = reinterpret_cast<void*>(data[0].cast<size_t>());
  MG_CHECK(reinterpret_cast<size_t>(address) % size_t(itemsize(dtype)) == 0, Value,
           "from_numpy: the array is not aligned to its element size. Try array.copy().");
  const int64_t count = checked_numel(sizes, "from_numpy");
  Py_INCREF(o);
  Tensor t(make_ref<TensorImpl>());
  t->dtype = dtype;
  t->device = device;
  t->storage = Storage::foreign(address, count ? size_t(last + 1) * size_t(itemsize(dtype)) : 0, device, drop_object, o);
  t->set_layout(sizes, strides);
  return t;
}

Tensor from_array_interface(PyObject* o) { return from_interface(o, "__array_interface__", Device{}); }

Tensor tensor_from_python(PyObject* data, DType* dtype, Device device) {
  if (is_tensor(data)) return to_device(copy_of(tensor_of(data), dtype ? *dtype : impl_of(data)->dtype), device);
  if (!is_sequence(data) && PyObject_HasAttrString(data, "__array_interface__")) {
    Tensor view = from_array_interface(data);
    return to_device(copy_of(view, dtype ? *dtype : view.dtype()), device);
  }
  Scan s;
  scan(data, 0, s);
  if (s.has_arrays) {  // lists of arrays or tensors: let Python stack them
    py::object f = py::reinterpret_borrow<py::object>(checked(python_helper("minigrad._tensor", "stack_nested")));
    const py::object stacked = f(py::reinterpret_borrow<py::object>(data));
    Tensor t = tensor_of(stacked.ptr());
    return to_device(copy_of(t, dtype ? *dtype : t.dtype()), device);
  }
  const DType d = dtype ? *dtype : s.kind == 3 ? to_complex(default_dtype) : s.kind == 2 ? default_dtype : s.kind == 1 ? DType::Int64 : s.kind == 0 ? DType::Bool : default_dtype;
  Tensor t = empty(s.shape, d);
  const auto store_all = [&](auto tag) {
    using T = decltype(tag);
    T* out = t.ptr<T>();
    if (t.numel() != 0) fill(data, 0, s.shape, out);
  };
  if (is_complex(d)) dispatch_complex(d, store_all);
  else dispatch(d, store_all);
  return to_device(t, device);
}

complex128 read_complex(const TensorImpl& t, int64_t element_offset) {
  MG_CHECK(t.device.type != DeviceType::Meta, Runtime, "Tensor.item() cannot be called on meta tensors");
  const Tensor one = to_device(to_contiguous(*alias(t, Dims{}, Dims{}, t.offset + element_offset), DType::Complex128), Device{});
  return *one.ptr<complex128>();
}

namespace {

py::object complex_object(complex128 z) { return py::reinterpret_steal<py::object>(checked(PyComplex_FromDoubles(z.re, z.im))); }

py::list nested_list(const TensorImpl& t, int dim, int64_t offset) {
  py::list out(size_t(t.sizes[dim]));
  for (int64_t k = 0; k < t.sizes[dim]; ++k) {
    const int64_t at = offset + k * t.strides[dim];
    if (dim + 1 < t.dim()) out[size_t(k)] = nested_list(t, dim + 1, at);
    else if (is_floating(t.dtype)) out[size_t(k)] = py::float_(read_double(t, at));
    else if (is_complex(t.dtype)) out[size_t(k)] = complex_object(read_complex(t, at));
    else if (t.dtype == DType::Bool) out[size_t(k)] = py::bool_(read_int(t, at) != 0);
    else out[size_t(k)] = py::int_(read_int(t, at));
  }
  return out;
}

py::object to_list(const Tensor& input) {
  need_data(*input, "tolist");
  Tensor t = to_device(input, Device{});
  if (t.dim() > 0) return nested_list(*t, 0, 0);
  if (is_floating(t.dtype())) return py::float_(read_double(*t));
  if (is_complex(t.dtype())) return complex_object(read_complex(*t));
  if (t.dtype() == DType::Bool) return py::bool_(read_int(*t) != 0);
  return py::int_(read_int(*t));
}

// NumPy makes the array from this; the capsule-free way: an object that carries __array_interface__ and the tensor.
py::dict array_interface(const Tensor& t, bool cuda) {
  settle_pending("numpy");
  need_data(*t, "numpy");
  static const char* typestr[kDTypes] = {"|b1", "|u1", "|i1", "<i2", "<i4", "<i8", "<f2", nullptr, "<f4", "<f8", "<c8", "<c16"};
  MG_CHECK(t.dtype() != DType::BFloat16, Type, "numpy: NumPy has no bfloat16. Try x.float().numpy().");
  MG_CHECK(cuda || t.device().type == DeviceType::CPU, Type, "can't convert ", device_type_name(t.device().type),
           " device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.");
  py::dict d;
  py::tuple shape(size_t(t.dim())), strides(size_t(t.dim()));
  for (int k = 0; k < t.dim(); ++k) {
    shape[size_t(k)] = t.sizes()[k];
    // A stride that is never taken may be anything, and its product beyond 64 bits (x[0:1:2**61]).
    strides[size_t(k)] = (t.numel() == 0 || t.sizes()[k] == 1 ? 1 : t.strides()[k]) * itemsize(t.dtype());
  }
  d["shape"] = shape;
  d["typestr"] = typestr[int(t.dtype())];
  d["strides"] = strides;
  d["data"] = py::make_tuple(reinterpret_cast<size_t>(t->data()), false);
  d["version"] = 3;
  if (!cuda) d["lent"] = py::capsule(new Lent(*t), [](void* p) { delete static_cast<Lent*>(p); });  // as long as there is an array
  return d;
}

}  // namespace

// While a function is traced, data that it makes of Python numbers is a constant of the graph, and what the function gets is a copy: every
// run has one of its own to write to and to return.
Tensor own_copy_in_graph(Tensor t) {
  static OpRef clone_op{"clone"};
  return active_handler != nullptr && active_handler->is_tracer && !active_handler->defers && !t->dataless ? invoke(clone_op, t) : t;
}

void bind_construct(py::module_& m) {
  m.def("tensor", [](py::object data, py::object dtype, py::object device, bool requires_grad, bool) {
    DType d;
    Device dev = thread_state.default_device;
    if (!dtype.is_none()) MG_CHECK(dtype_from(dtype.ptr(), d), Type, "tensor: dtype must be a minigrad.dtype, not ", Py_TYPE(dtype.ptr())->tp_name);
    if (!device.is_none()) MG_CHECK(device_from(device.ptr(), dev), Type, "tensor: device must be a device or str");
    check_device(dev);
    dev = settle_index(dev);
    Tensor t = own_copy_in_graph(tensor_from_python(data.ptr(), dtype.is_none() ? nullptr : &d, dev));
    if (requires_grad) {
      MG_CHECK(is_inexact(t.dtype()), Runtime, "tensor: only Tensors of floating point dtype can require gradients: got ", t.dtype());
      t->requires_grad = true;
    }
    return t;
  }, py::arg("data"), py::kw_only(), py::arg("dtype") = py::none(), py::arg("device") = py::none(),
     py::arg("requires_grad") = false, py::arg("pin_memory") = false);
  m.def("from_numpy", [](py::object a) {
    MG_CHECK(py::hasattr(a, "__array_interface__"), Type, "from_numpy: expected a numpy.ndarray, not ", Py_TYPE(a.ptr())->tp_name);
    return from_array_interface(a.ptr());
  });
  m.def("empty", [](py::object size, py::object dtype, py::object device) {
    Dims sizes;
    for (auto s : size) sizes.push_back(s.cast<int64_t>());
    DType d = default_dtype;
    Device dev = thread_state.default_device;
    if (!dtype.is_none()) MG_CHECK(dtype_from(dtype.ptr(), d), Type, "empty: dtype must be a minigrad.dtype");
    if (!device.is_none()) MG_CHECK(device_from(device.ptr(), dev), Type, "empty: device must be a device or str");
    check_device(dev);
    return empty(sizes, d, settle_index(dev));
  }, py::arg("size"), py::arg("dtype") = py::none(), py::arg("device") = py::none());
  m.def("to_bytes", [](const Tensor& t) {
    need_data(*t, "save");
    Tensor c = contiguous(to_device(t, Device{}));
    return py::bytes(c->data(), size_t(c->nbytes()));
  });
  m.def("from_bytes", [](py::bytes data, py::object dtype, py::tuple shape) {
    DType d;
    MG_CHECK(dtype_from(dtype.ptr(), d), Type, "from_bytes: dtype must be a minigrad.dtype");
    Dims sizes;
    for (auto s : shape) sizes.push_back(s.cast<int64_t>());
    const std::string_view bytes = data;
    MG_CHECK(checked_numel(sizes, "from_bytes") <= int64_t(bytes.size()) && checked_numel(sizes, "from_bytes") * itemsize(d) == int64_t(bytes.size()),
             Value, "from_bytes: ", bytes.size(), " bytes do not make a ", d, " tensor of shape ", sizes);
    Tensor t = empty(sizes, d);
    std::memcpy(t->data(), bytes.data(), bytes.size());
    return t;
  });
  m.def("to_list", &to_list);
  m.def("settled_device", [](py::object device) {  // with the current index where none is named
    Device d;
    MG_CHECK(device_from(device.ptr(), d), Type, "to: device must be a device or str");
    return py::reinterpret_steal<py::object>(wrap_device(settle_index(d)));
  });
  m.def("default_generator_of", [](py::object device) {
    Device d;
    MG_CHECK(device_from(device.ptr(), d), Type, "default_generator_of: device must be a device or str");
    check_device(d);
    return py::cast(&default_generator(settle_index(d)), py::return_value_policy::reference);
  });
  m.def("set_default_device", [](py::object device) {
    Device d;
    MG_CHECK(device.is_none() || device_from(device.ptr(), d), Type, "set_default_device: device must be a device, str or None");
    check_device(d);
    thread_state.default_device = d;
  });
  m.def("get_default_device", [] { return py::reinterpret_steal<py::object>(wrap_device(thread_state.default_device)); });
  m.def("array_interface", &array_interface, py::arg("tensor"), py::arg("cuda") = false);
  m.def("from_cuda_array", [](py::object array, int index) {
    const Device device{DeviceType::CUDA, int8_t(index)};
    check_device(device);
    cuda_in_use = true;
    return from_interface(array.ptr(), "__cuda_array_interface__", device);
  });
  bind_dlpack(m);
}

}  // namespace mg::python
