// A plan's memory: which storages live inside of a run, when, and where they lie.
#include <algorithm>

#include "plan_state.h"

namespace mg {

namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kLarge = 256 << 10;  // bytes; what is smaller and leaves the graph is allocated by itself
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kRegion = 0;  // what lives at the same time lies apart, so that overruns are found
#else
constexpr int64_t kRegion = 32 << 20;
#endif

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

struct Block {
  int64_t bytes = 0, offset = 0;
  int first = INT32_MAX, last = -1, region = -1;
  bool cut_out = false;
};

// Gives each block its place, in this order; the bytes that it takes altogether.
int64_t lay_out(const std::vector<Block*>& order) {
  struct Laid {
    int64_t room, bytes;
    std::vector<const Block*> blocks;  // by offset
  };
  std::vector<Laid> regions;
  const auto lowest = [](const Block& b, const Laid& in) {
    int64_t at = 0;
    for (const Block* other : in.blocks)
      if (other->first <= b.last && b.first <= other->last && other->offset < at + b.bytes) at = std::max(at, other->offset + other->bytes);
    return at;
  };
  for (Block* b : order) {
    size_t r = 0;
    for (; r < regions.size(); ++r) {
      b->offset = lowest(*b, regions[r]);
      if (b->offset + b->bytes <= regions[r].room) break;
    }
    if (r == regions.size()) {
      regions.push_back({std::max(kRegion, b->bytes), 0, {}});
      b->offset = 0;
    }
    b->region = int(r);
    Laid& in = regions[r];
    in.bytes = std::max(in.bytes, b->offset + b->bytes);
    const auto by_offset = [](const Block* x, const Block* y) { return x->offset < y->offset; };
    in.blocks.insert(std::upper_bound(in.blocks.begin(), in.blocks.end(), b, by_offset), b);
  }
  int64_t sum = 0;
  for (const Laid& in : regions) sum += in.bytes;
  return sum;
}

}  // namespace

void Plan::State::begin(size_t region, const RegionPlan& plan, const std::vector<Place>& places) {
  regions[region] = Region(size_t(plan.bytes));
  char* const base = regions[region].data();
  if (base == settled_at[region]) return;
  settled_at[region] = base;
  for (int s : plan.storages) storages[size_t(s)]->data = base + places[size_t(s)].offset;
}

int64_t Plan::arena_bytes() const {
  int64_t sum = 0;
  for (const RegionPlan& r : regions_) sum += r.bytes;
  return sum;
}

std::unique_ptr<Plan::State> Plan::make_state() const {
  auto state = std::make_unique<State>();
  state->slots.resize(graph_.values.size());
  state->storages.resize(places_.size());
  state->settled_at.resize(regions_.size());
  for (size_t s = 0; s < places_.size(); ++s)
    if (places_[s].inside) state->storages[s] = Storage::foreign(nullptr, size_t(places_[s].bytes), Device{}, [](void*) {}, nullptr);
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

// In regions: storages that a kernel's result begins, and that do not come from outside. Those that leave the run are cut out, if they are large.
void Plan::choose_storages() {
  int storages = 0;
  for (const GraphValue& v : graph_.values) storages = std::max(storages, v.storage + 1);
  places_.assign(size_t(storages), {});
  made_once_.assign(graph_.values.size(), false);
  std::vector<bool> elsewhere(size_t(storages), false), leaves(size_t(storages), false);
  const auto note = [&](std::vector<bool>& which, int id) {
    if (id >= 0) which[size_t(graph_.values[size_t(id)].storage)] = true;
  };
  for (size_t id = 0; id < graph_.values.size(); ++id)
    if (graph_.values[id].spec.device.type != DeviceType::CPU) note(elsewhere, int(id));  // other devices have allocators of their own for this
  for (int id : graph_.inputs) note(elsewhere, id);
  for (const GraphConstant& c : graph_.constants) note(elsewhere, c.id);
  for (int id : graph_.outputs) note(leaves, id);
  for (size_t id = 0; id < given_.size(); ++id)
    if (given_[id]) note(leaves, int(id));
  for (size_t at = 0; at < graph_.calls.size(); ++at) {
    const GraphCall& c = graph_.calls[at];
    if (c.host)
      for (int id : c.host->writes) note(leaves, id);
    const bool native = c.host || is_native(c);
    for (const GraphArg& a : c.args)
      for (int id : a.ids)
        if (!native) note(leaves, id);
    const bool here = steps_[at].way == Way::Kernel || steps_[at].way == Way::Fused;
    for (int id : c.outs)
      if (!native || (!here && steps_[at].way != Way::View)) note(elsewhere, id);
  }
  const auto touch = [&](int id, size_t at) {
    if (id < 0) return;
    Place& p = places_[size_t(graph_.values[size_t(id)].storage)];
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
    p.inside = !elsewhere[k] && !leaves[k] && p.bytes > 0;
    p.cut_out = !elsewhere[k] && leaves[k] && p.bytes >= kLarge;
    if (p.cut_out) p.last = int(graph_.calls.size());
  }
  for (size_t at = 0; at < graph_.calls.size(); ++at)
    for (int id : graph_.calls[at].outs) {
      made_once_[size_t(id)] = place_of(id).inside;
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
  if (a.storage == b.storage || !old.inside || old.last != int(at) || !same_layout_spec(a.spec, b.spec)) return false;
  if (old.bytes < fresh.bytes || (fresh.cut_out && old.bytes != fresh.bytes)) return false;
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
      if (!(p.inside || p.cut_out) || p.block >= 0 || p.first != int(at)) continue;
      for (const GraphArg& a : c.args) {
        if (!a.is_tensor || steps_[at].way == Way::Done || !can_take(at, a.ids[0], id)) continue;
        const size_t from = size_t(graph_.values[size_t(a.ids[0])].storage);
        if (taken[from]) continue;
        taken[from] = true;
        p.block = places_[from].block;
        break;
      }
      if (p.block < 0) p.block = blocks++;
    }
  }
}

