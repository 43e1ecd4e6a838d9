// The sizes of a call as one key: what may vary from call to call of one program (minigrad/compiler/_dynamic.py).
#include "py.h"

namespace mg::python {

namespace {

constexpr int kDepth = 16;  // containers in containers

void add(std::string& key, int64_t n) { key.append(reinterpret_cast<const char*>(&n), sizeof n); }

void add_sizes(std::string& key, PyObject* o, int depth) {
  if (depth == 0) return;
  if (is_tensor(o)) {
    const TensorImpl& t = *impl_of(o);
    add(key, t.sizes.size());
    for (int64_t s : t.sizes) add(key, s);
    for (int64_t s : t.strides) add(key, s);
  } else if (PyLong_CheckExact(o)) {
    add(key, int64_t(PyObject_Hash(o)));
  } else if (PyFloat_CheckExact(o)) {
    const double f = PyFloat_AS_DOUBLE(o);
    key.append(reinterpret_cast<const char*>(&f), sizeof f);
  } else if (PyList_Check(o) || PyTuple_Check(o)) {
    add(key, -int64_t(PySequence_Fast_GET_SIZE(o)));
    for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(o); ++k)
      add_sizes(key, PySequence_Fast_GET_ITEM(o, k), depth - 1);
  } else if (PyDict_Check(o)) {
    PyObject *name, *item;
    for (Py_ssize_t at = 0; PyDict_Next(o, &at, &name, &item);) add_sizes(key, item, depth - 1);
  }
}

}  // namespace

void bind_call_key(py::module_& m) {
  m.def(
      "call_key",
      [](const py::tuple& args, const py::dict& kwargs) {
        std::string key;
        key.reserve(128);
        add_sizes(key, args.ptr(), kDepth);
        add_sizes(key, kwargs.ptr(), kDepth);
        return py::bytes(key);
      },
      "Sizes, strides and numbers of a call's arguments, as bytes. Calls of one key may still differ elsewhere.");
}

}  // namespace mg::python
