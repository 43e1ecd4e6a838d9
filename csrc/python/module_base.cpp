// ModuleBase: the two hot paths of nn.Module in C. The readable definition of both is minigrad/nn/modules/_base.py.
//
//   attribute: type -> instance __dict__ -> _parameters -> _buffers -> _modules (PyTorch's order, without a Python-level __getattr__)
//   call:      forward(*args) directly while `_has_hooks` is false, else _call_impl(*args)
#include "py.h"

namespace mg::python {

namespace {

PyObject *s_tables[3], *s_forward, *s_call_impl, *s_has_hooks, *s_getattr;
PyTypeObject* base_type;

PyObject* find_registered(PyObject* dict, PyObject* name) {  // borrowed, or null
  for (PyObject* table : s_tables) {
    PyObject* entries = PyDict_GetItemWithError(dict, table);
    if (entries == nullptr || !PyDict_Check(entries)) continue;
    if (PyObject* found = PyDict_GetItemWithError(entries, name)) return found;
  }
  return nullptr;
}

PyObject* module_getattro(PyObject* self, PyObject* name) {
  if (_PyType_Lookup(Py_TYPE(self), name) == nullptr) {
    PyObject** dict = _PyObject_GetDictPtr(self);
    if (dict != nullptr && *dict != nullptr) {
      if (PyObject* found = PyDict_GetItemWithError(*dict, name)) return Py_NewRef(found);
      if (PyObject* found = find_registered(*dict, name)) return Py_NewRef(found);
    }
    if (PyErr_Occurred()) return nullptr;
  }
  return PyObject_GenericGetAttr(self, name);
}

// For `super().__getattr__(name)` in user classes.
PyObject* module_getattr_method(PyObject* self, PyObject* name) {
  PyObject** dict = _PyObject_GetDictPtr(self);
  if (dict != nullptr && *dict != nullptr)
    if (PyObject* found = find_registered(*dict, name)) return Py_NewRef(found);
  if (!PyErr_Occurred())
    PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '%U'", Py_TYPE(self)->tp_name, name);
  return nullptr;
}

PyObject* module_call(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject** dict = _PyObject_GetDictPtr(self);
  PyObject* flag = dict && *dict ? PyDict_GetItemWithError(*dict, s_has_hooks) : nullptr;
  if (flag == nullptr) flag = _PyType_Lookup(Py_TYPE(self), s_has_hooks);
  PyObject* fn = PyObject_GetAttr(self, flag == Py_True ? s_call_impl : s_forward);
  if (fn == nullptr) return nullptr;
  PyObject* r = PyObject_Call(fn, args, kwargs);
  Py_DECREF(fn);
  return r;
}

// CPython gives every subclass the slow slot as soon as a __getattr__ is in sight; take the fast one unless the user defined their own.
// Then on to the next class (`class Net(nn.Module, Generic[T])`: typing sets what it needs there).
PyObject* init_subclass(PyObject* cls, PyObject* args, PyObject* kwargs) {
  auto* type = reinterpret_cast<PyTypeObject*>(cls);
  if (_PyType_Lookup(type, s_getattr) == PyDict_GetItemWithError(base_type->tp_dict, s_getattr)) type->tp_getattro = module_getattro;
  PyObject* next = PyObject_CallFunction(reinterpret_cast<PyObject*>(&PySuper_Type), "OO", base_type, cls);
  if (next == nullptr) return nullptr;
  PyObject* method = PyObject_GetAttrString(next, "__init_subclass__");
  Py_DECREF(next);
  if (method == nullptr) return nullptr;
  PyObject* result = PyObject_Call(method, args, kwargs);
  Py_DECREF(method);
  return result;
}

int no_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return 0;
}
void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  type->tp_free(self);
  Py_DECREF(type);
}

}  // namespace

void install_module_base(PyObject* module) {
  const char* tables[] = {"_parameters", "_buffers", "_modules"};
  for (int k = 0; k < 3; ++k) s_tables[k] = PyUnicode_InternFromString(tables[k]);
  s_forward = PyUnicode_InternFromString("forward");
  s_call_impl = PyUnicode_InternFromString("_call_impl");
  s_has_hooks = PyUnicode_InternFromString("_has_hooks");
  s_getattr = PyUnicode_InternFromString("__getattr__");
  static PyMethodDef methods[] = {
      {"__getattr__", module_getattr_method, METH_O, "Looks a name up in the registered parameters, buffers and submodules."},
      {"__init_subclass__", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(init_subclass)),
       METH_VARARGS | METH_KEYWORDS | METH_CLASS, nullptr},
      {}};
  static PyType_Slot slots[] = {{Py_tp_getattro, reinterpret_cast<void*>(module_getattro)},
                                {Py_tp_call, reinterpret_cast<void*>(module_call)},
                                {Py_tp_traverse, reinterpret_cast<void*>(no_traverse)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                                {Py_tp_methods, methods},
                                {0, nullptr}};
  static PyType_Spec spec = {"minigrad.ModuleBase", sizeof(PyObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
  base_type = reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)));
  PyModule_AddObjectRef(module, "ModuleBase", reinterpret_cast<PyObject*>(base_type));
}

}  // namespace mg::python
