// See recompute.h.
#include "recompute.h"

#include "../core/autocast.h"
#include "handler.h"
#include "saved_hooks.h"

namespace mg {

namespace {

// The op and its argument. The argument's history is kept with it, as a saved tensor's is.
struct Recipe {
  const Op* op;
  Tensor input;
  uint32_t version;
};

struct Recompute final : SavedHooks {
  std::shared_ptr<void> pack(const Tensor&) override {
    fail(ErrorKind::Runtime, "bug in minigrad: recipes are not made by pack()");
  }

  void forget_written(const std::shared_ptr<void>& object, const Storage& written) override {
    forget_if_written(static_cast<Recipe*>(object.get())->input, written);
  }

  Tensor unpack(const std::shared_ptr<void>& object) override {
    const Recipe& recipe = *static_cast<const Recipe*>(object.get());
    MG_CHECK(recipe.input->storage->version == recipe.version, Runtime, recipe.op->name,
             ": one of the variables needed for gradient computation has been modified by an inplace operation: the "
             "argument, a ",
             dtype_name(recipe.input.dtype()), " tensor of shape ", recipe.input.sizes(), ", is at version ",
             recipe.input->storage->version, "; expected version ", recipe.version,
             " instead. Try making that operation out-of-place (y = y + 1 instead of y += 1) or clone() the tensor "
             "before it.");
    GradModeGuard off(false);
    const Value argument(recipe.input);
    Tensor out;
    call(*recipe.op, &argument, &out);
    return out;
  }
};

std::shared_ptr<SavedHooks> recompute_hooks() {
  static const auto hooks = std::make_shared<Recompute>();
  return hooks;
}

}  // namespace

bool save_as_recipe(OpNode& node, int k, TensorImpl& t) {
  const bool traced = is_traced(t);
  if (t.grad_fn == nullptr || t.base || (t.dataless && !traced) || active_saved_hooks != nullptr) return false;
  // The values must be what the op computed: not written to, and not shared with anybody who could write without a
  // version (NumPy, `.data`).
  if (t.storage->version != 0 || int(t.storage.use_count()) != (traced ? 1 + active_handler->keeps : 1) || t.grad_fn->written_unseen) return false;
  if (handlers_exist() && ((active_handler != nullptr && !traced) || autocast_is_on())) return false;  // they see every call
  auto* producer = dynamic_cast<OpNode*>(t.grad_fn);
  if (producer == nullptr || !producer->op->formula->recompute || producer->args.size() != 1) return false;
  const Saved& input = producer->args[0];
  if (input.value.kind != Kind::Tensor || input.value.t->storage->version != input.version) return false;
  if (input.value.t->dtype != t.dtype || input.value.t->storage.get() == t.storage.get()) return false;
  auto& packed = node.extra().packed;
  if (!packed) {
    packed = std::make_shared<PackedSaved>();
    packed->hooks = recompute_hooks();
  }
  packed->items.push_back(
      {k, 0, false, t.dtype, t.sizes, std::make_shared<Recipe>(producer->op, Tensor(input.value.t), input.version)});
  node.has_saved = true;
  return true;
}

}  // namespace mg
