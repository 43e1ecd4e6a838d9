// The small value types of the Python face: dtype, device, Size. Raw CPython types: dtypes are singletons with a unique hash (Triton
// caches by hash alone), Size is a tuple.
#include <algorithm>
#include <iterator>

#include "../core/device_names.h"
#include "py.h"

#include <structmember.h>

#include "../core/layout.h"

namespace mg::python {

namespace {

struct PyDType {
  PyObject_HEAD DType value;
};
struct PyDevice {
  PyObject_HEAD Device value;
};

PyTypeObject *dtype_type, *device_type, *size_type;
PyObject* dtype_objects[kDTypes];

PyObject* dtype_repr(PyObject* self) {
  return PyUnicode_FromFormat("minigrad.%s", dtype_name(reinterpret_cast<PyDType*>(self)->value));
}
Py_hash_t dtype_hash(PyObject* self) { return 7919 + 104729 * Py_hash_t(reinterpret_cast<PyDType*>(self)->value); }
PyObject* dtype_reduce(PyObject* self, PyObject*) {
  return PyUnicode_FromString(dtype_name(reinterpret_cast<PyDType*>(self)->value));
}
DType value_of(PyObject* self) { return reinterpret_cast<PyDType*>(self)->value; }

PyGetSetDef dtype_getset[] = {
    {"itemsize", [](PyObject* s, void*) { return PyLong_FromLong(long(itemsize(value_of(s)))); }, nullptr, "bytes per element", nullptr},
    {"is_floating_point", [](PyObject* s, void*) { return PyBool_FromLong(is_floating(value_of(s))); }, nullptr, nullptr, nullptr},
    {"is_complex", [](PyObject* s, void*) { return PyBool_FromLong(is_complex(value_of(s))); }, nullptr, nullptr, nullptr},
    {"is_signed", [](PyObject* s, void*) { return PyBool_FromLong(value_of(s) > DType::UInt8); }, nullptr, nullptr, nullptr},
    {}};
PyObject* dtype_to_complex(PyObject* self, PyObject*) { return wrap_dtype(to_complex(value_of(self))); }
PyObject* dtype_to_real(PyObject* self, PyObject*) { return wrap_dtype(to_real(value_of(self))); }
PyMethodDef dtype_methods[] = {{"__reduce__", dtype_reduce, METH_NOARGS, nullptr},
                               {"to_complex", dtype_to_complex, METH_NOARGS, "the complex dtype whose parts have this one"},
                               {"to_real", dtype_to_real, METH_NOARGS, "the dtype of the parts of a complex one, else itself"},
                               {}};

PyObject* device_repr(PyObject* self) {
  Device d = reinterpret_cast<PyDevice*>(self)->value;
  if (!has_index(d.type) || d.index == kNoIndex) return PyUnicode_FromFormat("device(type='%s')", device_name(d.type));
  return PyUnicode_FromFormat("device(type='%s', index=%d)", device_name(d.type), int(d.index));
}
PyObject* device_str(PyObject* self) { return PyUnicode_FromString(device_text(reinterpret_cast<PyDevice*>(self)->value).c_str()); }
Py_hash_t device_hash(PyObject* self) {
  Device d = reinterpret_cast<PyDevice*>(self)->value;
  return 31 + 64 * Py_hash_t(d.type) + d.index;
}
PyObject* device_compare(PyObject* a, PyObject* b, int op) {
  if (Py_TYPE(a) != device_type || Py_TYPE(b) != device_type || (op != Py_EQ && op != Py_NE)) Py_RETURN_NOTIMPLEMENTED;
  const bool eq = reinterpret_cast<PyDevice*>(a)->value == reinterpret_cast<PyDevice*>(b)->value;
  return PyBool_FromLong(eq == (op == Py_EQ));
}
PyObject* device_new(PyTypeObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"type", "index", nullptr};
  PyObject *type = nullptr, *index = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O", const_cast<char**>(names), &type, &index)) return nullptr;
  return guarded([&]() -> PyObject* {
    Device d;
    MG_CHECK(device_from(type, d), Type, "device(): expected a string like 'cpu' or 'cuda:0', or an int, not ",
             Py_TYPE(type)->tp_name);
    if (index != Py_None && has_index(d.type)) d.index = int8_t(PyLong_AsLong(index));
    if (PyErr_Occurred()) throw PythonError{};
    return wrap_device(d);
  });
}
PyObject* device_reduce(PyObject* self, PyObject*) {
  return Py_BuildValue("O(s)", reinterpret_cast<PyObject*>(device_type), device_text(reinterpret_cast<PyDevice*>(self)->value).c_str());
}
PyGetSetDef device_getset[] = {
    {"type", [](PyObject* s, void*) { return PyUnicode_FromString(device_name(reinterpret_cast<PyDevice*>(s)->value.type)); },
     nullptr, nullptr, nullptr},
    {"index",
     [](PyObject* s, void*) -> PyObject* {
       Device d = reinterpret_cast<PyDevice*>(s)->value;
       if (!has_index(d.type) || d.index == kNoIndex) Py_RETURN_NONE;
       return PyLong_FromLong(d.index);
     },
     nullptr, nullptr, nullptr},
    {}};
PyMethodDef device_methods[] = {{"__reduce__", device_reduce, METH_NOARGS, nullptr}, {}};

PyObject* size_repr(PyObject* self) {
  PyObject* list = PySequence_List(self);
  if (list == nullptr) return nullptr;
  PyObject* text = PyUnicode_FromFormat("minigrad.Size(%R)", list);
  Py_DECREF(list);
  return text;
}
PyObject* size_numel(PyObject* self, PyObject*) {
  int64_t n = 1;
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(self); ++k) n *= PyLong_AsLongLong(PyTuple_GET_ITEM(self, k));
  return PyLong_FromLongLong(n);
}
PyObject* to_size(PyObject* tuple) {
  if (tuple == nullptr || !PyTuple_CheckExact(tuple)) return tuple;
  PyObject* out = PyObject_CallOneArg(reinterpret_cast<PyObject*>(size_type), tuple);
  Py_DECREF(tuple);
  return out;
}
PyObject* size_subscript(PyObject* self, PyObject* key) {
  PyObject* r = PyTuple_Type.tp_as_mapping->mp_subscript(self, key);
  return PySlice_Check(key) ? to_size(r) : r;
}
PyObject* size_concat(PyObject* a, PyObject* b) { return to_size(PyTuple_Type.tp_as_sequence->sq_concat(a, b)); }
PyObject* size_repeat(PyObject* a, Py_ssize_t n) { return to_size(PyTuple_Type.tp_as_sequence->sq_repeat(a, n)); }
PyObject* size_reduce(PyObject* self, PyObject*) {
  PyObject* plain = PyTuple_GetSlice(self, 0, PyTuple_GET_SIZE(self));
  if (plain == self) {  // PyTuple_GetSlice may return self for exact tuples only; be safe
    Py_DECREF(plain);
    plain = PySequence_Tuple(self);
  }
  return Py_BuildValue("O(N)", reinterpret_cast<PyObject*>(size_type), plain);
}
PyMethodDef size_methods[] = {{"numel", size_numel, METH_NOARGS, "product of the sizes"},
                              {"__reduce__", size_reduce, METH_NOARGS, nullptr},
                              {}};

