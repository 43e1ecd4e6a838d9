// call(): see op.h for the contract. This file is the whole life of an op call; the schema parser is in schema.cpp.
#include "op.h"

#include <unordered_map>

#include "allocator.h"
#include "autocast.h"
#include "backend_module.h"
#include "layout.h"
#include "meta.h"
#include "meta_device.h"
#include "profile.h"
#include "schema.h"

namespace mg {

constinit thread_local ThreadState thread_state [[gnu::tls_model("initial-exec")]];
Hooks hooks;
std::atomic<int> handlers_alive{0};

static std::unordered_map<std::string, std::unique_ptr<Op>>& table() {
  static auto* t = new std::unordered_map<std::string, std::unique_ptr<Op>>;  // never destroyed: ops outlive everything
  return *t;
}
static std::vector<Op*>& order() {
  static auto* v = new std::vector<Op*>;
  return *v;
}

Op* find_op(std::string_view name) {
  auto it = table().find(std::string(name));
  return it == table().end() ? nullptr : it->second.get();
}

const std::vector<Op*>& all_ops() { return order(); }

Op& register_op(std::string_view schema, std::string_view family) {
  auto op = std::make_unique<Op>();
  parse_schema(schema, *op);
  MG_CHECK(find_op(op->name) == nullptr, Value, "register_op: '", op->name, "' is registered already");
  const MetaEntry* meta = find_meta(family);
  MG_CHECK(meta != nullptr, Value, "register_op: ", op->name, " names an unknown meta family '", family, "'");
  op->meta = meta->fn;
  op->family = family;
  op->is_pointwise = meta->pointwise;
  bind_kernels(*op);
  Op& ref = *op;
  order().push_back(op.get());
  table().emplace(ref.name, std::move(op));
  return ref;
}

void OpRef::resolve() {
  op = find_op(name);
  MG_INTERNAL(op != nullptr, "no op named ", name);
}

Device common_device(const Op& op, const Value* args) {
  const TensorImpl* first = nullptr;
  auto visit = [&](const TensorImpl* t) {
    if (t == nullptr) return;
    if (first == nullptr || (first->dim() == 0 && first->device.type == DeviceType::CPU)) {
      if (first == nullptr || t->device != first->device) first = t;
      return;
    }
    const bool host_number = t->dim() == 0 && t->device.type == DeviceType::CPU;  // PyTorch lets 0-d CPU tensors mix
    MG_CHECK(t->device == first->device || host_number, Runtime, op.name,
             ": Expected all tensors to be on the same device, but found at least two devices, ", first->device, " and ", t->device,
             "! Try .to(device).");
  };
  for (size_t k = 0; k < op.args.size(); ++k) {
    if (args[k].is_tensor()) visit(args[k].t);
    if (args[k].kind == Kind::Tensors)
      for (int j = 0; j < args[k].len; ++j) visit(args[k].tensors[j]);
  }
  return first ? first->device : Device{};
}

static Tensor call_one(const Op& op, const Value* args) {
  if (op.n_out == 1) [[likely]] {
    Tensor out;
    call(op, args, &out);
    return out;
  }
  Tensor outs[kMaxOutputs];
  call(op, args, outs);
  return std::move(outs[0]);
}

Tensor invoke_values(OpRef& ref, const Value* leading, int n) {
  const Op& op = *ref;
  if (n == op.n_args) return call_one(op, leading);
  MG_INTERNAL(n < op.n_args, "too many arguments for ", op.name);
  ValueArray args;
  for (int k = 0; k < n; ++k) args[k] = leading[k];
  for (int k = n; k < op.n_args; ++k) args[k] = op.defaults[k];
  return call_one(op, args);
}

static bool any_needs_grad(const Op& op, const Value* args) {
  for (uint32_t rest = op.grad_inputs; rest != 0; rest &= rest - 1) {
    const int k = std::countr_zero(rest);
    if (args[k].is_tensor()) {
      if (needs_grad(*args[k].t)) return true;
    } else if (args[k].kind == Kind::Tensors) {
      for (int j = 0; j < args[k].len; ++j)
        if (args[k].tensors[j] && needs_grad(*args[k].tensors[j])) return true;
    }
  }
  return false;
}

// The caller has set the MemoryTag.
static void run_kernel(const Op& op, const Value* args, Tensor* outs, const MetaResult& r, Device device) {
  KernelFn kernel = op.kernels[int(device.type)];
  if (is_complex(std::max(r.compute, r.out[0].dtype))) [[unlikely]]
    kernel = op.complex_kernels[int(device.type)];
  if (kernel == nullptr) [[unlikely]] {
    if (device.type == DeviceType::Meta) return;  // nothing to compute
    fail(ErrorKind::NotImplemented, op.name, ": no ", device_type_name(device.type), " kernel for ", std::max(r.compute, r.out[0].dtype),
         device.type == DeviceType::CUDA ? ". Try x.cpu(), or CuPy on cupy.from_dlpack(x)." : "");
  }
  Invocation inv{op, args, outs, r.compute, r.plain};
  kernel(inv);
}

static Tensor allocate(OutSpec& s) {
  return s.has_strides ? empty_strided(s.sizes, s.strides, s.dtype, s.device) : empty(std::move(s.sizes), s.dtype, s.device);
}

static bool same_layout(const TensorImpl& a, const TensorImpl& b) {
  return a.offset == b.offset && a.dtype == b.dtype && a.sizes == b.sizes && a.strides == b.strides;
}

void check_target(const Op& op, const OutSpec& want, TensorImpl& target, bool resize) {
  MG_CHECK(can_cast(want.dtype, target.dtype), Runtime, op.name, ": result type ", want.dtype,
           " can't be cast to the desired output type ", target.dtype);
  MG_CHECK(target.device == want.device, Runtime, op.name, ": the result lives on ", want.device, ", the output on ",
           target.device);
  MG_CHECK(resize || target.sizes == want.sizes, Runtime, op.name, ": output with shape ", target.sizes,
           " doesn't match the broadcast shape ", want.sizes, ". Try the form without the trailing underscore.");
  MG_CHECK(!has_internal_overlap(target), Runtime, op.name,
           ": unsupported operation: more than one element of the written-to tensor refers to a single memory location"
           " (it is expanded). Try x.clone() before the in-place operation.");
  MG_CHECK(!target.inference || thread_state.inference_mode || !thread_state.grad_mode, Runtime, op.name,
           ": in-place update of an inference tensor outside inference_mode is not allowed. Try x.clone().");
}

namespace {

// In-place, out= and `x!` calls: everything that writes into a tensor that exists already.
struct Writer {
  const Op& op;
  const Value* args;
  Tensor* outs;
  Write mode;
  MetaResult& r;
  bool grads;
  Value shielded[kMaxArgs];  // arguments, with those that overlap the target replaced by copies
  std::vector<Tensor> keep;
  std::vector<std::vector<TensorImpl*>> lists;

