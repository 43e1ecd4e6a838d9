// What the engine does to single gradients: the first one, fitting to the forward value, adding into a leaf or into a region, anomaly mode.
#include <algorithm>

#include "../core/memory_format.h"
#include "../core/profile.h"
#include "node.h"

namespace mg {

static OpRef add_op{"add"}, sum_op{"sum"}, cast_op{"_to_dtype"}, clone_op{"clone"}, move_op{"_to_device"};

// target += grad, for buffers that nobody differentiates through. Small ones run add's plain kernel without call():
// (a*b).sum().backward() went from 1031 to 868 ns with it (benchmarks/overhead.py). Data-less tensors take the door like everything else.
void add_in_place(const Tensor& target, const Tensor& grad) {
  TensorImpl &t = *target, &g = *grad;
  const PlainKernels* plain = (*add_op).plain;
  const auto fn = plain != nullptr && !handlers_exist() ? plain->fn[int(t.dtype)] : nullptr;
  if (fn != nullptr && t.numel <= 4096 && t.dtype == g.dtype && t.contiguous && g.contiguous && t.device == Device{} &&
      g.device == Device{} && t.sizes == g.sizes) {
    const void* in[] = {t.data(), g.data()};
    fn(t.data(), in, t.numel);
    note_write(t);
    return;
  }
  const Value args[] = {Value(target), Value(grad), Value(1)};
  Tensor outs[kMaxOutputs];
  call(*add_op, args, outs, Write::Inplace);
}

bool may_add_to(const Tensor& t) {
  if (thread_state.grad_mode || t.use_count() != 1 || !t->contiguous || t->storage->release != nullptr) return false;
  return handlers_exist() ? is_traced(*t) && int(t->storage.use_count()) == 1 + active_handler->keeps : t->storage.use_count() == 1;
}

// The parts of a split tensor each bring a gradient that is zero outside of their region. The first one makes the tensor of full size;
// the others are added to their region of it. (For the three parts of GPT's qkv that is a third of the memory traffic.)
bool add_into_region(Node& part, const Tensor& gradient) {
  static OpRef regions[] = {{"narrow"}, {"select"}, {"_slice"}};
  if (thread_state.anomaly || !may_add_to(gradient)) return false;
  auto* node = dynamic_cast<OpNode*>(&part);
  if (node == nullptr || std::none_of(std::begin(regions), std::end(regions), [&](OpRef& r) { return node->op == &*r; })) return false;
  const Tensor& g = node->buffer[0];
  if (!g.defined() || g.dtype() != gradient.dtype() || (g->dataless && !is_traced(*g))) return false;
  ValueArray args;
  std::construct_at(&args.values[0], gradient);
  for (int k = 1; k < node->op->n_args; ++k) std::construct_at(&args.values[k], node->args[k].value);
  Tensor region;
  call(*node->op, args, &region);
  if (region.sizes() != g.sizes()) return false;
  add_in_place(region, g);
  return true;
}

Tensor zeros_like_output(const OutputInfo& info) {
  Tensor t = empty(info.sizes, info.dtype, info.device);
  fill_zero(t);
  return t;
}

Tensor fit_gradient(Tensor grad, const OutputInfo& want, const Node& producer) {
  if (grad.sizes() != want.sizes) {
    const int lead = grad.dim() - want.sizes.size();
    Dims dims;
    bool fits = lead >= 0;
    for (int i = 0; fits && i < grad.dim(); ++i) {
      if (i < lead || (want.sizes[i - lead] == 1 && grad.sizes()[i] != 1)) dims.push_back(i);
      else fits = grad.sizes()[i] == want.sizes[i - lead];
    }
    MG_CHECK(fits, Runtime, producer.name(), ": returned an invalid gradient: got shape ", grad.sizes(),
             ", expected something that sums to ", want.sizes);
    static OpRef view_op{"view"};
    grad = invoke(view_op, invoke(sum_op, grad, dims, true), want.sizes);
  }
  if (grad.dtype() != want.dtype) grad = invoke(cast_op, grad, want.dtype);
  if (grad.device() != want.device) [[unlikely]] grad = invoke(move_op, grad, want.device);
  return grad;
}

static bool has_nan(const Tensor& t) {
  if (!t.defined() || t->dataless || !is_inexact(t.dtype()) || t.device().type == DeviceType::Meta) return false;
  if (t.device().type != DeviceType::CPU) {
    static OpRef isnan_op{"isnan"}, any_op{"any"};
    return read_int(*invoke(any_op, invoke(isnan_op, t))) != 0;
  }
  Tensor wide = to_contiguous(*t, DType::Complex128);
  const complex128* v = wide.ptr<complex128>();
  return std::any_of(v, v + wide.numel(), [](complex128 x) { return x.re != x.re || x.im != x.im; });
}

// Anomaly mode: errors name the forward line that recorded the node, and a gradient that turns NaN is an error.
static void apply_checked(Node* n, std::span<Tensor> out) {
  const std::string where = n->extras && !n->extras->trace.empty() ? "\n  recorded by the forward at:  " + n->extras->trace : "";
  bool clean = true;
  for (Tensor& g : n->buffer) clean &= !has_nan(g);
  try {
    n->apply(n->buffer.data(), out.data());
  } catch (Error& e) {
    if (e.message.find(" at:  ") == std::string::npos) e.message += where;  // a stale saved tensor names its lines itself
    throw;
  }
  for (size_t k = 0; clean && k < out.size(); ++k)
    MG_CHECK(!has_nan(out[k]), Runtime, n->name(), ": Function '", n->name(), "' returned nan values in its ", k, "th output.", where);
}

void apply_observed(Node* n, std::span<Tensor> out) {
  std::optional<ProfileScope> observed;
  if (profile_is_on()) observed.emplace(ProfileKind::Backward, n->name(), n->seq);
  if (thread_state.anomaly) apply_checked(n, out);
  else n->apply(n->buffer.data(), out.data());
}

Tensor initial_gradient(const Tensor& root, const Tensor& given) {
  if (!given.defined()) {
    MG_CHECK(root.numel() == 1, Runtime, "backward: grad can be implicitly created only for scalar outputs: got shape ",
             root.sizes(), ". Try .sum().backward() or pass gradient=.");
    MG_CHECK(!is_complex(root.dtype()), Runtime, "backward: grad can be implicitly created only for real scalar outputs but got ",
             root.dtype(), ". Try .abs().backward() or pass gradient=.");
    MG_CHECK(is_floating(root.dtype()), Runtime, "backward: only floating outputs have gradients: got ", root.dtype());
    Tensor one = empty_contiguous_like(*root, root.dtype());
    static OpRef fill_op{"fill_"};
    const bool host = root.device().type == DeviceType::CPU && root.dtype() == DType::Float32;
    if (host) *one.ptr<float>() = 1.0f;
    else invoke(fill_op, one, 1.0);
    return one;
  }
  MG_CHECK(given.sizes() == root.sizes(), Runtime, "backward: mismatch in shape: grad_output has shape ", given.sizes(),
           ", output has shape ", root.sizes());
  return given;
}

// The gradient of a leaf lies in memory as the leaf does if that is dense, else row-major: PyTorch's rule.
static bool lies_like(const TensorImpl& g, const TensorImpl& leaf) {
  if (g.contiguous && leaf.contiguous) return true;
  return !leaf.contiguous && dense_in_some_order(leaf) ? g.strides == leaf.strides : g.contiguous;
}
static Tensor copy_like(const Tensor& g, const TensorImpl& leaf) {
  if (leaf.contiguous || !dense_in_some_order(leaf)) return to_contiguous(*g, g.dtype());
  const Tensor copy = empty_strided(leaf.sizes, leaf.strides, g.dtype(), g.device());
  copy_into(copy, g);
  return copy;
}

void set_leaf_gradient(TensorImpl& leaf, const Tensor& g, bool ours) {
  const bool takes = ours && g->storage.use_count() == 1 && lies_like(*g, leaf) && g->storage->release == nullptr;
  meta_of(leaf).grad = takes ? g : copy_like(g, leaf);
}

// Where others compute: a plan sees to the layout of what a tracer notes; what is deferred becomes the leaf's as it is, so it must fit.
static Tensor without_data(Tensor g, const TensorImpl& leaf) {
  const bool ours = g.use_count() == 1;
  if (!is_deferred(*g)) return ours ? std::move(g) : invoke(clone_op, g);
  if (lies_like(*g, leaf)) return ours && g->storage.use_count() == 1 ? std::move(g) : invoke(clone_op, g);
  static OpRef contiguous_op{"_copy_contiguous"};
  return leaf.contiguous || !dense_in_some_order(leaf) ? invoke(contiguous_op, g) : copy_like(g, leaf);
}

void AccumulateGrad::apply(Tensor* grads, Tensor*) {
  if (variable == nullptr) return;
  AutogradMeta& m = *variable->autograd;  // it owns this node
  const Tensor alive = m.hooks || m.post_accumulate ? Tensor(variable) : Tensor();  // a hook may drop the last reference to it
  Tensor g = std::move(grads[0]);
  if (m.hooks)
    for (auto& [id, hook] : std::vector(m.hooks->hooks))
      if (Tensor changed = hook(g); changed.defined()) g = changed;
  if (!m.grad.defined()) {
    // Take the buffer over when nobody else holds it; otherwise the leaf needs its own copy.
    if (thread_state.grad_mode) m.grad = invoke(clone_op, g);
    else if (g->dataless) m.grad = without_data(std::move(g), *variable);
    else set_leaf_gradient(*variable, g, g.use_count() == 1);
  } else if (!thread_state.grad_mode) {
    add_in_place(m.grad, g);
  } else {
    m.grad = invoke(add_op, m.grad, g);
  }
  if (m.post_accumulate)
    for (auto& [id, hook] : std::vector(m.post_accumulate->hooks)) hook(Tensor(variable));
}

}  // namespace mg
