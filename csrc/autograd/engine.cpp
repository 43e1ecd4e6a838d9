// backward(): pushes gradients from the roots to the leaves.
//
// 1. discover(): walk the graph once; every reachable node belongs to this GraphTask and knows how many gradients it will receive.
// 2. run(): a heap of ready nodes, youngest first; each node's buffer holds the summed gradients of its outputs; apply() gives one
//    gradient per edge, which is fitted to the forward value (broadcasting and casts undone) and added into the next node's buffer.
// 3. leaves: AccumulateGrad adds into .grad. With `inputs` given, gradients are captured at those edges instead.
// The per-node scratch lives in the nodes. A nested backward (inside a hook or a custom Function) that meets nodes of the outer one
// puts their state aside and restores it at its end, so re-entrance works. One backward runs at a time (csrc/python holds a lock).
#include <algorithm>

#include "inline_vec.h"
#include "backward.h"

namespace mg {

static OpRef add_op{"add"};

struct GraphTask {
  BackwardOptions options;
  InlineVec<Node*, 24> nodes;                     // everything reachable
  InlineVec<Node*, 8> ready;                      // heap by seq
  std::vector<std::pair<Edge, int>> captures;     // edge of input k -> position in results
  std::vector<Tensor> results;
  struct Stashed {
    Node* node;
    GraphTask* task;
    int32_t dependencies;
    bool needed;
    std::vector<Tensor> buffer;
  };
  std::vector<Stashed> stashed;
  bool finished = false;
  SmallVec<Edge, 1> roots;

  ~GraphTask() {  // also after an exception: leave no node marked
    for (Node* n : nodes) {
      n->task = nullptr;
      n->dependencies = 0;
      n->needed = true;
      if (!finished)
        for (Tensor& t : n->buffer) t.reset();
    }
    for (Stashed& s : stashed) {
      s.node->task = s.task;
      s.node->dependencies = s.dependencies;
      s.node->needed = s.needed;
      for (size_t i = 0; i < s.buffer.size(); ++i) s.node->buffer[int(i)] = std::move(s.buffer[i]);
    }
  }

  void claim(Node* n) {
    if (n->task == this) return;
    if (n->task != nullptr) {
      Stashed s{n, n->task, n->dependencies, n->needed, {}};
      for (Tensor& t : n->buffer) s.buffer.push_back(std::move(t));
      stashed.push_back(std::move(s));
      n->dependencies = 0;
    }
    n->task = this;
    nodes.push_back(n);
  }

  void discover() {
    for (Edge& r : roots) claim(r.node.get());
    for (size_t at = 0; at < nodes.size(); ++at) {  // `nodes` doubles as the queue
      for (Edge& e : nodes[at]->edges) {
        if (!e) continue;
        claim(e.node.get());
        ++e.node->dependencies;
      }
    }
  }

  // With `inputs`: only what lies on a path to one of them is worth computing. Producers are older than consumers.
  void mark_needed() {
    std::vector<Node*> order(nodes.begin(), nodes.end());
    auto age = [](const Node* n) { return n->is_leaf_sink() ? 0 : n->seq; };
    std::sort(order.begin(), order.end(), [&](Node* a, Node* b) { return age(a) < age(b); });
    for (Node* n : order) {
      n->needed = false;
      for (auto& [edge, k] : captures) n->needed |= edge.node.get() == n;
      for (Edge& e : n->edges) n->needed |= e && e.node->needed;
    }
  }

  void accumulate(Edge& e, Tensor grad, const Node& producer) {
    const OutputInfo& want = e.node->outputs[int(e.output)];
    if (!fits(grad, want)) grad = fit_gradient(std::move(grad), want, producer);
    Tensor& slot = e.node->buffer[int(e.output)];
    if (!slot.defined()) {
      slot = std::move(grad);
    } else if (may_add_to(slot)) {
      add_in_place(slot, grad);
    } else {
      slot = invoke(add_op, slot, grad);
    }
  }

  void arrive(Node* n) {
    if (--n->dependencies > 0) return;
    if (n->is_leaf_sink()) return run_node(n);  // nothing waits for a leaf: free its gradient early
    ready.push_back(n);
    std::push_heap(ready.begin(), ready.end(), [](Node* a, Node* b) { return a->seq < b->seq; });
  }

