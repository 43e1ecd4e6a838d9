// Registration of ops from minigrad/op.py, and PyFormula: gradient formulas written in Python.
//
// A formula's parameter names say what it needs (DESIGN 2.2): `g`, `g_<output>`, argument and output names, `<arg>_shape`,
// `<arg>_dtype`, `needs`. They are resolved once, here, into save masks for record.cpp and into slots filled before each call.
#include <pybind11/stl.h>

#include "../autograd/node.h"
#include "../cpu/pointwise_table.h"
#include "py.h"

namespace mg::python {

namespace {

enum class Source : uint8_t { Grad, Argument, Output, Shape, DType, Needs };
struct Param {
  Source source;
  int index;
};
struct Callable {
  PyObject* fn = nullptr;
  std::vector<Param> params;
};

struct PyFormula final : Formula {
  Callable per_arg[kMaxArgs];
  Callable joint, fast;
  bool holomorphic = true;

  void apply(OpNode& node, Tensor* grads, Tensor* result) override {
    bool complex = false;
    for (int k = 0; k < node.op->n_outputs(); ++k) {
      if ((node.op->grad_outputs >> k & 1) && !grads[k].defined()) grads[k] = zeros_like_output(node.outputs[k]);
      complex |= is_complex(node.outputs[k].dtype);
    }
    if (complex) [[unlikely]]
      return apply_complex(node, grads, result);
    evaluate(node, grads, result, Formula::native_enabled);
  }

  // Gradients are conjugate Wirtinger derivatives. For a holomorphic op that is conj(f(conj(g))), f being the formula as written for
  // real numbers (g times the derivative, g @ b.T ...); formulas of other ops are written for complex g themselves. One that saves
  // nothing has real coefficients, so that conjugation passes through it.
  void apply_complex(OpNode& node, Tensor* grads, Tensor* result) {
    static OpRef conj_op{"conj_physical"};
    bool plain = !holomorphic || !node.has_saved;
    for (const Saved& s : node.args) plain = plain && s.value.kind != Kind::Complex;
    if (plain) return evaluate(node, grads, result, Formula::native_enabled);
    Tensor conjugated[kMaxOutputs];
    for (int k = 0; k < node.op->n_outputs(); ++k)
      if (grads[k].defined()) conjugated[k] = is_complex(grads[k].dtype()) ? invoke(conj_op, grads[k]) : grads[k];
    evaluate(node, conjugated, result, Formula::native_enabled);
    for (int k = 0; k < node.edges.size(); ++k)
      if (result[k].defined() && is_complex(result[k].dtype())) result[k] = invoke(conj_op, result[k]);
  }

  void evaluate(OpNode& node, Tensor* grads, Tensor* result, bool allow_shortcuts) {
    const bool shortcuts = allow_shortcuts && !node.is_watched(grads);
    if (native != nullptr && shortcuts && native(node, grads, result)) return;
    const bool traced = active_handler != nullptr && active_handler->is_tracer;
    if (fast.fn != nullptr && !thread_state.grad_mode && (shortcuts || traced)) return apply_joint(fast, node, grads, result);
    if (joint.fn != nullptr) return apply_joint(joint, node, grads, result);
    for (uint32_t rest = node.needs; rest != 0; rest &= rest - 1) {
      const int k = std::countr_zero(rest);
      PyObject* r = invoke_python(per_arg[k], node, grads);
      struct Drop {
        PyObject* o;
        ~Drop() { Py_DECREF(o); }
      } drop{r};
      take(node, k, r, result);
    }
  }

  void apply_joint(Callable& c, OpNode& node, Tensor* grads, Tensor* result) {
    py::object r = py::reinterpret_steal<py::object>(invoke_python(c, node, grads));
    int position = 0;
    if (!PyTuple_Check(r.ptr()) && !PyList_Check(r.ptr())) r = py::make_tuple(r);
    for (int k = 0; k < int(node.op->args.size()); ++k) {
      if (!(node.op->grad_inputs >> k & 1)) continue;
      if (position < PySequence_Fast_GET_SIZE(r.ptr()) && (node.needs >> k & 1))
        take(node, k, PySequence_Fast_GET_ITEM(r.ptr(), position), result);
      ++position;
    }
  }

