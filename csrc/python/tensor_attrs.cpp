// Properties and non-op methods of Tensor: shape, grad, data, size(), item(), detach(), reshape(), backward() … The hot ones live here;
// the rest is Python (minigrad/_tensor.py) or ops.
#include "py.h"

#include "../autograd/node.h"
#include "../autograd/handler.h"
#include "../core/dataless.h"
#include "../core/lent.h"
#include "../core/layout.h"

namespace mg::python {

PyObject* tensor_backward(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names);  // bind_autograd.cpp

namespace {

TensorImpl& self_of(PyObject* o) { return *impl_of(o); }

PyObject* get_shape(PyObject* o, void*) { return guarded([&] { return wrap_size(self_of(o).sizes); }); }
PyObject* get_dtype(PyObject* o, void*) { return wrap_dtype(self_of(o).dtype); }
PyObject* get_device(PyObject* o, void*) { return guarded([&] { return wrap_device(self_of(o).device); }); }
PyObject* get_ndim(PyObject* o, void*) { return PyLong_FromLong(self_of(o).dim()); }
PyObject* get_itemsize(PyObject* o, void*) { return PyLong_FromLongLong(itemsize(self_of(o).dtype)); }
PyObject* get_nbytes(PyObject* o, void*) { return PyLong_FromLongLong(self_of(o).nbytes()); }
PyObject* get_version(PyObject* o, void*) {
  return guarded([&] {
    MG_CHECK(!self_of(o).inference, Runtime, "Inference tensors do not track version counter.");
    return PyLong_FromUnsignedLong(self_of(o).storage->version);
  });
}
PyObject* get_requires_grad(PyObject* o, void*) { return PyBool_FromLong(needs_grad(self_of(o))); }
PyObject* get_false(PyObject*, void*) { Py_RETURN_FALSE; }
PyObject* get_is_cuda(PyObject* o, void*) { return PyBool_FromLong(self_of(o).device.type == DeviceType::CUDA); }
PyObject* get_is_meta(PyObject* o, void*) { return PyBool_FromLong(self_of(o).device.type == DeviceType::Meta); }
PyObject* get_is_cpu(PyObject* o, void*) { return PyBool_FromLong(self_of(o).device.type == DeviceType::CPU); }

bool is_leaf(TensorImpl& t) { return !needs_grad(t) || !(t.grad_fn != nullptr || t.base) || !bool(gradient_edge(t).node) || gradient_edge(t).node->is_leaf_sink(); }
PyObject* get_is_leaf(PyObject* o, void*) { return guarded([&] { return PyBool_FromLong(is_leaf(self_of(o))); }); }
PyObject* get_retains_grad(PyObject* o, void*) {
  TensorImpl& t = self_of(o);
  return PyBool_FromLong(t.autograd != nullptr && t.autograd->retain_grad);
}

void set_requires(TensorImpl& t, bool on) {
  MG_CHECK(!on || is_inexact(t.dtype), Runtime, "requires_grad_: only Tensors of floating point dtype can require gradients: got ",
           t.dtype, ". Try x.float().");
  MG_CHECK(on || is_leaf(t), Runtime,
           "requires_grad_: you can only change requires_grad flags of leaf variables. Try x.detach() to cut it from its history.");
  MG_CHECK(!(on && t.inference && !thread_state.inference_mode), Runtime,
           "requires_grad_: setting requires_grad=True on an inference tensor outside inference_mode is not allowed");
  if (on || is_leaf(t)) t.requires_grad = on;
}
int set_requires_grad(PyObject* o, PyObject* v, void*) {
  return guarded_int([&] {
    const int on = v ? PyObject_IsTrue(v) : 0;
    if (on < 0) throw PythonError{};
    set_requires(self_of(o), on != 0);
    return 0;
  });
}

PyObject* get_grad(PyObject* o, void*) {
  TensorImpl& t = self_of(o);
  if (t.autograd == nullptr) Py_RETURN_NONE;
  return guarded([&] { return wrap(t.autograd->grad); });
}
int set_grad(PyObject* o, PyObject* v, void*) {
  return guarded_int([&] {
    TensorImpl& t = self_of(o);
    if (v == nullptr || v == Py_None) {
      if (t.autograd != nullptr) t.autograd->grad.reset();
      return 0;
    }
    Tensor g = expect_tensor(v, "grad: assigned value");
    MG_CHECK(g.sizes() == t.sizes, Runtime, "grad: assigned grad has shape ", g.sizes(), ", the tensor has ", t.sizes);
    MG_CHECK(g.dtype() == t.dtype, Runtime, "grad: assigned grad has dtype ", g.dtype(), ", the tensor has ", t.dtype);
    MG_CHECK(g.device() == t.device, Runtime, "grad: assigned grad is on ", g.device(), ", the tensor on ", t.device);
    MG_CHECK(g.get() != &t, Runtime, "grad: can't assign Variable as its own grad");
    meta_of(t).grad = g;
    return 0;
  });
}

PyObject* get_grad_fn(PyObject* o, void*) {
  return guarded([&]() -> PyObject* {
    TensorImpl& t = self_of(o);
    if (!needs_grad(t)) Py_RETURN_NONE;
    Edge e = gradient_edge(t);
    if (!e || e.node->is_leaf_sink()) Py_RETURN_NONE;
    return wrap_node(e.node);
  });
}

// A tensor of which a traced function takes an alias becomes an input of the graph, as if an op had met it.
void meet_tracer(TensorImpl& t) {
  if (active_handler == nullptr || !active_handler->is_tracer || active_handler->defers || t.dataless || (needs_grad(t) && t.grad_fn != nullptr)) return;
  static OpRef alias{"alias"};
  const Value args[] = {Value(&t)};
  active_handler->meet(*alias, args);
}

PyObject* get_data(PyObject* o, void*) {
  return guarded([&] {
    TensorImpl& self = self_of(o);
    meet_tracer(self);
    Tensor t = detach_all(self);
    t->untracked_version = true;
    if (self.grad_fn != nullptr) self.grad_fn->written_unseen = true;
    return wrap(std::move(t));
  });
}
int set_data(PyObject* o, PyObject* v, void*) {
  return guarded_int([&] {
    TensorImpl& t = self_of(o);
    Tensor n = expect_tensor(v, "data: assigned value");
    settle_pending("data");
    MG_CHECK(active_handler == nullptr || !active_handler->is_tracer || active_handler->defers, NotImplemented,
             "data: a tensor gets other memory inside of a compiled function. Try copy_()");
    MG_CHECK(is_inexact(n.dtype()) || !t.requires_grad, Runtime, "data: a tensor that requires grad needs floating data: got ", n.dtype());
    t.storage = n->storage;
    t.base.reset();  // no view of the old storage any more
    t.offset = n->offset;
    t.dtype = n->dtype;
    t.device = n->device;
    t.set_layout(n->sizes, n->strides);
    if (t.autograd && t.autograd->accumulator) t.autograd->accumulator->outputs[0] = {t.sizes, t.dtype, t.device};
    return 0;
  });
}

OpRef transpose_op{"transpose"}, permute_op{"permute"};
PyObject* get_T(PyObject* o, void*) {
  return guarded([&] {
    TensorImpl& t = self_of(o);
    Dims order;
    for (int k = t.dim() - 1; k >= 0; --k) order.push_back(k);
    return wrap(invoke(permute_op, Tensor(&t), order));
  });
}
PyObject* get_mT(PyObject* o, void*) {
  return guarded([&] {
    TensorImpl& t = self_of(o);
    MG_CHECK(t.dim() >= 2, Runtime, "mT: expected a matrix or a batch of matrices: got shape ", t.sizes);
    return wrap(invoke(transpose_op, Tensor(&t), int64_t(-2), int64_t(-1)));
  });
}
PyObject* get_self(PyObject* o, void*) { return Py_NewRef(o); }

// What the user hung on the tensor. From here on it can be part of a cycle, so the collector must know it.
void track(PyObject* o) {
  if (!PyObject_GC_IsTracked(o)) PyObject_GC_Track(o);
}
PyObject* get_dict(PyObject* o, void*) {
  track(o);
  return PyObject_GenericGetDict(o, nullptr);
}
int set_dict(PyObject* o, PyObject* v, void*) {
  track(o);
  return PyObject_GenericSetDict(o, v, nullptr);
}

// ---- methods ----------------------------------------------------------------------------------------------------------------

PyObject* list_entry(const Dims& d, PyObject* dim, const char* what) {
  const int64_t k = PyLong_AsLongLong(dim);
  if (k == -1 && PyErr_Occurred()) throw PythonError{};
  return PyLong_FromLongLong(d[int(wrap_dim(k, d.size(), what))]);
}
PyObject* m_size(PyObject* o, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  return guarded([&]() -> PyObject* {
    const Py_ssize_t total = n + (names ? PyTuple_GET_SIZE(names) : 0);
    if (total == 0 || args[0] == Py_None) return wrap_size(self_of(o).sizes);
    MG_CHECK(self_of(o).dim() > 0, Index, "size: dimension specified for a 0-d tensor");
    return list_entry(self_of(o).sizes, args[0], "size");
  });
}
PyObject* m_stride(PyObject* o, PyObject* const* args, Py_ssize_t n) {
  return guarded([&]() -> PyObject* {
    const Dims& s = self_of(o).strides;
    if (n == 1) return list_entry(s, args[0], "stride");
    PyObject* t = checked(PyTuple_New(s.size()));
    for (int k = 0; k < s.size(); ++k) PyTuple_SET_ITEM(t, k, PyLong_FromLongLong(s[k]));
    return t;
  });
}
PyObject* m_numel(PyObject* o, PyObject*) { return PyLong_FromLongLong(self_of(o).numel); }
PyObject* m_dim(PyObject* o, PyObject*) { return PyLong_FromLong(self_of(o).dim()); }
PyObject* m_data_ptr(PyObject* o, PyObject*) {
  return guarded([&] {
    settle_pending("data_ptr");
    need_data(self_of(o), "data_ptr");
    Storage* storage = self_of(o).storage.get();
    if (storage != nullptr) storage->lent.fetch_add(1, std::memory_order_relaxed);  // who has the address may write
    return PyLong_FromVoidPtr(self_of(o).device.type == DeviceType::Meta ? nullptr : self_of(o).data());
  });
}
PyObject* m_storage_offset(PyObject* o, PyObject*) { return PyLong_FromLongLong(self_of(o).offset); }
PyObject* m_element_size(PyObject* o, PyObject*) { return PyLong_FromLongLong(itemsize(self_of(o).dtype)); }
PyObject* m_is_floating_point(PyObject* o, PyObject*) { return PyBool_FromLong(is_floating(self_of(o).dtype)); }
PyObject* m_is_complex(PyObject* o, PyObject*) { return PyBool_FromLong(is_complex(self_of(o).dtype)); }
PyObject* m_is_signed(PyObject* o, PyObject*) { return PyBool_FromLong(self_of(o).dtype > DType::UInt8); }
PyObject* m_is_inference(PyObject* o, PyObject*) { return PyBool_FromLong(self_of(o).inference); }
PyObject* m_is_contiguous(PyObject* o, PyObject*, PyObject* kwargs) {
  TensorImpl& t = self_of(o);
  PyObject* format = kwargs ? PyDict_GetItemString(kwargs, "memory_format") : nullptr;
  if (format != nullptr && format != Py_None) {
    PyObject* text = PyObject_Str(format);
    const char* last = text ? std::strstr(PyUnicode_AsUTF8(text), "channels_last") : nullptr;
    const int dims = last == nullptr ? 0 : std::strstr(last, "3d") ? 5 : 4;
    Py_XDECREF(text);
    if (dims != 0) return PyBool_FromLong(t.dim() == dims && is_channels_last(t.sizes, t.strides));
  }
  return PyBool_FromLong(t.contiguous);
}

PyObject* m_item(PyObject* o, PyObject*) {
  return guarded([&]() -> PyObject* {
    TensorImpl& t = self_of(o);
    MG_CHECK(t.numel == 1, Runtime, "item: a Tensor with ", t.numel, " elements cannot be converted to Scalar. Try .tolist().");
    if (is_floating(t.dtype)) return PyFloat_FromDouble(read_double(t));
    if (is_complex(t.dtype)) {
      const complex128 z = read_complex(t);
      return PyComplex_FromDoubles(z.re, z.im);
    }
    const int64_t v = read_int(t);
    return t.dtype == DType::Bool ? PyBool_FromLong(v != 0) : PyLong_FromLongLong(v);
  });
}

PyObject* m_detach(PyObject* o, PyObject*) {
  return guarded([&] {
    meet_tracer(self_of(o));
    return wrap(detach_all(self_of(o)));
  });
}
PyObject* m_detach_inplace(PyObject* o, PyObject*) {
  return guarded([&] {
    TensorImpl& t = self_of(o);
    MG_CHECK(!(t.base && needs_grad(t)), Runtime,
             "detach_: can't detach views in place. Use detach() instead.");
    clear_grad_fn(t);
    t.requires_grad = false;
    return Py_NewRef(o);
  });
}
PyObject* m_requires_grad_(PyObject* o, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"requires_grad", nullptr};
  int on = 1;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p", const_cast<char**>(names), &on)) return nullptr;
  return guarded([&] {
    set_requires(self_of(o), on != 0);
    return Py_NewRef(o);
  });
}

OpRef view_op{"view"}, clone_op{"_copy_contiguous"};
Tensor reshape(const Tensor& t, std::span<const int64_t> wanted) {
  const Dims shape = infer_shape(wanted, t.numel(), "reshape");
  Dims strides;
  if (view_strides(*t, shape, strides)) return invoke(view_op, t, shape);
  return invoke(view_op, invoke(clone_op, t), shape);
}
PyObject* m_reshape(PyObject* o, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  return guarded([&]() -> PyObject* {
    static Op dummy = [] {
      Op op;
      op.name = "reshape";
      Arg a;
      a.name = "shape";
      a.kind = ArgKind::Ints;
      op.args.push_back(std::move(a));
      return op;
    }();
    ArgBuffer buffer;
    const Py_ssize_t total = n + (names ? PyTuple_GET_SIZE(names) : 0);
    Dims shape;
    if (total == 1 && !PyLong_Check(args[0])) shape = convert(dummy, dummy.args[0], args[0], buffer).as_dims();
    else
      for (Py_ssize_t k = 0; k < total; ++k) shape.push_back(convert(dummy, dummy.args[0], args[k], buffer).ints[0]);
    MG_CHECK(total > 0, Type, "reshape() missing 1 required positional argument: 'shape'");
    return wrap(reshape(tensor_of(o), shape));
  });
}
PyObject* m_contiguous(PyObject* o, PyObject*, PyObject* kwargs) {
  PyObject* format = kwargs ? PyDict_GetItemString(kwargs, "memory_format") : nullptr;
  if (format != nullptr && format != Py_None) {
    PyObject* f = python_helper("minigrad._tensor", "contiguous_format_copy");
    return f ? PyObject_CallFunctionObjArgs(f, o, format, nullptr) : nullptr;
  }
  if (self_of(o).contiguous) return Py_NewRef(o);
  return guarded([&] { return wrap(invoke(clone_op, tensor_of(o))); });
}

PyObject* m_make_subclass(PyObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"cls", "data", "require_grad", nullptr};
  PyObject *cls, *data;
  int on = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|p", const_cast<char**>(names), &cls, &data, &on)) return nullptr;
  return guarded([&]() -> PyObject* {
    MG_CHECK(PyType_Check(cls) && PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(cls), tensor_type), Type,
             "_make_subclass: cls must be a subclass of Tensor");
    Tensor t = alias(*expect_tensor(data, "_make_subclass: data"));
    if (on) set_requires(*t, true);
    return wrap_in(reinterpret_cast<PyTypeObject*>(cls), std::move(t));
  });
}

}  // namespace

