// Recomputation: a large result of a cheap call (an activation, a normalisation) that lies idle for long, as in a training step between
// forward and backward, is computed again where it is needed instead of kept. Only from what is alive there anyway.
#include <algorithm>
#include <set>

#include "facts.h"
#include "passes.h"

namespace mg {

namespace {

constexpr int kLong = 24;            // calls without a use
constexpr int64_t kLarge = 1 << 20;  // bytes

class Recompute {
 public:
  explicit Recompute(const Graph& graph) : graph_(graph), out_(graph), now_(graph.values.size()), maker_(graph.values.size(), -1) {
    for (size_t id = 0; id < now_.size(); ++id) now_[id] = int(id);
    int storages = 0;
    for (const GraphValue& v : graph.values) storages = std::max(storages, v.storage + 1);
    uses_.resize(size_t(storages));
    writes_.resize(size_t(storages));
    kept_.assign(size_t(storages), false);
    next_storage_ = storages;
    for (int id : graph.inputs) kept_[storage(id)] = true;
    for (int id : graph.outputs) kept_[storage(id)] = true;
    for (const GraphConstant& c : graph.constants) kept_[storage(c.id)] = true;
    keep(graph.gradients);
    for (int at = 0; at < int(graph.calls.size()); ++at) note(at);
    out_.calls.clear();
    for (int at = 0; at < int(graph.calls.size()); ++at) copy(at);
  }
  Graph take() { return renumbered(std::move(out_)); }

 private:
  size_t storage(int id) const { return size_t(graph_.values[size_t(id)].storage); }
  void keep(const std::vector<GraphGradient>& gradients) {
    for (const GraphGradient& g : gradients)
      if (g.value >= 0) kept_[storage(g.value)] = true;
  }

  void note(int at) {
    const GraphCall& c = graph_.calls[size_t(at)];
    for_each_read(c, [&](int id) { uses_[storage(id)].push_back(at); });
    for (int id : c.outs) {
      maker_[size_t(id)] = at;
      uses_[storage(id)].push_back(at);
    }
    if (c.host) {
      keep(c.host->gradients);
      for (int id : c.host->writes) writes_[storage(id)].push_back(at);
    } else if (c.mode == Write::Inplace) {
      writes_[storage(target_of(c))].push_back(at);
    }
  }

  bool is_cheap(const GraphCall& c) const {
    if (c.op == nullptr || c.mode != Write::Fresh || c.op->mutated >= 0 || draws(c)) return false;
    return c.op->is_view || c.op->is_pointwise || c.op->name == "_to_dtype" || c.op->name == "_layer_norm" || c.op->name == "_rms_norm";
  }

  int64_t bytes(int id) const {
    const OutSpec& s = graph_.values[size_t(id)].spec;
    int64_t n = itemsize(s.dtype);
    for (int64_t k : s.sizes) n *= k;
    return n;
  }

  bool idle_before(int id, int at) const {
    const auto& uses = uses_[storage(id)];
    const auto next = std::lower_bound(uses.begin(), uses.end(), at);
    return next != uses.begin() && at - *(next - 1) >= kLong;
  }
  bool written_between(int id, int from, int until) const {
    return std::any_of(writes_[storage(id)].begin(), writes_[storage(id)].end(), [&](int w) { return w > from && w < until; });
  }
  bool alive(int id, int at) const { return kept_[storage(id)] || uses_[storage(id)].back() >= at; }

  // Calls that give the value again, in order; false where that would keep something else alive.
  bool recipe(int id, int at, int depth, std::vector<int>& calls) const {
    const int maker = maker_[size_t(id)];
    if (maker < 0 || depth == 0 || !is_cheap(graph_.calls[size_t(maker)]) || written_between(id, maker, at)) return false;
    const GraphCall& c = graph_.calls[size_t(maker)];
    for (const GraphArg& a : c.args) {
      if (a.is_list) return false;
      if (!a.is_tensor) continue;
      const int arg = a.ids[0];
      if (written_between(arg, maker, at)) return false;
      const bool again = !c.op->is_view ? idle_before(arg, at) && !kept_[storage(arg)] && now_[size_t(arg)] == arg && recipe(arg, at, depth - 1, calls) : false;
      if (c.op->is_view && now_[size_t(arg)] == arg && !kept_[storage(arg)]) {
        if (!recipe(arg, at, depth - 1, calls)) return false;
      } else if (!again && !alive(arg, at)) {
        return false;
      }
    }
    calls.push_back(maker);
    return true;
  }

  void copy(int at) {
    GraphCall call = graph_.calls[size_t(at)];
    if (call.op != nullptr && call.mode == Write::Fresh)
      for (const GraphArg& a : call.args)
        for (int id : a.ids)
          if (id >= 0 && now_[size_t(id)] == id && !kept_[storage(id)] && idle_before(id, at) && bytes(id) >= kLarge) again(id, at);
    resolve(call);
    if (call.op != nullptr && call.op->is_view && call.mode == Write::Fresh)
      for (int id : call.outs) out_.values[size_t(id)].storage = out_.values[size_t(call.args[0].ids[0])].storage;
    out_.calls.push_back(std::move(call));
  }

  void again(int id, int at) {
    std::vector<int> calls;
    if (!recipe(id, at, 4, calls)) return;
    std::set<int> done;
    for (int k : calls) {
      if (!done.insert(k).second) continue;
      GraphCall c = graph_.calls[size_t(k)];
      resolve(c);
      for (int& out : c.outs) {
        GraphValue v = graph_.values[size_t(out)];
        v.storage = c.op->is_view ? out_.values[size_t(c.args[0].ids[0])].storage : next_storage_++;
        now_[size_t(out)] = int(out_.values.size());
        out = int(out_.values.size());
        out_.values.push_back(std::move(v));
      }
      out_.calls.push_back(std::move(c));
    }
  }

  void resolve(GraphCall& c) const {
    for (GraphArg& a : c.args)
      for (int& id : a.ids)
        if (id >= 0) id = now_[size_t(id)];
  }

  const Graph& graph_;
  Graph out_;
  std::vector<int> now_, maker_;
  std::vector<std::vector<int>> uses_, writes_;  // per storage: calls
  std::vector<bool> kept_;                       // storages that live on anyway
  int next_storage_ = 0;
};

}  // namespace

Graph recompute(const Graph& graph) { return Recompute(graph).take(); }

}  // namespace mg