  static void take(OpNode& node, int k, PyObject* r, Tensor* result) {
    if (r == Py_None) return;
    const int slot = node.slot(k);
    if (node.op->args[size_t(k)].kind != ArgKind::Tensors) {
      result[slot] = expect_tensor(r, (node.op->name + ": gradient").c_str());
      return;
    }
    MG_CHECK(PyTuple_Check(r) || PyList_Check(r), Type, node.op->name, ": the gradient of a tensor list must be a list");
    for (Py_ssize_t j = 0; j < PySequence_Fast_GET_SIZE(r); ++j) {
      PyObject* item = PySequence_Fast_GET_ITEM(r, j);
      if (item != Py_None) result[slot + j] = expect_tensor(item, "gradient");
    }
  }

  static PyObject* argument(OpNode& node, int k) {
    const Arg& a = node.op->args[size_t(k)];
    const Saved& s = node.args[k];
    if (s.value.kind == Kind::Tensor) return wrap(node.saved_input(k));
    if (a.kind == ArgKind::Tensor && !a.optional) (void)node.saved_input(k);  // raises when already freed
    return checked(value_to_python(s.value.kind == Kind::Tensors ? node.saved_value(k) : Value(s.value)));
  }

  static PyObject* shape(OpNode& node, int k) {
    if (node.op->args[size_t(k)].kind != ArgKind::Tensors) return wrap_size(node.input_sizes(k));
    const int n = node.args[k].value.len;
    PyObject* list = checked(PyList_New(n));
    for (int j = 0; j < n; ++j) PyList_SET_ITEM(list, j, wrap_size(node.input_sizes(k, j)));
    return list;
  }

  static PyObject* dtype(OpNode& node, int k) {
    const Saved& s = node.args[k];
    if (s.value.kind == Kind::Tensor) return wrap_dtype(s.value.t->dtype);
    const int slot = node.slot(k);
    if (slot >= 0 && node.edges[slot]) return wrap_dtype(node.edges[slot].node->outputs[int(node.edges[slot].output)].dtype);
    return wrap_dtype(DType(s.version));
  }

