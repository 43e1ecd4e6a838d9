// Views and in-place writes, PyTorch's semantics.
//
// Every view made while versions are tracked remembers its base: it is an as_strided of it. An in-place op f on a view v of b
//   1. becomes a CopySlices node in b's history: gradient of b outside v passes through, inside it goes through f's formula;
//   2. leaves v (and every sibling view) stale: their grad_fn is derived again, on demand, as the same view of b (record.cpp
//      refresh_view), because the storage version moved. So siblings see each other's writes in backward as they do in forward.
// A view of another dtype (view_as_real) is no as_strided of its base: such views keep the chain of ops since, and replay it.
#include "../core/layout.h"
#include "backward.h"

namespace mg {

namespace {

OpRef clone_op{"clone"}, copy_op{"copy_"}, as_strided_op{"_as_strided"};

Tensor replay(const ViewStep& last, const Tensor& base) {
  Tensor input = last.previous ? replay(*last.previous, base) : base;
  Value args[kMaxArgs];
  for (int k = 0; k < last.args.size(); ++k) args[k] = last.args[k];
  args[0] = Value(input);
  Tensor outs[kMaxOutputs];
  call(*last.op, args, outs);
  return outs[0];
}

struct CopySlices final : Node {
  ViewGeometry part;  // what was written
  Dims base_strides;
  Ref<Node> fn;       // the node of the in-place op, applied to the gradient of the written part
  int written = 0;    // its edge that belongs to the overwritten tensor

  explicit CopySlices(const TensorImpl& view) : part(view), base_strides(view.base->strides) {}
  std::string name() const override { return "CopySlices"; }
  void release_saved() override { fn->release_saved(); }
  void forget_written(const Storage& written) override { fn->forget_written(written); }

  // A copy of the gradient that as_strided can walk as it walks the base. A chain of view ops takes any layout.
  Tensor in_base_layout(const Tensor& grad) const {
    if (part.last_step) return invoke(clone_op, grad);
    if (grad->dataless) return spread_copy(grad, grad, base_strides);
    Tensor copy = empty_strided(outputs[0].sizes, base_strides, outputs[0].dtype, outputs[0].device);
    invoke(copy_op, copy, grad);
    return copy;
  }

