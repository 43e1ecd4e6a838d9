// Python objects to Values by the kind that an op's schema asks for. TypeErrors name the op and the argument.
#include "../core/random.h"
#include "py.h"

namespace mg::python {

int64_t* ArgBuffer::take_ints(int n) {
  if (used_ints + n <= kInts) {
    used_ints += n;
    return ints + used_ints - n;
  }
  return extra().ints.emplace_back(new int64_t[size_t(n)]).get();
}

TensorImpl** ArgBuffer::take_tensors(int n) {
  if (used_tensors + n <= kTensors) {
    used_tensors += n;
    return tensors + used_tensors - n;
  }
  return extra().tensors.emplace_back(new TensorImpl*[size_t(n)]).get();
}

[[noreturn, gnu::cold]] static void wrong_type(const Op& op, const Arg& arg, const char* expected, PyObject* o) {
  fail(ErrorKind::Type, op.name, "(): argument '", arg.name, "' must be ", expected, ", not ", Py_TYPE(o)->tp_name);
}

int64_t to_int(const Op& op, const Arg& arg, PyObject* o, const char* expected) {
  if (PyFloat_Check(o)) wrong_type(op, arg, expected, o);
  if (is_tensor(o)) {
    TensorImpl* t = impl_of(o);
    if (t->numel != 1 || is_inexact(t->dtype) || t->dtype == DType::Bool) wrong_type(op, arg, expected, o);
    return read_int(*t);
  }
  PyObject* index = PyLong_Check(o) ? Py_NewRef(o) : PyNumber_Index(o);
  if (index == nullptr) {
    PyErr_Clear();
    wrong_type(op, arg, expected, o);
  }
  int overflow = 0;
  const int64_t v = PyLong_AsLongLongAndOverflow(index, &overflow);
  Py_DECREF(index);
  MG_CHECK(overflow == 0, Overflow, op.name, "(): argument '", arg.name, "': integer does not fit into 64 bits");
  return v;
}

static Value boxed(complex128 z, ArgBuffer& buffer) { return Value(new (buffer.take_ints(2)) complex128(z)); }

static bool convert_number(PyObject* o, Value& out, ArgBuffer& buffer) {
  if (PyFloat_Check(o)) {
    out = Value(PyFloat_AS_DOUBLE(o));
    return true;
  }
  if (PyBool_Check(o)) {
    out = Value(o == Py_True);
    return true;
  }
  if (PyLong_Check(o)) {
    int overflow = 0;
    const int64_t v = PyLong_AsLongLongAndOverflow(o, &overflow);
    MG_CHECK(overflow == 0, Overflow, "integer operand does not fit into 64 bits");
    out = Value(v);
    return true;
  }
  if (PyComplex_Check(o)) {
    out = boxed({PyComplex_RealAsDouble(o), PyComplex_ImagAsDouble(o)}, buffer);
    return true;
  }
  if (Py_TYPE(o)->tp_as_number == nullptr || PyObject_HasAttrString(o, "__array_interface__") == 0) return false;
  // NumPy scalars (0-d): bool_, integer, floating, complex
  PyObject* item = PyObject_CallMethod(o, "item", nullptr);
  if (item == nullptr) {
    PyErr_Clear();
    return false;
  }
  const bool ok = (PyFloat_Check(item) || PyLong_Check(item) || PyComplex_Check(item)) && convert_number(item, out, buffer);
  Py_DECREF(item);
  return ok;
}

bool convert_operand(PyObject* o, Value& out, ArgBuffer& buffer) {
  if (is_tensor(o)) {
    out = Value(impl_of(o));
    return true;
  }
  if (PyFloat_CheckExact(o)) {
    out = Value(PyFloat_AS_DOUBLE(o));
    return true;
  }
  if (o == Py_None || PyUnicode_Check(o) || PyList_Check(o) || PyTuple_Check(o)) return false;
  if (PyFloat_Check(o) || PyLong_Check(o)) return convert_number(o, out, buffer);
  if (PyObject_HasAttrString(o, "__array_interface__")) {
    PyObject* ndim = PyObject_GetAttrString(o, "ndim");
    const bool scalar = ndim != nullptr && PyLong_Check(ndim) && PyLong_AsLong(ndim) == 0;
    Py_XDECREF(ndim);
    PyErr_Clear();
    if (scalar && convert_number(o, out, buffer)) return true;
    out = Value(buffer.hold(from_array_interface(o)));
    return true;
  }
  return convert_number(o, out, buffer);
}

static Value convert_ints(const Op& op, const Arg& arg, PyObject* o, ArgBuffer& buffer) {
  if (PyTuple_Check(o) || PyList_Check(o)) {
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
    int64_t* v = buffer.take_ints(int(n));
    for (Py_ssize_t k = 0; k < n; ++k)
      v[k] = to_int(op, arg, PySequence_Fast_GET_ITEM(o, k), "int or tuple of ints");
    return Value(std::span<const int64_t>(v, size_t(n)));
  }
  if (is_tensor(o) && impl_of(o)->dim() == 1) {
    const TensorImpl& t = *impl_of(o);
    int64_t* v = buffer.take_ints(int(t.numel));
    for (int64_t k = 0; k < t.numel; ++k) v[k] = read_int(t, k * t.strides[0]);
    return Value(std::span<const int64_t>(v, size_t(t.numel)));
  }
  int64_t* v = buffer.take_ints(1);
  v[0] = to_int(op, arg, o, "int or tuple of ints");
  return Value(std::span<const int64_t>(v, 1));
}

static Value convert_tensors(const Op& op, const Arg& arg, PyObject* o, ArgBuffer& buffer) {
  if (!PyTuple_Check(o) && !PyList_Check(o)) wrong_type(op, arg, "tuple of Tensors", o);
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
  TensorImpl** v = buffer.take_tensors(int(n));
  for (Py_ssize_t k = 0; k < n; ++k) {
    PyObject* item = PySequence_Fast_GET_ITEM(o, k);
    if (item != Py_None && !is_tensor(item))
      fail(ErrorKind::Type, op.name, "(): expected Tensor as element ", k, " in argument '", arg.name, "', but got ",
           Py_TYPE(item)->tp_name);
    v[k] = item == Py_None ? nullptr : impl_of(item);
  }
  return Value::list(v, int(n));
}

Value convert(const Op& op, const Arg& arg, PyObject* o, ArgBuffer& buffer) {
  Value v;
  switch (arg.kind) {
    case ArgKind::Tensor:
      if (is_tensor(o)) [[likely]] return Value(impl_of(o));
      if (o == Py_None && arg.optional) return v;
      wrong_type(op, arg, "Tensor", o);
    case ArgKind::Operand:
      if (o == Py_None && arg.optional) return v;
      if (convert_operand(o, v, buffer)) return v;
      wrong_type(op, arg, "Tensor or number", o);
    default: break;
  }
  if (o == Py_None) {
    if (arg.optional || (arg.has_default && arg.default_value.none())) return v;
    wrong_type(op, arg, "given", o);
  }
  switch (arg.kind) {
    case ArgKind::Scalar:
    case ArgKind::Float:
      if (is_tensor(o) && impl_of(o)->numel == 1) {
        const TensorImpl& t = *impl_of(o);
        if (is_complex(t.dtype) && arg.kind == ArgKind::Scalar) return boxed(read_complex(t), buffer);
        return is_floating(t.dtype) ? Value(read_double(t)) : Value(read_int(t));
      }
      if (!convert_number(o, v, buffer) || (arg.kind == ArgKind::Float && v.kind == Kind::Complex)) wrong_type(op, arg, arg.kind == ArgKind::Float ? "float" : "Number", o);
      if (arg.kind == ArgKind::Float) v = Value(v.as_double());
      return v;
    case ArgKind::Bool: {
      if (PyBool_Check(o)) return Value(o == Py_True);
      if (!PyLong_Check(o) && !is_tensor(o) && Py_TYPE(o)->tp_as_number == nullptr) wrong_type(op, arg, "bool", o);
      const int truth = PyObject_IsTrue(o);
      if (truth < 0) throw PythonError{};
      return Value(truth == 1);
    }
    case ArgKind::Int: return Value(to_int(op, arg, o, "int"));
    case ArgKind::Ints: return convert_ints(op, arg, o, buffer);
    case ArgKind::Tensors: return convert_tensors(op, arg, o, buffer);
    case ArgKind::DType: {
      DType d;
      if (!dtype_from(o, d)) wrong_type(op, arg, "minigrad.dtype", o);
      return Value(d);
    }
    case ArgKind::Device: {
      Device d;
      if (!device_from(o, d)) wrong_type(op, arg, "minigrad.device or str", o);
      return Value(d);
    }
    case ArgKind::Str: {
      const char* s = PyUnicode_Check(o) ? PyUnicode_AsUTF8(o) : nullptr;
      if (s == nullptr) wrong_type(op, arg, "str", o);
      return Value(s);
    }
    case ArgKind::Generator: {
      v.kind = Kind::Generator;
      v.generator = py::cast<Generator*>(py::handle(o));
      return v;
    }
    default: return v;
  }
}

}  // namespace mg::python
