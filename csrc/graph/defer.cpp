// Noting: which calls are deferred, and the walk down the tree of calls. See defer.h; computing is in settle.cpp.
#include "defer.h"

#include <cstring>

#include "../autograd/node.h"
#include "../autograd/saved_hooks.h"
#include "../core/profile.h"
#include "facts.h"

namespace mg {

namespace {

enum Trait : uint8_t { kKnown = 1, kAlone = 2, kRaises = 4 };
constexpr int64_t kSmall = 64 << 10;  // bytes of foreign memory that are copied instead of computing with it at once
constexpr int kLongest = 4000;        // calls of a segment
constexpr size_t kVariants = 3;       // of one call, with other numbers

bool same(const OwnedValue& a, const Value& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::None: return true;
    case Kind::Bool: return a.b == b.b;
    case Kind::Int: return a.i == b.i;
    case Kind::Float: return std::memcmp(&a.f, &b.f, sizeof a.f) == 0;
    case Kind::DType: return a.dtype == b.dtype;
    case Kind::Device: return a.device == b.device;
    case Kind::Ints: return a.len == b.len && (a.len == 0 || std::memcmp(a.ints, b.ints, size_t(a.len) * sizeof(int64_t)) == 0);
    case Kind::Str: return std::strcmp(a.str, b.str) == 0;
    case Kind::Complex: return std::memcmp(a.z, b.z, sizeof *a.z) == 0;
    case Kind::Generator: return a.generator == b.generator;
    default: return false;
  }
}

bool same_spec(const OutSpec& a, const TensorImpl& t) {
  return a.dtype == t.dtype && a.device == t.device && a.offset == t.offset && a.sizes == t.sizes && a.strides == t.strides;
}

GraphValue value_of(const TensorImpl& t, int storage) {
  GraphValue v;
  v.spec = {t.dtype, t.device, t.sizes, t.strides, true, t.offset};
  v.storage = storage;
  return v;
}

bool is_foreign(const TensorImpl& t) { return t.storage->release != nullptr || t.storage->lent.load(std::memory_order_relaxed) != 0; }

template <class F> bool all_tensors(const Op& op, const Value* args, F&& f) {
  for (int k = 0; k < op.n_args; ++k) {
    if (args[k].is_tensor() && !f(*args[k].t)) return false;
    for (int j = 0; args[k].kind == Kind::Tensors && j < args[k].len; ++j)
      if (args[k].tensors[j] != nullptr && !f(*args[k].tensors[j])) return false;
  }
  return true;
}

// Written in C++ and known here: a kernel in Python may do anything.
bool is_native(const Op& op) {
  KernelFn known = find_kernel(op.name, DeviceType::CPU);
  if (known == nullptr && op.is_pointwise) known = find_kernel("pointwise", DeviceType::CPU);
  return op.is_view || (known != nullptr && op.kernels[0] == known);
}

// Whether its kernel may refuse values: indices out of range, a matrix that is singular.
bool may_raise(const Op& op, uint8_t traits, const Value* args) {
  if ((traits & kRaises) || op.is_pointwise || op.is_view) return traits & kRaises;
  return !all_tensors(op, args, [](const TensorImpl& t) { return !is_integral(t.dtype); });
}

// A number that is another one in each run (what item() gave) would make each run another program: such a call is not noted.
bool has_changing_number(const NotedCall& at, const Op& op, const Value* args) {
  size_t others = 0;
  for (const auto& step : at.next) {
    if (step->call.op != &op) continue;
    bool equal = true;
    for (int k = 0; equal && k < op.n_args; ++k) equal = !args[k].is_number() || same(step->call.args[size_t(k)].number, args[k]);
    if (equal) return false;
    ++others;
  }
  return others >= kVariants;
}

}  // namespace

uint8_t Segments::traits_of(const Op& op) {
  uint8_t& t = traits[&op];
  if (t == 0) t = kKnown | (alone.contains(&op) || !is_native(op) ? kAlone : 0) | (raising.contains(&op) || op.can_fail ? kRaises : 0);
  return t;
}

