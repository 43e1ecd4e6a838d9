// The heart: what an op is, the table of ops, and call(), the only door through which anything is computed.
//
//   call(op, args):  meta (check, infer; raises every user error)  ->  trace | allocate + kernel  ->  bump version  ->  record for backward
//
// Eager code, in-place twins, out=, the tracer, custom ops and Triton kernels all pass here, so none can forget a step. Ops are declared
// in minigrad/ops/*.py (register_op); kernels register beside their code with MG_KERNEL. Autograd and the tracer hang on through `hooks`,
// so core knows neither. Read next: meta.h (shape/dtype rules), ../autograd/engine.cpp (backward), ../python/tensor_type.cpp (parsing).
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "value.h"

namespace mg {

constexpr int kMaxArgs = 16, kMaxOutputs = 4;

// Operand: Tensor or Python number. Scalar: Python number. The rest as their names say.
enum class ArgKind : uint8_t { Tensor, Operand, Scalar, Bool, Int, Float, Ints, Tensors, DType, Device, Str, Generator };

struct Arg {
  std::string name;
  ArgKind kind = ArgKind::Tensor;
  bool optional = false, keyword_only = false, mutated = false, variadic = false, has_default = false;
  OwnedValue default_value;
};

struct Op;
struct Formula;  // autograd/node.h
struct Node;

struct OutSpec {
  DType dtype = DType::Float32;
  Device device;
  Dims sizes;
  Dims strides;             // used when has_strides (views, layout-preserving results)
  bool has_strides = false;
  int64_t offset = 0;       // views only, absolute, in elements
};
struct MetaResult {
  OutSpec* const out;              // one per output of the op
  DType compute = DType::Float32;  // dtype the kernel calculates in (pointwise: after promotion)
  bool plain = false;              // pointwise: every tensor is contiguous, of the compute dtype and the output's shape

  explicit MetaResult(int outputs) : out(reinterpret_cast<OutSpec*>(raw_)), outputs_(outputs) {
    for (int k = 0; k < outputs; ++k) new (out + k) OutSpec;
  }
  ~MetaResult() {
    for (int k = 0; k < outputs_; ++k) out[k].~OutSpec();
  }
  MetaResult(const MetaResult&) = delete;
  MetaResult& operator=(const MetaResult&) = delete;

 private:
  int outputs_;
  alignas(OutSpec) unsigned char raw_[kMaxOutputs * sizeof(OutSpec)];  // only `outputs_` of them are alive: this is a hot object
};
using MetaFn = void (*)(const Op& op, const Value* args, MetaResult& r);

struct Invocation {
  const Op& op;
  const Value* args;
  Tensor* outs;
  DType compute;
  bool plain = false;  // see MetaResult

