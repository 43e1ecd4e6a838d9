// C++ exceptions to Python exceptions, and lookups of Python helpers.
#include <map>

#include "py.h"

namespace mg::python {

static PyObject* out_of_memory_type = nullptr;

static PyObject* exception_type(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::Index: return PyExc_IndexError;
    case ErrorKind::Type: return PyExc_TypeError;
    case ErrorKind::Value: return PyExc_ValueError;
    case ErrorKind::NotImplemented: return PyExc_NotImplementedError;
    case ErrorKind::Memory: return out_of_memory_type ? out_of_memory_type : PyExc_MemoryError;
    case ErrorKind::Overflow: return PyExc_OverflowError;
    case ErrorKind::Assertion: return PyExc_AssertionError;
    case ErrorKind::ZeroDivision: return PyExc_RuntimeError;  // PyTorch raises RuntimeError("ZeroDivisionError")
    default: return PyExc_RuntimeError;
  }
}

void set_python_error(const Error& e) { PyErr_SetString(exception_type(e.kind), e.message.c_str()); }

void translate_current_exception() {
  try {
    throw;
  } catch (const PythonError&) {
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const Error& e) {
    set_python_error(e);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

PyObject* python_helper(const char* module, const char* name) {
  static std::map<std::pair<std::string, std::string>, PyObject*> cache;
  PyObject*& slot = cache[{module, name}];
  if (slot == nullptr) {
    PyObject* m = PyImport_ImportModule(module);
    if (m == nullptr) return nullptr;
    slot = PyObject_GetAttrString(m, name);
    Py_DECREF(m);
  }
  return slot;
}

void install_errors(PyObject* module) {
  PyObject* bases = PyTuple_Pack(2, PyExc_RuntimeError, PyExc_MemoryError);
  out_of_memory_type = PyErr_NewExceptionWithDoc("minigrad.OutOfMemoryError",
                                                 "Raised when a tensor cannot be allocated; the message lists who holds the memory.",
                                                 bases, nullptr);
  Py_DECREF(bases);
  PyModule_AddObjectRef(module, "OutOfMemoryError", out_of_memory_type);
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const PythonError&) {
    } catch (const Error& e) {
      set_python_error(e);
    }
  });
}

}  // namespace mg::python
