// How a forward op becomes a Node: prepare() before the kernel (save inputs and attributes), finish() after it (save outputs, attach).
// Called by call() through `hooks`; formulas say what to save (parameter names), so nothing is kept that no gradient asks for.
#include "backward.h"
#include "recompute.h"
#include "saved_hooks.h"

#include <unordered_set>

#include "../core/layout.h"

namespace mg {

AnomalyHooks anomaly_hooks;

uint64_t next_sequence() {
  static std::atomic<uint64_t> counter{1};
  return counter.fetch_add(1, std::memory_order_relaxed);
}

void Node::destroy(Node* n) {
  static constinit thread_local Node* pending [[gnu::tls_model("initial-exec")]] = nullptr;
  static constinit thread_local bool busy [[gnu::tls_model("initial-exec")]] = false;
  n->next_dead = pending;
  pending = n;
  if (busy) return;
  busy = true;
  while (pending != nullptr) {
    Node* dead = std::exchange(pending, pending->next_dead);
    delete dead;  // its edges may add more
  }
  busy = false;
}

AutogradMeta& meta_of(TensorImpl& t) {
  if (t.autograd == nullptr) t.autograd = new AutogradMeta;
  return *t.autograd;
}

void set_grad_fn(TensorImpl& t, Ref<Node> node, uint32_t output) {
  if (t.grad_fn != nullptr) clear_grad_fn(t);
  t.grad_fn = node.detach();
  t.grad_output = output;
  t.requires_grad = true;
}

void clear_grad_fn(TensorImpl& t) { Ref<Node>::adopt(std::exchange(t.grad_fn, nullptr)).reset(); }

static Ref<Node> accumulator_of(TensorImpl& t) {
  AutogradMeta& m = meta_of(t);
  if (m.accumulator) return m.accumulator;
  auto* node = new AccumulateGrad;
  m.accumulator = Ref<Node>(node);
  node->seq = UINT64_MAX;
  node->outputs.resize(1);
  node->buffer.resize(1);
  node->outputs[0] = {t.sizes, t.dtype, t.device};
  node->variable = &t;
  return m.accumulator;
}

// A view whose storage was written since derives its grad_fn anew from the base (see inplace.cpp).
static void refresh_view(TensorImpl& t) {
  if (!t.base || t.view_version == t.storage->version || !t.base->requires_grad) return;
  GradModeGuard on(true);
  Tensor again = ViewGeometry(t).of(Tensor(t.base));
  set_grad_fn(t, Ref<Node>::adopt(std::exchange(again->grad_fn, nullptr)), again->grad_output);
  t.view_version = t.storage->version;
}

Edge gradient_edge(TensorImpl& t) {
  refresh_view(t);
  if (t.grad_fn != nullptr) return Edge{Ref<Node>(t.grad_fn), t.grad_output};
  if (t.requires_grad) return Edge{accumulator_of(t), 0};
  return {};
}

uint32_t version_of_list(const Value& list) {
  uint32_t sum = 0;
  for (int j = 0; j < list.len; ++j)
    if (list.tensors[j] != nullptr) sum += list.tensors[j]->storage->version;
  return sum;
}

void break_cycles(Node* newest, const Storage& written) {
  if (!written.saved) return;
  std::vector<Node*> todo{newest};
  std::unordered_set<Node*> seen{newest};
  while (!todo.empty()) {
    Node* node = todo.back();
    todo.pop_back();
    node->forget_written(written);
    for (const Edge& e : node->edges)
      if (e && seen.insert(e.node.get()).second) todo.push_back(e.node.get());
  }
}

static void save_argument(const Op& op, OpNode& node, const Value* args, int k, Write mode) {
  Saved& s = node.args[k];
  if (args[k].is_tensor() && mode == Write::Inplace && k == (op.mutated >= 0 ? op.mutated : 0)) {
    static OpRef clone_op{"clone"};  // about to be overwritten: keep the old value, with its history for double backward
    s.value = OwnedValue(Value(invoke(clone_op, args[k])));
    s.version = s.value.t->storage->version;
  } else if (args[k].is_tensor() && args[k].t->numel >= kRecomputeFrom && save_as_recipe(node, k, *args[k].t)) {
    return;
  } else {
    std::construct_at(&s.value, args[k]);  // was none: nothing to release
    if (args[k].is_tensor()) {
      s.version = args[k].t->storage->version;
      args[k].t->storage->saved = true;
    } else if (args[k].kind == Kind::Tensors) {
      s.version = version_of_list(args[k]);
      for (int j = 0; j < args[k].len; ++j)
        if (args[k].tensors[j] != nullptr) args[k].tensors[j]->storage->saved = true;
    }
  }
  if (args[k].is_tensor() || args[k].kind == Kind::Tensors) {
    node.has_saved = true;
    MG_CHECK(!args[k].is_tensor() || !args[k].t->inference, Runtime, op.name,
             ": inference tensors cannot be saved for backward. Try making a clone outside inference_mode.");
  }
}

// gradient_edge() into an empty edge, in short where nothing has to be derived or made.
static void connect(Edge& edge, TensorImpl& t) {
  if (!t.base && t.grad_fn != nullptr) {
    std::construct_at(&edge.node, t.grad_fn);
    edge.output = t.grad_output;
  } else if (!t.base && t.requires_grad && t.autograd != nullptr && t.autograd->accumulator) {
    std::construct_at(&edge.node, t.autograd->accumulator);
  } else {
    edge = gradient_edge(t);
  }
}

// One edge per tensor of a list argument. True when some element needs a gradient.
static bool add_list_edges(OpNode& node, const Value& list, int first_edge) {
  bool needed = false;
  for (int j = 0; j < list.len; ++j) {
    TensorImpl* t = list.tensors[j];
    if (t == nullptr || !needs_grad(*t)) continue;
    connect(node.edges[first_edge + j], *t);
    needed = true;
  }
  return needed;
}

static Node* prepare(const Op& op, const Value* args, Write mode) {
  Ref<OpNode> guard = make_ref<OpNode>();
  OpNode& node = *guard;
  node.op = &op;
  node.seq = next_sequence();
  const Formula& formula = *op.formula;
  int edges = std::popcount(op.grad_inputs);
  for (uint32_t lists = op.grad_inputs & op.has_lists; lists != 0; lists &= lists - 1)
    edges += args[std::countr_zero(lists)].len - 1;
  node.edges.resize(edges);
  uint32_t data = 0, shapes = 0;
  int e = 0;
  for (uint32_t rest = op.grad_inputs; rest != 0; rest &= rest - 1) {
    const int k = std::countr_zero(rest);
    bool needed = false;
    if (args[k].kind == Kind::Tensors) {
      needed = add_list_edges(node, args[k], e);
      e += args[k].len;
    } else {
      needed = args[k].is_tensor() && needs_grad(*args[k].t);
      if (needed) connect(node.edges[e], *args[k].t);
      ++e;
    }
    if (!needed) continue;
    node.needs |= 1u << k;
    data |= formula.save_args[k];
    shapes |= formula.save_shapes[k];
  }
  node.args.resize(op.n_args);
  for (uint32_t rest = data | shapes; rest != 0; rest &= rest - 1) {
    const int k = std::countr_zero(rest);
    if ((data >> k & 1) || (args[k].kind == Kind::Tensors && mode == Write::Fresh)) save_argument(op, node, args, k, mode);
    else if (args[k].is_tensor() && !(node.needs >> k & 1))  // only its shape; an edge knows the shape already
      node.args[k].value = OwnedValue(Value(args[k].t->sizes));
  }
  if (thread_state.anomaly && anomaly_hooks.current_line) node.extra().trace = anomaly_hooks.current_line();
  return static_cast<Node*>(guard.detach());
}

static void finish(Node* raw, const Op& op, const Value*, Tensor* outs, Write mode) {
  Ref<Node> owner = Ref<Node>::adopt(raw);
  auto* node = static_cast<OpNode*>(raw);
  const int n = op.n_out;
  uint32_t save = 0;
  for (uint32_t rest = node->needs; rest != 0; rest &= rest - 1) save |= op.formula->save_outs[std::countr_zero(rest)];
  node->outputs.resize(n);
  node->buffer.resize(n);
  if (save != 0) {
    node->saved_out.resize(n);
    node->out_version.resize(n);
    node->has_saved = true;
  }
  for (int k = 0; k < n; ++k) {
    OutputInfo& info = node->outputs[k];
    info.sizes = outs[k].sizes();
    info.dtype = outs[k].dtype();
    info.device = outs[k].device();
    if (save >> k & 1) {
      node->saved_out[k] = alias(*outs[k]);
      node->out_version[k] = outs[k]->storage->version;
    }
  }
  if (active_saved_hooks != nullptr && node->has_saved) [[unlikely]] pack_saved(*node);
  if (mode == Write::Inplace && outs[0]->base) {
    if (is_inexact(outs[0].dtype())) {  // an integer view gets no history
      rebase_view_history(*outs[0], *node);
      break_cycles(outs[0]->base->grad_fn, *outs[0]->storage);
    }
    return;
  }
  if (mode == Write::Inplace) break_cycles(node, *outs[0]->storage);
  for (int k = 1; k < n; ++k)
    if ((op.grad_outputs >> k & 1) && is_inexact(outs[k].dtype())) set_grad_fn(*outs[k], owner, uint32_t(k));
  if ((op.grad_outputs & 1) && is_inexact(outs[0].dtype())) set_grad_fn(*outs[0], std::move(owner), 0);
}

static void drop_node(Node* n) { Ref<Node>::adopt(n).reset(); }

static void destroy_meta(AutogradMeta* m) {
  if (m->accumulator) static_cast<AccumulateGrad*>(m->accumulator.get())->variable = nullptr;
  delete m;
}

void install_autograd_hooks() {
  hooks.prepare = prepare;
  hooks.finish = finish;
  hooks.discard = drop_node;
  hooks.drop_node = drop_node;
  hooks.destroy_meta = destroy_meta;
  install_inplace_hooks();
  install_handler_hooks();
}

}  // namespace mg
