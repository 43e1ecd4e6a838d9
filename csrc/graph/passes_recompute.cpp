// Recomputation: a large result of a cheap call (an activation, a normalisation) that lies idle for long, as in a training step between
// forward and backward, is computed again where it is needed instead of kept. Only from what is alive there anyway. Under a budget
// (passes_budget.cpp) also chosen results of dearer calls, and what they are made of where that is gone. Random draws are never repeated.
#include <algorithm>
#include <set>

#include "recompute.h"

namespace mg {

namespace {

constexpr int kLong = 24, kShort = 4;  // calls without a use; the second of what was chosen
constexpr int64_t kLeastChosen = 256 << 10;  // bytes
constexpr int kDepth = 4, kChosenDepth = 12;

class Recompute {
 public:
  Recompute(const Graph& graph, const Chosen& chosen)
      : graph_(graph), out_(graph), chosen_(chosen), now_(graph.values.size()), maker_(graph.values.size(), -1) {
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
  Recomputed take() { return {renumbered(std::move(out_)), std::move(origin_)}; }

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

  bool is_chosen(int id, int at) const {
    const auto found = chosen_.find(int(storage(id)));
    return found != chosen_.end() && at >= found->second;
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
    return next != uses.begin() && at - *(next - 1) >= (is_chosen(id, at) ? kShort : kLong);
  }
  bool written_between(int id, int from, int until) const {
    return std::any_of(writes_[storage(id)].begin(), writes_[storage(id)].end(), [&](int w) { return w > from && w < until; });
  }
  bool alive(int id, int at) const { return kept_[storage(id)] || uses_[storage(id)].back() >= at; }
  bool goes(int id, int at) const { return now_[size_t(id)] == id && !kept_[storage(id)] && idle_before(id, at); }

  // Appends the calls that give the value again, in order; false where that would keep something else alive. `any`: what is gone may
  // be made by dear calls too.
  bool recipe(int id, int at, int depth, bool any, std::vector<int>& calls) {
    const int maker = maker_[size_t(id)];
    if (maker < 0 || depth == 0 || !writes_[storage(id)].empty() || failed_.count({id, any}) != 0) return false;
    if (std::find(calls.begin(), calls.end(), maker) != calls.end()) return true;
    const GraphCall& c = graph_.calls[size_t(maker)];
    if (!is_cheap(c) && !((any || is_chosen(id, at)) && is_repeatable(c))) return false;
    const size_t before = calls.size();
    for (const GraphArg& a : c.args) {
      const int arg = a.is_tensor ? a.ids[0] : -1;
      if (!a.is_list && arg < 0) continue;
      if (!a.is_list && !written_between(arg, maker, at)) {
        const bool view = c.op->is_view && now_[size_t(arg)] == arg && !kept_[storage(arg)];  // its base goes with it
        if (view ? recipe(arg, at, depth - 1, any, calls) : has(arg, at, depth, any, calls)) continue;
      }
      calls.resize(before);
      failed_.insert({id, any});
      return false;
    }
    calls.push_back(maker);
    return true;
  }
  // It is there, or its recipe is.
  bool has(int id, int at, int depth, bool any, std::vector<int>& calls) {
    if (goes(id, at) && recipe(id, at, depth - 1, is_chosen(id, at), calls)) return true;
    if (now_[size_t(id)] != id || alive(id, at)) return true;
    return any && recipe(id, at, depth - 1, true, calls);
  }

  void copy(int at) {
    GraphCall call = graph_.calls[size_t(at)];
    if (call.op != nullptr && call.mode == Write::Fresh)
      for (const GraphArg& a : call.args)
        for (int id : a.ids)
          if (id >= 0 && goes(id, at) && bytes(id) >= (is_chosen(id, at) ? std::min(least_bytes, kLeastChosen) : least_bytes)) again(id, at);
    resolve(call);
    if (call.op != nullptr && call.op->is_view && call.mode == Write::Fresh)
      for (int id : call.outs) out_.values[size_t(id)].storage = out_.values[size_t(call.args[0].ids[0])].storage;
    out_.calls.push_back(std::move(call));
    origin_.push_back(at);
  }

  void again(int id, int at) {
    std::vector<int> calls;
    failed_.clear();
    if (!recipe(id, at, is_chosen(id, at) ? kChosenDepth : kDepth, is_chosen(id, at), calls)) return;
    for (int k : calls) {
      GraphCall c = graph_.calls[size_t(k)];
      resolve(c);
      c.again = true;
      for (int& out : c.outs) {
        GraphValue v = graph_.values[size_t(out)];
        v.storage = c.op->is_view ? out_.values[size_t(c.args[0].ids[0])].storage : next_storage_++;
        now_[size_t(out)] = int(out_.values.size());
        out = int(out_.values.size());
        out_.values.push_back(std::move(v));
      }
      out_.calls.push_back(std::move(c));
      origin_.push_back(at);
    }
  }

  void resolve(GraphCall& c) const {
    for (GraphArg& a : c.args)
      for (int& id : a.ids)
        if (id >= 0) id = now_[size_t(id)];
  }

  const Graph& graph_;
  Graph out_;
  std::vector<int> origin_;
  const Chosen& chosen_;
  std::set<std::pair<int, bool>> failed_;  // (value, any) that cannot be made where `again` is at
  std::vector<int> now_, maker_;
  std::vector<std::vector<int>> uses_, writes_;  // per storage: calls
  std::vector<bool> kept_;                       // storages that live on anyway
  int next_storage_ = 0;
};

}  // namespace

bool is_repeatable(const GraphCall& c) {
  if (c.op == nullptr || c.mode != Write::Fresh || c.op->mutated >= 0) return false;
  if (c.op->name == "_attention") return c.args[4].number.as_double() == 0;  // without dropout it draws nothing
  return !draws(c) && (is_cheap(c) || is_product(c) || c.op->name == "embedding");
}

bool is_cheap(const GraphCall& c) {
  if (c.op == nullptr || c.mode != Write::Fresh || c.op->mutated >= 0 || draws(c)) return false;
  return c.op->is_view || c.op->is_pointwise || c.op->name == "_to_dtype" || c.op->name == "_layer_norm" || c.op->name == "_rms_norm";
}

bool is_product(const GraphCall& c) {
  static const std::set<std::string_view> all = {"linear", "matmul", "mm", "bmm", "_conv"};
  return c.op != nullptr && c.mode == Write::Fresh && all.count(c.op->name) != 0;
}

Recomputed recompute(const Graph& graph, const Chosen& chosen) { return Recompute(graph, chosen).take(); }
Graph recompute(const Graph& graph) { return recompute(graph, Chosen()).graph; }

}  // namespace mg
