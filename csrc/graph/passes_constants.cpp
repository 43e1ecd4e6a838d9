// Constant folding: what is made of numbers alone (masks, position tables, windows) is computed once, when the graph is
// made.
#include "../autograd/handler.h"
#include "../autograd/node.h"
#include "facts.h"
#include "passes.h"

namespace mg {

namespace {

constexpr int64_t kLargest = 1 << 22;  // bytes; a constant stays in memory as long as the compiled form

int64_t bytes(const OutSpec& spec) {
  int64_t n = itemsize(spec.dtype);
  for (int64_t s : spec.sizes) n *= s;
  return n;
}

struct Folder {
  const Graph& graph;
  const Facts facts;
  std::vector<Tensor> known;
  explicit Folder(const Graph& g) : graph(g), facts(g), known(g.values.size()) {
    for (const GraphConstant& c : g.constants) known[size_t(c.id)] = c.tensor;
  }

  bool foldable(const GraphCall& call) const {
    if (call.op == nullptr || call.mode != Write::Fresh || draws(call) || call.outs.empty() ||
        call.op->name.starts_with("_empty"))
      return false;
    for (int id : call.outs)
      if (facts.leaves(id) || facts.written(id) || bytes(facts.spec(id)) > kLargest) return false;
    for (const GraphArg& a : call.args)
      for (int id : a.ids)
        if (id >= 0 && !known[size_t(id)].defined()) return false;
    return true;
  }

  bool compute(const GraphCall& call) {
    Value args[kMaxArgs];
    std::vector<std::vector<TensorImpl*>> lists(call.args.size());
    for (size_t k = 0; k < call.args.size(); ++k) {
      const GraphArg& a = call.args[k];
      for (int id : a.ids) lists[k].push_back(id < 0 ? nullptr : known[size_t(id)].get());
      args[k] = a.is_tensor ? Value(lists[k][0])
                : a.is_list ? Value::list(lists[k].data(), int(lists[k].size()))
                            : static_cast<const Value&>(a.number);
    }
    Tensor outs[kMaxOutputs];
    try {
      mg::call(*call.op, args, outs);
    } catch (const Error&) {
      return false;  // an error of the user's, raised when it happens
    }
    for (size_t k = 0; k < call.outs.size(); ++k) known[size_t(call.outs[k])] = outs[k];
    return true;
  }
};

}  // namespace

// A lone _full stays a call where pointwise ops read it: fusion makes it a number.
Graph fold_constants(const Graph& graph) {
  const GradModeGuard off(false);
  const HandlerGuard none(nullptr);
  Folder folder(graph);
  Graph out = graph;
  out.calls.clear();
  std::vector<bool> folded(graph.calls.size(), false), wanted(graph.values.size(), false);
  for (size_t at = 0; at < graph.calls.size(); ++at)
    folded[at] = folder.foldable(graph.calls[at]) && folder.compute(graph.calls[at]);
  for (size_t at = 0; at < graph.calls.size(); ++at) {
    if (folded[at]) continue;
    const bool pointwise = graph.calls[at].op != nullptr && graph.calls[at].op->is_pointwise;
    for_each_read(graph.calls[at], [&](int id) {
      const int maker = graph.values[size_t(id)].maker;
      if (maker < 0 || !folded[size_t(maker)]) return;
      if (pointwise && graph.calls[size_t(maker)].op->name == "_full")
        folded[size_t(maker)] = false;
      else
        wanted[size_t(id)] = true;
    });
  }
  for (size_t at = 0; at < graph.calls.size(); ++at) {
    const GraphCall& call = graph.calls[at];
    if (!folded[at]) {
      out.calls.push_back(call);
      continue;
    }
    for (int id : call.outs)
      if (wanted[size_t(id)]) out.constants.push_back({id, folder.known[size_t(id)]});
  }
  return renumbered(std::move(out));
}

}  // namespace mg
