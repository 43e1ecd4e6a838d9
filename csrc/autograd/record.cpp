// How a forward op becomes a Node: prepare() before the kernel (save inputs and attributes), finish() after it (save outputs, attach).
// Called by call() through `hooks`; formulas say what to save (parameter names), so nothing is kept that no gradient asks for.
#include "node.h"

#include "../core/layout.h"

namespace mg {

AnomalyHooks anomaly_hooks;

uint64_t next_sequence() {
  static std::atomic<uint64_t> counter{1};
  return counter.fetch_add(1, std::memory_order_relaxed);
}

uint64_t HookList::add(Hook h) {
  static std::atomic<uint64_t> ids{1};
  hooks.emplace_back(ids++, std::move(h));
  return hooks.back().first;
}

void HookList::remove(uint64_t id) {
  std::erase_if(hooks, [id](const auto& h) { return h.first == id; });
}

void Node::destroy(Node* n) {
  static thread_local std::vector<Node*>* pending = nullptr;
  if (pending != nullptr) {
    pending->push_back(n);
    return;
  }
  std::vector<Node*> queue{n};
  pending = &queue;
  while (!queue.empty()) {
    Node* next = queue.back();
    queue.pop_back();
    delete next;  // its edges may push more
  }
  pending = nullptr;
}

AutogradMeta& meta_of(TensorImpl& t) {
  if (t.autograd == nullptr) t.autograd = new AutogradMeta;
  return *t.autograd;
}

void set_grad_fn(TensorImpl& t, Ref<Node> node, uint32_t output) {
  AutogradMeta& m = meta_of(t);
  m.grad_fn = Edge{std::move(node), output};
  t.requires_grad = true;
}

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
  ViewInfo* view = t.autograd && t.autograd->view ? &*t.autograd->view : nullptr;
  if (view == nullptr || view->version == t.storage->version) return;
  if (!needs_grad(*view->base)) return;
  GradModeGuard on(true);
  Tensor again = replay(*view->step, view->base);
  t.autograd->grad_fn = again->autograd->grad_fn;
  t.requires_grad = true;
  view->version = t.storage->version;
}

Edge gradient_edge(TensorImpl& t) {
  refresh_view(t);
  if (t.autograd != nullptr && t.autograd->grad_fn) return t.autograd->grad_fn;
  if (t.requires_grad) return Edge{accumulator_of(t), 0};
  return {};
}

static bool needs_grad_slow(const TensorImpl& t) {
  return t.autograd->view && needs_grad(*t.autograd->view->base);
}

static Edge edge_or_none(TensorImpl* t) { return t != nullptr && needs_grad(*t) ? gradient_edge(*t) : Edge{}; }

static void save_argument(const Op& op, OpNode& node, const Value* args, int k, Write mode) {
  Saved& s = node.args[k];
  if (args[k].is_tensor() && mode == Write::Inplace && k == (op.mutated >= 0 ? op.mutated : 0)) {
    static OpRef clone_op{"clone"};  // about to be overwritten: keep the old value, with its history for double backward
    s.value = OwnedValue(Value(invoke(clone_op, args[k])));
    s.version = s.value.t->storage->version;
  } else {
    s.value = OwnedValue(args[k]);
    if (args[k].is_tensor()) s.version = args[k].t->storage->version;
  }
  if (args[k].is_tensor() || args[k].kind == Kind::Tensors) {
    node.has_saved = true;
    MG_CHECK(!args[k].is_tensor() || !args[k].t->inference, Runtime, op.name,
             ": inference tensors cannot be saved for backward. Try making a clone outside inference_mode.");
  }
}

static Node* prepare(const Op& op, const Value* args, Write mode) {
  Ref<OpNode> guard = make_ref<OpNode>();
  OpNode* node = guard.get();
  node->op = &op;
  node->seq = next_sequence();
  const int n = int(op.args.size());
  uint32_t save = 0;
  int edges = 0;
  for (int k = 0; k < n; ++k) {
    if (!(op.grad_inputs >> k & 1)) continue;
    edges += args[k].kind == Kind::Tensors ? args[k].len : 1;
    bool needed = args[k].is_tensor() && needs_grad(*args[k].t);
    if (args[k].kind == Kind::Tensors)
      for (int j = 0; j < args[k].len; ++j) needed |= args[k].tensors[j] && needs_grad(*args[k].tensors[j]);
    if (!needed) continue;
    node->needs |= 1u << k;
    save |= op.formula->save_args[k] | op.formula->save_shapes[k];
  }
  node->args.resize(n);
  node->edges.resize(edges);
  for (int k = 0, e = 0; k < n; ++k) {
    if (op.grad_inputs >> k & 1) {
      if (args[k].kind == Kind::Tensors) {
        for (int j = 0; j < args[k].len; ++j) node->edges[e++] = edge_or_none(args[k].tensors[j]);
      } else {
        if (args[k].is_tensor()) node->edges[e] = edge_or_none(args[k].t);
        ++e;
      }
    }
    if (!(save >> k & 1)) continue;
    uint32_t data = 0;
    for (int i = 0; i < n; ++i)
      if (node->needs >> i & 1) data |= op.formula->save_args[i];
    if (data >> k & 1) save_argument(op, *node, args, k, mode);
    else if (args[k].is_tensor()) node->args[k].value = OwnedValue(Value(args[k].t->sizes));  // shape only
    else if (args[k].kind == Kind::Tensors && mode == Write::Fresh) save_argument(op, *node, args, k, mode);
  }
  if (thread_state.anomaly && anomaly_hooks.current_line) node->extra().trace = anomaly_hooks.current_line();
  return static_cast<Node*>(guard.detach());
}

static void discard(Node* node) { Ref<Node>::adopt(node).reset(); }

static void finish(Node* raw, const Op& op, const Value*, Tensor* outs, Write mode) {
  Ref<Node> owner = Ref<Node>::adopt(raw);
  auto* node = static_cast<OpNode*>(raw);
  const int n = op.n_outputs();
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
    node->outputs[k] = {outs[k].sizes(), outs[k].dtype(), outs[k].device()};
    if (save >> k & 1) {
      node->saved_out[k] = alias(*outs[k]);
      node->out_version[k] = outs[k]->storage->version;
    }
  }
  if (mode == Write::Inplace && outs[0]->autograd != nullptr && outs[0]->autograd->view) {
    rebase_view_history(*outs[0], *node);
    return;
  }
  for (int k = 0; k < n; ++k)
    if ((op.grad_outputs >> k & 1) && is_floating(outs[k].dtype())) set_grad_fn(*outs[k], owner, uint32_t(k));
}

static void destroy_meta(AutogradMeta* m) {
  if (m->accumulator) static_cast<AccumulateGrad*>(m->accumulator.get())->variable = nullptr;
  delete m;
}

void install_autograd_hooks() {
  hooks.needs_grad_slow = needs_grad_slow;
  hooks.prepare = prepare;
  hooks.finish = finish;
  hooks.discard = discard;
  hooks.destroy_meta = destroy_meta;
  install_inplace_hooks();
}

}  // namespace mg
