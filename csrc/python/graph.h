// The Python view of a graph node, shared by bind_autograd.cpp and bind_graph.cpp.
#pragma once
#include "../autograd/saved_hooks.h"
#include "py.h"

namespace mg::python {

struct NodeHandle {
  Ref<Node> node;
};
py::object node_object(const Ref<Node>& node);  // a Node of a Python class named like the node
void bind_graph(py::module_& m);

// A node of a custom Function (bind_autograd.cpp).
struct FunctionNode final : Node {
  PyObject* ctx = nullptr;  // its _apply_backward(node, grads) -> list, one entry per forward argument
  std::string label;
  ~FunctionNode() override;
  std::string name() const override { return label; }
  void apply(Tensor* grads, Tensor* result) override;
  void release_saved() override;
  void forget_written(const Storage& written) override;
};

Hook python_hook(py::function fn);                  // the function lives as long as the hook
std::shared_ptr<void> hold_object(py::object o);    // dropped with the interpreter lock held

}  // namespace mg::python
