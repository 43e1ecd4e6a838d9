// OpNode: unpacking of saved values (with the version check) and the call of the op's formula.
#include "../core/autocast.h"
#include "backward.h"
#include "handler.h"
#include "saved_hooks.h"

namespace mg {

std::string OpNode::name() const {
  std::string out;
  bool upper = true;
  for (char c : op->name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    out += upper ? char(std::toupper(c)) : c;
    upper = false;
  }
  return out + "Backward0";
}

int OpNode::slot(int arg) const {
  int s = 0, lists = 0;
  for (int k = 0; k < arg; ++k) {
    if (!(op->grad_inputs >> k & 1)) continue;
    if (op->args[size_t(k)].kind == ArgKind::Tensors) ++lists;
    else ++s;
  }
  if (!(op->grad_inputs >> arg & 1)) return -1;
  if (lists != 0) {  // one list per op in practice: what the plain slots leave over
    int plain = 0;
    for (size_t k = 0; k < op->args.size(); ++k)
      plain += (op->grad_inputs >> k & 1) && op->args[k].kind != ArgKind::Tensors;
    s += edges.size() - plain;
  }
  return s;
}

[[gnu::cold, gnu::noinline]] static void stale(const OpNode& node, const std::string& what, const TensorImpl& t, uint32_t was) {
  std::string line, where = node.extras ? node.extras->trace : "";
  if (anomaly_hooks.last_write) line = anomaly_hooks.last_write(t.storage.get());
  fail(ErrorKind::Runtime, node.op->name,
       ": one of the variables needed for gradient computation has been modified by an inplace operation: ", what, ", a ",
       dtype_name(t.dtype), " tensor of shape ", t.sizes, ", is at version ", t.storage->version, "; expected version ", was,
       " instead.", where.empty() ? "" : "\n  it was saved at:    " + where, line.empty() ? "" : "\n  it was changed at:  " + line,
       where.empty() ? " Try minigrad.autograd.set_detect_anomaly(True), which names the line that changed it; then make that"
                       " operation out-of-place (y = y + 1 instead of y += 1) or clone() the tensor before it."
                     : "\n  Make that operation out-of-place (y = y + 1 instead of y += 1), or clone() the tensor before it.");
}

[[gnu::cold, gnu::noinline]] static void already_freed(const OpNode& node) {
  fail(ErrorKind::Runtime, node.op->name,
       ": Trying to backward through the graph a second time (or directly access saved tensors after they have already been"
       " freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad()."
       " Try retain_graph=True in the first call.");
}

Value OpNode::saved_value(int k) const {
  if (released) [[unlikely]] already_freed(*this);
  const Saved& s = args[k];
  if (s.value.kind == Kind::Tensor && s.value.t->storage->version != s.version) [[unlikely]]
    stale(*this, "argument '" + op->args[size_t(k)].name + "'", *s.value.t, s.version);
  if (s.value.kind == Kind::Tensors && version_of_list(s.value) != s.version) [[unlikely]]
    fail(ErrorKind::Runtime, op->name, ": one of the variables needed for gradient computation has been modified by an inplace operation: a"
         " tensor of the list '", op->args[size_t(k)].name, "'. Try making that operation out-of-place, or clone() the tensor before it.");
  return s.value;
}

Tensor OpNode::saved_input(int k) const {
  const Value v = saved_value(k);
  return v.is_tensor() ? Tensor(v.t) : Tensor();
}

Tensor OpNode::saved_output(int k) {
  if (released) already_freed(*this);
  const Tensor& t = saved_out[k];
  if (t->storage->version != out_version[k]) stale(*this, "result '" + op->outputs[size_t(k)] + "'", *t, out_version[k]);
  if (!thread_state.grad_mode || !(op->grad_outputs >> k & 1) || !is_inexact(t.dtype())) return t;
  Tensor with_history = alias(*t);
  set_grad_fn(*with_history, Ref<Node>(this), uint32_t(k));
  return with_history;
}

Dims OpNode::input_sizes(int arg, int item) const {
  const Saved& s = args[arg];
  if (s.value.kind == Kind::Tensor) return s.value.t->sizes;
  if (s.value.kind == Kind::Ints) return s.value.as_dims();
  if (s.value.kind == Kind::Tensors) return s.value.tensors[item]->sizes;
  const Edge& e = edges[slot(arg) + item];
  MG_INTERNAL(bool(e), "shape of argument '", op->args[size_t(arg)].name, "' of ", op->name, " was not saved");
  return e.node->outputs[int(e.output)].sizes;
}

// Handlers that this thread and these tensors have nothing to do with (an escaped tensor of vmap, a meta tensor somewhere) do not count.
bool OpNode::is_watched(const Tensor* grads) const {
  if (!handlers_exist()) return false;
  if (active_handler != nullptr || autocast_is_on()) return true;
  const auto of_handler = [](const TensorImpl* t) { return t != nullptr && (t->dataless || t->device.type == DeviceType::Meta); };
  for (int k = 0; k < op->n_outputs(); ++k)
    if (of_handler(grads[k].get())) return true;
  for (const Tensor& t : saved_out)
    if (of_handler(t.get())) return true;
  for (const Saved& s : args) {
    if (s.value.kind == Kind::Tensor && of_handler(s.value.t)) return true;
    for (int j = 0; s.value.kind == Kind::Tensors && j < s.value.len; ++j)
      if (of_handler(s.value.tensors[j])) return true;
  }
  return false;
}

void OpNode::apply(Tensor* grads, Tensor* result) {
  if (released && has_saved) already_freed(*this);
  // Views made before their base began to require grad lead to no leaf: their gradient is dropped, as in PyTorch.
  if (std::none_of(edges.begin(), edges.end(), [](const Edge& e) { return bool(e); })) return;
  Formula& formula = *op->formula;
  if (extras && extras->packed) [[unlikely]] {
    const Unpacked filled(*this);
    return formula.apply(*this, grads, result);
  }
  // The usual hot case in short; apply() knows all of them.
  if (formula.native != nullptr && Formula::native_enabled && !is_watched(grads) && op->n_out == 1 && !is_complex(outputs[0].dtype) &&
      grads[0].defined() && formula.native(*this, grads, result))
    return;
  formula.apply(*this, grads, result);
}

void OpNode::forget_written(const Storage& written) {
  const auto is_written = [&](const TensorImpl* t) { return t != nullptr && t->storage.get() == &written; };
  for (Saved& s : args) {
    if (s.value.kind == Kind::Tensor && is_written(s.value.t)) {
      s.value = OwnedValue(Value(alias(*s.value.t)));
    } else if (s.value.kind == Kind::Tensors && std::any_of(s.value.tensors, s.value.tensors + s.value.len, is_written)) {
      std::vector<Tensor> kept;
      std::vector<TensorImpl*> list;
      for (TensorImpl* t : std::span(s.value.tensors, size_t(s.value.len)))
        list.push_back(is_written(t) ? kept.emplace_back(alias(*t)).get() : t);
      s.value = OwnedValue(Value::list(list.data(), int(list.size())));
    }
  }
  if (extras && extras->packed)
    for (const PackedSaved::Item& item : extras->packed->items) extras->packed->hooks->forget_written(item.object, written);
}

void OpNode::release_saved() {
  if (!has_saved) return;
  released = true;
  for (Saved& s : args)
    if (s.value.kind == Kind::Tensor || s.value.kind == Kind::Tensors) s.value = OwnedValue();
  for (Tensor& t : saved_out) t.reset();
  if (extras) extras->packed.reset();
}

}  // namespace mg
