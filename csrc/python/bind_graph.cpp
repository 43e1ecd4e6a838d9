// minigrad.autograd.graph's C++ half: Node (what x.grad_fn is), hooks on nodes, saved_tensors_hooks, ctx.save_for_backward.
//
// A Node is a fresh Python object at every look, of a class named like the node (AddBackward0), made at the first look at such a name;
// two of them are equal when they stand for one node.
#include "graph.h"

#include <pybind11/functional.h>
#include <pybind11/stl.h>

namespace mg::python {

void bind_sparse(py::module_& m);  // bind_sparse.cpp

std::shared_ptr<void> hold_object(py::object o) {
  return std::shared_ptr<void>(o.release().ptr(), [](void* p) {
    if (!Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;
    Py_DECREF(static_cast<PyObject*>(p));
  });
}

static py::handle object_in(const std::shared_ptr<void>& held) { return py::handle(static_cast<PyObject*>(held.get())); }

Hook python_hook(py::function fn) {
  return [held = hold_object(std::move(fn))](const Tensor& g) -> Tensor {
    py::object r = object_in(held)(g);
    if (r.is_none()) return {};
    return expect_tensor(r.ptr(), "hook: the returned value");
  };
}

py::object node_object(const Ref<Node>& node) {
  static auto* classes = new py::dict;
  py::object made = py::cast(NodeHandle{node});
  const py::str name(node->name());
  if (!classes->contains(name)) {
    py::object base = py::type::of(made);
    py::dict body;
    body["__slots__"] = py::tuple();
    body["__module__"] = "minigrad.autograd.graph";
    (*classes)[name] = py::type::of(base)(name, py::make_tuple(base), body);
  }
  return py::object((*classes)[name])(made);
}

namespace {

// ---- saved_tensors_hooks ---------------------------------------------------------------------------------------------------------

struct PythonSavedHooks final : SavedHooks {
  std::shared_ptr<void> pack_fn, unpack_fn;
  PythonSavedHooks(py::object pack, py::object unpack) : pack_fn(hold_object(std::move(pack))), unpack_fn(hold_object(std::move(unpack))) {}
  std::shared_ptr<void> pack(const Tensor& t) override { return hold_object(object_in(pack_fn)(t)); }
  Tensor unpack(const std::shared_ptr<void>& packed) override {
    py::object r = object_in(unpack_fn)(object_in(packed));
    MG_CHECK(is_tensor(r.ptr()), Type, "Output of saved tensor unpack_hook expected to be a Tensor but got result of type ",
             py::str(py::type::of(r)).cast<std::string>());
    return tensor_of(r.ptr());
  }
};

// Makes `hooks` the ones of this thread (None: none) and returns the former ones. Owned here, so that a context manager that is dropped
// without its __exit__ leaves nothing dangling.
std::shared_ptr<PythonSavedHooks> set_saved_hooks(std::shared_ptr<PythonSavedHooks> hooks) {
  static thread_local auto* owner = new std::shared_ptr<PythonSavedHooks>;  // never freed: threads end without the interpreter lock
  active_saved_hooks = hooks.get();
  return std::exchange(*owner, std::move(hooks));
}

// ---- what ctx.save_for_backward keeps: version-checked, and without a cycle for outputs -------------------------------------------

struct SavedVariable {
  Tensor tensor;
  uint32_t version = 0;
  int output = -1;  // index of the output it is, or -1
  std::string label;
  std::shared_ptr<SavedHooks> hooks;
  std::shared_ptr<void> packed;
  Edge edge;  // with hooks: the history of an input
};

SavedVariable save_variable(py::object t, int output, const std::string& label) {
  SavedVariable s;
  if (t.is_none()) return s;
  Tensor x = expect_tensor(t.ptr(), "save_for_backward: argument");
  s.version = x->storage->version;
  s.output = output;
  s.label = label;
  if (active_saved_hooks != nullptr && !x->dataless) {
    s.hooks = active_saved_hooks->shared_from_this();
    s.packed = pack_one(*s.hooks, x, output >= 0);
    if (output < 0 && needs_grad(*x)) s.edge = gradient_edge(*x);
  } else {
    s.tensor = output >= 0 ? alias(*x) : x;
    x->storage->saved = true;
  }
  return s;
}

Tensor unpack_variable(const SavedVariable& s, py::object node) {
  Tensor found = s.tensor;
  if (s.packed) found = alias(*s.hooks->unpack(s.packed));
  else if (!found.defined()) return {};
  else
    MG_CHECK(found->storage->version == s.version, Runtime, s.label,
             ": one of the variables needed for gradient computation has been modified by an inplace operation: a ", found.dtype(),
             " tensor of shape ", found.sizes(), " is at version ", found->storage->version, "; expected version ", s.version,
             " instead. Try clone() before the in-place operation.");
  if (!thread_state.grad_mode || !is_inexact(found.dtype())) return found;
  if (s.edge) {
    set_grad_fn(*found, s.edge.node, s.edge.output);
    return found;
  }
  if (s.output < 0 || node.is_none()) return found;
  Tensor t = alias(*found);
  set_grad_fn(*t, node.cast<NodeHandle&>().node, uint32_t(s.output));
  return t;
}

// ---- Node --------------------------------------------------------------------------------------------------------------------------

py::object optional_tensor(const Tensor& t) { return py::reinterpret_steal<py::object>(wrap(t)); }

py::tuple tensors_of(std::span<const Tensor> list) {
  py::tuple out(list.size());
  for (size_t k = 0; k < list.size(); ++k) out[k] = optional_tensor(list[k]);
  return out;
}

void replace(std::span<Tensor> grads, py::object r, const char* what) {
  if (r.is_none()) return;
  py::tuple given = is_tensor(r.ptr()) ? py::make_tuple(r) : py::tuple(r);
  MG_CHECK(given.size() == grads.size(), Runtime, what, ": hook has returned an incorrect number of values: got ", given.size(), ", expected ",
           grads.size());
  for (size_t k = 0; k < grads.size(); ++k) grads[k] = given[k].is_none() ? Tensor() : expect_tensor(py::object(given[k]).ptr(), what);
}

using HookEntries = std::vector<std::pair<uint64_t, NodeHook>>;

// Returns what takes the hook out again.
py::cpp_function add_node_hook(const Ref<Node>& node, HookEntries Node::Extras::*list, NodeHook hook) {
  static uint64_t ids = 0;
  const uint64_t id = ++ids;
  (node->extra().*list).emplace_back(id, std::move(hook));
  return py::cpp_function([node, list, id] {
    std::erase_if(node->extra().*list, [id](auto& entry) { return entry.first == id; });
  });
}

py::object attribute(const NodeHandle& h, const std::string& name) {
  if (auto* f = dynamic_cast<FunctionNode*>(h.node.get())) return py::handle(f->ctx).attr(name.c_str());
  auto* node = dynamic_cast<OpNode*>(h.node.get());
  if (node != nullptr && name.starts_with("_saved_")) {
    const std::string wanted = name.substr(7) == "self" ? "input" : name.substr(7);
    const Op& op = *node->op;
    const Unpacked filled(*node);
    for (size_t k = 0; k < op.args.size(); ++k) {
      if (op.args[k].name != wanted) continue;
      if (node->args[int(k)].value.is_tensor() || node->released) return optional_tensor(node->saved_input(int(k)));
      return py::reinterpret_steal<py::object>(value_to_python(node->args[int(k)].value));
    }
    for (int k = 0; k < node->saved_out.size(); ++k)
      if ((op.outputs[size_t(k)] == wanted || wanted == "result") && (node->saved_out[k].defined() || node->released))
        return optional_tensor(node->saved_output(k));
  }
  throw py::attribute_error("'" + h.node->name() + "' object has no attribute '" + name + "'");
}

py::object metadata(const NodeHandle& h) {
  auto& slot = h.node->extra().python;
  if (!slot) slot = hold_object(py::dict());
  return py::reinterpret_borrow<py::object>(object_in(slot));
}

void bind_node(py::module_& m) {
  py::class_<NodeHandle>(m, "Node")
      .def(py::init<const NodeHandle&>())
      .def("name", [](const NodeHandle& h) { return h.node->name(); })
      .def_property_readonly("next_functions", [](const NodeHandle& h) {
        py::list out;
        for (Edge& e : h.node->edges) out.append(py::make_tuple(e ? node_object(e.node) : py::none(), e.output));
        return py::tuple(out);
      })
      .def_property_readonly("variable", [](const NodeHandle& h) {
        auto* a = dynamic_cast<AccumulateGrad*>(h.node.get());
        if (a == nullptr) throw py::attribute_error("'" + h.node->name() + "' object has no attribute 'variable'");
        return Tensor(a->variable);
      })
      .def_property_readonly("metadata", &metadata)
      .def("_register_hook", [](const NodeHandle& h, py::function fn) {
        return add_node_hook(h.node, &Node::Extras::after, [fn = hold_object(fn)](std::span<Tensor> grads, std::span<const Tensor> from) {
          replace(grads, object_in(fn)(tensors_of(grads), tensors_of(from)), "register_hook");
        });
      })
      .def("_register_prehook", [](const NodeHandle& h, py::function fn) {
        return add_node_hook(h.node, &Node::Extras::before, [fn = hold_object(fn)](std::span<Tensor> grads, std::span<const Tensor>) {
          replace(grads, object_in(fn)(tensors_of(grads)), "register_prehook");
        });
      })
      .def("_sequence_nr", [](const NodeHandle& h) { return h.node->seq; })
      .def("__getattr__", &attribute)
      .def("__eq__", [](const NodeHandle& a, py::object b) { return py::isinstance<NodeHandle>(b) && a.node == b.cast<NodeHandle&>().node; })
      .def("__hash__", [](const NodeHandle& h) { return reinterpret_cast<size_t>(h.node.get()) >> 4; })
      .def("__repr__", [](const NodeHandle& h) { return str("<", h.node->name(), " object at ", static_cast<void*>(h.node.get()), ">"); });
}

}  // namespace

void FunctionNode::forget_written(const Storage& written) {
  py::gil_scoped_acquire gil;
  const py::object saved = py::getattr(ctx, "_saved", py::tuple());
  for (py::handle s : saved)
    if (py::isinstance<SavedVariable>(s)) forget_if_written(s.cast<SavedVariable&>().tensor, written);
}

PyObject* wrap_node(const Ref<Node>& node) { return node_object(node).release().ptr(); }

void bind_graph(py::module_& m) {
  bind_node(m);
  bind_sparse(m);
  py::class_<PythonSavedHooks, std::shared_ptr<PythonSavedHooks>>(m, "SavedTensorsHooks").def(py::init<py::object, py::object>());
  m.def("set_saved_hooks", &set_saved_hooks, py::arg("hooks").none(true));
  py::class_<SavedVariable>(m, "SavedVariable");
  m.def("save_variable", &save_variable);
  m.def("unpack_variable", &unpack_variable);
  m.def("node_in_task", [](const NodeHandle& h) { return h.node->task != nullptr && h.node->needed; });  // in a hook: will it get a gradient?
  m.def("bump_version", [](Tensor t) { ++t->storage->version; });
  m.def("gradient_node", [](Tensor t) -> py::object {
    Edge e = needs_grad(*t) ? gradient_edge(*t) : Edge{};
    return e ? py::make_tuple(node_object(e.node), e.output) : py::object(py::none());
  });
}

}  // namespace mg::python