  bool aliases_badly(const TensorImpl* t, bool pointwise) const {
    for (int k = 0; k < op.n_outputs(); ++k) {
      const TensorImpl& target = *outs[k];
      if (t && t->storage == target.storage && t->numel != 0 && !(pointwise && same_layout(*t, target))) return true;
    }
    return false;
  }

  void shield_arguments() {
    for (size_t k = 0; k < op.args.size(); ++k) {
      shielded[k] = args[k];
      if (int(k) == op.mutated) continue;
      if (args[k].is_tensor() && aliases_badly(args[k].t, false)) {
        keep.push_back(to_contiguous(*args[k].t, args[k].t->dtype));
        shielded[k] = Value(keep.back());
      } else if (args[k].kind == Kind::Tensors) {
        auto& list = lists.emplace_back(args[k].tensors, args[k].tensors + args[k].len);
        for (TensorImpl*& t : list)
          if (t && aliases_badly(t, false)) t = keep.emplace_back(to_contiguous(*t, t->dtype)).get();
        shielded[k] = Value::list(list.data(), int(list.size()));
      }
    }
  }

  // out= that must change its size while an argument shares its storage (or is the same tensor): the argument would
  // change under the kernel.
  bool resize_hits_argument() const {
    for (int k = 0; k < op.n_outputs(); ++k) {
      if (outs[k].sizes() == r.out[k].sizes) continue;
      const Storage* storage = outs[k]->storage.get();
      for (size_t a = 0; a < op.args.size(); ++a) {
        if (args[a].is_tensor() && args[a].t->storage.get() == storage) return true;
        if (args[a].kind == Kind::Tensors)
          for (int j = 0; j < args[a].len; ++j)
            if (args[a].tensors[j] && args[a].tensors[j]->storage.get() == storage) return true;
      }
    }
    return false;
  }

  bool can_run_directly() const {
    if (op.can_fail && !is_inexact(r.compute)) return false;
    if (mode == Write::Out && resize_hits_argument()) return false;
    for (int k = 0; k < op.n_outputs(); ++k)
      if (outs[k].dtype() != r.out[k].dtype) return false;
    for (size_t k = 0; k < op.args.size(); ++k) {
      if (args[k].is_tensor() && aliases_badly(args[k].t, op.is_pointwise)) return false;
      if (args[k].kind == Kind::Tensors)
        for (int j = 0; j < args[k].len; ++j)
          if (aliases_badly(args[k].tensors[j], false)) return false;
    }
    return true;
  }

