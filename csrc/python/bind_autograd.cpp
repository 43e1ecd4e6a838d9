// Autograd's Python face: backward/grad, graph nodes, hooks, custom Functions, grad modes, anomaly mode.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "../autograd/backward.h"
#include "graph.h"

namespace mg::python {

FunctionNode::~FunctionNode() {
  if (!Py_IsInitialized()) return;
  py::gil_scoped_acquire gil;
  Py_XDECREF(ctx);
}

void FunctionNode::apply(Tensor* grads, Tensor* result) {
  py::list g;
  for (int k = 0; k < outputs.size(); ++k) g.append(py::reinterpret_steal<py::object>(wrap(grads[k])));
  py::object r = py::handle(ctx).attr("_apply_backward")(node_object(Ref<Node>(this)), g);
  py::list list = r;
  MG_CHECK(int(list.size()) == edges.size(), Runtime, label, ": backward returned ", list.size(), " gradients, expected ", edges.size(),
           " (one per argument of forward)");
  for (int k = 0; k < edges.size(); ++k)
    if (!list[size_t(k)].is_none()) result[k] = expect_tensor(list[size_t(k)].ptr(), (label + ": gradient").c_str());
}

void FunctionNode::release_saved() {
  py::handle(ctx).attr("_release")();
  released = true;
}

namespace {

// One backward at a time. Its state is read and written with the interpreter lock held; waiting lets go of it.
struct BackwardLock {
  static inline std::thread::id owner;
  static inline int depth = 0;
  static inline std::mutex mutex;
  static inline std::condition_variable released;
  static inline int64_t task_id = -1, last_id = -1;  // of the backward that runs
  static inline bool partial = false;                // it, or one around it, wants the gradients of some inputs only
  int64_t outer;
  BackwardLock() {
    const auto self = std::this_thread::get_id();
    while (depth != 0 && owner != self) wait();
    owner = self;
    ++depth;
    outer = std::exchange(task_id, ++last_id);
  }
  ~BackwardLock() {
    task_id = outer;
    if (--depth == 0 && waiting != 0) released.notify_all();
  }

