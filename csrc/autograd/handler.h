// Data-less tensors: a tensor may carry a Handler instead of elements. call() runs the op's meta on the logical shapes and then hands
// (op, args, meta result) to the handler; recording for autograd happens above it as usual. One mechanism for vmap and for tracing.
//
// Levels nest: a stand-in's `inner` may itself be data-less at a lower level, or require grad there. An op goes to the handler of the
// highest level among its arguments; tensors of lower levels are constants to it, and their own history grows when the handler calls
// ops on the inner tensors. A stand-in shares the storage of its inner tensor (so also the version counter), or has an empty one.
#pragma once
#include "../core/op.h"

namespace mg {

struct Standin;

struct Handler {
  std::atomic<uint32_t> refs{0};
  const int level;
  Handler* const parent;  // what was active when this one began; outlives it
  bool active = true;     // false once its transform has returned: its tensors have escaped
  bool is_tracer = false; // notes calls and computes nothing (csrc/graph/trace.h): formulas may come in their fast form
  bool defers = false;    // a tracer whose tensors get their elements as soon as somebody asks for them (csrc/graph/defer.h)
  int keeps = 0;          // references that a tracer itself has to the storage of each of its tensors

  Handler(int lvl, Handler* below);
  virtual ~Handler();
  // Fills outs: stand-ins for fresh results and views, the target itself for in-place calls (the inner tensor is then written).
  virtual void run(const Op& op, const Value* args, const MetaResult& r, Tensor* outs, Write mode) = 0;
  // Sees the arguments of a call that goes to it before anything else happens.
  virtual void meet(const Op&, const Value*) {}
  // Calls without any data-less argument that it wants to see all the same (random numbers, factories).
  virtual bool wants(const Op& op, const Value* args) const = 0;
  virtual std::string why() const = 0;  // for the error when somebody asks for elements: "what is wrong. Try remedy."
  // Of handlers that defer. takes: whether it notes this call; if not, what was noted has been computed as far as the call needs it, and the
  // call goes on without this handler. settle: computes what was noted; `reason` says who asked. forget: a tensor of it is gone.
  virtual bool takes(const Op&, const Value*, const MetaResult&, const Tensor*, Write) { return true; }
  virtual void settle(const char*) {}
  virtual void adopt(TensorImpl&) {}          // an alias of one of its tensors
  virtual void forget(const Standin&) {}
  static void destroy(Handler* h) { delete h; }
};

// What a data-less tensor stands for. vmap: `inner` has the batch as its first dimension when `batched`, else it is the same for all.
// Tracing: there is no inner tensor, `id` names the value in the graph.
struct Standin {
  Ref<Handler> handler;
  Tensor inner;
  bool batched = false;
  int64_t id = -1;
  int slot = -1;  // where a handler that defers keeps it

  Standin(Ref<Handler> h, Tensor t, bool b);
  ~Standin();
};

extern thread_local Handler* active_handler;  // the innermost transform of this thread, or null

struct HandlerGuard {
  Handler* before = active_handler;
  explicit HandlerGuard(Handler* h) { active_handler = h; }
  ~HandlerGuard() { active_handler = before; }
};

Standin* standin_of(const TensorImpl& t);                                // null for ordinary tensors
bool is_traced(const TensorImpl& t);                                     // stands for a value of the graph being made in this thread
bool is_deferred(const TensorImpl& t);                                   // its elements will be there when they are asked for
void settle_pending(const char* reason);                                 // computes what this thread has deferred
Tensor make_standin(Ref<Handler> h, const Tensor& inner, bool batched);  // without history
Tensor make_placeholder(Ref<Handler> h, const OutSpec& spec, int64_t id);  // no inner tensor; storage without bytes, with a version
void attach_standin(TensorImpl& t, Ref<Handler> h, int64_t id);             // an ordinary tensor turns data-less, its elements hidden
void drop_standin(TensorImpl& t);                                          // and back
Tensor lift(Handler& h, const Tensor& t);                                // itself when it is of h's level, else the same for all
Tensor spread_like(const Tensor& t, const Tensor& value);                // t as a tensor that an in-place copy of `value` fits into
Tensor spread_copy(const Tensor& t, const Tensor& value, const Dims& strides);  // likewise, and in that layout
Tensor detach_all(const TensorImpl& t);                                  // cut from the history of every level

// For minigrad.func: does the graph behind `roots` (at their level, or at any level below) reach a leaf other than `fresh`?
bool reaches_others(std::span<const Tensor> roots, std::span<const Tensor> fresh);
// `t` without the history that only leads to `fresh` (its results are constants to everybody else).
Tensor strip(const Tensor& t, std::span<const Tensor> fresh);

}  // namespace mg
