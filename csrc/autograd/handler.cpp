// The way of a call with data-less arguments: find the handler, check what is written, let it run, record. See
// handler.h.
#include "handler.h"

#include <unordered_set>

#include "../core/dataless.h"
#include "../core/layout.h"
#include "node.h"

namespace mg {

thread_local Handler* active_handler = nullptr;

Handler::Handler(int lvl, Handler* below) : level(lvl), parent(below) {
  handlers_alive.fetch_add(1, std::memory_order_relaxed);
}
Handler::~Handler() { handlers_alive.fetch_sub(1, std::memory_order_relaxed); }

Standin::Standin(Ref<Handler> h, Tensor t, bool b) : handler(std::move(h)), inner(std::move(t)), batched(b) {}
Standin::~Standin() {  // the handler lives, and is counted, as long as one of its tensors
  if (handler->defers) handler->forget(*this);
}

Standin* standin_of(const TensorImpl& t) { return t.dataless ? t.autograd->standin.get() : nullptr; }

bool is_traced(const TensorImpl& t) {
  const Standin* s = standin_of(t);
  return s != nullptr && s->handler->is_tracer && s->handler.get() == active_handler;
}

bool is_deferred(const TensorImpl& t) {
  const Standin* s = standin_of(t);
  return s != nullptr && s->handler->defers;
}

void settle_pending(const char* reason) {
  for (Handler* h = active_handler; h != nullptr; h = h->parent)
    if (h->defers) h->settle(reason);
}

static void attach(TensorImpl& t, Ref<Handler> h, const Tensor& inner, bool batched) {
  meta_of(t).standin = std::make_unique<Standin>(std::move(h), inner, batched);
  t.dataless = true;
}

Tensor make_standin(Ref<Handler> h, const Tensor& inner, bool batched) {
  Tensor t(make_ref<TensorImpl>());
  const int skip = batched ? 1 : 0;
  t->dtype = inner.dtype();
  t->device = inner.device();
  t->storage = inner->storage;
  t->offset = inner->offset;
  t->inference = inner->inference;
  t->untracked_version = inner->untracked_version;
  t->is_wrapped_number = inner->is_wrapped_number && !batched;
  const Dims &sizes = inner.sizes(), &strides = inner.strides();
  const size_t n = size_t(inner.dim() - skip);
  t->set_layout(Dims(std::span(sizes.data() + skip, n)), Dims(std::span(strides.data() + skip, n)));
  attach(*t, std::move(h), inner, batched);
  return t;
}

Tensor make_placeholder(Ref<Handler> h, const OutSpec& spec, int64_t id) {
  Tensor t(make_ref<TensorImpl>());
  t->dtype = spec.dtype;
  t->device = spec.device;
  if (spec.has_strides)
    t->set_layout(spec.sizes, spec.strides);
  else
    t->set_contiguous(spec.sizes);
  t->storage = spec.device.type == DeviceType::Meta ? Storage::allocate(0, spec.device) : make_ref<Storage>();
  t->storage->device = spec.device;
  t->storage->nbytes = size_t(t->nbytes());  // what metas check views against
  t->storage->resizable = false;
  attach(*t, std::move(h), Tensor(), false);
  standin_of(*t)->id = id;
  return t;
}

void attach_standin(TensorImpl& t, Ref<Handler> h, int64_t id) {
  attach(t, std::move(h), Tensor(), false);
  standin_of(t)->id = id;
}

void drop_standin(TensorImpl& t) {
  t.dataless = false;
  t.autograd->standin.reset();
}

Tensor lift(Handler& h, const Tensor& t) {
  const Standin* s = standin_of(*t);
  return s != nullptr && s->handler.get() == &h ? t : make_standin(Ref<Handler>(&h), t, false);
}

// alias() of a data-less tensor. The same view shares the inner tensor, with its history; another one (metas look at
// regions so) is an alias of the inner tensor, which has none, as alias() promises. Views that matter are ops and take
// the door.
static void alias_dataless(const TensorImpl& base, TensorImpl& out) {
  const Standin& s = *standin_of(base);
  if (!s.inner.defined() || (out.sizes == base.sizes && out.strides == base.strides && out.offset == base.offset)) {
    attach(out, s.handler, s.inner, s.batched);
    standin_of(out)->id = s.id;
    s.handler->adopt(out);
    return;
  }
  Dims sizes, strides;
  if (s.batched) {
    sizes.push_back(s.inner.sizes()[0]);
    strides.push_back(s.inner.strides()[0]);
  }
  for (int k = 0; k < out.dim(); ++k) {
    sizes.push_back(out.sizes[k]);
    strides.push_back(out.strides[k]);
  }
  attach(out, s.handler, alias(*s.inner, sizes, strides, out.offset), s.batched);
}

// Zeros of that layout with the levels (batches) of `value`.
static Tensor zeros_spread(const Tensor& value, const Dims& sizes, const Dims& strides, const Tensor& t) {
  const Standin* s = standin_of(*value);
  if (s == nullptr || !s->inner.defined()) {
    Tensor zeros = empty_strided(sizes, strides, t.dtype(), t.device());
    fill_zero(zeros);
    return zeros;
  }
  Dims inner_sizes, inner_strides;
  if (s->batched) {
    int64_t span = 1;
    for (int k = 0; k < sizes.size(); ++k) span += std::max<int64_t>(sizes[k] - 1, 0) * strides[k];
    inner_sizes.push_back(s->inner.sizes()[0]);
    inner_strides.push_back(span);
  }
  for (int k = 0; k < sizes.size(); ++k) {
    inner_sizes.push_back(sizes[k]);
    inner_strides.push_back(strides[k]);
  }
  return make_standin(s->handler, zeros_spread(s->inner, inner_sizes, inner_strides, t), s->batched);
}

static OpRef add_op{"add"}, sum_op{"sum"}, copy_op{"copy_"}, clone_op{"clone"};

Tensor spread_like(const Tensor& t, const Tensor& value) {
  return invoke(add_op, t, zeros_spread(value, t.sizes(), contiguous_strides(t.sizes()), t));
}

Tensor spread_copy(const Tensor& t, const Tensor& value, const Dims& strides) {
  const Standin* s = standin_of(*value);
  if (s != nullptr && !s->inner.defined()) return invoke(clone_op, t);  // tracing
  Tensor levels;
  {
    GradModeGuard off(false);  // only what it is batched over matters
    levels = t.is(value) ? value : invoke(add_op, invoke(sum_op, t), invoke(sum_op, value));
  }
  Tensor copy = zeros_spread(levels, t.sizes(), strides, t);
  invoke(copy_op, copy, t);
  return copy;
}

static std::string why_dataless(const TensorImpl& t) { return standin_of(t)->handler->why(); }

static void provide(const TensorImpl& t, const char* what) {
  const Ref<Handler> handler = standin_of(t)->handler;
  if (handler->defers) handler->settle(what);
}

Tensor detach_all(const TensorImpl& t) {
  Tensor out = alias(t);
  if (const Standin* s = standin_of(t); s != nullptr && s->inner.defined())
    attach(*out, s->handler, detach_all(*s->inner), s->batched);
  return out;
}

// ---- call()
// -----------------------------------------------------------------------------------------------------------------

namespace {

template <class F>
void for_each_tensor(const Op& op, const Value* args, F&& f) {
  for (size_t k = 0; k < op.args.size(); ++k) {
    if (args[k].is_tensor()) f(*args[k].t);
    if (args[k].kind == Kind::Tensors)
      for (int j = 0; j < args[k].len; ++j)
        if (args[k].tensors[j] != nullptr) f(*args[k].tensors[j]);
  }
}

struct HandledCall {
  const Op& op;
  const Value* args;
  MetaResult& r;
  Tensor* outs;
  Ref<Handler> handler;
  bool grads = false;
  Value lifted[kMaxArgs];
  std::vector<Tensor> keep;
  std::vector<std::vector<TensorImpl*>> lists;

