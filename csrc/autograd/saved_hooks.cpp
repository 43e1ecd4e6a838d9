// Packing and unpacking of what an OpNode saved; see saved_hooks.h.
#include "saved_hooks.h"

#include "../core/layout.h"

namespace mg {

constinit thread_local SavedHooks* active_saved_hooks = nullptr;

static OpRef cast_op{"_to_dtype"};

// The hook is given an input as it is (hooks look for parameters), an output without its history, which is not made yet.
std::shared_ptr<void> pack_one(SavedHooks& hooks, const Tensor& t, bool output) {
  GradModeGuard off(false);
  const uint32_t version = t->storage->version;
  std::shared_ptr<void> made = hooks.pack(output ? alias(*t) : t);
  MG_CHECK(t->storage->version == version, Runtime,
           "saved_tensors_hooks: A saved tensor pack hook is modifying its input in place. Tensors provided as input to pack hook can "
           "not be modified by in-place operations as this can lead to unexpected side-effects. Try clone() in the hook.");
  return made;
}

void pack_saved(OpNode& node) {
  auto packed = std::make_shared<PackedSaved>();
  packed->hooks = active_saved_hooks->shared_from_this();
  auto add = [&](const Tensor& t, int index, int item, bool output) {
    packed->items.push_back({index, item, output, t.dtype(), t.sizes(), pack_one(*packed->hooks, t, output)});
  };
  auto plain = [](TensorImpl* t) { return t != nullptr && !t->dataless; };  // batches of a function transform stay as they are
  for (int k = 0; k < node.args.size(); ++k) {
    OwnedValue& v = node.args[k].value;
    if (v.kind == Kind::Tensor && plain(v.t)) {
      add(Tensor(v.t), k, 0, false);
      v = OwnedValue();
    } else if (v.kind == Kind::Tensors && std::all_of(v.tensors, v.tensors + v.len, [&](TensorImpl* t) { return !t || plain(t); })) {
      packed->lists.emplace_back(k, v.len);
      for (int j = 0; j < v.len; ++j)
        if (v.tensors[j] != nullptr) add(Tensor(v.tensors[j]), k, j, false);
      v = OwnedValue();
    }
  }
  for (int k = 0; k < node.saved_out.size(); ++k) {
    if (!plain(node.saved_out[k].get())) continue;
    add(node.saved_out[k], k, 0, true);
    node.saved_out[k].reset();
  }
  if (!packed->items.empty()) node.extra().packed = std::move(packed);
}

static Tensor unpack_item(OpNode& node, PackedSaved& packed, const PackedSaved::Item& item) {
  Tensor t = packed.hooks->unpack(item.object);
  MG_CHECK(t.sizes() == item.sizes, Runtime, node.op->name, ": the unpack hook returned a tensor of another shape: got ", t.sizes(),
           ", expected ", item.sizes);
  t = alias(*t);
  if (t.dtype() != item.dtype) {
    GradModeGuard off(false);
    t = invoke(cast_op, t, item.dtype);
  }
  if (item.output || !thread_state.grad_mode || !is_inexact(item.dtype)) return t;
  const int slot = node.slot(item.index);  // the packed tensor lost its history: the node's edge knows it
  if (slot >= 0 && node.edges[slot + item.item]) set_grad_fn(*t, node.edges[slot + item.item].node, node.edges[slot + item.item].output);
  return t;
}

Unpacked::Unpacked(OpNode& node) : node_(node) {
  if (!node.extras || !node.extras->packed) return;
  auto packed = node.extras->packed;
  std::vector<Tensor> made;
  made.reserve(packed->items.size());
  for (const PackedSaved::Item& item : packed->items) made.push_back(unpack_item(node, *packed, item));
  std::vector<std::vector<TensorImpl*>> lists;
  for (auto& [argument, length] : packed->lists) lists.emplace_back(size_t(length), nullptr);
  for (size_t i = 0; i < made.size(); ++i) {
    const PackedSaved::Item& item = packed->items[i];
    auto list = std::find_if(packed->lists.begin(), packed->lists.end(), [&](auto& l) { return !item.output && l.first == item.index; });
    if (item.output) {
      node.out_version[item.index] = made[i]->storage->version;
      node.saved_out[item.index] = std::move(made[i]);
    } else if (list != packed->lists.end()) {
      lists[size_t(list - packed->lists.begin())][size_t(item.item)] = made[i].get();
    } else {
      node.args[item.index].version = made[i]->storage->version;
      node.args[item.index].value = OwnedValue(Value(made[i]));
    }
  }
  for (size_t l = 0; l < lists.size(); ++l)
    node.args[packed->lists[l].first].value = OwnedValue(Value::list(lists[l].data(), packed->lists[l].second));
  packed_ = std::move(packed);
}

Unpacked::~Unpacked() {
  if (!packed_) return;
  for (const PackedSaved::Item& item : packed_->items) {
    if (item.output) node_.saved_out[item.index].reset();
    else node_.args[item.index].value = OwnedValue();
  }
}

}  // namespace mg
