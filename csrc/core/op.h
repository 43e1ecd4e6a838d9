// The heart: what an op is, the table of ops, and call(), the only door through which anything is computed.
//
//   call(op, args):  meta (check, infer; raises every user error)  ->  trace | allocate + kernel  ->  bump version  ->  record for backward
//
// Eager code, in-place twins, out=, the tracer, custom ops and Triton kernels all pass here, so none can forget a step. Ops are declared
// in minigrad/ops/*.py (register_op); kernels register beside their code with MG_KERNEL. Autograd and the tracer hang on through `hooks`,
// so core knows neither. Read next: meta.h (shape/dtype rules), ../autograd/engine.cpp (backward), ../python/tensor_type.cpp (parsing).
#pragma once
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

struct Op {
  std::string name;
  std::vector<Arg> args;
  std::vector<std::string> outputs;
  MetaFn meta = nullptr;
  KernelFn kernels[kDeviceTypes] = {};
  const void* pointwise = nullptr;  // what the CPU driver found out at the op's first call (csrc/cpu/pointwise.cpp)
  bool is_view = false;
  bool is_pointwise = false;
  bool can_fail = false;     // the kernel may raise half-way (integer division by zero): in-place forms run into a temporary
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

// Runs `op`. Fresh: outs are filled. Inplace: args[0] is overwritten and returned in outs[0]. Out: outs hold the caller's tensors.
void call(const Op& op, const Value* args, Tensor* outs, Write mode = Write::Fresh);

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
  bool inference_mode = false;
  bool tracing = false;
  bool anomaly = false;
};
extern constinit thread_local ThreadState thread_state [[gnu::tls_model("initial-exec")]];

// What autograd and the tracer plug in. All are set once at start.
struct Hooks {
  bool (*needs_grad_slow)(const TensorImpl& t) = nullptr;  // views whose base may have begun to require grad
  void (*before_write)(const Op& op, TensorImpl& target, bool needs_grad) = nullptr;  // raises: leaf, overlapping view …
  // Recording has two halves, so that inputs are saved before a kernel may overwrite them and a failed kernel leaves no trace.
  Node* (*prepare)(const Op& op, const Value* args, Write mode) = nullptr;
  void (*finish)(Node* node, const Op& op, const Value* args, Tensor* outs, Write mode) = nullptr;
  void (*discard)(Node* node) = nullptr;
  void (*make_view)(const Op& op, const Value* args, TensorImpl& base, TensorImpl& out) = nullptr;
  void (*destroy_meta)(AutogradMeta* meta) = nullptr;
  void (*destroy_pyobj)(TensorImpl* t) = nullptr;
  void (*trace)(const Op& op, const Value* args, const MetaResult& r, Tensor* outs, Write mode) = nullptr;
};
extern Hooks hooks;

inline bool needs_grad(const TensorImpl& t) {
  return t.requires_grad || (t.autograd != nullptr && hooks.needs_grad_slow(t));
}

// Kernels: one constant-initialised entry per (op, device), gathered by the linker, so no static constructors run.
struct KernelEntry {
  const char* op;
  DeviceType device;
  KernelFn fn;
};
KernelFn find_kernel(std::string_view op, DeviceType device);

}  // namespace mg

#define MG_CAT_(a, b) a##b
#define MG_CAT(a, b) MG_CAT_(a, b)
#define MG_KERNEL(op_name, device, fn)                                                                             \
  static constinit const ::mg::KernelEntry MG_CAT(mg_kernel_entry_, __LINE__) = {op_name, ::mg::DeviceType::device, fn}; \
  [[gnu::section("mg_kernels"), gnu::used]] static constinit const ::mg::KernelEntry* const MG_CAT(mg_kernel_ptr_, __LINE__) = \
      &MG_CAT(mg_kernel_entry_, __LINE__)
