// Views and in-place writes, PyTorch's semantics.
//
// Every view made while versions are tracked remembers its base and the chain of view ops from it. An in-place op f on a view v of b
//   1. becomes a CopySlices node in b's history: gradient of b outside v passes through, inside it goes through f's formula;
//   2. leaves v (and every sibling view) stale: their grad_fn is derived again, on demand, by replaying the chain on b (record.cpp
//      refresh_view), because the storage version moved. So siblings see each other's writes in backward as they do in forward.
#include "../core/layout.h"
#include "node.h"

namespace mg {

Tensor replay(const ViewStep& last, const Tensor& base) {
  Tensor input = last.previous ? replay(*last.previous, base) : base;
  Value args[kMaxArgs];
  for (int k = 0; k < last.args.size(); ++k) args[k] = last.args[k];
  args[0] = Value(input);
  Tensor outs[kMaxOutputs];
  call(*last.op, args, outs);
  return outs[0];
}

namespace {

OpRef clone_op{"clone"}, copy_op{"copy_"};

struct CopySlices final : Node {
  Ref<ViewStep> step;
  Ref<Node> fn;       // the node of the in-place op, applied to the gradient of the written part
  int written = 0;    // its edge that belongs to the overwritten tensor

  std::string name() const override { return "CopySlices"; }
  void release_saved() override { fn->release_saved(); }

  void apply(Tensor* grads, Tensor* result) override {
    if (!grads[0].defined()) return;
    Tensor base_grad = invoke(clone_op, grads[0]);
    Tensor part = replay(*step, base_grad);
    Tensor part_grad = invoke(clone_op, part);
    std::vector<Tensor> inner(size_t(fn->edges.size()));
    fn->apply(&part_grad, inner.data());
    Tensor through = written < 0 ? Tensor() : inner[size_t(written)];
    if (!through.defined()) through = zeros_like_output(fn->outputs[0]);
    else through = fit_gradient(through, fn->outputs[0], *fn);
    invoke(copy_op, part, through);
    result[0] = base_grad;
    for (int e = 0; e < int(inner.size()); ++e)
      if (e != written) result[e + 1] = inner[size_t(e)];
  }
};

void make_view(const Op& op, const Value* args, TensorImpl& base, TensorImpl& out) {
  const ViewInfo* parent = base.autograd && base.autograd->view ? &*base.autograd->view : nullptr;
  Ref<ViewStep> step = make_ref<ViewStep>();
  step->op = &op;
  step->args.resize(int(op.args.size()));
  for (int k = 1; k < int(op.args.size()); ++k) step->args[k] = OwnedValue(args[k]);
  if (parent != nullptr) step->previous = parent->step;
  ViewInfo& info = meta_of(out).view.emplace();
  info.base = parent != nullptr ? parent->base : Tensor(&base);
  info.step = std::move(step);
  info.version = out.storage->version;
  info.made_in_no_grad = !thread_state.grad_mode;
}

void before_write(const Op& op, TensorImpl& t, bool needs) { check_leaf_write(op.name.c_str(), t, needs); }

}  // namespace

void check_leaf_write(const char* op, TensorImpl& t, bool needs) {
  if (thread_state.anomaly && anomaly_hooks.note_write) anomaly_hooks.note_write(t.storage.get());
  if (!thread_state.grad_mode || t.autograd == nullptr) {
    MG_CHECK(!(thread_state.grad_mode && t.requires_grad), Runtime, op,
             ": a leaf Variable that requires grad is being used in an in-place operation."
             " Try `with minigrad.no_grad():` for parameter updates, or x.clone() first.");
    return;
  }
  const ViewInfo* view = t.autograd->view ? &*t.autograd->view : nullptr;
  MG_CHECK(!(t.requires_grad && !t.autograd->grad_fn && view == nullptr), Runtime, op,
           ": a leaf Variable that requires grad is being used in an in-place operation."
           " Try `with minigrad.no_grad():` for parameter updates, or x.clone() first.");
  if (view == nullptr) return;
  const TensorImpl& base = *view->base;
  const bool base_leaf = base.requires_grad && !(base.autograd && base.autograd->grad_fn);
  MG_CHECK(!base_leaf, Runtime, op,
           ": a view of a leaf Variable that requires grad is being used in an in-place operation."
           " Try `with minigrad.no_grad():`, or clone the leaf first.");
  MG_CHECK(!(view->made_in_no_grad && (needs || needs_grad(base))), Runtime, op,
           ": a view was created in no_grad mode and is being modified in place with grad mode enabled."
           " Try making the view inside enable_grad(), or writing inside no_grad() as well.");
}

void rebase_view_history(TensorImpl& view, OpNode& node) {
  ViewInfo& info = *view.autograd->view;
  TensorImpl& base = *info.base;
  auto* slices = new CopySlices;
  Ref<Node> owner(slices);
  slices->seq = next_sequence();
  slices->step = info.step;
  slices->fn = Ref<Node>(&node);
  slices->outputs.resize(1);
  slices->buffer.resize(1);
  slices->outputs[0] = {base.sizes, base.dtype, base.device};
  const int target = node.op->mutated >= 0 ? node.op->mutated : 0;
  slices->written = node.slot(target);
  slices->edges.resize(node.edges.size() + 1);
  if (needs_grad(base)) slices->edges[0] = gradient_edge(base);
  for (int e = 0; e < node.edges.size(); ++e)
    if (e != slices->written) slices->edges[e + 1] = node.edges[e];
  set_grad_fn(base, owner, 0);
  view.requires_grad = true;  // its own grad_fn is derived on demand
  info.version = view.storage->version - 1;
}

void install_inplace_hooks() {
  hooks.before_write = before_write;
  hooks.make_view = make_view;
}

}  // namespace mg
