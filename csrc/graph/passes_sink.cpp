// Later: a large result that is made long before anybody reads it is made right before that, where what it is made of is there anyway.
// In backward: the gradient of a layer's input waits until the gradient of its weight is done, which lets go of an activation.
#include <algorithm>

#include "recompute.h"

namespace mg {

namespace {

constexpr int64_t kLarge = 256 << 10;  // bytes

struct Uses {
  std::vector<std::vector<int>> reads, writes;  // per storage: calls
  std::vector<bool> kept;
  explicit Uses(const Graph& graph) {
    int n = 0;
    for (const GraphValue& v : graph.values) n = std::max(n, v.storage + 1);
    reads.resize(size_t(n));
    writes.resize(size_t(n));
    kept.assign(size_t(n), false);
    const auto storage = [&](int id) { return size_t(graph.values[size_t(id)].storage); };
    for (int id : graph.inputs) kept[storage(id)] = true;
    for (const GraphConstant& c : graph.constants) kept[storage(c.id)] = true;
    for (int at = 0; at < int(graph.calls.size()); ++at) {
      const GraphCall& c = graph.calls[size_t(at)];
      for_each_read(c, [&](int id) { reads[storage(id)].push_back(at); });
      if (c.host)
        for (int id : c.host->writes) writes[storage(id)].push_back(at);
      else if (c.mode == Write::Inplace)
        writes[storage(target_of(c))].push_back(at);
    }
  }
};

// The call before which it may be made at the latest without keeping anything alive for longer; itself where it stays.
int latest(const Graph& graph, const Uses& uses, int at) {
  const GraphCall& c = graph.calls[size_t(at)];
  if (c.op == nullptr || c.op->is_view || c.mode != Write::Fresh || c.op->mutated >= 0 || draws(c)) return at;
  int64_t bytes = 0;
  int until = int(graph.calls.size());
  for (int id : c.outs) {
    const GraphValue& v = graph.values[size_t(id)];
    int64_t n = itemsize(v.spec.dtype);
    for (int64_t k : v.spec.sizes) n *= k;
    bytes = std::max(bytes, n);
    if (!uses.reads[size_t(v.storage)].empty()) until = std::min(until, uses.reads[size_t(v.storage)].front());
  }
  if (bytes < std::min(kLarge, least_bytes) || until == int(graph.calls.size())) return at;
  for (const GraphArg& a : c.args)
    for (int id : a.ids) {
      if (id < 0) continue;
      const size_t s = size_t(graph.values[size_t(id)].storage);
      for (int w : uses.writes[s])
        if (w > at) until = std::min(until, w);
      if (!uses.kept[s]) until = std::min(until, uses.reads[s].back());
    }
  return std::max(until, at);
}

}  // namespace

Graph sink(const Graph& graph) {
  const Uses uses(graph);
  std::vector<std::vector<int>> before(graph.calls.size() + 1);  // calls that wait until this one
  std::vector<bool> waits(graph.calls.size(), false);
  for (int at = 0; at < int(graph.calls.size()); ++at) {
    const int until = latest(graph, uses, at);
    if (until <= at + 1) continue;
    waits[size_t(at)] = true;
    before[size_t(until)].push_back(at);
  }
  Graph out = graph;
  out.calls.clear();
  for (int at = 0; at < int(graph.calls.size()); ++at) {
    for (int k : before[size_t(at)]) out.calls.push_back(graph.calls[size_t(k)]);
    if (!waits[size_t(at)]) out.calls.push_back(graph.calls[size_t(at)]);
  }
  return renumbered(std::move(out));
}

}  // namespace mg