PyTypeObject* make_type(PyType_Spec spec, PyObject* bases = nullptr) {
  return reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpecWithBases(&spec, bases)));
}
template <class F> PyType_Slot slot(int id, F* f) { return {id, reinterpret_cast<void*>(f)}; }

}  // namespace

PyObject* wrap_dtype(DType d) { return Py_NewRef(dtype_objects[int(d)]); }

bool dtype_from(PyObject* o, DType& out) {
  if (Py_TYPE(o) == dtype_type) out = value_of(o);
  else if (o == reinterpret_cast<PyObject*>(&PyFloat_Type)) out = DType::Float64;
  else if (o == reinterpret_cast<PyObject*>(&PyLong_Type)) out = DType::Int64;
  else if (o == reinterpret_cast<PyObject*>(&PyBool_Type)) out = DType::Bool;
  else if (o == reinterpret_cast<PyObject*>(&PyComplex_Type)) out = DType::Complex128;
  else return false;
  return true;
}

PyObject* wrap_device(Device d) {
  auto* o = PyObject_New(PyDevice, device_type);
  checked(reinterpret_cast<PyObject*>(o));
  o->value = d;
  return reinterpret_cast<PyObject*>(o);
}

bool device_from(PyObject* o, Device& out) {
  if (Py_TYPE(o) == device_type) {
    out = reinterpret_cast<PyDevice*>(o)->value;
    return true;
  }
  if (PyLong_Check(o) && !PyBool_Check(o)) {
    out = Device{DeviceType::CUDA, int8_t(PyLong_AsLong(o))};
    return true;
  }
  if (!PyUnicode_Check(o)) return false;
  std::string s = PyUnicode_AsUTF8(o);
  int index = kNoIndex;
  if (size_t colon = s.find(':'); colon != std::string::npos) {
    const std::string digits = s.substr(colon + 1);
    MG_CHECK(!digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos && digits.size() < 3, Runtime,
             "device: invalid device string '", s, "'");
    index = std::stoi(digits);
    s = s.substr(0, colon);
  }
  const auto* name = std::find(std::begin(kDeviceNames), std::end(kDeviceNames), s);
  MG_CHECK(name != std::end(kDeviceNames), Runtime, "device: expected one of cpu, cuda, meta, mps, xpu at the start of the device string: got '",
           s, "'");
  out.type = DeviceType(name - std::begin(kDeviceNames));
  out.index = int8_t(has_index(out.type) ? index : 0);
  return true;
}

