// saved_tensors_hooks: the user's pack() runs on every tensor that a node saves, unpack() when backward asks for it.
//
// record.cpp calls pack_saved() at the end of recording when `active_saved_hooks` is set (the only cost of the plain path: one
// thread-local test). The node's saved slots are then empty, so the tensors' memory is free; Unpacked fills them for one apply().
// The hooks take over the version check: what they return is what is used, as in PyTorch.
#pragma once
#include <memory>
#include <vector>

#include "node.h"

namespace mg {

struct SavedHooks : std::enable_shared_from_this<SavedHooks> {  // one pair of functions; csrc/python/bind_graph.cpp makes them
  virtual ~SavedHooks() = default;
  virtual std::shared_ptr<void> pack(const Tensor& t) = 0;
  virtual Tensor unpack(const std::shared_ptr<void>& packed) = 0;
  virtual void forget_written(const std::shared_ptr<void>&, const Storage&) {}  // Node::forget_written of what pack() made
};

extern constinit thread_local SavedHooks* active_saved_hooks [[gnu::tls_model("initial-exec")]];  // the innermost, or null

// What pack() made of one saved tensor: of argument `index` (element `item` of a list argument) or of output `index`.
struct PackedSaved {
  std::shared_ptr<SavedHooks> hooks;
  struct Item {
    int index, item;
    bool output;
    DType dtype;
    Dims sizes;
    std::shared_ptr<void> object;
  };
  std::vector<Item> items;
  std::vector<std::pair<int, int>> lists;  // (argument, length) of the list arguments
};

void pack_saved(OpNode& node);
std::shared_ptr<void> pack_one(SavedHooks& hooks, const Tensor& t, bool output);  // raises when the hook writes into its argument

// Fills the slots of a packed node while it lives; nothing to do for a plain node.
struct Unpacked {
  explicit Unpacked(OpNode& node);
  ~Unpacked();
  Unpacked(const Unpacked&) = delete;

 private:
  OpNode& node_;
  std::shared_ptr<PackedSaved> packed_;  // keeps what the slots point at, also if the node is released meanwhile
};

}  // namespace mg
