// See profile.h.
#include "profile.h"

#include <chrono>
#include <mutex>

#include "allocator.h"

namespace mg {

ProfileHooks profile_hooks;

namespace {

std::atomic<bool> on{false};
ProfileOptions options;
std::mutex lock;  // guards events
std::vector<ProfileEvent> events;
thread_local bool pass_once = false;  // the next call() of this thread is the one being recorded

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

uint64_t thread_number() {
  static std::atomic<uint64_t> threads{0};
  thread_local const uint64_t mine = ++threads;
  return mine;
}

// Counts what is allocated now into the event: negative at its start, positive at its end.
void count_memory(ProfileEvent& e, int sign) {
  if (!options.memory) return;
  e.memory += sign * int64_t(memory_stats().allocated);
  if (profile_hooks.device_allocated) e.device_memory += sign * profile_hooks.device_allocated();
}

void note_tensor(ProfileEvent& e, const TensorImpl* t) {
  if (t == nullptr) return;
  e.inputs.emplace_back(t->sizes.begin(), t->sizes.end());
  e.dtypes.push_back(dtype_name(t->dtype));
}

void note_arguments(ProfileEvent& e, const Op& op, const Value* args) {
  for (int k = 0; k < op.n_args; ++k) {
    if (args[k].is_tensor()) note_tensor(e, args[k].t);
    for (int j = 0; args[k].kind == Kind::Tensors && j < args[k].len; ++j) note_tensor(e, args[k].tensors[j]);
  }
}

}  // namespace

bool profile_is_on() { return on.load(std::memory_order_relaxed); }

void profile_start(const ProfileOptions& wanted) {
  MG_CHECK(!on.exchange(true), Runtime, "profiler: a profile is running already. Try stopping it first.");
  options = wanted;
  {
    std::lock_guard guard(lock);
    events.clear();
  }
  handlers_alive.fetch_add(1, std::memory_order_relaxed);
}

std::vector<ProfileEvent> profile_stop() {
  if (on.exchange(false)) handlers_alive.fetch_sub(1, std::memory_order_relaxed);
  std::lock_guard guard(lock);
  return std::exchange(events, {});
}

ProfileScope::ProfileScope(ProfileKind kind, std::string name, uint64_t sequence) : on_(profile_is_on()) {
  if (!on_) return;
  event_ = {kind, std::move(name), 0, 0, thread_number(), sequence, 0, 0, {}, {}, {}, {}};
  if (options.stack && profile_hooks.python_stack) event_.stack = profile_hooks.python_stack();
  count_memory(event_, -1);
  event_.start = now();
}

ProfileScope::~ProfileScope() {
  if (!on_) return;
  event_.end = now();
  count_memory(event_, +1);
  std::lock_guard guard(lock);
  if (profile_is_on()) events.push_back(std::move(event_));
}

bool profile_call(const Op& op, const Value* args, Tensor* outs, Write mode) {
  if (!profile_is_on()) return false;
  if (pass_once) {
    pass_once = false;
    return false;
  }
  ProfileScope scope(ProfileKind::Op, mode == Write::Inplace && op.mutated < 0 ? op.name + "_" : op.name);
  if (options.shapes) note_arguments(scope.event(), op, args);
  pass_once = true;
  try {
    call(op, args, outs, mode);
  } catch (...) {
    pass_once = false;
    throw;
  }
  pass_once = false;
  if (outs[0].defined()) {
    if (options.shapes) scope.event().output.assign(outs[0].sizes().begin(), outs[0].sizes().end());
    if (profile_hooks.sequence_of) scope.event().sequence = profile_hooks.sequence_of(*outs[0]);
  }
  return true;
}

}  // namespace mg