PyObject* wrap_size(const Dims& d) {
  PyObject* t = checked(size_type->tp_alloc(size_type, d.size()));
  for (int k = 0; k < d.size(); ++k) PyTuple_SET_ITEM(t, k, checked(PyLong_FromLongLong(d[k])));
  return t;
}

void install_scalar_types(PyObject* module) {
  PyType_Slot dtype_slots[] = {slot(Py_tp_repr, dtype_repr), slot(Py_tp_hash, dtype_hash), {Py_tp_getset, dtype_getset},
                               {Py_tp_methods, dtype_methods}, {0, nullptr}};
  dtype_type = make_type({"minigrad.dtype", sizeof(PyDType), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, dtype_slots});
  PyType_Slot device_slots[] = {slot(Py_tp_repr, device_repr), slot(Py_tp_str, device_str), slot(Py_tp_hash, device_hash),
                                slot(Py_tp_richcompare, device_compare), slot(Py_tp_new, device_new),
                                {Py_tp_getset, device_getset}, {Py_tp_methods, device_methods}, {0, nullptr}};
  device_type = make_type({"minigrad.device", sizeof(PyDevice), 0, Py_TPFLAGS_DEFAULT, device_slots});
  PyType_Slot size_slots[] = {slot(Py_tp_repr, size_repr), slot(Py_mp_subscript, size_subscript), slot(Py_sq_concat, size_concat),
                              slot(Py_sq_repeat, size_repeat), {Py_tp_methods, size_methods}, {0, nullptr}};
  PyObject* bases = PyTuple_Pack(1, &PyTuple_Type);
  size_type = make_type({"minigrad.Size", 0, 0, Py_TPFLAGS_DEFAULT, size_slots}, bases);
  Py_DECREF(bases);
  PyModule_AddObjectRef(module, "dtype", reinterpret_cast<PyObject*>(dtype_type));
  PyModule_AddObjectRef(module, "device", reinterpret_cast<PyObject*>(device_type));
  PyModule_AddObjectRef(module, "Size", reinterpret_cast<PyObject*>(size_type));
  for (int k = 0; k < kDTypes; ++k) {
    auto* o = PyObject_New(PyDType, dtype_type);
    o->value = DType(k);
    dtype_objects[k] = reinterpret_cast<PyObject*>(o);
    PyModule_AddObjectRef(module, dtype_name(DType(k)), dtype_objects[k]);
  }
}

}  // namespace mg::python
