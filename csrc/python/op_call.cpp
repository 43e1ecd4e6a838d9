// The generic call of an op from Python: arguments parsed by the op's schema into Values, then call(). One parser serves functions
// (mg.add), methods (x.add), in-place twins (x.add_) and out=. Hot: no allocation for plain tensors and numbers.
#include "py.h"

#include <structmember.h>

#include <algorithm>

namespace mg::python {

namespace {

struct Parsed {
  const Op& op;
  ValueArray values;
  uint32_t given = 0;  // bit k: argument k was passed
  ArgBuffer buffer;
  PyObject* out = nullptr;

  explicit Parsed(const Op& o) : op(o) {}

  void set(int k, PyObject* o) {
    given |= 1u << k;
    const ArgKind kind = op.kinds[k];
    if (kind <= ArgKind::Operand && is_tensor(o)) {
      values[k] = Value(impl_of(o));
      return;
    }
    if (kind == ArgKind::Int && PyLong_CheckExact(o)) {
      int overflow = 0;
      values[k] = Value(int64_t(PyLong_AsLongLongAndOverflow(o, &overflow)));
      if (overflow == 0) return;
    }
    values[k] = convert(op, op.args[size_t(k)], o, buffer);
  }

  void positional(PyObject* const* args, Py_ssize_t n) {
    const Py_ssize_t fixed = n <= op.max_positional ? n : op.max_positional;
    if (n > fixed && old_order(args, n)) [[unlikely]] return;
    for (Py_ssize_t k = 0; k < fixed; ++k) {
      if (op.kinds[k] == ArgKind::Ints && op.args[size_t(k)].variadic && !PyTuple_Check(args[k]) &&
          !PyList_Check(args[k])) {  // x.view(2, 3)
        const Arg& arg = op.args[size_t(k)];
        int64_t* v = buffer.take_ints(int(n - k));
        for (Py_ssize_t j = k; j < n; ++j) v[j - k] = to_int(op, arg, args[j], "int or tuple of ints");
        values[k] = Value(std::span<const int64_t>(v, size_t(n - k)));
        given |= 1u << k;
        return;
      }
      set(int(k), args[k]);
    }
    if (n > fixed) [[unlikely]]
      fail(ErrorKind::Type, op.name, "() takes ", op.max_positional, " positional argument", op.max_positional == 1 ? "" : "s", " but ", n,
           n == 1 ? " was given" : " were given");
  }

  // PyTorch's deprecated orders, which old optimizers use: a number that is keyword-only today stands before the tensors.
  //   x.add_(alpha, y)   x.addcmul_(value, t1, t2)   x.addmm_(beta, alpha, m1, m2)   torch.addmm(beta, x, alpha, m1, m2)
  bool old_order(PyObject* const* args, Py_ssize_t n) {
    static constexpr std::string_view one[] = {"add", "sub", "addcmul", "addcdiv"}, two[] = {"addmm", "addmv", "baddbmm"};
    const bool scaled = std::ranges::find(one, std::string_view(op.name)) != std::end(one);
    if (!scaled && std::ranges::find(two, std::string_view(op.name)) == std::end(two)) return false;
    const Py_ssize_t tensors = op.max_positional, numbers = n - tensors;
    if (numbers > (scaled ? 1 : 2)) return false;
    PyObject *tensor_at[3], *number_at[2];
    Py_ssize_t t = 0, m = 0;
    for (Py_ssize_t k = 0; k < n; ++k) {
      if (is_tensor(args[k]) ? t == tensors : m == numbers) return false;
      if (is_tensor(args[k])) tensor_at[t++] = args[k];
      else number_at[m++] = args[k];
    }
    if (is_tensor(args[n - 2]) != (tensors == 3) || !is_tensor(args[n - 1])) return false;
    for (Py_ssize_t k = 0; k < tensors; ++k) set(int(k), tensor_at[k]);
    for (Py_ssize_t k = 0; k < numbers; ++k) set(int(tensors + k), number_at[k]);  // value, alpha; or beta, alpha
    return true;
  }

