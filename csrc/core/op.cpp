// call(): see op.h for the contract. This file is the whole life of an op call; the schema parser is in schema.cpp.
#include "op.h"

#include <unordered_map>

#include "allocator.h"
#include "layout.h"
#include "meta.h"
#include "schema.h"

extern "C" {  // bounds of the linker-gathered tables
extern const mg::KernelEntry* const __start_mg_kernels[];
extern const mg::KernelEntry* const __stop_mg_kernels[];
extern const mg::MetaEntry* const __start_mg_metas[];
extern const mg::MetaEntry* const __stop_mg_metas[];
}

namespace mg {

constinit thread_local ThreadState thread_state [[gnu::tls_model("initial-exec")]];
Hooks hooks;

KernelFn find_kernel(std::string_view op, DeviceType device) {
  for (auto p = __start_mg_kernels; p != __stop_mg_kernels; ++p)
    if ((*p)->device == device && op == (*p)->op) return (*p)->fn;
  return nullptr;
}

const MetaEntry* find_meta(std::string_view family) {
  for (auto p = __start_mg_metas; p != __stop_mg_metas; ++p)
    if (family == (*p)->family) return *p;
  return nullptr;
}

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
  for (int d = 0; d < kDeviceTypes; ++d) {
    op->kernels[d] = find_kernel(op->name, DeviceType(d));
    if (op->kernels[d] == nullptr && op->is_pointwise) op->kernels[d] = find_kernel("pointwise", DeviceType(d));
  }
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
             ": expected all tensors on one device: got ", first->device, " and ", t->device, ". Try .to(device).");
  };
  for (size_t k = 0; k < op.args.size(); ++k) {
    if (args[k].is_tensor()) visit(args[k].t);
    if (args[k].kind == Kind::Tensors)
      for (int j = 0; j < args[k].len; ++j) visit(args[k].tensors[j]);
  }
  return first ? first->device : Device{};
}

Tensor invoke_values(OpRef& ref, const Value* leading, int n) {
  const Op& op = *ref;
  ValueArray args;
  const int total = int(op.args.size());
  MG_INTERNAL(n <= total, "too many arguments for ", op.name);
  for (int k = 0; k < total; ++k) args[k] = k < n ? leading[k] : Value(op.args[k].default_value);
  Tensor outs[kMaxOutputs];
  call(op, args, outs);
  return std::move(outs[0]);
}

static bool any_needs_grad(const Op& op, const Value* args) {
  const int n = int(op.args.size());
  for (int k = 0; k < n; ++k) {
    if (!(op.grad_inputs >> k & 1)) continue;
    if (args[k].is_tensor()) {
      if (needs_grad(*args[k].t)) return true;
    } else if (args[k].kind == Kind::Tensors) {
      for (int j = 0; j < args[k].len; ++j)
        if (args[k].tensors[j] && needs_grad(*args[k].tensors[j])) return true;
    }
  }
  return false;
}

static void run_kernel(const Op& op, const Value* args, Tensor* outs, const MetaResult& r, Device device) {
  KernelFn kernel = op.kernels[int(device.type)];
  if (kernel == nullptr) [[unlikely]]
    fail(ErrorKind::NotImplemented, op.name, ": no ", device_type_name(device.type), " kernel for ", r.compute);
  MemoryTag tag(op.name.c_str());
  Invocation inv{op, args, outs, r.compute, r.plain};
  kernel(inv);
}

static Tensor allocate(OutSpec& s) {
  return s.has_strides ? empty_strided(s.sizes, s.strides, s.dtype, s.device) : empty(std::move(s.sizes), s.dtype, s.device);
}

static bool same_layout(const TensorImpl& a, const TensorImpl& b) {
  return a.offset == b.offset && a.dtype == b.dtype && a.sizes == b.sizes && a.strides == b.strides;
}