PyGetSetDef tensor_getset_table[] = {
    {"shape", get_shape, nullptr, "Size: length of each dimension.", nullptr},
    {"dtype", get_dtype, nullptr, "Element type.", nullptr},
    {"device", get_device, nullptr, "Where the data lives.", nullptr},
    {"ndim", get_ndim, nullptr, "Number of dimensions.", nullptr},
    {"itemsize", get_itemsize, nullptr, "Bytes per element.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes of all elements.", nullptr},
    {"_version", get_version, nullptr, "How often the storage was written in place.", nullptr},
    {"requires_grad", get_requires_grad, set_requires_grad, "True if gradients are computed for this tensor.", nullptr},
    {"is_leaf", get_is_leaf, nullptr, "True when the tensor is no result of a recorded op.", nullptr},
    {"retains_grad", get_retains_grad, nullptr, "True for a non-leaf whose .grad is kept (retain_grad()).", nullptr},
    {"grad", get_grad, set_grad, "Accumulated gradient, or None.", nullptr},
    {"grad_fn", get_grad_fn, nullptr, "Node of the graph that computes this tensor's gradient, or None.", nullptr},
    {"__dict__", get_dict, set_dict, "Attributes set by the user.", nullptr},
    {"data", get_data, set_data, "The same data without history and version tracking.", nullptr},
    {"T", get_T, nullptr, "All dimensions reversed.", nullptr},
    {"mT", get_mT, nullptr, "Last two dimensions swapped.", nullptr},
    {"H", get_mT, nullptr, "Conjugate transpose (real: mT).", nullptr},
    {"mH", get_mT, nullptr, "Conjugate transpose (real: mT).", nullptr},
    {"real", get_self, nullptr, "Real part (the tensor itself).", nullptr},
    {"is_cuda", get_is_cuda, nullptr, nullptr, nullptr},
    {"is_cpu", get_is_cpu, nullptr, nullptr, nullptr},
    {"is_sparse", get_false, nullptr, nullptr, nullptr},
    {"is_quantized", get_false, nullptr, nullptr, nullptr},
    {"is_meta", get_is_meta, nullptr, nullptr, nullptr},
    {"is_mps", get_false, nullptr, nullptr, nullptr},
    {}};