  void run_node(Node* n) {
    bool any = false;
    for (Tensor& g : n->buffer) any |= g.defined();
    if (n->extras && any) run_hooks_before(*n);
    for (auto& [edge, k] : captures)
      if (edge.node.get() == n && n->buffer[int(edge.output)].defined()) results[size_t(k)] = n->buffer[int(edge.output)];
    std::vector<Tensor> incoming;  // for hooks that want to see it after apply() has used it up
    if (n->extras && !n->extras->after.empty()) incoming.assign(n->buffer.begin(), n->buffer.end());
    if (n->is_leaf_sink()) {
      const bool wanted = any && (!options.has_inputs || (options.accumulate && n->needed));
      if (wanted) n->apply(n->buffer.data(), nullptr);
      if (wanted && !incoming.empty()) run_hooks_after(*n, {}, incoming);
      for (Tensor& t : n->buffer) t.reset();
      return;
    }
    const int edges = n->edges.size();
    SmallVec<Tensor, 4> out;
    out.resize(edges);
    bool forward = any;
    if (options.has_inputs) {
      forward = false;
      for (Edge& e : n->edges) forward |= any && e && e.node->needed;
    }
    if (forward && edges == 1 && !n->extras && n->edges[0] && n->edges[0].node->buffer[int(n->edges[0].output)].defined() &&
        n->edges[0].node->needed && add_into_region(*n, n->edges[0].node->buffer[int(n->edges[0].output)])) {
      // done: nothing of full size was made
    } else if (forward) {
      if (thread_state.anomaly || handlers_exist()) [[unlikely]] apply_observed(n, {out.data(), size_t(edges)});
      else n->apply(n->buffer.data(), out.data());
      if (!incoming.empty()) run_hooks_after(*n, {out.data(), size_t(edges)}, incoming);
    }
    for (Tensor& t : n->buffer) t.reset();
    if (forward && !options.retain_graph) n->release_saved();
    for (int e = 0; e < edges; ++e) {
      Edge& edge = n->edges[e];
      if (!edge) continue;
      const bool wanted = out[e].defined() && edge.node->needed;
      if (wanted && edge.node->leaf_sink && edge.node->dependencies == 1 && !options.has_inputs && !edge.node->extras &&
          !edge.node->buffer[0].defined() && fits(out[e], edge.node->outputs[0])) {  // the leaf's only gradient: no stop in its buffer
        edge.node->dependencies = 0;
        edge.node->apply(&out[e], nullptr);
        continue;
      }
      if (wanted) accumulate(edge, std::move(out[e]), *n);
      arrive(edge.node.get());
    }
  }

  void run() {
    for (Edge& r : roots) {
      Node* n = r.node.get();
      if (n->dependencies != 0 || std::find(ready.begin(), ready.end(), n) != ready.end()) continue;
      n->dependencies = 1;
      arrive(n);
    }
    auto younger = [](Node* a, Node* b) { return a->seq < b->seq; };
    while (!ready.empty()) {
      std::pop_heap(ready.begin(), ready.end(), younger);
      Node* n = ready.back();
      ready.pop_back();
      run_node(n);
    }
    finished = true;
  }
};

std::vector<Tensor> backward(std::span<const Tensor> roots, std::span<Tensor> grads, std::span<const Tensor> inputs,
                             const BackwardOptions& options) {
  GraphTask task;
  task.options = options;
  task.results.resize(inputs.size());
  task.roots.resize(int(roots.size()));
  for (size_t i = 0; i < roots.size(); ++i) {
    if (needs_grad(*roots[i])) task.roots[int(i)] = gradient_edge(*roots[i]);
    MG_CHECK(task.roots[int(i)].node, Runtime, "backward: element ", i,  // also a view older than its base's requires_grad_()
             " of tensors does not require grad and does not have a grad_fn. Try requires_grad_() on what it was computed from.");
    grads[i] = initial_gradient(roots[i], grads[i]);
  }
  for (size_t k = 0; k < inputs.size(); ++k) {
    Edge edge = needs_grad(*inputs[k]) ? gradient_edge(*inputs[k]) : Edge{};
    MG_CHECK(edge.node, Runtime, "grad: one of the differentiated Tensors does not require grad: input ", k);
    task.captures.emplace_back(std::move(edge), int(k));
  }
  task.discover();
  if (options.has_inputs) task.mark_needed();
  GradModeGuard mode(options.create_graph);
  for (size_t i = 0; i < roots.size(); ++i) task.accumulate(task.roots[int(i)], std::move(grads[i]), *task.roots[int(i)].node);
  task.run();
  return std::move(task.results);
}

}  // namespace mg