  void run() {
    const Device device = r.out[0].device;
    if (op.mutated >= 0) {
      shield_arguments();
      run_kernel(op, shielded, outs, r, device);
    } else if (can_run_directly()) {
      for (int k = 0; mode == Write::Out && k < op.n_outputs(); ++k)
        if (outs[k].sizes() != r.out[k].sizes) resize_contiguous(*outs[k], r.out[k].sizes, op.name.c_str());
      run_kernel(op, args, outs, r, device);
    } else {
      Tensor temps[kMaxOutputs];
      for (int k = 0; k < op.n_outputs(); ++k) temps[k] = allocate(r.out[k]);
      run_kernel(op, args, temps, r, device);
      for (int k = 0; k < op.n_outputs(); ++k) {
        if (outs[k].sizes() != temps[k].sizes()) resize_contiguous(*outs[k], temps[k].sizes(), op.name.c_str());  // data-dependent size
        copy_into(outs[k], temps[k]);
      }
    }
  }

  // What PyTorch asks of out= beyond a dtype the result casts to (the op's declaration says it); what joins a list may not lie in the
  // memory written to.
  void check_out(int k) const {
    MG_CHECK(outs[k].dtype() == r.out[k].dtype || !op.exact_out, Runtime, op.name, ": expected out= of dtype ", r.out[k].dtype, ": got ",
             outs[k].dtype(), ". Try .to() on the result.");
    for (size_t a = 0; a < op.args.size(); ++a) {
      if (op.separate_out && args[a].is_tensor()) check_apart(*outs[k], *args[a].t);
      for (int j = 0; args[a].kind == Kind::Tensors && j < args[a].len; ++j)
        if (args[a].tensors[j] != nullptr) check_apart(*outs[k], *args[a].tensors[j]);
    }
  }
  void check_apart(const TensorImpl& target, const TensorImpl& t) const {
    MG_CHECK(&target != &t && (t.storage != target.storage || t.numel == 0), Runtime, op.name,
             ": unsupported operation: out= shares memory with an argument. Try clone() on one of them.");
  }