  static PyObject* invoke_python(Callable& c, OpNode& node, Tensor* grads) {
    PyObject* args[1 + 2 * kMaxArgs];
    size_t n = 0;
    struct Release {
      PyObject** args;
      size_t& n;
      ~Release() {
        for (size_t k = 0; k < n; ++k) Py_DECREF(args[1 + k]);
      }
    } release{args, n};
    for (const Param& p : c.params) {
      PyObject* o = nullptr;
      switch (p.source) {
        case Source::Grad: o = wrap(grads[p.index]); break;
        case Source::Argument: o = argument(node, p.index); break;
        case Source::Output: o = wrap(node.saved_output(p.index)); break;
        case Source::Shape: o = shape(node, p.index); break;
        case Source::DType: o = dtype(node, p.index); break;
        case Source::Needs: {
          py::list flags;
          for (int k = 0; k < int(node.op->args.size()); ++k)
            if (node.op->grad_inputs >> k & 1) flags.append(bool(node.needs >> k & 1));
          o = PyList_AsTuple(flags.ptr());
        }
      }
      args[1 + n++] = checked(o);
    }
    return checked(PyObject_Vectorcall(c.fn, args + 1, n | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
  }
};

bool strip(std::string& s, const char* suffix) {
  if (!std::string_view(s).ends_with(suffix)) return false;
  s.resize(s.size() - std::strlen(suffix));
  return true;
}

int find_name(const std::vector<std::string>& names, const std::string& s) {
  for (size_t k = 0; k < names.size(); ++k)
    if (names[k] == s) return int(k);
  return -1;
}
int find_arg(const Op& op, const std::string& s) {
  for (size_t k = 0; k < op.args.size(); ++k)
    if (op.args[k].name == s) return int(k);
  return -1;
}

Param resolve(const Op& op, std::string name) {
  if (name == "g") return {Source::Grad, std::countr_zero(op.grad_outputs)};
  if (name == "needs") return {Source::Needs, 0};
  if (int k = find_arg(op, name); k >= 0) return {Source::Argument, k};
  if (int k = find_name(op.outputs, name); k >= 0) return {Source::Output, k};
  if (name.starts_with("g_"))
    if (int k = find_name(op.outputs, name.substr(2)); k >= 0) return {Source::Grad, k};
  std::string base = name;
  if (strip(base, "_shape"))
    if (int k = find_arg(op, base); k >= 0) return {Source::Shape, k};
  base = name;
  if (strip(base, "_dtype"))
    if (int k = find_arg(op, base); k >= 0) return {Source::DType, k};
  fail(ErrorKind::Value, "register_op: ", op.name, ": formula parameter '", name,
       "' is no argument, output, g, needs, <argument>_shape or <argument>_dtype");
}

Callable make_callable(Op& op, py::object fn, uint32_t& args, uint32_t& outs, uint32_t& shapes) {
  Callable c;
  py::object code = fn.attr("__code__");
  const int n = code.attr("co_argcount").cast<int>();
  py::tuple names = code.attr("co_varnames");
  for (int k = 0; k < n; ++k) {
    const Param p = resolve(op, names[size_t(k)].cast<std::string>());
    if (p.source == Source::Argument) args |= 1u << p.index;
    if (p.source == Source::Output) outs |= 1u << p.index;
    if (p.source == Source::Shape || p.source == Source::DType) shapes |= 1u << p.index;
    c.params.push_back(p);
  }
  c.fn = fn.release().ptr();  // ops live for ever
  return c;
}

void set_formulas(Op& op, const py::dict& formulas, py::object joint, py::object fast, bool holomorphic) {
  auto f = std::make_shared<PyFormula>();
  f->holomorphic = holomorphic;
  for (auto item : formulas) {
    const std::string name = item.first.cast<std::string>();
    const int k = find_arg(op, name);
    MG_CHECK(k >= 0, Value, "register_op: ", op.name, ": formula for unknown argument '", name, "'");
    op.grad_inputs |= 1u << k;
    f->per_arg[k] = make_callable(op, py::reinterpret_borrow<py::object>(item.second), f->save_args[k], f->save_outs[k], f->save_shapes[k]);
  }
  uint32_t a = 0, o = 0, s = 0;
  const bool has_joint = !joint.is_none();
  if (has_joint) {
    f->joint = make_callable(op, joint, a, o, s);
    for (size_t k = 0; k < op.args.size(); ++k)
      if (op.args[k].kind == ArgKind::Tensor || op.args[k].kind == ArgKind::Operand || op.args[k].kind == ArgKind::Tensors)
        op.grad_inputs |= 1u << k;
  }
  if (!fast.is_none()) f->fast = make_callable(op, fast, a, o, s);
  for (size_t k = 0; k < op.args.size(); ++k) {
    if (!(op.grad_inputs >> k & 1)) continue;
    f->save_args[k] |= a;
    f->save_outs[k] |= o;
    f->save_shapes[k] |= s;
  }
  f->native = find_native_formula(op.name);
  op.differentiable = op.grad_inputs != 0;
  op.formula = std::move(f);
}

}  // namespace

PyObject* value_to_python(const Value& v) {
  switch (v.kind) {
    case Kind::Tensor: return wrap(Tensor(v.t));
    case Kind::Bool: return PyBool_FromLong(v.b);
    case Kind::Int: return PyLong_FromLongLong(v.i);
    case Kind::Float: return PyFloat_FromDouble(v.f);
    case Kind::Complex: return PyComplex_FromDoubles(v.z->re, v.z->im);
    case Kind::DType: return wrap_dtype(v.dtype);
    case Kind::Device: return wrap_device(v.device);
    case Kind::Str: return PyUnicode_FromString(v.str);
    case Kind::Ints: {
      PyObject* t = checked(PyTuple_New(v.len));
      for (int k = 0; k < v.len; ++k) PyTuple_SET_ITEM(t, k, PyLong_FromLongLong(v.ints[k]));
      return t;
    }
    case Kind::Tensors: {
      PyObject* t = checked(PyList_New(v.len));
      for (int k = 0; k < v.len; ++k) PyList_SET_ITEM(t, k, wrap(Tensor(v.tensors[k])));
      return t;
    }
    default: Py_RETURN_NONE;
  }
}

void bind_registry(py::module_& m) {
  static const char* kinds[] = {"tensor", "operand", "scalar", "bool", "int", "float", "ints", "tensors", "dtype", "device", "str", "generator"};
  // Returns (name, [(arg, kind, optional, keyword_only, mutated, variadic, has_default, default)], outputs, is_pointwise).
  m.def("register_op", [](const std::string& schema, const std::string& family, py::dict formulas, py::object joint, py::object fast,
                          bool view, std::vector<std::string> nondiff, bool can_fail, bool holomorphic,
                          bool exact_out, bool separate_out, bool recompute) {
    Op& op = register_op(schema, family);
    op.is_view = view;
    op.can_fail = can_fail;
    op.exact_out = exact_out;
    op.separate_out = separate_out;
    if (op.is_pointwise) {
      const cpu::PointwiseKernel* row = cpu::find_pointwise(op.name.c_str());
      MG_CHECK(row != nullptr, Value, "register_op: no line for '", op.name, "' in csrc/scalar.h");
      op.can_fail |= row->can_fail;
    }
    for (int k = 0; k < op.n_outputs(); ++k)
      if (std::find(nondiff.begin(), nondiff.end(), op.outputs[size_t(k)]) == nondiff.end()) op.grad_outputs |= 1u << k;
    set_formulas(op, formulas, joint, fast, holomorphic);
    if (recompute) {
      MG_CHECK(op.n_args == 1 && op.formula, Value, "register_op: recompute is for differentiable ops of one argument: got '", op.name, "'");
      op.formula->recompute = true;
    }
    py::list args;
    for (const Arg& a : op.args)
      args.append(py::make_tuple(a.name, kinds[int(a.kind)], a.optional, a.keyword_only, a.mutated, a.variadic, a.has_default,
                                 py::reinterpret_steal<py::object>(value_to_python(a.default_value))));
    return py::make_tuple(op.name, args, op.outputs, op.is_pointwise);
  }, py::arg("schema"), py::arg("meta"), py::arg("formulas"), py::arg("grads"), py::arg("fast_grads"), py::arg("view"),
     py::arg("nondiff"), py::arg("can_fail"), py::arg("holomorphic"), py::arg("exact_out") = false, py::arg("separate_out") = false,
     py::arg("recompute") = false);
  m.def("op_function", [](const std::string& name, bool inplace, bool method) {
    const Op* op = find_op(name);
    MG_CHECK(op != nullptr, Value, "op_function: no op named '", name, "'");
    return py::reinterpret_steal<py::object>(checked(make_op_function(op, inplace ? Write::Inplace : Write::Fresh, method)));
  });
  m.def("op_kernels", [](const std::string& name) {
    std::vector<std::string> devices;
    const Op* op = find_op(name);
    for (int d = 0; op && d < kDeviceTypes; ++d)
      if (op->kernels[d] || op->complex_kernels[d]) devices.emplace_back(device_type_name(DeviceType(d)));
    return devices;
  });
  m.def("has_plain_kernels", [](const std::string& name) {  // known from the op's first call on
    const Op* op = find_op(name);
    return op != nullptr && op->plain != nullptr;
  });
  m.def("has_native_formula", [](const std::string& name) { return find_native_formula(name) != nullptr; });
  m.def("use_native_formulas", [](bool on) { return std::exchange(Formula::native_enabled, on); });
  // The meta function alone: [(shape, dtype)], nothing is computed.
  m.def("infer", [](const std::string& name, py::args args) {
    const Op* op = find_op(name);
    MG_CHECK(op != nullptr, Value, "infer: no op named '", name, "'");
    ArgBuffer buffer;
    Value values[kMaxArgs];
    for (size_t k = 0; k < op->args.size(); ++k)
      values[k] = k < args.size() ? convert(*op, op->args[k], args[k].ptr(), buffer) : Value(op->args[k].default_value);
    MetaResult r(op->n_out);
    op->meta(*op, values, r);
    py::list out;
    for (int k = 0; k < op->n_outputs(); ++k)
      out.append(py::make_tuple(py::reinterpret_steal<py::object>(wrap_size(r.out[k].sizes)),
                                py::reinterpret_steal<py::object>(wrap_dtype(r.out[k].dtype))));
    return out;
  });
}

}  // namespace mg::python
