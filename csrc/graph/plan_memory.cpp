// A plan's memory: which storages live inside of a run, when, and where in the arena they lie.
#include <algorithm>

#include "plan_state.h"

namespace mg {

namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kLarge = 256 << 10;  // bytes; allocating that much in each run costs nothing beside the work on it

int64_t bytes_of(const OutSpec& s) {  // from the storage's start to behind the last element
  int64_t last = s.offset;
  for (int k = 0; k < s.sizes.size(); ++k) {
    if (s.sizes[k] == 0) return 0;
    last += (s.sizes[k] - 1) * s.strides[k];
  }
  return (last + 1) * itemsize(s.dtype);
}

bool is_native(const GraphCall& c) {  // a kernel written in Python may keep what it is given
  if (c.op == nullptr) return !c.host;
  KernelFn known = find_kernel(c.op->name, DeviceType::CPU);
  if (known == nullptr && c.op->is_pointwise) known = find_kernel("pointwise", DeviceType::CPU);
  return c.op->is_view || (known != nullptr && c.op->kernels[0] == known);
}

}  // namespace

ArenaPool& arena_pool() {
  static auto* pool = new ArenaPool;
  return *pool;
}

Ref<Storage> ArenaPool::take(int64_t bytes) {
  if (bytes == 0) return {};
  Ref<Storage> best;
  {
    const std::lock_guard lock(mutex_);
    const auto larger = [](const Ref<Storage>& a, const Ref<Storage>& b) { return a->nbytes < b->nbytes; };
    const auto at = std::max_element(idle_.begin(), idle_.end(), larger);
    if (at != idle_.end()) {
      best = std::move(*at);
      idle_.erase(at);
    }
  }
  if (best && best->nbytes >= size_t(bytes)) return best;
  best = {};  // first: the new one may take its memory
  return Storage::allocate(size_t(bytes), Device{});
}

void ArenaPool::give(Ref<Storage> arena) {
  if (!arena) return;
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(arena));
}

void Plan::State::settle(Ref<Storage> in, const std::vector<Place>& places) {
  arena = std::move(in);
  void* const base = arena ? arena->data : nullptr;
  if (base == settled_at) return;
  settled_at = base;
  for (size_t s = 0; s < storages.size(); ++s)
    if (storages[s]) storages[s]->data = static_cast<char*>(base) + places[s].offset;
}

std::unique_ptr<Plan::State> Plan::make_state() const {
  auto state = std::make_unique<State>();
  state->slots.resize(graph_.values.size());
  state->storages.resize(places_.size());
  for (size_t s = 0; s < places_.size(); ++s)
    if (places_[s].in_arena) state->storages[s] = Storage::foreign(nullptr, size_t(places_[s].bytes), Device{}, [](void*) {}, nullptr);
  for (size_t id = 0; id < graph_.values.size(); ++id) {
    if (!made_once_[id]) continue;
    const GraphValue& v = graph_.values[id];
    Tensor t(make_ref<TensorImpl>());
    t->dtype = v.spec.dtype;
    t->device = v.spec.device;
    t->storage = state->storages[size_t(v.storage)];
    t->offset = v.spec.offset;
    t->set_layout(v.spec.sizes, v.spec.strides);
    state->slots[id] = std::move(t);
  }
  return state;
}

void Plan::plan_arena() {
  choose_storages();
  share_blocks();
  place_blocks();
}

// In the arena: storages that a kernel's result begins, and that neither come from outside nor leave the run.
void Plan::choose_storages() {
  int storages = 0;
  for (const GraphValue& v : graph_.values) storages = std::max(storages, v.storage + 1);
  places_.assign(size_t(storages), {});
  made_once_.assign(graph_.values.size(), false);
  std::vector<bool> outside(size_t(storages), false);
  const auto storage = [&](int id) { return size_t(graph_.values[size_t(id)].storage); };
  const auto leave = [&](int id) {
    if (id >= 0) outside[storage(id)] = true;
  };
  for (size_t id = 0; id < graph_.values.size(); ++id)
    if (graph_.values[id].spec.device.type != DeviceType::CPU) leave(int(id));  // other devices have allocators of their own for this
  for (int id : graph_.inputs) leave(id);
  for (int id : graph_.outputs) leave(id);
  for (const GraphConstant& c : graph_.constants) leave(c.id);
  for (size_t id = 0; id < given_.size(); ++id)
    if (given_[id]) leave(int(id));
  for (size_t at = 0; at < graph_.calls.size(); ++at) {
    const GraphCall& c = graph_.calls[at];
    if (c.host)
      for (int id : c.host->writes) leave(id);
    const bool native = c.host || is_native(c);
    for (const GraphArg& a : c.args)
      for (int id : a.ids)
        if (!native) leave(id);
    const bool here = steps_[at].way == Way::Kernel || steps_[at].way == Way::Fused;
    for (int id : c.outs)
      if (!native || (!here && steps_[at].way != Way::View)) leave(id);
  }
  const auto touch = [&](int id, size_t at) {
    if (id < 0) return;
    Place& p = places_[storage(id)];
    if (p.first < 0) p.first = int(at);
    p.last = int(at);
    p.bytes = std::max(p.bytes, bytes_of(graph_.values[size_t(id)].spec));
  };
  for (size_t at = 0; at < graph_.calls.size(); ++at) {
    for (int id : graph_.calls[at].outs) touch(id, at);
    for (int id : graph_.calls[at].writes) touch(id, at);
    for (const GraphArg& a : graph_.calls[at].args)
      for (int id : a.ids) touch(id, at);
  }
  for (size_t k = 0; k < places_.size(); ++k) {
    Place& p = places_[k];
    p.outside = outside[k];
    p.in_arena = !p.outside && p.bytes > 0 && p.bytes < kLarge;
  }
  for (size_t at = 0; at < graph_.calls.size(); ++at)
    for (int id : graph_.calls[at].outs) {
      made_once_[size_t(id)] = lies_in_arena(id);
      if (made_once_[size_t(id)] && steps_[at].way == Way::View) steps_[at].way = Way::Done;
      const bool allocated = steps_[at].way == Way::Kernel || steps_[at].way == Way::Fused;
      if (!made_once_[size_t(id)] && allocated) steps_[at].fresh.push_back(id);
    }
}

