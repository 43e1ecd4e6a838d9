// The backward graph: Node (one per recorded op), Edge (where a gradient goes), AutogradMeta (what a tensor knows about its history).
//
// An edge points at (node, output number). A leaf owns its AccumulateGrad node, made on demand. Gradients
// flow into a node's `buffer`, one slot per forward output; apply() turns them into one gradient per edge. Saved tensors are checked
// against the storage version on use. Read next: record.cpp (how nodes are made), backward.h and engine.cpp (backward), inplace.cpp (views, rebasing).
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../core/op.h"
#include "../core/small_vec.h"
#include "handler.h"
#include "hooks.h"

namespace mg {

struct GraphTask;    // engine.cpp
struct PackedSaved;  // saved_hooks.h

struct Edge {
  Ref<Node> node;
  uint32_t output = 0;
  explicit operator bool() const { return bool(node); }
};

struct OutputInfo {  // of the forward output whose gradient arrives here
  Dims sizes;
  DType dtype = DType::Float32;
  Device device;
};

struct Node {
  std::atomic<uint32_t> refs{0};
  bool released = false;       // saved tensors were freed by an earlier backward
  bool leaf_sink = false;      // AccumulateGrad: where gradients end
  bool written_unseen = false; // a `.data` of a result was taken: its values may not be what the op computed
  uint64_t seq = 0;            // creation order: the engine runs the youngest ready node first
  SmallVec<Edge, 3> edges;     // one per differentiable tensor input (undefined edges stay in place)
  SmallVec<OutputInfo, 1> outputs;
  struct Extras {              // rarely used
    std::vector<std::pair<int, std::shared_ptr<HookList>>> pre_hooks;      // (output number, tensor hooks)
    std::vector<std::pair<uint64_t, NodeHook>> before, after;              // Node.register_prehook, Node.register_hook
    std::string trace;         // anomaly mode: the Python line that recorded this node
    std::shared_ptr<PackedSaved> packed;   // what the user's hooks made of the saved tensors
    std::shared_ptr<void> python;          // Node.metadata
  };
  std::unique_ptr<Extras> extras;
  void* pyobj = nullptr;       // borrowed Python view of this node (grad_fn)

  // Engine's scratch, valid while `task` is set.
  union {
    GraphTask* task = nullptr;
    Node* next_dead;  // destroy()'s list
  };
  int32_t dependencies = 0;
  bool needed = true;
  SmallVec<Tensor, 1> buffer;

  virtual ~Node() = default;
  virtual std::string name() const = 0;
  // grads: one per output, undefined where nothing arrived. result: one slot per edge.
  virtual void apply(Tensor* grads, Tensor* result) = 0;
  virtual void release_saved() {}
  virtual void forget_written(const Storage&) {}  // see break_cycles()
  bool is_leaf_sink() const { return leaf_sink; }
  Extras& extra() {
    if (!extras) extras = std::make_unique<Extras>();
    return *extras;
  }
  static void destroy(Node* n);  // iterative: a chain of a million nodes must not overflow the stack
};

uint64_t next_sequence();

struct Saved {
  OwnedValue value;      // tensor, attribute, or none when no formula asks for it
  uint32_t version = 0;  // of a list: the sum of its tensors'
};

uint32_t version_of_list(const Value& list);

// A node of a registered op.
struct OpNode final : Node, Pooled<OpNode> {
  const Op* op = nullptr;
  SmallVec<Saved, 4> args;        // saved inputs and attributes, by argument number
  SmallVec<Tensor, 1> saved_out;  // aliases without history, to avoid a cycle
  SmallVec<uint32_t, 1> out_version;
  uint32_t needs = 0;             // bit i: argument i needs a gradient
  bool has_saved = false;

