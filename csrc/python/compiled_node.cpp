// The history of a compiled function's results: one node for the whole function, whose backward is a plan (csrc/graph/split.h cut it off).
//
// Gradients that need gradients themselves (create_graph=True), and those that stand for a batch, come from the function run once more,
// eagerly and recorded: `again`, in minigrad/compiler/_entry.py.
#include <pybind11/stl.h>

#include "../autograd/backward.h"
#include "../autograd/handler.h"
#include "../graph/plan.h"
#include "graph.h"

namespace mg::python {

namespace {

// What all runs of one compiled form share.
struct Joint {
  std::shared_ptr<Plan> forward, backward;
  size_t n_outputs = 0;
  std::vector<int> wanted;         // results with a history
  std::vector<bool> has_gradient;  // of the inputs that require grad, in their order
  py::object again;
};

struct JointNode final : Node {
  std::shared_ptr<const Joint> joint;
  std::vector<Tensor> saved, inputs;
  std::vector<uint32_t> saved_versions, input_versions;
  std::shared_ptr<void> call;  // a Python tuple, for `again`

  std::string name() const override { return "CompiledBackward"; }
  void release_saved() override {
    saved.clear();
    inputs.clear();
    call.reset();
    released = true;
  }
  void forget_written(const Storage& written) override {
    for (Tensor& t : saved) forget_if_written(t, written);
    for (Tensor& t : inputs) {
      if (t->storage.get() == &written) call.reset();  // it has the tensor among its arguments
      forget_if_written(t, written);
    }
  }
  void apply(Tensor* grads, Tensor* result) override;
  void run_again(Tensor* grads, Tensor* result);
  void check(const std::vector<Tensor>& tensors, const std::vector<uint32_t>& versions) const;
};

uint32_t version(const Tensor& t) { return t->storage->version; }

std::vector<uint32_t> versions_of(const std::vector<Tensor>& tensors) {
  std::vector<uint32_t> out;
  out.reserve(tensors.size());
  for (const Tensor& t : tensors) out.push_back(version(t));
  return out;
}

void JointNode::check(const std::vector<Tensor>& tensors, const std::vector<uint32_t>& versions) const {
  for (size_t k = 0; k < tensors.size(); ++k)
    MG_CHECK(version(tensors[k]) == versions[k], Runtime, "compiled function: one of the variables needed for gradient computation has been "
             "modified by an inplace operation: a ", dtype_name(tensors[k].dtype()), " tensor of shape ", tensors[k].sizes(), ", is at version ",
             version(tensors[k]), "; expected version ", versions[k], " instead. Try the function without compile, which names the op.");
}

void JointNode::run_again(Tensor* grads, Tensor* result) {
  check(inputs, input_versions);
  py::gil_scoped_acquire gil;
  py::list cotangents;
  for (int id : joint->wanted) cotangents.append(py::reinterpret_steal<py::object>(wrap(grads[id])));
  const py::object found = joint->again(py::handle(static_cast<PyObject*>(call.get())), py::cast(inputs), cotangents);
  size_t k = 0;
  for (auto g : found) {
    if (!g.is_none()) result[k] = tensor_of(g.ptr());
    ++k;
  }
}

void JointNode::apply(Tensor* grads, Tensor* result) {
  MG_CHECK(!released, Runtime, "compiled function: Trying to backward through the graph a second time (or directly access saved tensors after "
           "they have already been freed). Try retain_graph=True in the first call.");
  for (int id : joint->wanted)
    if (grads[id].defined() && is_deferred(*grads[id])) settle_pending("the gradients of a compiled function");
  bool plain = !thread_state.grad_mode;
  for (int id : joint->wanted) plain &= !grads[id].defined() || !grads[id]->dataless;
  if (!plain) return run_again(grads, result);
  check(saved, saved_versions);
  std::vector<Tensor> given = saved;
  for (int id : joint->wanted) {
    Tensor g = grads[id];
    if (!g.defined()) {
      g = empty(outputs[id].sizes, outputs[id].dtype, outputs[id].device);
      fill_zero(g);
    }
    given.push_back(std::move(g));
  }
  std::vector<Tensor> found = joint->backward->run(given);
  size_t next = 0;
  for (size_t k = 0; k < joint->has_gradient.size(); ++k)
    if (joint->has_gradient[k]) result[k] = std::move(found[next++]);
}

// The results of the forward plan, with their history.
std::vector<Tensor> run_joint(const std::shared_ptr<Joint>& joint, std::vector<Tensor> inputs, py::object call) {
  std::vector<Tensor> results = joint->forward->run(inputs);
  std::vector<Tensor> outs(results.begin(), results.begin() + std::ptrdiff_t(joint->n_outputs));
  auto* node = new JointNode;
  Ref<Node> owner(node);
  node->joint = joint;
  node->seq = next_sequence();
  node->edges.resize(int(joint->has_gradient.size()));
  int slot = 0;
  for (const Tensor& t : inputs)
    if (needs_grad(*t) && slot < node->edges.size()) node->edges[slot++] = gradient_edge(*t);
  node->saved.assign(results.begin() + std::ptrdiff_t(joint->n_outputs), results.end());
  node->saved_versions = versions_of(node->saved);
  node->input_versions = versions_of(inputs);
  node->inputs = std::move(inputs);
  for (const Tensor& t : node->inputs) t->storage->saved = true;
  for (const Tensor& t : node->saved) t->storage->saved = true;
  node->call = hold_object(std::move(call));
  node->outputs.resize(int(outs.size()));
  node->buffer.resize(int(outs.size()));
  if (thread_state.anomaly && anomaly_hooks.current_line) node->extra().trace = anomaly_hooks.current_line();
  for (size_t k = 0; k < outs.size(); ++k) {
    node->outputs[int(k)] = {outs[k].sizes(), outs[k].dtype(), outs[k].device()};
    for (size_t j = 0; j < k; ++j)
      if (outs[j].is(outs[k])) outs[k] = alias(*outs[k]);  // y and y.detach() are two tensors
    if (needs_grad(*outs[k])) outs[k] = detach_all(*outs[k]);
  }
  // A saved tensor may be a result too: the node keeps it without history, or both would live for ever.
  for (Tensor& s : node->saved)
    for (const Tensor& o : outs)
      if (s.is(o)) {
        s = alias(*s);
        break;
      }
  for (int id : joint->wanted) set_grad_fn(*outs[size_t(id)], owner, uint32_t(id));
  return outs;
}

}  // namespace

void bind_compiled_node(py::module_& m) {
  py::class_<Joint, std::shared_ptr<Joint>>(m, "Joint", "A compiled function and its gradients.")
      .def(py::init([](std::shared_ptr<Plan> forward, std::shared_ptr<Plan> backward, size_t n_outputs, std::vector<int> wanted,
                       std::vector<bool> has_gradient, py::object again) {
        return std::make_shared<Joint>(Joint{std::move(forward), std::move(backward), n_outputs, std::move(wanted), std::move(has_gradient), std::move(again)});
      }))
      .def("run", &run_joint);
}

}  // namespace mg::python