  bool is_ours(const TensorImpl& t) const {
    const Standin* s = standin_of(t);
    return s != nullptr ? s->handler == handler : handler->defers;  // to one that defers, tensors with elements are like its own
  }

  void find_grads() {
    if (!op.differentiable || !thread_state.grad_mode) return;
    for_each_tensor(op, args, [&](const TensorImpl& t) { grads |= is_ours(t) && needs_grad(t); });
  }

  // What needs a gradient at a lower level is a constant at this one.
  TensorImpl* as_constant(TensorImpl* t) {
    if (t == nullptr || is_ours(*t) || !needs_grad(*t)) return t;
    return keep.emplace_back(make_standin(handler, Tensor(t), false)).get();
  }

  void lift_arguments() {
    for (size_t k = 0; k < op.args.size(); ++k) {
      lifted[k] = args[k];
      if (args[k].is_tensor()) lifted[k] = Value(as_constant(args[k].t));
      if (args[k].kind != Kind::Tensors) continue;
      auto& list = lists.emplace_back(args[k].tensors, args[k].tensors + args[k].len);
      for (TensorImpl*& t : list) t = as_constant(t);
      lifted[k] = Value::list(list.data(), int(list.size()));
    }
    args = lifted;
  }

  void run(Write mode) { handler->run(op, args, r, outs, mode); }

