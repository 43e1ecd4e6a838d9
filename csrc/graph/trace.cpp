// See trace.h.
#include "trace.h"

#include <algorithm>
#include <utility>

#include "../core/layout.h"
#include "../core/memory_format.h"

namespace mg {

std::string Tracer::why() const {
  asked = "the value of a tensor was asked for while the function was being traced (.item(), if, print, NumPy)";
  if (current_line != nullptr) asked += ", at " + current_line();
  return asked + ". Try mg.where() instead of `if`, or move it out of the compiled function.";
}

int Tracer::storage_number(const Ref<Storage>& storage) {
  const auto [found, fresh] = storages_.try_emplace(storage.get(), int(storages_.size()));
  if (fresh) kept_.push_back(storage);
  return found->second;
}

int Tracer::add_value(const TensorImpl& t, int maker) {
  GraphValue v;
  v.spec = {t.dtype, t.device, t.sizes, t.strides, true, t.offset};
  v.storage = storage_number(t.storage);
  v.maker = maker;
  v.requires_grad = t.requires_grad;
  graph.values.push_back(std::move(v));
  return int(graph.values.size()) - 1;
}

int Tracer::id_of(TensorImpl& t) {
  if (t.dataless) {
    const Standin* s = standin_of(t);
    MG_CHECK(s->handler.get() == static_cast<Handler*>(this), Runtime, "compile: a tensor of another transform, or a sparse one, is used in the function");
    return int(s->id);
  }
  MG_CHECK(!needs_grad(t) || (t.requires_grad && t.grad_fn == nullptr), Runtime,
           "compile: a tensor with a history from outside of the function is used in it. Try passing it as an argument.");
  const int id = add_value(t, -1);
  graph.inputs.push_back(id);
  met_.push_back(Tensor(&t));
  grads_before_.push_back(t.autograd != nullptr ? t.autograd->grad : Tensor());
  attach_standin(t, Ref<Handler>(this), id);
  return id;
}

Tensor Tracer::new_input(const TensorImpl& like, bool packed) {
  OutSpec spec{like.dtype, like.device, like.sizes, like.strides, true, 0};
  if (packed && !dense_in_some_order(like)) spec.strides = contiguous_strides(like.sizes);
  const int id = int(graph.values.size());
  Tensor t = make_placeholder(Ref<Handler>(this), spec, id);
  t->requires_grad = needs_grad(like);
  add_value(*t, -1);
  graph.inputs.push_back(id);
  met_.emplace_back();
  grads_before_.emplace_back();
  return t;
}

void Tracer::meet(const Op& op, const Value* args) {
  for (int k = 0; k < op.n_args; ++k) {
    if (args[k].is_tensor()) id_of(*args[k].t);
    for (int j = 0; args[k].kind == Kind::Tensors && j < args[k].len; ++j)
      if (args[k].tensors[j] != nullptr) id_of(*args[k].tensors[j]);
  }
}

void Tracer::run(const Op& op, const Value* args, const MetaResult& r, Tensor* outs, Write mode) {
  if (unpredictable.contains(&op)) {
    asked = op.name + ": the size of its result depends on values";
    if (current_line != nullptr) asked += ", at " + current_line();
    fail(ErrorKind::Runtime, "compile: ", asked);
  }
  const int number = int(graph.calls.size());
  GraphCall call;
  call.op = &op;
  call.mode = mode;
  call.compute = r.compute;
  if (current_line != nullptr) call.line = current_line();
  for (int k = 0; k < op.n_args; ++k) {
    GraphArg a;
    a.is_tensor = args[k].is_tensor();
    a.is_list = args[k].kind == Kind::Tensors;
    MG_CHECK(args[k].kind != Kind::Generator || args[k].generator == nullptr, NotImplemented, "compile: ", op.name,
             " with a generator of its own");
    if (a.is_tensor) a.ids.push_back(id_of(*args[k].t));
    else if (!a.is_list) a.number = OwnedValue(args[k]);
    for (int j = 0; a.is_list && j < args[k].len; ++j) a.ids.push_back(args[k].tensors[j] != nullptr ? id_of(*args[k].tensors[j]) : -1);
    call.args.push_back(std::move(a));
  }
  if (mode == Write::Inplace) {
    TensorImpl& target = *args[std::max(op.mutated, 0)].t;
    note_write(target);
  } else {
    for (int k = 0; k < op.n_outputs(); ++k) {
      outs[k] = make_placeholder(Ref<Handler>(this), r.out[k], int64_t(graph.values.size()));
      if (op.is_view) {
        outs[k]->storage = args[0].t->storage;
        outs[k]->offset = r.out[k].offset;
      }
      call.outs.push_back(add_value(*outs[k], number));
    }
  }
  graph.calls.push_back(std::move(call));
}

void Tracer::rewind(size_t calls) {
  graph.calls.resize(calls);
  for (int id : graph.cotangents) {
    const auto at = std::find(graph.inputs.begin(), graph.inputs.end(), id) - graph.inputs.begin();
    graph.inputs.erase(graph.inputs.begin() + at);
    met_.erase(met_.begin() + at);
    grads_before_.erase(grads_before_.begin() + at);
  }
  graph.cotangents.clear();
}

void Tracer::note_gradients(std::span<const int> inputs, std::vector<GraphGradient>& out) {
  for (int k : inputs) {
    const Tensor& leaf = met_[size_t(k)];
    if (!leaf.defined() || !leaf->requires_grad) continue;
    const Tensor& now = leaf->autograd->grad;
    if (!now.defined()) out.push_back({graph.inputs[size_t(k)], -1});
    else if (now->dataless) out.push_back({graph.inputs[size_t(k)], id_of(*now)});
  }
}

void Tracer::host_call(std::string label, std::function<void()> run, const std::vector<Tensor>& leaves) {
  GraphCall call;
  call.host = std::make_shared<HostCall>();
  call.host->label = std::move(label);
  call.host->run = std::move(run);
  std::vector<int> numbers;
  for (const Tensor& leaf : leaves) {
    const int id = id_of(*leaf);
    call.host->writes.push_back(id);
    numbers.push_back(int(std::find(graph.inputs.begin(), graph.inputs.end(), id) - graph.inputs.begin()));
    note_write(*leaf);
  }
  note_gradients(numbers, call.host->gradients);
  if (current_line != nullptr) call.line = current_line();
  graph.calls.push_back(std::move(call));
}

void Tracer::finish() {
  active = false;
  std::vector<int> all(graph.inputs.size());
  for (size_t k = 0; k < all.size(); ++k) all[k] = int(k);
  note_gradients(all, graph.gradients);
  for (size_t k = 0; k < met_.size(); ++k) {
    if (!met_[k].defined()) continue;
    drop_standin(*met_[k]);
    met_[k]->autograd->grad = grads_before_[k];
    if (met_[k]->grad_fn == nullptr) continue;  // what comes from outside has no history: see id_of
    hooks.drop_node(std::exchange(met_[k]->grad_fn, nullptr));
    met_[k]->requires_grad = false;
    met_[k]->grad_output = 0;
    if (asked.empty()) asked = "a tensor from outside is written with one that requires grad, and so gets a history. Try returning the new one";
  }
  grads_before_.clear();
  kept_.clear();
  storages_.clear();
}

}  // namespace mg