// What may be written, PyTorch's rules; raises before anything changes.
static void check_target(const Op& op, const OutSpec& want, TensorImpl& target, bool resize) {
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

  bool can_run_directly() const {
    if (op.can_fail && !is_floating(r.compute)) return false;
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
      run_kernel(op, args, outs, r, device);
    } else {
      Tensor temps[kMaxOutputs];
      for (int k = 0; k < op.n_outputs(); ++k) temps[k] = allocate(r.out[k]);
      run_kernel(op, args, temps, r, device);
      for (int k = 0; k < op.n_outputs(); ++k) {
        if (outs[k].sizes() != temps[k].sizes()) resize(*outs[k], temps[k].sizes());  // data-dependent size
        copy_into(outs[k], temps[k]);
      }
    }
  }

  static void resize(TensorImpl& t, const Dims& sizes) {
    const int64_t need = checked_numel(sizes, "resize_") * itemsize(t.dtype) + t.offset * itemsize(t.dtype);
    if (need > int64_t(t.storage->nbytes)) t.storage->resize(size_t(need));
    t.set_contiguous(sizes);
  }

  void call() {
    if (mode == Write::Inplace) outs[0] = Tensor(args[op.mutated >= 0 ? op.mutated : 0].t);
    if (op.mutated >= 0 && mode == Write::Fresh) outs[0] = Tensor(args[op.mutated].t);
    const bool resizable = mode == Write::Out;
    for (int k = 0; k < op.n_outputs(); ++k) {
      check_target(op, r.out[k], *outs[k], resizable);
      MG_CHECK(!(resizable && (grads || (thread_state.grad_mode && needs_grad(*outs[k])))), Runtime, op.name,
               ": functions with out=... arguments don't support automatic differentiation, but one of the arguments"
               " requires grad. Try the form without out=, or mg.no_grad().");
      if (!resizable) hooks.before_write(op, *outs[k], grads);
    }
    MG_CHECK(op.differentiable || !thread_state.grad_mode || resizable || !is_floating(outs[0].dtype()) || !needs_grad(*outs[0]),
             Runtime, op.name, ": has no gradient, so it cannot overwrite a tensor that requires grad. Try x.detach() or no_grad().");
    Node* node = grads ? hooks.prepare(op, args, Write::Inplace) : nullptr;
    if (resizable)
      for (int k = 0; k < op.n_outputs(); ++k)
        if (outs[k].sizes() != r.out[k].sizes) resize(*outs[k], r.out[k].sizes);
    try {
      run();
    } catch (...) {
      if (node != nullptr) hooks.discard(node);  // a kernel that raises leaves no node behind
      throw;
    }
    for (int k = 0; k < op.n_outputs(); ++k)
      if (!outs[k]->untracked_version) ++outs[k]->storage->version;
    if (node != nullptr) hooks.finish(node, op, args, outs, Write::Inplace);
  }
};

}  // namespace

static void call_view(const Op& op, const Value* args, Tensor* outs, MetaResult& r, bool grads) {
  TensorImpl& base = *args[0].t;
  OutSpec& s = r.out[0];
  outs[0] = Tensor(alias(base, std::move(s.sizes), std::move(s.strides), s.offset));
  outs[0]->dtype = s.dtype;
  if (thread_state.inference_mode || base.untracked_version) return;
  if (grads) hooks.finish(hooks.prepare(op, args, Write::Fresh), op, args, outs, Write::Fresh);
  hooks.make_view(op, args, base, *outs[0]);
}

void call(const Op& op, const Value* args, Tensor* outs, Write mode) {
  MetaResult r(op.n_out);
  op.meta(op, args, r);
  const bool grads = op.differentiable && thread_state.grad_mode && any_needs_grad(op, args);
  if (thread_state.tracing) [[unlikely]]
    return hooks.trace(op, args, r, outs, mode);
  if (op.is_view) return call_view(op, args, outs, r, grads);
  if (mode != Write::Fresh || op.mutated >= 0) return Writer{op, args, outs, mode, r, grads, {}, {}, {}}.call();
  const int n = op.n_outputs();
  {
    MemoryTag tag(op.name.c_str());
    for (int k = 0; k < n; ++k) outs[k] = allocate(r.out[k]);
  }
  run_kernel(op, args, outs, r, outs[0].device());
  if (thread_state.inference_mode) [[unlikely]]
    for (int k = 0; k < n; ++k) outs[k]->inference = true;
  if (grads) hooks.finish(hooks.prepare(op, args, Write::Fresh), op, args, outs, Write::Fresh);
}

}  // namespace mg
