// See autocast.h. The switch is per thread, the table is shared and filled before the first region.
#include "autocast.h"

#include <array>
#include <unordered_map>

#include "meta.h"

namespace mg {

namespace {

struct Cached {
  Tensor source, cast;  // source is held, so that its address stays its own
  uint64_t version;
};

struct State {
  unsigned enabled = 0;  // bit per device type
  DType dtypes[kDeviceTypes] = {DType::BFloat16, DType::Float16};
  bool cache_enabled = true;
  int nesting = 0;
  std::unordered_map<const TensorImpl*, Cached> cache;

  ~State() {
    set(0);
    if (!cache.empty()) new auto(std::move(cache));  // a thread that ends inside a region: Python may be gone, so leave them
  }
  void set(unsigned mask) {
    if ((enabled == 0) != (mask == 0)) handlers_alive.fetch_add(mask != 0 ? 1 : -1, std::memory_order_relaxed);
    enabled = mask;
  }
};

State& state() {
  thread_local State s;
  return s;
}

std::unordered_map<const Op*, std::array<CastPolicy, kDeviceTypes>>& policies() {
  static auto* t = new std::unordered_map<const Op*, std::array<CastPolicy, kDeviceTypes>>;  // never destroyed, like the ops
  return *t;
}

struct Suspend {
  unsigned before = autocast_suspend();
  ~Suspend() { autocast_resume(before); }
};

bool castable(const TensorImpl& t) { return is_floating(t.dtype) && t.dtype != DType::Float64 && autocast_enabled(t.device.type); }

// The widest floating dtype among the arguments, at least the region's own.
DType widest(const Op& op, const Value* args, DType lower) {
  DType best = lower;
  auto look = [&](const TensorImpl* t) {
    if (t == nullptr || !is_floating(t->dtype)) return;
    if (t->dtype == DType::Float64) best = DType::Float64;
    else if (t->dtype != lower && best != DType::Float64) best = DType::Float32;
  };
  for (size_t k = 0; k < op.args.size(); ++k) {
    if (args[k].is_tensor()) look(args[k].t);
    for (int j = 0; args[k].kind == Kind::Tensors && j < args[k].len; ++j) look(args[k].tensors[j]);
  }
  return best;
}

}  // namespace

void set_autocast_policy(DeviceType device, const Op& op, CastPolicy policy) { policies()[&op][size_t(device)] = policy; }

bool autocast_is_on() { return state().enabled != 0; }
bool autocast_enabled(DeviceType device) { return state().enabled >> int(device) & 1; }
void set_autocast_enabled(DeviceType device, bool enabled) {
  const unsigned bit = 1u << int(device);
  state().set(enabled ? state().enabled | bit : state().enabled & ~bit);
}
DType autocast_dtype(DeviceType device) { return state().dtypes[int(device)]; }
void set_autocast_dtype(DeviceType device, DType dtype) { state().dtypes[int(device)] = dtype; }
bool autocast_cache_enabled() { return state().cache_enabled; }
void set_autocast_cache_enabled(bool enabled) { state().cache_enabled = enabled; }
void clear_autocast_cache() { state().cache.clear(); }
int autocast_nesting(int change) { return state().nesting += change; }

// The count of handlers stays: the region goes on after the call.
unsigned autocast_suspend() { return std::exchange(state().enabled, 0u); }
void autocast_resume(unsigned before) { state().enabled = before; }

Tensor autocast_argument(const Tensor& t, DType to) {
  static OpRef cast{"_to_dtype"};
  if (!castable(*t) || t.dtype() == to) return t;
  State& s = state();
  const bool leaf = t->requires_grad && t->grad_fn == nullptr && !t->base && !t->dataless;
  const bool keep = s.cache_enabled && leaf && t.dtype() == DType::Float32 && to == s.dtypes[int(t.device().type)] &&
                    thread_state.grad_mode && !thread_state.inference_mode;
  if (keep) {
    auto found = s.cache.find(t.get());
    if (found != s.cache.end() && found->second.version == t->storage->version) return found->second.cast;
  }
  Suspend off;
  Tensor result = invoke(cast, t, to);
  if (keep && !result->dataless) s.cache[t.get()] = {t, result, t->storage->version};
  return result;
}

bool autocast_call(const Op& op, const Value* args, Tensor* outs) {
  State& s = state();
  if (s.enabled == 0) return false;
  const auto found = policies().find(&op);
  if (found == policies().end()) return false;
  const DeviceType device = common_device(op, args).type;
  const CastPolicy policy = found->second[size_t(device)];
  if (policy == CastPolicy::None || !autocast_enabled(device)) return false;
  const DType lower = s.dtypes[int(device)];
  const DType to = policy == CastPolicy::Lower ? lower : policy == CastPolicy::Float32 ? DType::Float32 : widest(op, args, lower);
  Value cast[kMaxArgs];
  std::vector<Tensor> keep;
  std::vector<std::vector<TensorImpl*>> lists;
  lists.reserve(op.args.size());
  auto converted = [&](TensorImpl* t) { return t == nullptr ? t : keep.emplace_back(autocast_argument(Tensor(t), to)).get(); };
  for (size_t k = 0; k < op.args.size(); ++k) {
    cast[k] = args[k];
    if (args[k].is_tensor()) cast[k] = Value(converted(args[k].t));
    if (args[k].kind != Kind::Tensors) continue;
    auto& list = lists.emplace_back(args[k].tensors, args[k].tensors + args[k].len);
    for (TensorImpl*& t : list) t = converted(t);
    cast[k] = Value::list(list.data(), int(list.size()));
  }
  Suspend off;
  call(op, cast, outs);
  return true;
}

}  // namespace mg
