// What the files of csrc/python share: the Tensor object, conversions, error translation. Hot things are raw CPython, the rest pybind11.
//
// Every entry point that can throw runs inside guarded(), which turns mg::Error into the matching Python exception.
#pragma once
#include <pybind11/pybind11.h>

#include "../core/op.h"

namespace py = pybind11;

namespace mg::python {

struct PyTensor {
  PyObject_HEAD
  PyObject* dict;
  PyObject* weakrefs;
  TensorImpl* impl;  // counted; borrowed while impl->owns_pyobj
};

extern PyTypeObject* tensor_type;

inline bool is_tensor(PyObject* o) { return Py_TYPE(o) == tensor_type || PyType_IsSubtype(Py_TYPE(o), tensor_type); }
inline TensorImpl* impl_of(PyObject* o) { return reinterpret_cast<PyTensor*>(o)->impl; }
inline Tensor tensor_of(PyObject* o) { return Tensor(impl_of(o)); }
PyObject* wrap(Tensor t);          // new reference; None for an undefined tensor
PyObject* wrap_in(PyTypeObject* type, Tensor t);  // a fresh wrapper of a subclass (Parameter)
Tensor expect_tensor(PyObject* o, const char* what);

// dtype, device, Size, Generator objects (py_scalars.cpp)
PyObject* wrap_dtype(DType d);     // new reference to the singleton
bool dtype_from(PyObject* o, DType& out);   // also accepts the Python types float, int, bool; false when it is something else
PyObject* wrap_device(Device d);
bool device_from(PyObject* o, Device& out);  // device object, "cuda:1", int; false when it is something else
PyObject* wrap_size(const Dims& d);
void install_scalar_types(PyObject* module);

// Keeps alive what parsed Values borrow, for one call.
struct ArgBuffer {
  static constexpr int kInts = 64, kTensors = 64;
  int64_t ints[kInts];
  TensorImpl* tensors[kTensors];
  int used_ints = 0, used_tensors = 0;
  struct More {
    std::vector<std::unique_ptr<int64_t[]>> ints;
    std::vector<std::unique_ptr<TensorImpl*[]>> tensors;
    std::vector<Tensor> keep;
  };
  std::unique_ptr<More> more;  // made when needed
  More& extra() {
    if (!more) more = std::make_unique<More>();
    return *more;
  }
  TensorImpl* hold(Tensor t) { return extra().keep.emplace_back(std::move(t)).get(); }
  int64_t* take_ints(int n);
  TensorImpl** take_tensors(int n);
};
// Converts one Python object to a Value of the given kind; raises TypeError naming op and argument.
Value convert(const Op& op, const Arg& arg, PyObject* o, ArgBuffer& buffer);
int64_t to_int(const Op& op, const Arg& arg, PyObject* o, const char* expected);
// Number, 0-d NumPy scalar, Tensor or ndarray -> Value; false for anything else (operators then return NotImplemented).
bool convert_operand(PyObject* o, Value& out, ArgBuffer& buffer);
PyObject* call_op(const Op& op, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, Write mode);
// __torch_function__ (overrides.cpp). `overriding`: some class overrides. call_overridden() is false when no argument does.
extern bool overriding;
bool call_overridden(PyObject* function, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, PyObject** result);
bool found_foreign(PyObject* const* args, Py_ssize_t n);
void install_overrides(PyObject* module);
PyObject* make_op_function(const Op* op, Write mode, bool method);
void install_op_types(PyObject* module);

complex128 read_complex(const TensorImpl& t, int64_t element_offset = 0);  // any dtype

PyObject* value_to_python(const Value& v);  // attributes for formulas and repr

void set_python_error(const Error& e);
void translate_current_exception();  // inside a catch block

template <class F>
PyObject* guarded(F&& f) {
  try {
    return f();
  } catch (...) {
    translate_current_exception();
    return nullptr;
  }
}
template <class F>
int guarded_int(F&& f) {
  try {
    return f();
  } catch (...) {
    translate_current_exception();
    return -1;
  }
}
// Raised when a Python exception is already set.
struct PythonError {};
inline PyObject* checked(PyObject* o) {
  if (o == nullptr) throw PythonError{};
  return o;
}

// Parts, one file each.
void install_tensor_type(PyObject* module);
PyObject* tensor_getitem(PyObject* self, PyObject* key);
int tensor_setitem(PyObject* self, PyObject* key, PyObject* value);
void bind_construct(py::module_& m);
void bind_dlpack(py::module_& m);
void bind_autograd(py::module_& m);
void bind_registry(py::module_& m);
void bind_optim(py::module_& m);
void bind_func(py::module_& m);
void bind_trace(py::module_& m);
void bind_form(py::module_& m);
void bind_system(py::module_& m);
void bind_linalg(py::module_& m);
void install_module_base(PyObject* module);
PyObject* wrap_node(const Ref<Node>& node);
Tensor from_array_interface(PyObject* o);  // zero-copy view of a NumPy array
Tensor tensor_from_python(PyObject* data, DType* dtype, Device device);
PyObject* python_helper(const char* module, const char* name);  // cached attribute of a minigrad Python module, borrowed

}  // namespace mg::python

namespace pybind11::detail {
template <>
struct type_caster<mg::Tensor> {
  PYBIND11_TYPE_CASTER(mg::Tensor, const_name("minigrad.Tensor"));
  bool load(handle src, bool) {
    if (src.is_none()) return true;
    if (!mg::python::is_tensor(src.ptr())) return false;
    value = mg::python::tensor_of(src.ptr());
    return true;
  }
  static handle cast(mg::Tensor t, return_value_policy, handle) { return mg::python::wrap(std::move(t)); }
};
}  // namespace pybind11::detail
