// minigrad.Tensor: a raw CPython heap type (why not a pybind11 class: docs/architecture.md).
//
// Life of a wrapper: impl->pyobj caches it, so one tensor has one Python identity. When the last Python reference goes but the impl
// lives on (in a graph, as .grad) and the wrapper carries attributes, ownership flips: the impl keeps the wrapper, until it is handed out
// again. Methods of ops are OpMethod descriptors set on the type by minigrad/op.py; this file has only slots and what must be C.
#include "py.h"

#include <structmember.h>

#include "../autograd/node.h"
#include "../core/layout.h"
#include "../core/meta.h"
#include "construct.h"

namespace mg::python {

PyTypeObject* tensor_type = nullptr;

namespace {

constexpr int kMaxFree = 256;
PyTensor* free_wrappers[kMaxFree];
int free_count = 0;

PyTensor* as_py(PyObject* o) { return reinterpret_cast<PyTensor*>(o); }

void attach(PyTensor* self, Tensor t) {
  t->pyobj = self;
  self->impl = t.detach_ref();
}

// The impl outlives its wrapper: keep a wrapper that carries attributes. True when the dealloc must not go on.
bool keep_for_impl(PyTensor* self) {
  TensorImpl* t = self->impl;
  if (t == nullptr || self->dict == nullptr || t->refs.load(std::memory_order_relaxed) <= 1) return false;
  Py_SET_REFCNT(reinterpret_cast<PyObject*>(self), 1);
  t->owns_pyobj = true;
  Ref<TensorImpl>::adopt(t).reset();  // the wrapper now only borrows
  return true;
}

void release_impl(PyTensor* self) {
  TensorImpl* t = self->impl;
  if (t == nullptr) return;
  self->impl = nullptr;
  if (t->pyobj == self) t->pyobj = nullptr;
  Ref<TensorImpl>::adopt(t).reset();
}

void tensor_dealloc(PyObject* o) {
  auto* self = as_py(o);
  PyTypeObject* type = Py_TYPE(o);
  if (type == tensor_type && keep_for_impl(self)) return;
  if (PyObject_GC_IsTracked(o)) PyObject_GC_UnTrack(o);
  if (self->weakrefs != nullptr) PyObject_ClearWeakRefs(o);
  Py_CLEAR(self->dict);
  release_impl(self);
  if (type == tensor_type && free_count < kMaxFree) {
    free_wrappers[free_count++] = self;
    Py_DECREF(type);
    return;
  }
  type->tp_free(o);
  Py_DECREF(type);
}

int tensor_traverse(PyObject* o, visitproc visit, void* arg) {
  Py_VISIT(as_py(o)->dict);
  Py_VISIT(Py_TYPE(o));
  return 0;
}

int tensor_clear(PyObject* o) {
  Py_CLEAR(as_py(o)->dict);
  return 0;
}

void destroy_pyobj(TensorImpl* t) {  // the impl dies and owned its wrapper
  PyGILState_STATE gil = PyGILState_Ensure();
  auto* self = static_cast<PyTensor*>(t->pyobj);
  self->impl = nullptr;
  Py_DECREF(reinterpret_cast<PyObject*>(self));
  PyGILState_Release(gil);
}

// ---- operators --------------------------------------------------------------------------------------------------------------

PyObject* call_binary(const Op& op, Value* args, Write mode) {
  for (int k = 2; k < op.n_args; ++k) args[k] = op.defaults[k];
  Tensor out;
  call(op, args, &out, mode);
  return wrap(std::move(out));
}

PyObject* binary(OpRef& ref, PyObject* a, PyObject* b, Write mode = Write::Fresh) {
  return guarded([&]() -> PyObject* {
    ValueArray args;
    if (is_tensor(a) && is_tensor(b)) [[likely]] {
      args[0] = Value(impl_of(a));
      args[1] = Value(impl_of(b));
      return call_binary(*ref, args, mode);
    }
    ArgBuffer buffer;
    if (!convert_operand(a, args[0], buffer) || !convert_operand(b, args[1], buffer)) Py_RETURN_NOTIMPLEMENTED;
    return call_binary(*ref, args, mode);
  });
}

PyObject* unary(OpRef& ref, PyObject* a) {
  return guarded([&]() -> PyObject* { return wrap(invoke(ref, tensor_of(a))); });
}

#define MG_BINARY(slot_name, op_name)                                                   \
  OpRef ref_##slot_name{op_name};                                                       \
  PyObject* slot_name(PyObject* a, PyObject* b) { return binary(ref_##slot_name, a, b); } \
  PyObject* inplace_##slot_name(PyObject* a, PyObject* b) { return binary(ref_##slot_name, a, b, Write::Inplace); }
MG_BINARY(nb_add, "add")
MG_BINARY(nb_subtract, "sub")
MG_BINARY(nb_multiply, "mul")
MG_BINARY(nb_true_divide, "true_divide")
MG_BINARY(nb_floor_divide, "floor_divide")
MG_BINARY(nb_remainder, "remainder")
MG_BINARY(nb_and, "bitwise_and")
MG_BINARY(nb_or, "bitwise_or")
MG_BINARY(nb_xor, "bitwise_xor")
MG_BINARY(nb_lshift, "bitwise_left_shift")
MG_BINARY(nb_rshift, "bitwise_right_shift")
#undef MG_BINARY
OpRef ref_pow{"pow"}, ref_matmul{"matmul"}, ref_neg{"neg"}, ref_abs{"abs"}, ref_not{"bitwise_not"};
PyObject* nb_power(PyObject* a, PyObject* b, PyObject*) { return binary(ref_pow, a, b); }
PyObject* inplace_nb_power(PyObject* a, PyObject* b, PyObject*) { return binary(ref_pow, a, b, Write::Inplace); }
PyObject* nb_matmul(PyObject* a, PyObject* b) {
  if (!is_tensor(a) || !is_tensor(b)) Py_RETURN_NOTIMPLEMENTED;
  return guarded([&]() -> PyObject* { return wrap(invoke(ref_matmul, tensor_of(a), tensor_of(b))); });
}
PyObject* nb_negative(PyObject* a) { return unary(ref_neg, a); }
PyObject* nb_absolute(PyObject* a) { return unary(ref_abs, a); }
PyObject* nb_invert(PyObject* a) { return unary(ref_not, a); }
PyObject* nb_positive(PyObject* a) { return Py_NewRef(a); }

TensorImpl& single_element(PyObject* a, const char* what) {
  TensorImpl* t = impl_of(a);
  MG_CHECK(t->numel == 1, Runtime, what, ": a Tensor with ", t->numel, " elements cannot be converted to a scalar");
  return *t;
}

TensorImpl& real_element(PyObject* a, const char* what) {
  TensorImpl& t = single_element(a, what);
  MG_CHECK(!is_complex(t.dtype) || read_complex(t).im == 0, Runtime, what,
           ": a complex value cannot be converted without dropping its imaginary part. Try .real or complex().");
  return t;
}

int nb_bool(PyObject* a) {
  return guarded_int([&]() -> int {
    TensorImpl* t = impl_of(a);
    MG_CHECK(t->numel == 1, Runtime, "bool(): Boolean value of Tensor with ", t->numel == 0 ? "no values" : "more than one value",
             " is ambiguous: got shape ", t->sizes, ". Try .any() or .all().");
    if (is_complex(t->dtype)) {
      const complex128 z = read_complex(*t);
      return z.re != 0 || z.im != 0;
    }
    return is_floating(t->dtype) ? read_double(*t) != 0 : read_int(*t) != 0;
  });
}
PyObject* nb_int(PyObject* a) {
  return guarded([&]() -> PyObject* {
    TensorImpl& t = real_element(a, "int()");
    return is_floating(t.dtype) ? checked(PyLong_FromDouble(read_double(t))) : PyLong_FromLongLong(read_int(t));
  });
}
PyObject* nb_float(PyObject* a) {
  return guarded([&]() -> PyObject* { return PyFloat_FromDouble(read_double(real_element(a, "float()"))); });
}
PyObject* nb_index(PyObject* a) {
  return guarded([&]() -> PyObject* {
    TensorImpl* t = impl_of(a);
    MG_CHECK(t->numel == 1 && !is_inexact(t->dtype), Type, "only integer tensors of a single element can be converted to an index");
    return PyLong_FromLongLong(read_int(*t));
  });
}

PyObject* rich_compare(PyObject* a, PyObject* b, int which) {
  static OpRef refs[] = {{"lt"}, {"le"}, {"eq"}, {"ne"}, {"gt"}, {"ge"}};
  return binary(refs[which], a, b);
}

Py_hash_t tensor_hash(PyObject* o) { return Py_hash_t(reinterpret_cast<size_t>(o) >> 4); }

Py_ssize_t tensor_len(PyObject* o) {
  TensorImpl* t = impl_of(o);
  if (t->dim() == 0) {
    PyErr_SetString(PyExc_TypeError, "len() of a 0-d tensor");
    return -1;
  }
  return t->sizes[0];
}

PyObject* tensor_repr(PyObject* o) {
  PyObject* f = python_helper("minigrad._tensor", "tensor_repr");
  return f ? PyObject_CallOneArg(f, o) : nullptr;
}

PyObject* tensor_iter(PyObject* o) {
  PyObject* f = python_helper("minigrad._tensor", "tensor_iter");
  return f ? PyObject_CallOneArg(f, o) : nullptr;
}

// Tensor(data), Tensor(2, 3), Tensor(): PyTorch's legacy constructor, always float32.
PyObject* tensor_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded([&]() -> PyObject* {
    MG_CHECK(kwargs == nullptr || PyDict_Size(kwargs) == 0, Type, "Tensor() takes no keyword arguments. Try minigrad.tensor().");
    Tensor t;
    const Py_ssize_t n = PyTuple_GET_SIZE(args);
    if (n == 1 && !PyLong_Check(PyTuple_GET_ITEM(args, 0))) {
      PyObject* data = PyTuple_GET_ITEM(args, 0);
      DType d = default_dtype;
      t = is_tensor(data) ? alias(*impl_of(data)) : own_copy_in_graph(tensor_from_python(data, &d, Device{}));
    } else {
      Dims sizes;
      for (Py_ssize_t k = 0; k < n; ++k) sizes.push_back(PyLong_AsLongLong(PyTuple_GET_ITEM(args, k)));
      if (PyErr_Occurred()) throw PythonError{};
      t = own_copy_in_graph(empty(n ? sizes : Dims{0}, default_dtype));
    }
    return type == tensor_type ? wrap(std::move(t)) : wrap_in(type, std::move(t));
  });
}

}  // namespace

PyTypeObject* class_of_dataless(const TensorImpl& t);  // bind_sparse.cpp

PyObject* wrap(Tensor t) {
  if (!t.defined()) Py_RETURN_NONE;
  if (t->pyobj != nullptr) {
    auto* self = static_cast<PyTensor*>(t->pyobj);
    if (t->owns_pyobj) {  // hand the kept wrapper back: it counts the impl again
      t->owns_pyobj = false;
      t.detach_ref();
      return reinterpret_cast<PyObject*>(self);
    }
    return Py_NewRef(reinterpret_cast<PyObject*>(self));
  }
  if (t->dataless) [[unlikely]]
    if (PyTypeObject* type = class_of_dataless(*t)) return wrap_in(type, std::move(t));
  PyTensor* self;
  if (free_count > 0) [[likely]] {
    self = free_wrappers[--free_count];
    PyObject_Init(reinterpret_cast<PyObject*>(self), tensor_type);
  } else {
    self = PyObject_GC_New(PyTensor, tensor_type);
    checked(reinterpret_cast<PyObject*>(self));
  }
  self->dict = self->weakrefs = nullptr;
  attach(self, std::move(t));
  return reinterpret_cast<PyObject*>(self);  // untracked by the collector until it has a __dict__
}

PyObject* wrap_in(PyTypeObject* type, Tensor t) {
  PyObject* o = checked(type->tp_alloc(type, 0));
  attach(as_py(o), t->pyobj == nullptr ? std::move(t) : alias(*t));
  return o;
}

Tensor expect_tensor(PyObject* o, const char* what) {
  MG_CHECK(is_tensor(o), Type, what, " must be Tensor, not ", Py_TYPE(o)->tp_name);
  return tensor_of(o);
}

static int set_attribute(PyObject* o, PyObject* name, PyObject* value) {
  const int r = PyObject_GenericSetAttr(o, name, value);
  if (as_py(o)->dict != nullptr && !PyObject_GC_IsTracked(o)) PyObject_GC_Track(o);  // from now on it can be part of a cycle
  return r;
}

extern PyGetSetDef tensor_getset_table[];
extern PyMethodDef tensor_method_table[];

void install_tensor_type(PyObject* module) {
  static PyMemberDef members[] = {{"__dictoffset__", T_PYSSIZET, offsetof(PyTensor, dict), READONLY, nullptr},
                                  {"__weaklistoffset__", T_PYSSIZET, offsetof(PyTensor, weakrefs), READONLY, nullptr},
                                  {}};
#define MG_SLOT(id, f) {id, reinterpret_cast<void*>(f)}
  static PyType_Slot slots[] = {
      MG_SLOT(Py_tp_dealloc, tensor_dealloc), MG_SLOT(Py_tp_traverse, tensor_traverse), MG_SLOT(Py_tp_clear, tensor_clear),
      MG_SLOT(Py_tp_new, tensor_new), MG_SLOT(Py_tp_repr, tensor_repr), MG_SLOT(Py_tp_iter, tensor_iter),
      MG_SLOT(Py_tp_hash, tensor_hash), MG_SLOT(Py_tp_richcompare, rich_compare), MG_SLOT(Py_tp_setattro, set_attribute),
      {Py_tp_members, members}, {Py_tp_getset, tensor_getset_table}, {Py_tp_methods, tensor_method_table},
      MG_SLOT(Py_nb_add, nb_add), MG_SLOT(Py_nb_subtract, nb_subtract), MG_SLOT(Py_nb_multiply, nb_multiply),
      MG_SLOT(Py_nb_true_divide, nb_true_divide), MG_SLOT(Py_nb_floor_divide, nb_floor_divide),
      MG_SLOT(Py_nb_remainder, nb_remainder), MG_SLOT(Py_nb_power, nb_power), MG_SLOT(Py_nb_matrix_multiply, nb_matmul),
      MG_SLOT(Py_nb_and, nb_and), MG_SLOT(Py_nb_or, nb_or), MG_SLOT(Py_nb_xor, nb_xor), MG_SLOT(Py_nb_lshift, nb_lshift),
      MG_SLOT(Py_nb_rshift, nb_rshift), MG_SLOT(Py_nb_negative, nb_negative), MG_SLOT(Py_nb_positive, nb_positive),
      MG_SLOT(Py_nb_absolute, nb_absolute), MG_SLOT(Py_nb_invert, nb_invert), MG_SLOT(Py_nb_bool, nb_bool),
      MG_SLOT(Py_nb_int, nb_int), MG_SLOT(Py_nb_float, nb_float), MG_SLOT(Py_nb_index, nb_index),
      MG_SLOT(Py_nb_inplace_add, inplace_nb_add), MG_SLOT(Py_nb_inplace_subtract, inplace_nb_subtract),
      MG_SLOT(Py_nb_inplace_multiply, inplace_nb_multiply), MG_SLOT(Py_nb_inplace_true_divide, inplace_nb_true_divide),
      MG_SLOT(Py_nb_inplace_floor_divide, inplace_nb_floor_divide), MG_SLOT(Py_nb_inplace_remainder, inplace_nb_remainder),
      MG_SLOT(Py_nb_inplace_power, inplace_nb_power), MG_SLOT(Py_nb_inplace_and, inplace_nb_and),
      MG_SLOT(Py_nb_inplace_or, inplace_nb_or), MG_SLOT(Py_nb_inplace_xor, inplace_nb_xor),
      MG_SLOT(Py_nb_inplace_lshift, inplace_nb_lshift), MG_SLOT(Py_nb_inplace_rshift, inplace_nb_rshift),
      MG_SLOT(Py_mp_subscript, tensor_getitem), MG_SLOT(Py_mp_ass_subscript, tensor_setitem), MG_SLOT(Py_mp_length, tensor_len),
      {0, nullptr}};
#undef MG_SLOT
  static PyType_Spec spec = {"minigrad.Tensor", sizeof(PyTensor), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
  tensor_type = reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)));
  tensor_type->tp_name = "Tensor";  // what AttributeErrors call it; __module__ stays "minigrad"
  PyModule_AddObjectRef(module, "Tensor", reinterpret_cast<PyObject*>(tensor_type));
  hooks.destroy_pyobj = destroy_pyobj;
}

}  // namespace mg::python
