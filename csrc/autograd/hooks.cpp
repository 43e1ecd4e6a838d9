// See hooks.h. A hook may add or remove hooks, also of its own list: what runs is a copy.
#include "hooks.h"

#include <algorithm>
#include <atomic>

#include "node.h"

namespace mg {

uint64_t HookList::add(Hook h) {
  static std::atomic<uint64_t> ids{1};
  hooks.emplace_back(ids++, std::move(h));
  return hooks.back().first;
}

void HookList::remove(uint64_t id) {
  std::erase_if(hooks, [id](const auto& h) { return h.first == id; });
}

void run_hooks_before(Node& n) {
  for (size_t k = 0; k < n.extras->pre_hooks.size(); ++k) {
    const auto [output, list] = n.extras->pre_hooks[k];
    Tensor& g = n.buffer[output];
    if (!g.defined()) continue;
    for (auto& [id, hook] : std::vector(list->hooks))
      if (Tensor changed = hook(g); changed.defined()) g = changed;
  }
  for (auto& [id, hook] : std::vector(n.extras->before)) hook({n.buffer.data(), size_t(n.buffer.size())}, {});
}

void run_hooks_after(Node& n, std::span<Tensor> grads, std::span<const Tensor> grad_outputs) {
  for (auto& [id, hook] : std::vector(n.extras->after)) hook(grads, grad_outputs);
}

}  // namespace mg