  void fresh() {
    run(Write::Fresh);
    const bool untracked = op.is_view && (thread_state.inference_mode || args[0].t->untracked_version);
    if (untracked) return;
    if (grads) {
      lift_arguments();
      hooks.finish(hooks.prepare(op, args, Write::Fresh), op, args, outs, Write::Fresh);
    }
    if (op.is_view && is_ours(*args[0].t) && is_ours(*outs[0])) mark_view(op, args, *args[0].t, *outs[0]);
  }

  void write(Write mode) {
    MG_CHECK(mode != Write::Out, Runtime, op.name,
             ": out= is not supported for tensors without data: ", handler->why());
    TensorImpl& target = *args[op.mutated >= 0 ? op.mutated : 0].t;
    const bool ours = is_ours(target);
    MG_CHECK(ours || !grads, Runtime, op.name,
             "_: a tensor made outside of vmap cannot take the value of one that requires grad inside."
             " Try the form without the trailing underscore, or clone a tensor of the inside.");
    outs[0] = Tensor(&target);
    if (!ours) return run(Write::Inplace);  // checked and recorded at its own level
    check_target(op, r.out[0], target, false);
    hooks.before_write(op, target, grads);
    MG_CHECK(op.differentiable || !thread_state.grad_mode || !is_inexact(target.dtype) || !needs_grad(target), Runtime,
             op.name,
             ": has no gradient, so it cannot overwrite a tensor that requires grad. Try x.detach() or no_grad().");
    if (grads) lift_arguments();
    Node* node = grads ? hooks.prepare(op, args, Write::Inplace) : nullptr;
    try {
      run(Write::Inplace);
    } catch (...) {
      if (node != nullptr) hooks.discard(node);
      throw;
    }
    if (node != nullptr) hooks.finish(node, op, args, outs, Write::Inplace);
  }
};

Ref<Handler> find_handler(const Op& op, const Value* args, const Tensor* outs, Write mode) {
  Handler* top = nullptr;
  auto look = [&](const TensorImpl& t) {
    if (const Standin* s = standin_of(t); s != nullptr && (top == nullptr || s->handler->level > top->level))
      top = s->handler.get();
  };
  for_each_tensor(op, args, look);
  if (mode == Write::Out)
    for (int k = 0; k < op.n_outputs(); ++k)
      if (outs[k].defined()) look(*outs[k]);
  Handler* current = active_handler;
  if (current != nullptr && (top == nullptr || current->level > top->level) && current->wants(op, args)) top = current;
  return Ref<Handler>(top);
}

bool handle(const Op& op, const Value* args, MetaResult& r, Tensor* outs, Write mode) {
  HandledCall c{op, args, r, outs, find_handler(op, args, outs, mode), false, {}, {}, {}};
  if (!c.handler) return false;
  if (c.handler->defers && !c.handler->takes(op, args, r, outs, mode)) {
    const Ref<Handler> declined = c.handler;
    const HandlerGuard without(declined->parent);
    c.handler = find_handler(op, args, outs, mode);
    MG_CHECK(!(c.handler == declined), Runtime, op.name, ": ", declined->why());
    if (op.is_view && mode == Write::Fresh && !c.handler) return false;
    call(op, args, outs, mode);  // all of it: what is saved of an argument must not be deferred while that is overwritten
    return true;
  }
  MG_CHECK(c.handler->active, Runtime, op.name,
           ": a tensor of a function transform is used after the transform has returned (it escaped"
           " through a global, a closure or an attribute). Try returning it from the transformed function.");
  c.handler->meet(op, args);
  c.find_grads();
  if (mode == Write::Fresh && op.mutated < 0)
    c.fresh();
  else
    c.write(mode);
  return true;
}

}  // namespace

// ---- what minigrad.func asks about graphs
// -----------------------------------------------------------------------------------

static bool is_fresh(const TensorImpl* variable, std::span<const Tensor> fresh) {
  for (const Tensor& f : fresh)
    if (f.get() == variable) return true;
  return variable == nullptr;  // a leaf that nobody holds any more
}

static bool reaches_leaf(const TensorImpl& root, std::span<const Tensor> fresh, std::unordered_set<const Node*>& seen) {
  std::vector<Node*> stack;
  Edge first = gradient_edge(const_cast<TensorImpl&>(root));
  if (first && seen.insert(first.node.get()).second) stack.push_back(first.node.get());
  while (!stack.empty()) {
    Node* n = stack.back();
    stack.pop_back();
    if (n->is_leaf_sink()) {
      if (!is_fresh(static_cast<AccumulateGrad*>(n)->variable, fresh)) return true;
      continue;
    }
    for (Edge& e : n->edges)
      if (e && seen.insert(e.node.get()).second) stack.push_back(e.node.get());
  }
  return false;
}

bool reaches_others(std::span<const Tensor> roots, std::span<const Tensor> fresh) {
  std::unordered_set<const Node*> seen;
  for (const Tensor& root : roots) {
    if (!root.defined()) continue;
    for (const TensorImpl* t = root.get(); t != nullptr;) {
      if (needs_grad(*t) && reaches_leaf(*t, fresh, seen)) return true;
      const Standin* s = standin_of(*t);
      t = s != nullptr ? s->inner.get() : nullptr;
    }
  }
  return false;
}

Tensor strip(const Tensor& t, std::span<const Tensor> fresh) {
  if (!t.defined()) return t;
  Tensor inner;
  if (const Standin* s = standin_of(*t)) inner = strip(s->inner, fresh);  // an undefined one stays so
  const bool new_inner = inner.defined() && !inner.is(standin_of(*t)->inner);
  std::unordered_set<const Node*> seen;
  const bool drop = needs_grad(*t) && !reaches_leaf(*t, fresh, seen);
  if (!new_inner && !drop) return t;
  Tensor out = alias(*t);
  if (!drop && needs_grad(*t)) {
    Edge e = gradient_edge(*t);
    set_grad_fn(*out, e.node, e.output);
  }
  if (new_inner) attach(*out, standin_of(*t)->handler, inner, standin_of(*t)->batched);
  return out;
}

void install_handler_hooks() {
  hooks.handle = handle;
  hooks.alias_dataless = alias_dataless;
  hooks.why_dataless = why_dataless;
  provide_data = provide;
}

}  // namespace mg