// May the result `id` of this call lie where its argument `from`, which dies here, lies?
bool Plan::can_take(size_t at, int from, int id) const {
  const GraphCall& c = graph_.calls[at];
  const GraphValue &a = graph_.values[size_t(from)], &b = graph_.values[size_t(id)];
  const Place &old = places_[size_t(a.storage)], &fresh = places_[size_t(b.storage)];
  if (a.storage == b.storage || old.outside || old.bytes == 0 || old.last != int(at) || !same_layout_spec(a.spec, b.spec)) return false;
  if (old.bytes < fresh.bytes) return false;
  if (fresh.outside && (old.bytes != fresh.bytes || steps_[size_t(a.maker)].way == Way::View)) return false;  // what a user gets is no view
  for (int written : c.writes)
    if (graph_.values[size_t(written)].storage == a.storage) return false;
  int readers = 0, in = -1;
  for (size_t k = 0; k < c.args.size(); ++k)
    for (int other : c.args[k].ids)
      if (other >= 0 && graph_.values[size_t(other)].storage == a.storage) {
        ++readers;
        in = int(k);
        if (!same_layout_spec(graph_.values[size_t(other)].spec, a.spec)) return false;
      }
  if (!c.fused && c.op->name == "_cross_entropy_backward") return in == 1 && readers == 1;  // row by row, each element read before it is written
  if (!c.fused && c.op->name == "masked_fill") return c.mode == Write::Fresh;  // element by element, as masked_fill_
  if (!c.fused) return c.op->is_pointwise && c.outs.size() == 1 && c.mode == Write::Fresh && !(c.op->can_fail && !is_inexact(steps_[at].compute));
  if (readers != 1) return false;
  const auto out = std::find(c.outs.begin(), c.outs.end(), id) - c.outs.begin();
  return aliasable(c.fused->program, in, c.fused->program.n_inputs + int(out));
}

void Plan::share_blocks() {
  std::vector<bool> taken(places_.size(), false);
  int blocks = 0;
  for (size_t at = 0; at < graph_.calls.size(); ++at) {
    const GraphCall& c = graph_.calls[at];
    for (int id : c.outs) {
      Place& p = places_[size_t(graph_.values[size_t(id)].storage)];
      if (p.bytes == 0 || p.block >= 0 || p.first != int(at)) continue;
      for (const GraphArg& a : c.args) {
        if (!a.is_tensor || steps_[at].way == Way::Done || !can_take(at, a.ids[0], id)) continue;
        const size_t from = size_t(graph_.values[size_t(a.ids[0])].storage);
        if (taken[from] || places_[from].in_arena != p.in_arena) continue;
        taken[from] = true;
        if (p.in_arena) {
          p.block = places_[from].block;
        } else if (std::erase(steps_[at].fresh, id) != 0) {
          steps_[at].taken.emplace_back(id, a.ids[0]);
        }
        break;
      }
      if (p.block < 0 && p.in_arena) p.block = blocks++;
    }
  }
}

// Largest first, each at the lowest place that is free during its life.
void Plan::place_blocks() {
  struct Block {
    int64_t bytes = 0, offset = 0;
    int first = INT32_MAX, last = -1;
  };
  std::vector<Block> blocks;
  for (const Place& p : places_) {
    if (p.block < 0) continue;
    if (size_t(p.block) >= blocks.size()) blocks.resize(size_t(p.block) + 1);
    Block& b = blocks[size_t(p.block)];
    b.bytes = std::max(b.bytes, (p.bytes + kAlign - 1) / kAlign * kAlign);
    b.first = std::min(b.first, p.first);
    b.last = std::max(b.last, p.last);
  }
  std::vector<Block*> order, placed;
  for (Block& b : blocks)
    if (b.bytes > 0) order.push_back(&b);
  std::stable_sort(order.begin(), order.end(), [](const Block* a, const Block* b) { return a->bytes > b->bytes; });
  for (Block* b : order) {
    for (const Block* other : placed)  // by offset
      if (other->first <= b->last && b->first <= other->last && other->offset < b->offset + b->bytes) b->offset = std::max(b->offset, other->offset + other->bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), b, [](const Block* x, const Block* y) { return x->offset < y->offset; }), b);
    arena_bytes_ = std::max(arena_bytes_, b->offset + b->bytes);
  }
  for (Place& p : places_)
    if (p.block >= 0) p.offset = blocks[size_t(p.block)].offset;
}

}  // namespace mg
