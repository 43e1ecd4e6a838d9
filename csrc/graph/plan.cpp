// See plan.h: what is settled once, and the run.
#include "plan.h"

#include <algorithm>

#include "../autograd/node.h"
#include "../core/allocator.h"
#include "../core/autocast.h"
#include "../core/backend_module.h"
#include "../core/profile.h"
#include "arguments.h"
#include "join.h"
#include "plan_state.h"

namespace mg {

namespace {

void run_call(const GraphCall& c, std::vector<Tensor>& slots) {
  CallArguments args(c, slots);
  Tensor outs[kMaxOutputs];
  call(*c.op, args.values, outs, c.mode);
  for (size_t k = 0; k < c.outs.size(); ++k) slots[size_t(c.outs[k])] = std::move(outs[k]);
}

Tensor allocate(const OutSpec& s) { return empty_strided(s.sizes, s.strides, s.dtype, s.device); }

std::string fused_name(const GraphCall& c) {
  std::string name = "fused[";
  for (const GraphCall& part : c.parts) name += (name.back() == '[' ? "" : ", ") + part.op->name;
  return name + "]";
}

void run_fused(const GraphCall& c, const std::vector<Tensor>& slots) {
  void* operands[64];
  int n = 0;
  for (const GraphArg& a : c.args) operands[n++] = slots[size_t(a.ids[0])]->data();
  for (const auto* made : {&c.outs, &c.writes})
    for (int id : *made) operands[n++] = slots[size_t(id)]->data();
  if (cuda_hooks.note_use != nullptr && slots[size_t(c.outs.empty() ? c.writes[0] : c.outs[0])]->device.type == DeviceType::CUDA) {
    for (const GraphArg& a : c.args) cuda_hooks.note_use(*slots[size_t(a.ids[0])]);
    for (const auto* made : {&c.outs, &c.writes})
      for (int id : *made) cuda_hooks.note_use(*slots[size_t(id)]);
  }
  c.fused->run(operands);
  if (c.writes.empty()) return;
  for (const GraphCall& part : c.parts)
    if (part.mode == Write::Inplace) note_write(*slots[size_t(part.args[0].ids[0])]);
}

Tensor view_of(const TensorImpl& base, const OutSpec& from, const OutSpec& to) {
  return alias(base, to.sizes, to.strides, base.offset + to.offset - from.offset);
}

}  // namespace

Plan::Plan(Graph graph) : graph_(std::move(graph)), steps_(graph_.calls.size()) {
  int storages = 0;
  for (const GraphValue& v : graph_.values) storages = std::max(storages, v.storage + 1);
  for (GraphValue& v : graph_.values)
    if (v.storage < 0) v.storage = storages++;
  note_gradients();
  choose_ways();
  plan_arena();
  note_deaths();
  note_weights();
  state_ = make_state();
}
Plan::~Plan() = default;

void Plan::note_gradients() {
  std::vector<int> leaf_of(graph_.values.size(), -1);
  given_.assign(graph_.values.size(), false);
  owned_by_one_leaf_.assign(graph_.values.size(), true);
  auto give = [&](const GraphGradient& g) {
    if (g.value < 0) return;
    if (leaf_of[size_t(g.value)] >= 0 && leaf_of[size_t(g.value)] != g.leaf) owned_by_one_leaf_[size_t(g.value)] = false;
    leaf_of[size_t(g.value)] = g.leaf;
    given_[size_t(g.value)] = true;
  };
  for (const GraphGradient& g : graph_.gradients) give(g);
  for (const GraphCall& c : graph_.calls)
    if (c.host)
      for (const GraphGradient& g : c.host->gradients) give(g);
  input_number_.assign(graph_.values.size(), -1);
  for (size_t k = 0; k < graph_.inputs.size(); ++k) input_number_[size_t(graph_.inputs[k])] = int(k);
  given_lists_.push_back(&graph_.gradients);
  for (const GraphCall& c : graph_.calls)
    if (c.host) given_lists_.push_back(&c.host->gradients);
  for (int id : graph_.outputs) owned_by_one_leaf_[size_t(id)] = false;
  for (int id : graph_.inputs) owned_by_one_leaf_[size_t(id)] = false;
}

void Plan::choose_ways() {
  std::vector<Tensor> stand_ins;
  for (const GraphValue& v : graph_.values) stand_ins.push_back(stand_in(v.spec));
  for (size_t at = 0; at < steps_.size(); ++at) choose_way(at, stand_ins);
}

// The kernel is called directly where the op's meta function says again what the trace has, and nothing else than a kernel is involved.
void Plan::choose_way(size_t at, const std::vector<Tensor>& stand_ins) {
  const GraphCall& c = graph_.calls[at];
  Step& step = steps_[at];
  const auto spec = [&](int id) -> const OutSpec& { return graph_.values[size_t(id)].spec; };
  if (c.op == nullptr) {
    step.way = c.host ? Way::Host : c.fused ? Way::Fused : Way::Joined;
    return;
  }
  if (c.op->is_view && c.mode == Write::Fresh) {
    if (spec(c.args[0].ids[0]).dtype == spec(c.outs[0]).dtype) step.way = Way::View;
    return;
  }
  const bool inplace = c.mode == Write::Inplace;
  if (c.op->mutated >= 0 || c.mode == Write::Out || (inplace && !c.op->is_pointwise)) return;
  MetaResult r(c.op->n_out);
  CallArguments args(c, stand_ins);
  try {
    c.op->meta(*c.op, args.values, r);
  } catch (const std::exception&) {
    return;  // call() will say it again
  }
  const int target = inplace ? c.args[0].ids[0] : -1;
  for (int k = 0; k < c.op->n_out; ++k) {
    const OutSpec& want = inplace ? spec(target) : spec(c.outs[size_t(k)]);
    if (r.out[k].dtype != want.dtype || !(r.out[k].sizes == want.sizes) || !(r.out[k].device == want.device) || want.device.type != DeviceType::CPU) return;
  }
  if (inplace) {
    const int storage = graph_.values[size_t(target)].storage;
    if ((c.op->can_fail && !is_inexact(r.compute)) || has_internal_overlap(*stand_ins[size_t(target)])) return;
    for (int id : graph_.inputs)
      if (graph_.values[size_t(id)].storage == storage) return;  // what call() checks before it writes
    for (const GraphArg& a : c.args)
      if (a.is_tensor && graph_.values[size_t(a.ids[0])].storage == storage && !same_layout_spec(spec(a.ids[0]), spec(target))) return;
  }
  for (const GraphArg& a : c.args)
    for (int id : a.ids)
      if (id >= 0 && spec(id).device.type != DeviceType::CPU) return;
  step.complex = is_complex(std::max(r.compute, r.out[0].dtype));
  if ((step.complex ? c.op->complex_kernels : c.op->kernels)[0] == nullptr) return;
  step.way = Way::Kernel;
  step.compute = r.compute;
  step.plain = r.plain;
}

void Plan::note_deaths() {
  std::vector<int> last(graph_.values.size(), -1);
  auto use = [&](int id, size_t at) {
    if (id >= 0) last[size_t(id)] = int(at);
  };
  for (size_t at = 0; at < graph_.calls.size(); ++at) {
    const GraphCall& call = graph_.calls[at];
    for (int id : call.outs) use(id, at);
    for (int id : call.writes) use(id, at);
    for (const GraphArg& a : call.args)
      for (int id : a.ids) use(id, at);
    if (call.host)
      for (const GraphGradient& g : call.host->gradients) use(g.value, at);
  }
  for (int id : graph_.outputs) last[size_t(id)] = -1;
  for (const GraphGradient& g : graph_.gradients)
    if (g.value >= 0) last[size_t(g.value)] = -1;
  for (size_t id = 0; id < last.size(); ++id)
    if (last[id] >= 0 && graph_.values[id].maker >= 0 && !made_once_[id]) steps_[size_t(last[id])].dead.push_back(int(id));
}

int Plan::kernels() const {
  int n = 0;
  for (const Step& s : steps_) n += s.way != Way::View && s.way != Way::Done;
  return n;
}

void Plan::give_gradients(const std::vector<GraphGradient>& gradients, Slots& slots) const {
  for (const GraphGradient& g : gradients) {
    TensorImpl& leaf = *slots[size_t(g.leaf)];
    if (g.value < 0) {
      if (leaf.autograd != nullptr) leaf.autograd->grad.reset();
      continue;
    }
    const Tensor& slot = slots[size_t(g.value)];
    if (leaf.autograd != nullptr && leaf.autograd->grad.is(slot)) continue;
    set_leaf_gradient(leaf, slot, owned_by_one_leaf_[size_t(g.value)]);  // shared with the slot: what reads it later sees the same
  }
}

void Plan::run_kernel(const GraphCall& c, const Step& step, Slots& slots) const {
  CallArguments args(c, slots);
  Tensor outs[kMaxOutputs];
  if (c.mode == Write::Inplace) outs[0] = slots[size_t(c.args[0].ids[0])];
  else
    for (size_t k = 0; k < c.outs.size(); ++k) outs[k] = slots[size_t(c.outs[k])];
  const KernelFn kernel = (step.complex ? c.op->complex_kernels : c.op->kernels)[0];  // now: a kernel in Python may have been set
  Invocation inv{*c.op, args.values, outs, step.compute, step.plain};
  if (step.weight < 0) {
    kernel(inv);
  } else {
    const Weight& weight = weights_[size_t(step.weight)];
    const PreparedScope scope(weight.use->now(*slots[size_t(weight.value)]->storage));
    kernel(inv);
  }
  if (c.mode == Write::Inplace) ++outs[0]->storage->version;
}

Tensor Plan::fresh(int id, State& state) const {
  const OutSpec& spec = graph_.values[size_t(id)].spec;
  const Place& p = place_of(id);
  Ref<Storage> part = p.cut_out ? state.regions[size_t(p.region)].part(size_t(p.offset), size_t(p.bytes)) : Ref<Storage>();
  if (!part) return allocate(spec);
  Tensor t(make_ref<TensorImpl>());
  t->dtype = spec.dtype;
  t->storage = std::move(part);
  t->set_layout(spec.sizes, spec.strides);
  return t;
}

// Clears what a run leaves, also one that raises.
struct Plan::State::Cleared {
  const Plan& plan;
  State& state;
  ~Cleared() {
    for (size_t id = 0; id < state.slots.size(); ++id)
      if (!plan.made_once_[id]) state.slots[id].reset();
    state.regions.clear();
    if (&state == plan.state_.get()) plan.busy_ = false;
  }
};

// What is given a gradient loses the last one first, as zero_grad() would have it, unless the graph adds to that.
void Plan::drop_gradients(const std::vector<Tensor>& inputs) const {
  for (const auto* list : given_lists_)
    for (const GraphGradient& g : *list) {
      TensorImpl& leaf = *inputs[size_t(input_number_[size_t(g.leaf)])];
      if (leaf.autograd == nullptr || !leaf.autograd->grad.defined()) continue;
      const Tensor& old = leaf.autograd->grad;
      if (std::none_of(inputs.begin(), inputs.end(), [&](const Tensor& t) { return t.is(old); })) leaf.autograd->grad.reset();
    }
}

// A view of an argument that requires grad would require it too; whether it does is not the plan's to say.
Tensor Plan::result(int id, const Tensor& t) const {
  return needs_grad(*t) && graph_.values[size_t(id)].maker >= 0 ? alias(*t) : t;
}

std::vector<Tensor> Plan::run_planned(const std::vector<Tensor>& inputs, State& state) const {
  Slots& slots = state.slots;
  const State::Cleared cleared{*this, state};
  state.regions.resize(regions_.size());
  drop_gradients(inputs);
  for (size_t k = 0; k < inputs.size(); ++k) slots[size_t(graph_.inputs[k])] = inputs[k];
  for (const GraphConstant& c : graph_.constants) slots[size_t(c.id)] = c.tensor;
  for (size_t at = 0; at < graph_.calls.size(); ++at) {
    const GraphCall& c = graph_.calls[at];
    const Step& step = steps_[at];
    for (size_t r : step.begins) state.begin(r, regions_[r], places_);
    for (int id : step.fresh) {
      slots[size_t(id)] = fresh(id, state);
      slots[size_t(id)]->inference = thread_state.inference_mode;
    }
    switch (step.way) {
      case Way::Host:
        give_gradients(c.host->gradients, slots);
        c.host->run();
        break;
      case Way::Call: run_call(c, slots); break;
      case Way::Kernel: run_kernel(c, step, slots); break;
      case Way::Fused: run_fused(c, slots); break;
      case Way::Joined: run_joined(c, slots); break;
      case Way::View: {
        const int base = c.args[0].ids[0], out = c.outs[0];
        slots[size_t(out)] = view_of(*slots[size_t(base)], graph_.values[size_t(base)].spec, graph_.values[size_t(out)].spec);
        break;
      }
      case Way::Done: break;
    }
    for (int id : step.dead) slots[size_t(id)].reset();
    for (size_t r : step.ends) state.regions[r] = {};
  }
  std::vector<Tensor> results;
  for (int id : graph_.outputs) results.push_back(result(id, slots[size_t(id)]));
  give_gradients(graph_.gradients, slots);
  return results;
}

std::vector<Tensor> Plan::run_plainly(const std::vector<Tensor>& inputs) const {
  Slots slots(graph_.values.size());
  for (size_t k = 0; k < inputs.size(); ++k) slots[size_t(graph_.inputs[k])] = inputs[k];
  for (const GraphConstant& c : graph_.constants) slots[size_t(c.id)] = c.tensor;
  for (size_t at = 0; at < graph_.calls.size(); ++at) {
    const GraphCall& c = graph_.calls[at];
    if (c.host) {
      give_gradients(c.host->gradients, slots);
      c.host->run();
    } else if (c.fused) {
      const std::unique_ptr<ProfileScope> noted = profile_is_on() ? std::make_unique<ProfileScope>(ProfileKind::Op, fused_name(c)) : nullptr;
      for (int id : c.outs) slots[size_t(id)] = allocate(graph_.values[size_t(id)].spec);
      run_fused(c, slots);
    } else if (is_joined(c)) {
      const std::unique_ptr<ProfileScope> noted = profile_is_on() ? std::make_unique<ProfileScope>(ProfileKind::Op, joined_name(c)) : nullptr;
      run_joined(c, slots);
    } else {
      run_call(c, slots);
    }
    for (int id : steps_[at].dead) slots[size_t(id)].reset();
  }
  std::vector<Tensor> results;
  for (int id : graph_.outputs) results.push_back(result(id, slots[size_t(id)]));
  give_gradients(graph_.gradients, slots);
  return results;
}

// Gradients come from outside in any layout (expanded, transposed): they are copied into the one that was traced.
std::vector<Tensor> Plan::laid_out(const std::vector<Tensor>& inputs) const {
  std::vector<Tensor> out = inputs;
  for (size_t k = 0; k < out.size(); ++k) {
    const OutSpec& spec = graph_.values[size_t(graph_.inputs[k])].spec;
    if (out[k]->strides == spec.strides || std::find(graph_.cotangents.begin(), graph_.cotangents.end(), graph_.inputs[k]) == graph_.cotangents.end()) continue;
    const Tensor fitting = empty_strided(spec.sizes, spec.strides, spec.dtype, spec.device);
    copy_into(fitting, out[k]);
    out[k] = fitting;
  }
  return out;
}

// Would a profiler, a transform or an autocast region see the calls? Handlers that this thread and these tensors have nothing to do with (a tensor
// of a trace that failed, a transform of another thread) do not count.
static bool is_watched(const std::vector<Tensor>& inputs) {
  if (!handlers_exist()) return false;
  if (active_handler != nullptr || profile_is_on() || autocast_is_on()) return true;
  return std::any_of(inputs.begin(), inputs.end(), [](const Tensor& t) { return t->dataless || t->device.type == DeviceType::Meta; });
}

std::vector<Tensor> Plan::run(const std::vector<Tensor>& given) const {
  MG_CHECK(given.size() == graph_.inputs.size(), Runtime, "plan: got ", given.size(), " inputs, expected ", graph_.inputs.size());
  const std::vector<Tensor> moved = graph_.cotangents.empty() ? std::vector<Tensor>() : laid_out(given);
  const std::vector<Tensor>& inputs = graph_.cotangents.empty() ? given : moved;
  const GradModeGuard off(false);
  if (is_watched(inputs)) {
    const AutocastSuspended off;  // what it casts is in the graph
    return run_plainly(inputs);
  }
  const MemoryTag tag("a compiled function");
  if (!busy_.exchange(true)) return run_planned(inputs, *state_);
  const std::unique_ptr<State> mine = make_state();  // called by itself, or by two threads
  return run_planned(inputs, *mine);
}

}  // namespace mg