  int find(PyObject* name) {
    const char* s = PyUnicode_AsUTF8(name);
    const int total = int(op.args.size());
    for (int k = 0; k < total; ++k)
      if (op.args[size_t(k)].name == s) return k;
    if (std::strcmp(s, "axis") == 0) return find_plain("dim");  // NumPy spellings that PyTorch accepts
    if (std::strcmp(s, "keepdims") == 0) return find_plain("keepdim");
    if (std::strcmp(s, "x") == 0 || std::strcmp(s, "a") == 0) return find_plain("input");
    if (std::strcmp(s, "x2") == 0) return find_plain("other");
    return -1;
  }
  int find_plain(const char* s) {
    for (int k = 0; k < int(op.args.size()); ++k)
      if (op.args[size_t(k)].name == s) return k;
    return -1;
  }

  void keywords(PyObject* const* values_at, PyObject* kwnames) {
    for (Py_ssize_t j = 0; j < PyTuple_GET_SIZE(kwnames); ++j) {
      PyObject* name = PyTuple_GET_ITEM(kwnames, j);
      const int k = find(name);
      if (k < 0) {
        const char* s = PyUnicode_AsUTF8(name);
        if (std::strcmp(s, "out") == 0) {
          out = values_at[j] == Py_None ? nullptr : values_at[j];
          continue;
        }
        fail(ErrorKind::Type, op.name, "() got an unexpected keyword argument '", s, "'");
      }
      MG_CHECK(!(given >> k & 1), Type, op.name, "() got multiple values for argument '", op.args[size_t(k)].name, "'");
      set(k, values_at[j]);
    }
  }

  void defaults() {
    const uint32_t all = op.n_args == 32 ? ~0u : (1u << op.n_args) - 1;
    for (uint32_t rest = all & ~given; rest != 0; rest &= rest - 1) {
      const int k = std::countr_zero(rest);
      MG_CHECK(op.defaulted >> k & 1, Type, op.name, "() missing required argument '", op.args[size_t(k)].name, "' (pos ", k + 1, ")");
      values[k] = op.defaults[k];
    }
  }
};

PyObject* wrap_outputs(Tensor* outs, int n) {
  if (n == 1) return wrap(std::move(outs[0]));
  PyObject* tuple = checked(PyTuple_New(n));
  for (int k = 0; k < n; ++k) PyTuple_SET_ITEM(tuple, k, wrap(std::move(outs[k])));
  return tuple;
}

void take_out(const Op& op, PyObject* out, Tensor* outs) {
  if (op.n_outputs() == 1) {
    outs[0] = expect_tensor(out, (op.name + "(): argument 'out'").c_str());
    return;
  }
  MG_CHECK((PyTuple_Check(out) || PyList_Check(out)) && PySequence_Fast_GET_SIZE(out) == op.n_outputs(), Type, op.name,
           "(): argument 'out' must be a tuple of ", op.n_outputs(), " Tensors");
  for (int k = 0; k < op.n_outputs(); ++k)
    outs[k] = expect_tensor(PySequence_Fast_GET_ITEM(out, k), (op.name + "(): argument 'out'").c_str());
}

}  // namespace

// x.view(dtype) and x.view(dtype=...) are another op under the name of x.view(sizes).
static const Op& overload(const Op& op, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  if (!op.is_view) return op;
  static OpRef view{"view"}, view_dtype{"_view_dtype"};
  if (&op != &*view) return op;
  DType dtype;
  if (nargs == 2 && !PyLong_Check(args[1]) && !PyTuple_Check(args[1]) && !PyList_Check(args[1]) && !PyType_Check(args[1]))
    return dtype_from(args[1], dtype) ? *view_dtype : op;
  const bool named = nargs == 1 && kwnames != nullptr && PyTuple_GET_SIZE(kwnames) == 1 &&
                     PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "dtype") == 0;
  return named ? *view_dtype : op;
}

PyObject* call_op(const Op& called, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, Write mode) {
  return guarded([&]() -> PyObject* {
    const Op& op = overload(called, args, nargs, kwnames);
    Parsed p(op);
    p.positional(args, nargs);
    if (kwnames != nullptr) p.keywords(args + nargs, kwnames);
    p.defaults();
    if (op.n_out == 1 && p.out == nullptr && mode == Write::Fresh) [[likely]] {
      Tensor out;
      call(op, p.values, &out);
      return wrap(std::move(out));
    }
    Tensor outs[kMaxOutputs];
    if (p.out != nullptr) {
      MG_CHECK(mode == Write::Fresh && op.mutated < 0, Type, op.name, "() takes no 'out' argument");
      take_out(op, p.out, outs);
      call(op, p.values, outs, Write::Out);
      return Py_NewRef(p.out);
    }
    if (mode == Write::Inplace) MG_CHECK(p.values[0].is_tensor(), Type, op.name, "_(): needs a Tensor");
    call(op, p.values, outs, mode);
    return wrap_outputs(outs, op.n_outputs());
  });
}

