// minigrad.func's C++ half: BatchHandler, the handler of one vmap level (its rules are Python: minigrad/func/_vmap.py),
// and what grad/vjp need to ask of graphs.
#include <pybind11/stl.h>

#include "../autograd/node.h"
#include "py.h"

namespace mg::python {

namespace {

OpRef alias_op{"alias"}, cast_op{"_to_dtype"};

struct BatchHandler final : Handler {
  int64_t size;  // of the batch dimension
  PyObject*
      runner;  // runner(op name, args, batched flags, in place, output shapes, compute dtype) -> (batched, results)
  bool wants_empty;  // randomness="different": mg.rand fills what `_empty` made, so that must be a batch

  BatchHandler(int lvl, Handler* below, int64_t n, PyObject* r, bool different)
      : Handler(lvl, below), size(n), runner(Py_NewRef(r)), wants_empty(different) {}
  ~BatchHandler() override {
    if (!Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;
    Py_DECREF(runner);
  }

  std::string why() const override {
    return "this tensor is a batch inside vmap, so it has no single value; data-dependent control flow, .item() and "
           "results whose shape"
           " depends on data are not possible there. Try mg.where() instead of `if`, or return the tensor and look at "
           "it after vmap.";
  }

  bool wants(const Op& op, const Value*) const override {  // random numbers depend on vmap's randomness=
    for (const Arg& a : op.args)
      if (a.kind == ArgKind::Generator) return true;
    return wants_empty && op.name == "_empty";
  }

  // Inner value and whether it is batched; tensors of other levels are the same for all.
  TensorImpl* inner(TensorImpl* t, bool& batched) const {
    batched = false;
    if (t == nullptr) return nullptr;
    const Standin* s = standin_of(*t);
    if (s == nullptr || s->handler.get() != this) return t;
    batched = s->batched;
    return s->inner.get();
  }

  struct Arguments {
    Value values[kMaxArgs];
    std::vector<std::vector<TensorImpl*>> lists;
    py::list flags;
    bool any = false;
  };
  void unpack(const Op& op, const Value* args, Arguments& a) const {
    for (size_t k = 0; k < op.args.size(); ++k) {
      a.values[k] = args[k];
      bool batched = false;
      if (args[k].is_tensor()) a.values[k] = Value(inner(args[k].t, batched));
      a.any |= batched;
      if (args[k].kind == Kind::Tensors) {
        auto& list = a.lists.emplace_back(args[k].tensors, args[k].tensors + args[k].len);
        py::list flags;
        for (TensorImpl*& t : list) {
          t = inner(t, batched);
          a.any |= batched;
          flags.append(batched);
        }
        a.values[k] = Value::list(list.data(), int(list.size()));
        a.flags.append(flags);
      } else {
        a.flags.append(batched);
      }
    }
  }

  void take(const Op& op, const OutSpec& want, PyObject* o, Tensor& out) {
    Tensor t = expect_tensor(o, (op.name + ": batching rule's result").c_str());
    Dims sizes{size};
    for (int64_t s : want.sizes) sizes.push_back(s);
    MG_INTERNAL(t.sizes() == sizes, "batching rule of ", op.name, ": got shape ", t.sizes(), ", expected ", sizes);
    if (t.dtype() != want.dtype) t = invoke(cast_op, t, want.dtype);
    out = make_standin(Ref<Handler>(this), t, true);
  }

  void run(const Op& op, const Value* args, const MetaResult& r, Tensor* outs, Write mode) override {
    Arguments a;
    unpack(op, args, a);
    HandlerGuard below(parent);
    if (!a.any && !wants(op, args)) {  // nothing differs between the slices: compute once
      Tensor o[kMaxOutputs];
      call(op, a.values, o, mode);
      if (mode == Write::Fresh)
        for (int k = 0; k < op.n_outputs(); ++k) outs[k] = make_standin(Ref<Handler>(this), o[k], false);
      return;
    }
    py::list values, shapes;
    for (size_t k = 0; k < op.args.size(); ++k)
      values.append(py::reinterpret_steal<py::object>(checked(value_to_python(a.values[k]))));
    for (int k = 0; k < op.n_outputs(); ++k)
      shapes.append(py::reinterpret_steal<py::object>(wrap_size(r.out[k].sizes)));
    const py::object compute = py::reinterpret_steal<py::object>(wrap_dtype(r.compute));
    const py::object answer = py::handle(runner)(op.name, values, a.flags, mode != Write::Fresh, shapes, compute);
    if (mode != Write::Fresh) return;
    const py::object batched = answer[py::int_(0)],
                     results = answer[py::int_(1)];  // (True or False, one tensor per output)
    for (int k = 0; k < op.n_outputs(); ++k) {
      const py::object result = results[py::int_(k)];
      if (batched.ptr() == Py_True)
        take(op, r.out[k], result.ptr(), outs[k]);
      else
        outs[k] = make_standin(Ref<Handler>(this), expect_tensor(result.ptr(), "vmap: result"), false);
    }
  }
};

struct Level {
  Ref<BatchHandler> handler;
};

Level enter(py::object runner, int64_t size, bool different) {
  auto* h =
      new BatchHandler(active_handler ? active_handler->level + 1 : 1, active_handler, size, runner.ptr(), different);
  Level level{Ref<BatchHandler>(h)};
  active_handler = h;
  return level;
}

void leave(Level& level) {
  level.handler->active = false;
  active_handler = level.handler->parent;
}

py::object unwrap(const Level& level, const Tensor& t) {  // (inner tensor, batched?)
  const Standin* s = standin_of(*t);
  if (s == nullptr || s->handler.get() != static_cast<Handler*>(level.handler.get())) return py::make_tuple(t, false);
  return py::make_tuple(s->inner, s->batched);
}

// A tensor to differentiate by: new at this level, with the history of `t` behind it (if any) still reachable.
Tensor variable(Tensor t) {
  MG_CHECK(is_inexact(t.dtype()), Runtime, "grad: only Tensors of floating point dtype can require gradients: got ",
           t.dtype(), ". Try x.float().");
  if (active_handler != nullptr && !active_handler->defers) t = lift(*active_handler, t);
  if (needs_grad(*t)) {
    GradModeGuard on(true);
    return invoke(alias_op, t);
  }
  t = alias(*t);
  t->requires_grad = true;
  return t;
}

}  // namespace

void bind_func(py::module_& m) {
  py::class_<Level>(m, "VmapLevel").def_property_readonly("number", [](const Level& l) { return l.handler->level; });
  m.def("vmap_enter", &enter);
  m.def("vmap_leave", &leave);
  m.def("vmap_wrap", [](const Level& l, Tensor t) { return make_standin(Ref<Handler>(l.handler.get()), t, true); });
  m.def("vmap_unwrap", &unwrap);
  m.def("handlers_alive", [] { return handlers_alive.load(); });
  m.def("vmap_depth", [] { return active_handler ? active_handler->level : 0; });
  // Raw, because zeros_like and its kin ask it on every call.
  static PyMethodDef raw[] = {
      {"is_dataless", [](PyObject*, PyObject* o) { return PyBool_FromLong(is_tensor(o) && impl_of(o)->dataless && !is_deferred(*impl_of(o))); },
       METH_O, "Whether the tensor stands for values inside a transform (vmap)."},
      {"is_batch", [](PyObject*, PyObject* o) { return PyBool_FromLong(is_tensor(o) && impl_of(o)->dataless && !is_traced(*impl_of(o)) && !is_deferred(*impl_of(o))); },
       METH_O, "Whether ops on the tensor go to rules (vmap, sparse); while tracing they are noted as they are."},
      {}};
  PyModule_AddFunctions(m.ptr(), raw);
  m.def("spread_like", &spread_like);
  // For checks that only raise: the elements of all slices, in an ordinary tensor. Meta tensors show zeros: nothing to complain about.
  m.def("all_values", [](Tensor t) {
    for (const Standin* s = standin_of(*t); s != nullptr && s->inner.defined(); s = standin_of(*t))
      t = Tensor(s->inner);
    if (t.device().type != DeviceType::Meta) return t;
    Tensor zeros = empty(t.sizes(), t.dtype());
    fill_zero(zeros);
    return zeros;
  });
  // At the level below that of `t`; and a batch of that level from its inner tensor (custom Functions,
  // minigrad/func/_function.py).
  m.def("vmap_below", [](Tensor t, py::function f) {
    HandlerGuard below(standin_of(*t)->handler->parent);
    return f();
  });
  m.def("vmap_like", [](Tensor t, Tensor inner) { return make_standin(standin_of(*t)->handler, inner, true); });
  m.def("standin", [](Tensor t) -> py::object {  // (level, inner, batched) of a data-less tensor, else None
    const Standin* s = standin_of(*t);
    return s ? py::object(py::make_tuple(s->handler->level, s->inner, s->batched)) : py::none();
  });
  m.def("inner_needs_grad", [](Tensor t) {  // at some level below its own
    for (const Standin* s = standin_of(*t); s != nullptr && s->inner.defined(); s = standin_of(*s->inner))
      if (needs_grad(*s->inner)) return true;
    return false;
  });
  m.def("func_variable", &variable);
  m.def("func_reaches_others",
        [](std::vector<Tensor> roots, std::vector<Tensor> fresh) { return reaches_others(roots, fresh); });
  m.def("func_strip", [](Tensor t, std::vector<Tensor> fresh) { return strip(t, fresh); });
  m.def("func_detach", [](Tensor t) { return detach_all(*t); });
}

}  // namespace mg::python
