// The `__torch_function__` protocol at the door of the ops: a call with an argument whose class overrides is handed to
// minigrad/overrides.py, which asks that class first. Nothing is looked at until the first such class exists
// (`overriding`, one test per call); classes that only hold parameters switch it off with the disabled function.
#include <utility>

#include "py.h"

namespace mg::python {

bool overriding = false;

namespace {

PyObject* disabled = nullptr;             // torch._C._disabled_torch_function_impl
bool mode_active = false;                 // inside `with TorchFunctionMode():`
thread_local bool switched_off = false;   // inside the default __torch_function__, or DisableTorchFunctionSubclass

bool overrides(PyObject* o) {
  PyTypeObject* type = Py_TYPE(o);
  if (type == tensor_type || PyLong_Check(o) || PyFloat_Check(o) || o == Py_None || PyUnicode_Check(o)) return false;
  PyObject* f = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__torch_function__");
  if (f == nullptr) {
    PyErr_Clear();
    return false;
  }
  Py_DECREF(f);
  return f != disabled;
}

bool any_overrides(PyObject* const* args, Py_ssize_t n) {
  for (Py_ssize_t k = 0; k < n; ++k) {
    PyObject* o = args[k];
    if (PyTuple_CheckExact(o) || PyList_CheckExact(o)) {  // cat([a, b]), x[i, j]
      for (Py_ssize_t j = 0; j < PySequence_Fast_GET_SIZE(o); ++j)
        if (overrides(PySequence_Fast_GET_ITEM(o, j))) return true;
    } else if (overrides(o)) {
      return true;
    }
  }
  return false;
}

}  // namespace

bool function_mode_is_active() { return mode_active && !switched_off; }
bool class_overrides(PyObject* tensor) { return overriding && overrides(tensor); }

bool call_overridden(PyObject* function, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, PyObject** result) {
  const Py_ssize_t named = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  if (switched_off || !(mode_active || any_overrides(args, nargs + named))) return false;
  *result = nullptr;
  PyObject* dispatch = python_helper("minigrad.overrides", "dispatch");
  PyObject* positional = PyTuple_New(nargs);
  PyObject* keywords = PyDict_New();
  if (dispatch != nullptr && positional != nullptr && keywords != nullptr) {
    for (Py_ssize_t k = 0; k < nargs; ++k) PyTuple_SET_ITEM(positional, k, Py_NewRef(args[k]));
    bool ok = true;
    for (Py_ssize_t k = 0; k < named; ++k) ok &= PyDict_SetItem(keywords, PyTuple_GET_ITEM(kwnames, k), args[nargs + k]) == 0;
    if (ok) *result = PyObject_CallFunctionObjArgs(dispatch, function, positional, keywords, nullptr);
  }
  Py_XDECREF(positional);
  Py_XDECREF(keywords);
  return true;
}

// After a TypeError: was the reason an argument that is no tensor but overrides (its class was never announced)?
bool found_foreign(PyObject* const* args, Py_ssize_t n) {
  if (overriding || !PyErr_ExceptionMatches(PyExc_TypeError)) return false;
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  if (!any_overrides(args, n)) {
    PyErr_Restore(type, value, trace);
    return false;
  }
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(trace);
  PyObject* enable = python_helper("minigrad.overrides", "enable");
  PyObject* done = enable == nullptr ? nullptr : PyObject_CallNoArgs(enable);
  Py_XDECREF(done);
  return done != nullptr;
}

void install_overrides(PyObject* module) {
  py::module_ m = py::reinterpret_borrow<py::module_>(module);
  m.def("enable_overrides", [](py::object none) {
    disabled = none.release().ptr();  // for ever
    overriding = true;
  });
  m.def("overrides_enabled", [] { return overriding; });
  m.def("overrides_off", [] { return switched_off; });
  m.def("set_overrides_off", [](bool off) { return std::exchange(switched_off, off); });
  m.def("set_function_mode", [](bool on) { mode_active = on; });
  m.def("any_overrides", [](py::tuple args) {
    return !switched_off && (mode_active || any_overrides(&PyTuple_GET_ITEM(args.ptr(), 0), PyTuple_GET_SIZE(args.ptr())));
  });
  m.def("as_subclass", [](Tensor t, py::handle cls) {
    MG_CHECK(PyType_Check(cls.ptr()) && PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(cls.ptr()), tensor_type), Type,
             "as_subclass: cls must be a subclass of Tensor");
    static OpRef alias_op{"alias"};
    return py::reinterpret_steal<py::object>(wrap_in(reinterpret_cast<PyTypeObject*>(cls.ptr()), invoke(alias_op, t)));
  });
}

}  // namespace mg::python