// Each block at the lowest place that is free during its life, in the first region that has one: largest first; what leaves the run before all
// others, so that it lies together, unless that takes more (a GPT's step: 113.6 instead of 109.8 MiB). A region is as large as a segment of the
// allocator (or the one block that needs more), so that it also fits where eager code was before, and what pins one segment costs no more than that.
void Plan::place_blocks() {
  std::vector<Block> blocks;
  for (const Place& p : places_) {
    if (p.block < 0) continue;
    if (size_t(p.block) >= blocks.size()) blocks.resize(size_t(p.block) + 1);
    Block& b = blocks[size_t(p.block)];
    const int64_t align = p.bytes < kLarge ? kAlign : int64_t(Region::kGranule);
    b.bytes = std::max(b.bytes, (p.bytes + align - 1) / align * align);
    b.first = std::min(b.first, p.first);
    b.last = std::max(b.last, p.last);
    b.cut_out |= p.cut_out;
  }
  std::vector<Block*> order;
  for (Block& b : blocks)
    if (b.bytes > 0) order.push_back(&b);
  std::stable_sort(order.begin(), order.end(), [](const Block* a, const Block* b) { return a->bytes > b->bytes; });
  std::vector<Block*> leaving_first = order;
  std::stable_partition(leaving_first.begin(), leaving_first.end(), [](const Block* b) { return b->cut_out; });
  lay_out(lay_out(leaving_first) <= lay_out(order) ? leaving_first : order);
  for (const Block& b : blocks) {
    if (b.region < 0) continue;
    if (size_t(b.region) >= regions_.size()) regions_.resize(size_t(b.region) + 1);
    RegionPlan& r = regions_[size_t(b.region)];
    r.bytes = std::max(r.bytes, b.offset + b.bytes);
    r.first = std::min(r.first, b.first);
    r.last = std::max(r.last, b.last);
  }
  for (size_t r = 0; r < regions_.size(); ++r) {
    steps_[size_t(regions_[r].first)].begins.push_back(r);
    if (size_t(regions_[r].last) < steps_.size()) steps_[size_t(regions_[r].last)].ends.push_back(r);
  }
  for (size_t s = 0; s < places_.size(); ++s) {
    Place& p = places_[s];
    if (p.block < 0) continue;
    p.offset = blocks[size_t(p.block)].offset;
    p.region = blocks[size_t(p.block)].region;
    if (p.inside) regions_[size_t(p.region)].storages.push_back(int(s));
  }
}

}  // namespace mg