Deferrer::Deferrer(std::shared_ptr<Segments> segments, Handler* below)
    : Handler(below != nullptr ? below->level + 1 : 1, below), segments_(std::move(segments)), at_(&segments_->root) {
  is_tracer = defers = true;
}

std::string Deferrer::why() const {
  return failed_.empty() ? "it waits for an op of a compiled function, in another thread or in a finaliser. Try the function without compile"
                         : "its value could not be computed: " + failed_;
}

// Its elements stay what they are until the segment is computed, unless a call writes to them.
bool Deferrer::readable(const TensorImpl& t) const { return t.device.type == DeviceType::CPU && (!is_foreign(t) || t.nbytes() <= kSmall); }

bool Deferrer::takes(const Op& op, const Value* args, const MetaResult& r, const Tensor*, Write mode) {
  if (paused || busy_ || std::this_thread::get_id() != thread_ || !failed_.empty()) {
    settle(op.name.c_str());
    return false;
  }
  const bool writes = mode != Write::Fresh || op.mutated >= 0;
  if (op.is_view && !writes && !args[0].t->dataless) return false;  // a view of what is there is there
  bool noted = mode != Write::Out && !(segments_->traits_of(op) & kAlone) && r.out[0].device.type == DeviceType::CPU && !segments_->full();
  noted = noted && !profile_is_on() && !thread_state.anomaly && active_saved_hooks == nullptr;
  for (int k = 0; noted && k < op.n_args; ++k) noted = args[k].kind != Kind::Generator || args[k].generator == nullptr;
  if (noted && writes) {
    const TensorImpl& target = *args[std::max(op.mutated, 0)].t;
    noted = target.dataless;
  }
  noted = noted && all_tensors(op, args, [&](const TensorImpl& t) {
    const Standin* s = standin_of(t);
    return s != nullptr ? s->handler.get() == this : readable(t);
  });
  noted = noted && (at_->next.size() < kVariants || !has_changing_number(*at_, op, args));
  if (!noted || noted_ >= kLongest) settle(op.name.c_str());
  return noted;
}

int Deferrer::new_input(TensorImpl& t) {
  const int id = int(storage_.size());
  storage_.push_back(storages_++);
  if (is_foreign(t)) {
    inputs_.push_back(empty_strided(t.sizes, t.strides, t.dtype, t.device));  // a copy of now, of this one use
    copy_into(inputs_.back(), Tensor(&t));
  } else {
    inputs_.push_back(Tensor(&t));
    numbers_.emplace(&t, id);
  }
  versions_.push_back(inputs_.back()->storage->version);
  return id;
}

int Deferrer::number_of(TensorImpl& t) {
  if (t.dataless) return int(standin_of(t)->id);
  const auto found = numbers_.find(&t);
  return found != numbers_.end() ? found->second : new_input(t);
}

void Deferrer::number_arguments(const Op& op, const Value* args) {
  ids_.clear();
  for (int k = 0; k < op.n_args; ++k) {
    if (args[k].is_tensor()) ids_.push_back(number_of(*args[k].t));
    for (int j = 0; args[k].kind == Kind::Tensors && j < args[k].len; ++j)
      ids_.push_back(args[k].tensors[j] != nullptr ? number_of(*args[k].tensors[j]) : -1);
  }
}