  std::string name() const override;
  void apply(Tensor* grads, Tensor* result) override;
  void release_saved() override;
  void forget_written(const Storage& written) override;
  int slot(int arg) const;                       // first edge of that argument
  Value saved_value(int arg) const;              // checks the version
  Tensor saved_input(int arg) const;             // the same, kept alive
  Tensor saved_output(int k);                    // with history when gradients are being recorded
  Dims input_sizes(int arg, int item = 0) const;
  // Would a transform, an autocast region or the meta device see the ops of the formula? They get it as declared, not in a short form.
  bool is_watched(const Tensor* grads) const;
};

// Native twin of a hot formula, same maths and the same saved values as the Python one (native_formulas.cpp).
using NativeFormula = bool (*)(OpNode& node, Tensor* grads, Tensor* result);  // false: a case left to the Python formula
NativeFormula find_native_formula(std::string_view op);

// How gradients of an op are computed. Built from the declaration's d<input> functions by csrc/python.
struct Formula {
  uint32_t save_args[kMaxArgs] = {};     // per differentiable argument: arguments to save
  uint32_t save_outs[kMaxArgs] = {};     // ... outputs to save
  uint32_t save_shapes[kMaxArgs] = {};   // ... arguments of which only the shape is wanted
  NativeFormula native = nullptr;
  bool recompute = false;                // what this op returns is computed again rather than kept (recompute.h)
  static inline bool native_enabled = true;  // tests compare with it off
  virtual ~Formula() = default;
  virtual void apply(OpNode& node, Tensor* grads, Tensor* result) = 0;
};

struct AccumulateGrad final : Node, Pooled<AccumulateGrad> {
  AccumulateGrad() { leaf_sink = true; }
  TensorImpl* variable = nullptr;  // owns this node; null once it is gone (nobody could read its .grad any more)
  std::string name() const override { return "AccumulateGrad"; }
  void apply(Tensor* grads, Tensor* result) override;
};

// Where a view lies in its base's storage. A view of another dtype is not an as_strided of its base: it remembers its ops instead.
struct ViewStep : Pooled<ViewStep> {
  std::atomic<uint32_t> refs{0};
  Ref<ViewStep> previous;
  const Op* op = nullptr;
  SmallVec<OwnedValue, 5> args;  // args[0] is left empty: the tensor viewed
  static void destroy(ViewStep* s) { delete s; }
};
struct ViewGeometry {
  Dims sizes, strides;
  int64_t offset = 0;       // from the base's first element
  Ref<ViewStep> last_step;  // null: as_strided says it all
  explicit ViewGeometry(const TensorImpl& view);
  Tensor of(const Tensor& base) const;  // the same view of another tensor laid out like the base, differentiable
};

// What only leaves with a gradient and tensors with hooks have.
struct AutogradMeta : Pooled<AutogradMeta> {
  Tensor grad;
  Ref<Node> accumulator;              // leaves: their AccumulateGrad
  std::shared_ptr<HookList> hooks;    // leaf: run before accumulating; non-leaf: registered on grad_fn too
  std::shared_ptr<HookList> post_accumulate;
  std::shared_ptr<AutogradMeta*> grad_sink;  // set by retain_grad(): where the hook stores
  Ref<ViewStep> last_step;            // views of another dtype than their base
  bool retain_grad = false;
  std::unique_ptr<Standin> standin;   // data-less tensors: what their values are (handler.h)
};

AutogradMeta& meta_of(TensorImpl& t);           // makes it when absent
Edge gradient_edge(TensorImpl& t);              // undefined edge when no gradient is needed; refreshes stale views
void set_grad_fn(TensorImpl& t, Ref<Node> node, uint32_t output);
void clear_grad_fn(TensorImpl& t);
// For an in-place op, once `newest` is the history of what it wrote. A tensor of `written` that some node of this history saved
// before would keep that node alive and the node the tensor: for ever. Its values are gone, so no backward can use it any more;
// the nodes keep an alias without history in its place, for its shape and for the error message.
void break_cycles(Node* newest, const Storage& written);
inline void forget_if_written(Tensor& t, const Storage& written) {
  if (t.defined() && t->storage.get() == &written) t = alias(*t);
}
void check_leaf_write(const char* op, TensorImpl& t, bool needs_grad);
void rebase_view_history(TensorImpl& view, OpNode& node);  // inplace.cpp
void take_geometry(const char* op, TensorImpl& t, TensorImpl& view);
void resize_tensor(TensorImpl& t, const Dims& sizes);

struct GradModeGuard {
  bool before = thread_state.grad_mode;
  explicit GradModeGuard(bool on) { thread_state.grad_mode = on; }
  ~GradModeGuard() { thread_state.grad_mode = before; }
};

// Sums and casts a gradient to what the forward value looked like (undoes broadcasting and promotion).
Tensor fit_gradient(Tensor grad, const OutputInfo& want, const Node& producer);
inline bool fits(const Tensor& grad, const OutputInfo& want) {
  return grad.dtype() == want.dtype && grad.device() == want.device && grad.sizes() == want.sizes;
}
Tensor zeros_like_output(const OutputInfo& info);
Tensor initial_gradient(const Tensor& root, const Tensor& given);  // ones for a scalar root without a given gradient
void add_in_place(const Tensor& target, const Tensor& grad);
// leaf.grad = g: the tensor itself if it is `ours`, nobody else sees its memory and it lies as the leaf does, else a copy.
void set_leaf_gradient(TensorImpl& leaf, const Tensor& g, bool ours);
bool may_add_to(const Tensor& gradient);                           // nobody else sees it: accumulate in place
bool add_into_region(Node& part, const Tensor& gradient);          // instead of a narrow's apply(); false: not such a case
void apply_observed(Node* n, std::span<Tensor> out);               // seen by the profiler and by anomaly mode

void install_autograd_hooks();
void install_inplace_hooks();
void install_handler_hooks();

}  // namespace mg