  void apply(Tensor* grads, Tensor* result) override {
    if (!grads[0].defined()) return;
    Tensor base_grad = in_base_layout(grads[0]);
    Tensor written_part = part.of(base_grad);
    Tensor part_grad = invoke(clone_op, written_part);
    std::vector<Tensor> inner(size_t(fn->edges.size()));
    fn->apply(&part_grad, inner.data());
    Tensor through = written < 0 ? Tensor() : inner[size_t(written)];
    if (!through.defined()) through = zeros_like_output(fn->outputs[0]);
    else through = fit_gradient(through, fn->outputs[0], *fn);
    if (through->dataless) {  // a gradient that is the same for the whole batch has to take one that is not
      base_grad = part.last_step ? spread_like(base_grad, through) : spread_copy(base_grad, through, base_strides);
      written_part = part.of(base_grad);
    }
    invoke(copy_op, written_part, through);
    result[0] = base_grad;
    for (int e = 0; e < int(inner.size()); ++e)
      if (e != written) result[e + 1] = inner[size_t(e)];
  }
};

// Called for views whose dtype differs from their base's.
void note_view_step(const Op& op, const Value* args, TensorImpl& input, TensorImpl& out) {
  Ref<ViewStep> step = make_ref<ViewStep>();
  step->op = &op;
  step->args.resize(int(op.args.size()));
  for (int k = 1; k < int(op.args.size()); ++k) step->args[k] = OwnedValue(args[k]);
  if (input.autograd != nullptr && input.autograd->last_step) {
    step->previous = input.autograd->last_step;
  } else if (input.base) {  // up to here it was an as_strided of the base
    const Dims base_strides = input.base->strides;
    const Value how[] = {Value(), Value(input.sizes), Value(input.strides), Value(input.offset), Value(base_strides), Value(input.base->offset)};
    Ref<ViewStep> before = make_ref<ViewStep>();
    before->op = &*as_strided_op;
    before->args.resize(6);
    for (int k = 1; k < 6; ++k) before->args[k] = OwnedValue(how[k]);
    step->previous = std::move(before);
  }
  meta_of(out).last_step = std::move(step);
}

void before_write(const Op& op, TensorImpl& t, bool needs) { check_leaf_write(op.name.c_str(), t, needs); }

}  // namespace

ViewGeometry::ViewGeometry(const TensorImpl& view)
    : sizes(view.sizes), strides(view.strides), offset(view.offset - view.base->offset),
      last_step(view.autograd != nullptr ? view.autograd->last_step : Ref<ViewStep>()) {}

Tensor ViewGeometry::of(const Tensor& base) const {
  if (last_step) return replay(*last_step, base);
  return invoke(as_strided_op, base, sizes, strides, base->offset + offset, base.strides(), base->offset);
}

void check_leaf_write(const char* op, TensorImpl& t, bool needs) {
  if (thread_state.anomaly && anomaly_hooks.note_write) anomaly_hooks.note_write(t.storage.get());
  if (!thread_state.grad_mode) return;
  MG_CHECK(!(t.requires_grad && t.grad_fn == nullptr && !t.base), Runtime, op,
           ": a leaf Variable that requires grad is being used in an in-place operation."
           " Try `with minigrad.no_grad():` for parameter updates, or x.clone() first.");
  if (!t.base) return;
  const TensorImpl& base = *t.base;
  const bool base_leaf = base.requires_grad && base.grad_fn == nullptr;
  // A view of a plain tensor on which requires_grad_() was called is a leaf itself, or `t` is a view of such a one.
  const bool own_leaf = t.requires_grad && !base.requires_grad;
  MG_CHECK(!base_leaf && !own_leaf, Runtime, op,
           ": a view of a leaf Variable that requires grad is being used in an in-place operation."
           " Try `with minigrad.no_grad():`, or clone the leaf first.");
  MG_CHECK(!(t.view_in_no_grad && (needs || base.requires_grad)), Runtime, op,
           ": a view was created in no_grad mode and is being modified in place with grad mode enabled."
           " Try making the view inside enable_grad(), or writing inside no_grad() as well.");
}

void rebase_view_history(TensorImpl& view, OpNode& node) {
  TensorImpl& base = *view.base;
  auto* slices = new CopySlices(view);
  Ref<Node> owner(slices);
  slices->seq = next_sequence();
  slices->fn = Ref<Node>(&node);
  slices->outputs.resize(1);
  slices->buffer.resize(1);
  slices->outputs[0] = {base.sizes, base.dtype, base.device};
  const int target = node.op->mutated >= 0 ? node.op->mutated : 0;
  slices->written = node.slot(target);
  slices->edges.resize(node.edges.size() + 1);
  if (base.requires_grad) slices->edges[0] = gradient_edge(base);
  for (int e = 0; e < node.edges.size(); ++e)
    if (e != slices->written) slices->edges[e + 1] = node.edges[e];
  set_grad_fn(base, owner, 0);
  view.requires_grad = true;  // its own grad_fn is derived on demand
  view.view_version = view.storage->version - 1;
}

// x.t_() and its like: x takes the geometry of `view`, which the op without underscore made of x. A view stays a view of its
// base and derives its grad_fn again; any other tensor takes over the grad_fn of `view`, whose edge leads to what x was.
void take_geometry(const char* op, TensorImpl& t, TensorImpl& view) {
  settle_pending(op);  // a deferred call may read `t` as it is
  const bool grads = thread_state.grad_mode && needs_grad(t);
  check_leaf_write(op, t, grads);
  Edge edge;
  if (grads && !t.base) edge = gradient_edge(view);
  if (t.dataless) {
    Standin* s = standin_of(t);
    MG_CHECK(!s->handler->is_tracer || t.storage->data == nullptr, NotImplemented, op, "_: changing the shape of a tensor from outside of the compiled function");
    meta_of(t).standin = std::move(meta_of(view).standin);  // inside vmap: what the view stands for
  }
  t.offset = view.offset;
  t.set_layout(view.sizes, view.strides);
  note_write(t);  // whoever saved t cannot use it any more
  if (t.base) {
    if (view.autograd != nullptr && view.autograd->last_step) meta_of(t).last_step = view.autograd->last_step;
    t.view_version = t.storage->version - 1;
  } else if (grads) {
    set_grad_fn(t, std::move(edge.node), edge.output);
  } else if (t.autograd != nullptr && t.autograd->accumulator) {
    t.autograd->accumulator->outputs[0] = {t.sizes, t.dtype, t.device};
  }
}

// x.resize_(sizes): x becomes contiguous from its first element on; the storage grows where it has to, for all its views.
void resize_tensor(TensorImpl& t, const Dims& sizes) {
  settle_pending("resize_");
  MG_CHECK(!t.dataless, Runtime, "resize_: not possible inside of vmap and tracing. Try new_empty or narrow.");
  MG_CHECK(!needs_grad(t), Runtime, "resize_: cannot resize tensors that require grad. Try x.detach().resize_(...).");
  resize_contiguous(t, sizes, "resize_");
  note_write(t);
}

void install_inplace_hooks() {
  hooks.before_write = before_write;
  hooks.note_view_step = note_view_step;
}

}  // namespace mg