// Python objects for ops: OpFunction (module level) and OpMethod (a method descriptor, so x.add(y) makes no bound method).
struct PyOp {
  PyObject_HEAD vectorcallfunc vectorcall;
  const Op* op;
  Write mode;
  PyObject* dict;
};

static PyTypeObject* op_function_type = nullptr;
static PyTypeObject* op_method_type = nullptr;

static PyObject* op_vectorcall(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  auto* f = reinterpret_cast<PyOp*>(self);
  const Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
  PyObject* result;
  if (overriding && call_overridden(self, args, nargs, kwnames, &result)) [[unlikely]] return result;
  result = call_op(*f->op, args, nargs, kwnames, f->mode);
  if (result == nullptr && found_foreign(args, nargs + (kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames)))) [[unlikely]]
    return op_vectorcall(self, args, nargsf, kwnames);
  return result;
}

static PyObject* op_bind(PyObject* self, PyObject* obj, PyObject*) {
  if (obj == nullptr || obj == Py_None) return Py_NewRef(self);
  return PyMethod_New(self, obj);
}

static PyObject* op_repr(PyObject* self) {
  auto* f = reinterpret_cast<PyOp*>(self);
  return PyUnicode_FromFormat("<minigrad op %s%s>", f->op->name.c_str(), f->mode == Write::Inplace ? "_" : "");
}

static PyObject* op_get_name(PyObject* self, void*) {
  auto* f = reinterpret_cast<PyOp*>(self);
  return PyUnicode_FromString((f->op->name + (f->mode == Write::Inplace ? "_" : "")).c_str());
}

static PyObject* op_reduce(PyObject* self, PyObject*) {  // pickles and deep-copies by name
  auto* f = reinterpret_cast<PyOp*>(self);
  PyObject* by_name = python_helper("minigrad.op", "function_by_name");
  return Py_BuildValue("O(si)", by_name, f->op->name.c_str(), f->mode == Write::Inplace ? 1 : 0);
}

static PyTypeObject* make_op_type(const char* name, bool method) {
  static PyMemberDef members[] = {{"__vectorcalloffset__", T_PYSSIZET, offsetof(PyOp, vectorcall), READONLY, nullptr},
                                  {"__dictoffset__", T_PYSSIZET, offsetof(PyOp, dict), READONLY, nullptr},
                                  {}};
  static PyGetSetDef getset[] = {{"__name__", op_get_name, nullptr, nullptr, nullptr},
                                 {"__qualname__", op_get_name, nullptr, nullptr, nullptr},
                                 {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
                                 {}};
  static PyMethodDef methods[] = {{"__reduce__", op_reduce, METH_NOARGS, nullptr}, {}};
  PyType_Slot slots[8] = {{Py_tp_members, members},
                          {Py_tp_getset, getset},
                          {Py_tp_methods, methods},
                          {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                          {Py_tp_repr, reinterpret_cast<void*>(op_repr)},
                          {0, nullptr},
                          {0, nullptr},
                          {0, nullptr}};
  if (method) slots[5] = {Py_tp_descr_get, reinterpret_cast<void*>(op_bind)};
  PyType_Spec spec = {name, sizeof(PyOp), 0,
                      static_cast<unsigned>(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | (method ? Py_TPFLAGS_METHOD_DESCRIPTOR : 0)),
                      slots};
  return reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)));
}

PyObject* make_op_function(const Op* op, Write mode, bool method) {
  auto* f = PyObject_New(PyOp, method ? op_method_type : op_function_type);
  checked(reinterpret_cast<PyObject*>(f));
  f->vectorcall = op_vectorcall;
  f->op = op;
  f->mode = mode;
  f->dict = nullptr;
  return reinterpret_cast<PyObject*>(f);
}

void install_op_types(PyObject* module) {
  op_function_type = make_op_type("minigrad.OpFunction", false);
  op_method_type = make_op_type("minigrad.OpMethod", true);
  PyModule_AddObjectRef(module, "OpFunction", reinterpret_cast<PyObject*>(op_function_type));
  PyModule_AddObjectRef(module, "OpMethod", reinterpret_cast<PyObject*>(op_method_type));
}

}  // namespace mg::python
