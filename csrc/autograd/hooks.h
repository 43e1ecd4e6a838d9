// Hooks of tensors and of nodes; the engine runs them around a node's apply(). Included by node.h.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "../core/tensor.h"

namespace mg {

struct Node;

using Hook = std::function<Tensor(const Tensor& grad)>;  // may return an undefined tensor: keep the gradient
struct HookList {
  std::vector<std::pair<uint64_t, Hook>> hooks;
  uint64_t add(Hook h);
  void remove(uint64_t id);
};
// A hook on a whole node may change `grads`: before apply() the gradients of the outputs, after it those of the edges.
using NodeHook = std::function<void(std::span<Tensor> grads, std::span<const Tensor> grad_outputs)>;

void run_hooks_before(Node& n);  // on the gradients in n's buffer
void run_hooks_after(Node& n, std::span<Tensor> grads, std::span<const Tensor> grad_outputs);

}  // namespace mg