// The step from here that is this call. `before`: how many inputs there were before it.
NotedCall& Deferrer::step_down(const Op& op, const Value* args, const MetaResult& r, Write mode, size_t before) {
  for (const auto& step : at_->next) {
    if (step->call.op != &op || step->call.mode != mode || step->inputs != inputs_.size() - before) continue;
    size_t id = 0;
    bool fits = step->call.compute == r.compute;
    for (int k = 0; fits && k < op.n_args; ++k) {
      const GraphArg& a = step->call.args[size_t(k)];
      fits = a.is_tensor == args[k].is_tensor() && a.is_list == (args[k].kind == Kind::Tensors) && (!a.is_list || int(a.ids.size()) == args[k].len);
      if (fits && !a.is_tensor && !a.is_list) fits = same(a.number, args[k]);
      for (size_t j = 0; fits && j < a.ids.size(); ++j) fits = a.ids[j] == ids_[id++];
    }
    for (size_t k = 0; fits && k < step->inputs; ++k) fits = same_spec(step->fresh[k].spec, *inputs_[before + k]);
    for (size_t k = step->inputs; fits && k < step->fresh.size(); ++k) {
      const OutSpec &want = step->fresh[k].spec, &now = r.out[k - step->inputs];
      fits = want.dtype == now.dtype && want.sizes == now.sizes && (!now.has_strides || want.strides == now.strides) && (!op.is_view || want.offset == now.offset);
    }
    if (fits) return *step;
  }
  return extend(op, args, r, mode, before);
}

NotedCall& Deferrer::extend(const Op& op, const Value* args, const MetaResult& r, Write mode, size_t before) {
  auto made = std::make_unique<NotedCall>();
  made->before = at_;
  made->inputs = inputs_.size() - before;
  made->call.op = &op;
  made->call.mode = mode;
  made->call.compute = r.compute;
  made->call.line = segments_->current_line();
  size_t id = 0;
  for (int k = 0; k < op.n_args; ++k) {
    GraphArg a;
    a.is_tensor = args[k].is_tensor();
    a.is_list = args[k].kind == Kind::Tensors;
    if (!a.is_tensor && !a.is_list) a.number = OwnedValue(args[k]);
    for (int j = 0, n = a.is_tensor ? 1 : a.is_list ? args[k].len : 0; j < n; ++j) a.ids.push_back(ids_[id++]);
    made->call.args.push_back(std::move(a));
  }
  for (size_t k = before; k < inputs_.size(); ++k) {
    const size_t number = storage_.size() - (inputs_.size() - k);
    made->fresh.push_back(value_of(*inputs_[k], storage_[number]));
  }
  ++segments_->calls;
  at_->next.push_back(std::move(made));
  return *at_->next.back();
}

void Deferrer::run(const Op& op, const Value* args, const MetaResult& r, Tensor* outs, Write mode) {
  const size_t before = inputs_.size();
  number_arguments(op, args);
  NotedCall& step = step_down(op, args, r, mode, before);
  const bool known = step.fresh.size() > step.inputs || !step.call.outs.empty();
  if (mode == Write::Inplace) {
    note_write(*args[std::max(op.mutated, 0)].t);
  } else {
    for (int k = 0; k < op.n_outputs(); ++k) {
      const int id = int(storage_.size());
      storage_.push_back(op.is_view ? storage_[size_t(standin_of(*args[0].t)->id)] : storages_++);
      outs[k] = make_placeholder(Ref<Handler>(this), r.out[k], id);
      TensorImpl& t = *outs[k];
      t.inference = op.is_view ? args[0].t->inference : thread_state.inference_mode;
      if (op.is_view) {
        t.storage = args[0].t->storage;
        t.offset = r.out[k].offset;
        t.untracked_version = args[0].t->untracked_version;
      }
      adopt(t);
      if (known) continue;
      step.call.outs.push_back(id);
      step.fresh.push_back(value_of(t, storage_.back()));
    }
  }
  at_ = &step;
  ++noted_;
  if (may_raise(op, segments_->traits_of(op), args) && segments_->may_be_caught()) settle(op.name.c_str());
}

void Deferrer::adopt(TensorImpl& t) {
  standin_of(t)->slot = int(tensors_.size());
  tensors_.push_back(&t);
}

void Deferrer::forget(const Standin& s) {
  if (s.slot >= 0 && size_t(s.slot) < tensors_.size()) tensors_[size_t(s.slot)] = nullptr;
}

}  // namespace mg