  TensorImpl& in(int i) const { return *args[i].t; }
  bool has(int i) const { return !args[i].none(); }
  Tensor tensor(int i) const { return Tensor(args[i].t); }
  TensorImpl& out(int i = 0) const { return *outs[i]; }
  int64_t i(int k) const { return args[k].as_int(); }
  double f(int k) const { return args[k].as_double(); }
  bool b(int k) const { return args[k].as_int() != 0; }
  Dims ints(int k) const { return args[k].as_dims(); }
};
using KernelFn = void (*)(Invocation& inv);

// A pointwise op on small contiguous tensors of one shape and floating dtype: most calls of a small model. call() then needs neither
// meta nor loop plan. The CPU driver (csrc/cpu/pointwise.cpp) says at the op's first call whether it has one.
struct PlainKernels {
  int (*fn[kDTypes])(void* out, const void* const* in, int64_t n) = {};  // null: not in this dtype
  int operands = 0;         // leading arguments; numbers allowed from the second on
  bool unit_last = false;   // one more argument, which has to be the number 1 (alpha)
  bool boolean = false;     // comparisons
};

struct Op {
  std::string name;
  std::vector<Arg> args;
  std::vector<std::string> outputs;
  MetaFn meta = nullptr;
  KernelFn kernels[kDeviceTypes] = {};
  KernelFn complex_kernels[kDeviceTypes] = {};  // run when the compute or output dtype is complex
  const void* pointwise = nullptr;  // what the CPU driver found out at the op's first call (csrc/cpu/pointwise.cpp)
  const PlainKernels* plain = nullptr;
  // What every call reads, gathered from `args`.
  int n_args = 0, max_positional = 0;
  ArgKind kinds[kMaxArgs] = {};
  Value defaults[kMaxArgs];
  uint32_t defaulted = 0;    // bit k: argument k may be left out
  uint32_t has_lists = 0;    // bit k: argument k is a list of tensors
  bool is_view = false;
  bool is_pointwise = false;
  bool can_fail = false;     // the kernel may raise half-way (integer division by zero): in-place forms run into a temporary
  bool exact_out = false, separate_out = false;  // out= must have the result's dtype; may not lie in an argument's memory
  int mutated = -1;          // index of the argument written in place (`x!` in the schema), or -1
  bool differentiable = false;
  uint32_t grad_inputs = 0;  // bit i: a formula exists for argument i
  uint32_t grad_outputs = 0;  // bit i: output i carries a gradient (others, e.g. indices, do not)
  std::shared_ptr<Formula> formula;
  std::string family;        // name of the meta family
  int n_out = 0;
  int n_outputs() const { return n_out; }
};

// Table. Names are unique; pointers stay valid for the life of the process.
Op& register_op(std::string_view schema, std::string_view meta_family);
Op* find_op(std::string_view name);
const std::vector<Op*>& all_ops();

// Uninitialised room for the arguments of one call; whoever uses it fills what the op has.
struct ValueArray {
  union {
    Value values[kMaxArgs];
  };
  ValueArray() {}
  operator Value*() { return values; }
};

// A C++-side handle resolved on first use (ops are registered from Python at import).
struct OpRef {
  const char* name;
  Op* op = nullptr;
  const Op& operator*() {
    if (op == nullptr) [[unlikely]] resolve();
    return *op;
  }
  void resolve();
};

enum class Write : uint8_t { Fresh, Inplace, Out };

// What may be written, PyTorch's rules; raises before anything changes.
void check_target(const Op& op, const OutSpec& want, TensorImpl& target, bool resize);

// Runs `op`. Fresh: outs are filled. Inplace: args[0] is overwritten and returned in outs[0]. Out: outs hold the caller's tensors.
void call(const Op& op, const Value* args, Tensor* outs, Write mode = Write::Fresh);

// Tells autograd that `out` is a view of `input`.
void mark_view(const Op& op, const Value* args, TensorImpl& input, TensorImpl& out);

// Calls an op by handle with its leading arguments; the others take their defaults. Returns the first output.
Tensor invoke_values(OpRef& ref, const Value* leading, int n);
template <class... A>
Tensor invoke(OpRef& ref, const A&... args) {
  const Value values[] = {Value(args)...};
  return invoke_values(ref, values, int(sizeof...(args)));
}

// Per-thread switches, read on every call.
struct ThreadState {
  bool grad_mode = true;
  bool inference_mode = false, anomaly = false;
  Device default_device;  // of tensors made without naming one
};
// How many data-less tensors and active handlers exist, in all threads: call() looks for one among the arguments only when there are any.
extern std::atomic<int> handlers_alive;
inline bool handlers_exist() { return handlers_alive.load(std::memory_order_relaxed) != 0; }

extern constinit thread_local ThreadState thread_state [[gnu::tls_model("initial-exec")]];

// What autograd and the tracer plug in. All are set once at start.
struct Hooks {
  void (*before_write)(const Op& op, TensorImpl& target, bool needs_grad) = nullptr;  // raises: leaf, overlapping view …
  // Recording has two halves, so that inputs are saved before a kernel may overwrite them and a failed kernel leaves no trace.
  Node* (*prepare)(const Op& op, const Value* args, Write mode) = nullptr;
  void (*finish)(Node* node, const Op& op, const Value* args, Tensor* outs, Write mode) = nullptr;
  void (*discard)(Node* node) = nullptr;
  void (*note_view_step)(const Op& op, const Value* args, TensorImpl& input, TensorImpl& out) = nullptr;  // not an as_strided of its base
  void (*drop_node)(Node* node) = nullptr;
  void (*destroy_meta)(AutogradMeta* meta) = nullptr;
  void (*destroy_pyobj)(TensorImpl* t) = nullptr;
  // Data-less tensors (csrc/autograd/handler.h). handle: does the whole call when an argument has a handler, else returns false.
  bool (*handle)(const Op& op, const Value* args, MetaResult& r, Tensor* outs, Write mode) = nullptr;
  void (*alias_dataless)(const TensorImpl& base, TensorImpl& out) = nullptr;
  std::string (*why_dataless)(const TensorImpl& t) = nullptr;
};
extern Hooks hooks;

// A view of what began to require grad by an in-place write needs it too; its grad_fn is derived when asked for (record.cpp).
inline bool needs_grad(const TensorImpl& t) {
  return t.requires_grad || (t.base && t.base->requires_grad);
}

}  // namespace mg

#include "kernel.h"