  void call() {
    MemoryTag tag(op.name.c_str());
    if (mode == Write::Inplace) outs[0] = Tensor(args[op.mutated >= 0 ? op.mutated : 0].t);
    if (op.mutated >= 0 && mode == Write::Fresh) outs[0] = Tensor(args[op.mutated].t);
    const bool resizable = mode == Write::Out;
    for (int k = 0; k < op.n_outputs(); ++k) {
      check_target(op, r.out[k], *outs[k], resizable);
      if (resizable) check_out(k);
      MG_CHECK(!is_complex(r.compute) || resizable || !is_floating(r.out[k].dtype) || !is_complex(outs[k].dtype()) || op.mutated >= 0,
               Runtime, op.name, "_: in-place ", op.name, " is not supported for complex tensors: the result is real.");
      MG_CHECK(!(resizable && (grads || (thread_state.grad_mode && needs_grad(*outs[k])))), Runtime, op.name,
               ": functions with out=... arguments don't support automatic differentiation, but one of the arguments"
               " requires grad. Try the form without out=, or mg.no_grad().");
      if (!resizable) hooks.before_write(op, *outs[k], grads);
    }
    MG_CHECK(op.differentiable || !thread_state.grad_mode || resizable || !is_inexact(outs[0].dtype()) || !needs_grad(*outs[0]),
             Runtime, op.name, ": has no gradient, so it cannot overwrite a tensor that requires grad. Try x.detach() or no_grad().");
    Node* node = grads ? hooks.prepare(op, args, Write::Inplace) : nullptr;
    try {
      run();
    } catch (...) {
      if (node != nullptr) hooks.discard(node);  // a kernel that raises leaves no node behind
      throw;
    }
    for (int k = 0; k < op.n_outputs(); ++k)
      note_write(*outs[k]);
    if (node != nullptr) hooks.finish(node, op, args, outs, Write::Inplace);
  }
};

}  // namespace

void mark_view(const Op& op, const Value* args, TensorImpl& input, TensorImpl& out) {
  out.base = input.base ? input.base : Ref<TensorImpl>(&input);
  out.view_version = out.storage->version;
  out.view_in_no_grad = !thread_state.grad_mode;
  if (out.dtype != out.base->dtype || input.dataless) [[unlikely]] hooks.note_view_step(op, args, input, out);
}

static void call_view(const Op& op, const Value* args, Tensor* outs, MetaResult& r, bool grads) {
  TensorImpl& input = *args[0].t;
  OutSpec& s = r.out[0];
  outs[0] = alias(input, s.sizes, s.strides, s.offset);
  TensorImpl& out = *outs[0];
  out.dtype = s.dtype;
  if (thread_state.inference_mode || input.untracked_version || !op.differentiable) return;  // the last: view(dtype)
  if (grads) hooks.finish(hooks.prepare(op, args, Write::Fresh), op, args, outs, Write::Fresh);
  mark_view(op, args, input, out);
}

// The short way for PlainKernels. False: go the long way, nothing was done. Meta would say the same (tests/test_plain_calls.py).
static bool call_plain(const Op& op, const PlainKernels& plain, const Value* args, Tensor* outs) {
  constexpr int64_t kMaxNumel = 4096, kMaxConstant = 64, kMaxExact = int64_t(1) << 53;
  if (!args[0].is_tensor()) return false;
  const TensorImpl& first = *args[0].t;
  const DType dtype = first.dtype;
  const auto fn = plain.fn[int(dtype)];
  if (fn == nullptr || !first.contiguous || first.numel > kMaxNumel || first.device.type != DeviceType::CPU) return false;
  if (plain.unit_last && !(args[plain.operands].kind == Kind::Int && args[plain.operands].i == 1)) return false;
  const void* in[3] = {first.data()};
  alignas(8) char constant[kMaxConstant * 8];
  bool grads = needs_grad(first);
  for (int k = 1; k < plain.operands; ++k) {
    const Value& v = args[k];
    if (v.is_tensor()) {
      const TensorImpl& t = *v.t;
      if (t.dtype != dtype || !t.contiguous || t.device.type != DeviceType::CPU || !(t.sizes == first.sizes)) return false;
      in[k] = t.data();
      grads |= needs_grad(t);
    } else {
      const bool exact = v.kind == Kind::Float || (v.kind == Kind::Int && v.i > -kMaxExact && v.i < kMaxExact);
      if (!exact || k + 1 != plain.operands || first.numel > kMaxConstant) return false;
      if (dtype == DType::Float32) std::fill_n(reinterpret_cast<float*>(constant), first.numel, float(v.as_double()));
      else std::fill_n(reinterpret_cast<double*>(constant), first.numel, v.as_double());
      in[k] = constant;
    }
  }
  outs[0] = empty_contiguous_like(first, plain.boolean ? DType::Bool : dtype);
  fn(outs[0]->data(), in, first.numel);
  if (thread_state.inference_mode) [[unlikely]] outs[0]->inference = true;
  if (grads && op.differentiable && thread_state.grad_mode)
    hooks.finish(hooks.prepare(op, args, Write::Fresh), op, args, outs, Write::Fresh);
  return true;
}

void call(const Op& op, const Value* args, Tensor* outs, Write mode) {
  if (handlers_exist()) [[unlikely]] {
    if (profile_call(op, args, outs, mode)) return;
    if (mode == Write::Fresh && autocast_call(op, args, outs)) return;
  } else if (op.plain != nullptr && mode == Write::Fresh && call_plain(op, *op.plain, args, outs)) {
    return;
  }
  MetaResult r(op.n_out);
  op.meta(op, args, r);
  const bool grads = op.differentiable && thread_state.grad_mode && any_needs_grad(op, args);
  if (cuda_in_use.load(std::memory_order_relaxed)) [[unlikely]] settle_devices(op, args, r);
  if (handlers_exist()) [[unlikely]] {
    settle_meta_device(op, args, r);
    if (hooks.handle(op, args, r, outs, mode)) return;
  }
  if (op.is_view) return call_view(op, args, outs, r, grads);
  if (mode != Write::Fresh || op.mutated >= 0) return Writer{op, args, outs, mode, r, grads, {}, {}, {}}.call();
  const int n = op.n_outputs();
  MemoryTag tag(op.name.c_str());
  for (int k = 0; k < n; ++k) outs[k] = allocate(r.out[k]);
  run_kernel(op, args, outs, r, outs[0].device());
  if (thread_state.inference_mode) [[unlikely]]
    for (int k = 0; k < n; ++k) outs[k]->inference = true;
  if (grads) hooks.finish(hooks.prepare(op, args, Write::Fresh), op, args, outs, Write::Fresh);
}

}  // namespace mg