 private:
  static inline std::atomic<int> waiting = 0;
  [[gnu::cold]] static void wait() {
    ++waiting;
    Py_BEGIN_ALLOW_THREADS;
    std::unique_lock hold(mutex);
    released.wait_for(hold, std::chrono::milliseconds(1));  // a notification may come before the wait: look again soon
    Py_END_ALLOW_THREADS;
    --waiting;
  }
};

constexpr uint64_t kKeeper = 0;  // id of the hook that retain_grad() sets; others count from 1

uint64_t add_tensor_hook(Tensor t, py::function fn) {
  MG_CHECK(needs_grad(*t), Runtime, "register_hook: cannot register a hook on a tensor that doesn't require gradient");
  AutogradMeta& m = meta_of(*t);
  const Edge e = gradient_edge(*t);
  if (!m.hooks) m.hooks = std::make_shared<HookList>();
  if (!e.node->is_leaf_sink()) {
    auto& list = e.node->extra().pre_hooks;
    const bool known = std::any_of(list.begin(), list.end(), [&](auto& h) { return h.second == m.hooks; });
    // before a keeper (retain_grad): that one sees the gradient as the other hooks left it, whenever they came
    const auto keeper = [](auto& h) { return !h.second->hooks.empty() && h.second->hooks.front().first == kKeeper; };
    if (!known) list.emplace(std::find_if(list.begin(), list.end(), keeper), int(e.output), m.hooks);
  }
  return m.hooks->add(python_hook(std::move(fn)));
}

void retain_grad(Tensor t) {
  MG_CHECK(needs_grad(*t), Runtime, "retain_grad: can't retain_grad on Tensor that has requires_grad=False");
  const Edge e = gradient_edge(*t);
  if (e.node->is_leaf_sink() || meta_of(*t).retain_grad) return;
  meta_of(*t).retain_grad = true;
  auto list = std::make_shared<HookList>();
  // The tensor owns its node, so the node's hook must not own the tensor: `grad_sink` is reset when the tensor's meta dies.
  AutogradMeta& meta = meta_of(*t);
  meta.grad_sink = std::make_shared<AutogradMeta*>(&meta);
  list->hooks.emplace_back(kKeeper, [sink = std::weak_ptr<AutogradMeta*>(meta.grad_sink)](const Tensor& g) -> Tensor {
    static OpRef add_op{"add"};
    if (auto alive = sink.lock()) {
      AutogradMeta& m = **alive;
      m.grad = m.grad.defined() ? invoke(add_op, m.grad, g) : thread_state.grad_mode ? g : to_contiguous(*g, g.dtype());
    }
    return {};
  });
  e.node->extra().pre_hooks.emplace_back(int(e.output), list);
}

// ---- custom Function --------------------------------------------------------------------------------------------------------

// Attaches ctx as the history of `outputs`. Entries of `inputs` that are no tensors are None.
py::list attach_function(py::object ctx, std::string label, py::list inputs, py::list outputs, std::vector<bool> differentiable,
                         std::vector<bool> dirty) {
  auto* node = new FunctionNode;
  Ref<Node> owner(node);
  node->ctx = ctx.inc_ref().ptr();
  node->label = std::move(label);
  node->seq = next_sequence();
  node->edges.resize(int(inputs.size()));
  for (size_t k = 0; k < inputs.size(); ++k)
    if (is_tensor(inputs[k].ptr()) && needs_grad(*impl_of(inputs[k].ptr()))) node->edges[int(k)] = gradient_edge(*impl_of(inputs[k].ptr()));
  node->outputs.resize(int(outputs.size()));
  node->buffer.resize(int(outputs.size()));
  if (thread_state.anomaly && anomaly_hooks.current_line) node->extra().trace = anomaly_hooks.current_line();
  py::list wrapped;
  for (size_t k = 0; k < outputs.size(); ++k) {
    if (!is_tensor(outputs[k].ptr())) {
      wrapped.append(outputs[k]);
      continue;
    }
    Tensor t = tensor_of(outputs[k].ptr());
    node->outputs[int(k)] = {t.sizes(), t.dtype(), t.device()};
    const bool floating = differentiable[k] && is_inexact(t.dtype());
    if (dirty[k]) {
      check_leaf_write(node->label.c_str(), *t, true);
    } else {
      bool is_input = false;
      for (auto in : inputs) is_input |= in.ptr() == outputs[k].ptr();
      if (is_input || needs_grad(*t)) t = alias(*t);  // returned as is: a new tensor carries the history
    }
    if (floating) set_grad_fn(*t, owner, uint32_t(k));
    if (floating && dirty[k]) break_cycles(node, *t->storage);
    wrapped.append(py::reinterpret_steal<py::object>(wrap(t)));
  }
  return wrapped;
}

// ---- anomaly mode -------------------------------------------------------------------------------------------------------------

}  // namespace

// Where the package's own Python lies, as its code objects name it.
static const std::string& package_folder() {
  static const std::string* folder = new std::string(py::cast<std::string>(py::module_::import("minigrad").attr("__path__")[py::int_(0)]) + "/");
  return *folder;
}

bool is_package_file(const char* file) {
  return std::strncmp(file, package_folder().c_str(), package_folder().size()) == 0 || std::strncmp(file, "<minigrad", 9) == 0;
}

std::string user_line() {  // innermost Python frame outside minigrad
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(frame);
  std::string fallback;
  while (frame != nullptr) {
    PyCodeObject* code = PyFrame_GetCode(frame);
    const char* file = PyUnicode_AsUTF8(code->co_filename);
    const std::string at = str(file ? file : "?", ":", PyFrame_GetLineNumber(frame), " in ", PyUnicode_AsUTF8(code->co_name));
    const bool ours = file && is_package_file(file);
    Py_DECREF(code);
    if (fallback.empty()) fallback = at;
    PyFrameObject* back = ours ? PyFrame_GetBack(frame) : nullptr;
    Py_DECREF(frame);
    if (!ours) return at;
    frame = back;
  }
  return fallback;
}

namespace {

std::unordered_map<const Storage*, std::string>& write_lines() {
  static auto* m = new std::unordered_map<const Storage*, std::string>;
  return *m;
}
void note_write(const Storage* s) { write_lines()[s] = user_line(); }
std::string last_write(const Storage* s) {
  auto it = write_lines().find(s);
  return it == write_lines().end() ? "" : it->second;
}

std::vector<Tensor> run_backward(std::vector<Tensor> roots, std::vector<Tensor> grads, std::vector<Tensor> inputs, bool has_inputs,
                                 bool retain, bool create, bool accumulate) {
  BackwardLock lock;
  struct Restore {
    bool before = BackwardLock::partial;
    ~Restore() { BackwardLock::partial = before; }
  } restore;
  BackwardLock::partial |= has_inputs;
  grads.resize(roots.size());
  BackwardOptions o;
  o.retain_graph = retain;
  o.create_graph = create;
  o.accumulate = accumulate;
  o.has_inputs = has_inputs;
  return backward(roots, grads, inputs, o);
}

}  // namespace

// x.backward(): the hot form. Keyword forms go through the general binding.
PyObject* tensor_backward(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  if (n + (names ? PyTuple_GET_SIZE(names) : 0) > 0) {
    PyObject* f = python_helper("minigrad.autograd", "_tensor_backward");
    if (f == nullptr) return nullptr;
    std::vector<PyObject*> all{self};
    all.insert(all.end(), args, args + n + (names ? PyTuple_GET_SIZE(names) : 0));
    return PyObject_Vectorcall(f, all.data(), size_t(n + 1), names);
  }
  return guarded([&]() -> PyObject* {
    BackwardLock lock;
    const Tensor root[] = {tensor_of(self)};
    Tensor grad[1];
    backward(root, grad, {}, BackwardOptions{});
    Py_RETURN_NONE;
  });
}

void bind_autograd(py::module_& m) {
  install_autograd_hooks();
  bind_graph(m);
  m.def("attach_function", &attach_function);
  m.def("run_backward", &run_backward);
  m.def("is_checkpoint_valid", [] { return !BackwardLock::partial; });
  m.def("graph_task_id", [] { return BackwardLock::task_id; });  // -1 outside of backward
  m.def("add_tensor_hook", &add_tensor_hook);
  m.def("remove_tensor_hook", [](Tensor t, uint64_t id) {
    if (t->autograd && t->autograd->hooks) t->autograd->hooks->remove(id);
  });
  m.def("add_post_accumulate_hook", [](Tensor t, py::function fn) {
    MG_CHECK(t->requires_grad && t->grad_fn == nullptr, Runtime,
             "register_post_accumulate_grad_hook: post accumulate grad hooks cannot be registered on non-leaf tensors");
    AutogradMeta& meta = meta_of(*t);
    if (!meta.post_accumulate) meta.post_accumulate = std::make_shared<HookList>();
    return meta.post_accumulate->add([h = python_hook(py::cpp_function([fn](Tensor x) {
                                        fn(x);
                                        return py::none();
                                      }))](const Tensor& x) { return h(x); });
  });
  m.def("remove_post_accumulate_hook", [](Tensor t, uint64_t id) {
    if (t->autograd && t->autograd->post_accumulate) t->autograd->post_accumulate->remove(id);
  });
  m.def("retain_grad", &retain_grad);
  m.def("is_grad_enabled", [] { return thread_state.grad_mode; });
  m.def("is_inference_mode_enabled", [] { return thread_state.inference_mode; });
  m.def("is_anomaly_enabled", [] { return thread_state.anomaly; });
  m.def("set_inference_mode", [](bool on) { return std::exchange(thread_state.inference_mode, on); });
  m.def("set_anomaly", [](bool on) {
    anomaly_hooks = on ? AnomalyHooks{user_line, note_write, last_write} : AnomalyHooks{};
    if (!on) write_lines().clear();
    return std::exchange(thread_state.anomaly, on);
  });
  m.def("user_line", &user_line);
  m.def("is_view", [](Tensor t) { return bool(t->base); });
  m.def("view_base", [](Tensor t) { return Tensor(t->base); });
  m.def("take_geometry", [](const std::string& op, Tensor t, Tensor view) { take_geometry(op.c_str(), *t, *view); });
  m.def("resize_tensor", [](Tensor t, const std::vector<int64_t>& sizes) { resize_tensor(*t, Dims(std::span(sizes))); });
  // Hot enough to be raw: used by no_grad() on every optimizer step.
  static PyMethodDef raw[] = {{"set_grad_enabled",
                               [](PyObject*, PyObject* on) -> PyObject* {
                                 const bool before = thread_state.grad_mode;
                                 thread_state.grad_mode = on == Py_True;
                                 return PyBool_FromLong(before);
                               },
                               METH_O, "Sets grad mode, returns the former one."},
                              {}};
  PyModule_AddFunctions(m.ptr(), raw);
}

}  // namespace mg::python
