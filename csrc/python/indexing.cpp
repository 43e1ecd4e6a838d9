// x[key] and x[key] = value. Basic keys (int, slice, None, Ellipsis and tuples of them) are resolved here into ONE as_strided-like walk
// of view ops; everything else (tensors, masks, lists, arrays) goes to minigrad/indexing.py.
#include "py.h"

#include "../core/layout.h"

namespace mg::python {

namespace {

OpRef select_op{"select"}, slice_op{"_slice"}, unsqueeze_op{"unsqueeze"}, alias_op{"alias"}, copy_op{"copy_"}, fill_op{"fill_"};

bool is_basic(PyObject* k) {
  return (PyLong_Check(k) && !PyBool_Check(k)) || PySlice_Check(k) || k == Py_None || k == Py_Ellipsis;
}

Tensor apply_slice(TensorImpl& t, int dim, PyObject* key) {
  Py_ssize_t start, stop, step;
  if (PySlice_Unpack(key, &start, &stop, &step) < 0) throw PythonError{};
  MG_CHECK(step > 0, Value, "slice: step must be greater than zero: got ", step, ". Try flip().");
  MG_CHECK(dim < t.dim(), Index, "index: too many indices for a tensor of dimension ", t.dim());
  const int64_t size = t.sizes[dim];
  PySlice_AdjustIndices(Py_ssize_t(size), &start, &stop, step);
  if (stop < start) stop = start;
  if (start == 0 && stop >= size && step == 1) return Tensor(&t);
  return invoke(slice_op, &t, dim, int64_t(start), int64_t(stop), int64_t(step));
}

Tensor apply_int(TensorImpl& t, int dim, PyObject* key) {
  const int64_t k = PyLong_AsLongLong(key);
  if (k == -1 && PyErr_Occurred()) throw PythonError{};
  MG_CHECK(t.dim() > 0, Index, "index: invalid index of a 0-dim tensor. Use tensor.item() to convert a 0-dim tensor to a Python number");
  MG_CHECK(dim < t.dim(), Index, "index: too many indices for a tensor of dimension ", t.dim());
  const int64_t size = t.sizes[dim];
  MG_CHECK(k >= -size && k < size, Index, "index ", k, " is out of bounds for dimension ", dim, " with size ", size);
  return invoke(select_op, &t, dim, k);
}

// False when some part of the key is not basic.
bool basic_index(TensorImpl& t, PyObject* key, Tensor& out) {
  if (PyLong_Check(key) && !PyBool_Check(key)) {
    out = apply_int(t, 0, key);
    return true;
  }
  if (PySlice_Check(key)) {
    MG_CHECK(t.dim() > 0, Index, "slice() cannot be applied to a 0-dim tensor.");
    out = apply_slice(t, 0, key);
    return true;
  }
  if (!PyTuple_Check(key)) {
    if (!is_basic(key)) return false;
    out = key == Py_None ? invoke(unsqueeze_op, &t, int64_t(0)) : Tensor(&t);
    return true;
  }
  const Py_ssize_t n = PyTuple_GET_SIZE(key);
  int consumed = 0;  // a second Ellipsis skips as many dims as the first, as in PyTorch
  for (Py_ssize_t k = 0; k < n; ++k) {
    PyObject* item = PyTuple_GET_ITEM(key, k);
    if (!is_basic(item)) return false;
    consumed += item != Py_None && item != Py_Ellipsis;
  }
  MG_CHECK(consumed <= t.dim(), Index, "index: too many indices for tensor of dimension ", t.dim(), ": got ", consumed);
  out = Tensor(&t);
  int dim = 0;
  for (Py_ssize_t k = 0; k < n; ++k) {
    PyObject* item = PyTuple_GET_ITEM(key, k);
    if (item == Py_None) out = invoke(unsqueeze_op, out, dim++);
    else if (item == Py_Ellipsis) dim += t.dim() - consumed;
    else if (PySlice_Check(item)) out = apply_slice(*out, dim++, item);
    else out = apply_int(*out, dim, item);
  }
  return true;
}

}  // namespace

PyObject* tensor_getitem(PyObject* self, PyObject* key) {
  return guarded([&]() -> PyObject* {
    Tensor out;
    TensorImpl& t = *impl_of(self);
    if (PyLong_CheckExact(key)) return wrap(apply_int(t, 0, key));
    if (basic_index(t, key, out)) return wrap(out.get() == &t ? invoke(alias_op, &t) : std::move(out));
    PyObject* f = checked(python_helper("minigrad.indexing", "getitem"));
    return checked(PyObject_CallFunctionObjArgs(f, self, key, nullptr));
  });
}

int tensor_setitem(PyObject* self, PyObject* key, PyObject* value) {
  return guarded_int([&]() -> int {
    MG_CHECK(value != nullptr, Type, "Tensor does not support deleting items");
    Tensor t = tensor_of(self), part;
    if (!basic_index(*t, key, part)) {
      PyObject* f = checked(python_helper("minigrad.indexing", "setitem"));
      Py_DECREF(checked(PyObject_CallFunctionObjArgs(f, self, key, value, nullptr)));
      return 0;
    }
    ArgBuffer buffer;
    Value v;
    if (convert_operand(value, v, buffer)) {
      if (v.is_number()) {
        invoke(fill_op, part, v);
        return 0;
      }
    } else {
      v = Value(buffer.hold(tensor_from_python(value, nullptr, t.device())));
    }
    Tensor source(v.t);  // leading dims of size 1 are dropped, as NumPy and PyTorch do
    while (source.dim() > part.dim() && source.sizes()[0] == 1) source = invoke(select_op, source, int64_t(0), int64_t(0));
    invoke(copy_op, part, source);
    return 0;
  });
}

}  // namespace mg::python
