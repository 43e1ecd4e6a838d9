// See plan.h. A run goes through the graph's calls with a table of tensors by value number; each is dropped after its last use, so the
// allocator hands its memory to a later one.
#include "plan.h"

#include <algorithm>

#include "../autograd/node.h"

namespace mg {

Plan::Plan(Graph graph) : graph_(std::move(graph)), dead_after_(graph_.calls.size()) {
  std::vector<int> leaf_of(graph_.values.size(), -1);
  given_.assign(graph_.values.size(), false);
  owned_by_one_leaf_.assign(graph_.values.size(), true);
  auto give = [&](const GraphGradient& g) {
    if (g.value < 0) return;
    if (leaf_of[size_t(g.value)] >= 0 && leaf_of[size_t(g.value)] != g.leaf) owned_by_one_leaf_[size_t(g.value)] = false;
    leaf_of[size_t(g.value)] = g.leaf;
    given_[size_t(g.value)] = true;
  };
  for (const GraphGradient& g : graph_.gradients) give(g);
  for (const GraphCall& c : graph_.calls)
    if (c.host)
      for (const GraphGradient& g : c.host->gradients) give(g);
  for (int id : graph_.outputs) owned_by_one_leaf_[size_t(id)] = false;
  for (int id : graph_.inputs) owned_by_one_leaf_[size_t(id)] = false;
  std::vector<int> last(graph_.values.size(), -1);
  auto use = [&](int id, size_t at) {
    if (id >= 0) last[size_t(id)] = int(at);
  };
  for (size_t at = 0; at < graph_.calls.size(); ++at) {
    const GraphCall& call = graph_.calls[at];
    for (int id : call.outs) use(id, at);
    for (const GraphArg& a : call.args)
      for (int id : a.ids) use(id, at);
    if (call.host)
      for (const GraphGradient& g : call.host->gradients) use(g.value, at);
  }
  for (int id : graph_.outputs) last[size_t(id)] = -1;
  for (const GraphGradient& g : graph_.gradients)
    if (g.value >= 0) last[size_t(g.value)] = -1;
  for (size_t id = 0; id < last.size(); ++id)
    if (last[id] >= 0 && graph_.values[id].maker >= 0) dead_after_[size_t(last[id])].push_back(int(id));
  plan_reuse();
}

void Plan::give_gradients(const std::vector<GraphGradient>& gradients, std::vector<Tensor>& slots) const {
  for (const GraphGradient& g : gradients) {
    TensorImpl& leaf = *slots[size_t(g.leaf)];
    if (g.value < 0) {
      if (leaf.autograd != nullptr) leaf.autograd->grad.reset();
      continue;
    }
    const Tensor& slot = slots[size_t(g.value)];
    if (leaf.autograd != nullptr && leaf.autograd->grad.is(slot)) continue;
    set_leaf_gradient(leaf, slot, owned_by_one_leaf_[size_t(g.value)]);  // shared with the slot: what reads it later sees the same
  }
}

// A pointwise call on large tensors writes into an argument that nobody needs afterwards: less memory, and it is in the cache.
void Plan::plan_reuse() {
  constexpr int64_t kWorthIt = 1 << 14;  // elements; below, a fresh block of the allocator's cache is as near
  std::vector<int> users(graph_.values.size() + 1, 0);
  for (const GraphValue& v : graph_.values) ++users[size_t(v.storage)];
  writes_into_.assign(graph_.calls.size(), -1);
  for (size_t at = 0; at < graph_.calls.size(); ++at) {
    const GraphCall& c = graph_.calls[at];
    if (c.op == nullptr || !c.op->is_pointwise || c.mode != Write::Fresh || c.outs.size() != 1 || c.op->can_fail) continue;
    const OutSpec& out = graph_.values[size_t(c.outs[0])].spec;
    int64_t numel = 1;
    for (int64_t s : out.sizes) numel *= s;
    if (numel < kWorthIt) continue;
    for (int id : dead_after_[at]) {
      const GraphValue& v = graph_.values[size_t(id)];
      const bool argument = std::any_of(c.args.begin(), c.args.end(), [&](const GraphArg& a) { return a.is_tensor && a.ids[0] == id; });
      if (!argument || given_[size_t(id)] || users[size_t(v.storage)] != 1 || v.spec.dtype != out.dtype || !(v.spec.device == out.device) || v.spec.sizes != out.sizes ||
          v.spec.strides != out.strides)
        continue;
      writes_into_[at] = id;
      break;
    }
  }
}

static void run_call(const GraphCall& c, int into, std::vector<Tensor>& slots) {
  Value args[kMaxArgs];
  std::vector<std::vector<TensorImpl*>> lists;
  for (size_t k = 0; k < c.args.size(); ++k) {
    const GraphArg& a = c.args[k];
    if (a.is_tensor) {
      args[k] = Value(slots[size_t(a.ids[0])]);
    } else if (a.is_list) {
      auto& list = lists.emplace_back();
      for (int id : a.ids) list.push_back(id < 0 ? nullptr : slots[size_t(id)].get());
      args[k] = Value::list(list.data(), int(list.size()));
    } else {
      args[k] = a.number;
    }
  }
  Tensor outs[kMaxOutputs];
  if (into >= 0) outs[0] = std::move(slots[size_t(into)]);
  call(*c.op, args, outs, into >= 0 ? Write::Out : c.mode);
  for (size_t k = 0; k < c.outs.size(); ++k) slots[size_t(c.outs[k])] = std::move(outs[k]);
}

std::vector<Tensor> Plan::run(const std::vector<Tensor>& inputs) const {
  MG_CHECK(inputs.size() == graph_.inputs.size(), Runtime, "plan: got ", inputs.size(), " inputs, expected ", graph_.inputs.size());
  const GradModeGuard off(false);
  std::vector<Tensor> slots(graph_.values.size());
  for (size_t k = 0; k < inputs.size(); ++k) slots[size_t(graph_.inputs[k])] = inputs[k];
  for (const GraphConstant& c : graph_.constants) slots[size_t(c.id)] = c.tensor;
  for (size_t at = 0; at < graph_.calls.size(); ++at) {
    const GraphCall& c = graph_.calls[at];
    if (c.host) {
      give_gradients(c.host->gradients, slots);
      c.host->run();
    } else {
      run_call(c, writes_into_[at], slots);
    }
    for (int id : dead_after_[at]) slots[size_t(id)].reset();
  }
  std::vector<Tensor> results;
  for (int id : graph_.outputs) results.push_back(slots[size_t(id)]);
  give_gradients(graph_.gradients, slots);
  return results;
}

}  // namespace mg