#define MG_FAST(f) reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(f))
PyMethodDef tensor_method_table[] = {
    {"size", MG_FAST(m_size), METH_FASTCALL | METH_KEYWORDS, "size(dim=None): Size, or the length of one dimension."},
    {"stride", MG_FAST(m_stride), METH_FASTCALL, "stride(dim=None): strides in elements."},
    {"numel", m_numel, METH_NOARGS, "Number of elements."},
    {"nelement", m_numel, METH_NOARGS, "Number of elements."},
    {"dim", m_dim, METH_NOARGS, "Number of dimensions."},
    {"ndimension", m_dim, METH_NOARGS, "Number of dimensions."},
    {"data_ptr", m_data_ptr, METH_NOARGS, "Address of the first element."},
    {"storage_offset", m_storage_offset, METH_NOARGS, "Offset of the first element in the storage, in elements."},
    {"element_size", m_element_size, METH_NOARGS, "Bytes per element."},
    {"is_floating_point", m_is_floating_point, METH_NOARGS, nullptr},
    {"is_complex", m_is_complex, METH_NOARGS, nullptr},
    {"is_signed", m_is_signed, METH_NOARGS, nullptr},
    {"is_inference", m_is_inference, METH_NOARGS, nullptr},
    {"is_contiguous", MG_FAST(m_is_contiguous), METH_VARARGS | METH_KEYWORDS, "True when the elements lie row-major without gaps."},
    {"item", m_item, METH_NOARGS, "The single element as a Python number."},
    {"detach", m_detach, METH_NOARGS, "The same data, cut from the graph."},
    {"detach_", m_detach_inplace, METH_NOARGS, "Cuts this tensor from the graph."},
    {"requires_grad_", MG_FAST(m_requires_grad_), METH_VARARGS | METH_KEYWORDS, "requires_grad_(requires_grad=True) -> self"},
    {"reshape", MG_FAST(m_reshape), METH_FASTCALL | METH_KEYWORDS, "reshape(*shape): a view when possible, else a copy."},
    {"contiguous", MG_FAST(m_contiguous), METH_VARARGS | METH_KEYWORDS, "Row-major copy, or self when it is so already."},
    {"backward", MG_FAST(tensor_backward), METH_FASTCALL | METH_KEYWORDS,
     "backward(gradient=None, retain_graph=None, create_graph=False, inputs=None): accumulates gradients into the leaves."},
    {"_make_subclass", MG_FAST(m_make_subclass), METH_VARARGS | METH_KEYWORDS | METH_STATIC, nullptr},
    {}};

}  // namespace mg::python
