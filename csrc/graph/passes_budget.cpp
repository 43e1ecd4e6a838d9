// Less memory for more time: what a run holds at most is estimated from the life times of the graph's storages; while that is beyond the
// budget, the values that cost least per byte to make again are chosen among those that lie idle at the peak.
#include <algorithm>

#include "recompute.h"

namespace mg {

namespace {

constexpr int64_t kLeast = 256 << 10;  // bytes of a value worth choosing
constexpr int kMostTries = 300;        // each takes as long as a pass
constexpr int64_t kMostBeside = 4;     // a value that takes more than so many times its bytes to make is kept: a chain of layers
constexpr double kElement = 8;         // what an element of a pointwise result costs, in operations of a product

int64_t elements(const OutSpec& s) {
  int64_t n = 1;
  for (int64_t k : s.sizes) n *= k;
  return n;
}

// Who lives when. A storage lives from its first call to its last; what is given to a leaf or comes out stays.
struct Lives {
  struct Storage {
    int64_t bytes = 0;
    int first = -1;  // the call that makes it
    int base = -1;   // value that it was made as
    std::vector<int> uses;
    bool stays = false, outside = false;
  };
  std::vector<Storage> storages;
  int64_t peak = 0;
  int at = -1;  // the call where it is reached

  explicit Lives(const Graph& graph) {
    int n = 0;
    for (const GraphValue& v : graph.values) n = std::max(n, v.storage + 1);
    storages.resize(size_t(n));
    const auto of = [&](int id) -> Storage& { return storages[size_t(graph.values[size_t(id)].storage)]; };
    const auto given = [&](const std::vector<GraphGradient>& list) {
      for (const GraphGradient& g : list)
        if (g.value >= 0) of(g.value).stays = true;
    };
    for (int id : graph.inputs) of(id).outside = true;
    for (const GraphConstant& c : graph.constants) of(c.id).outside = true;
    for (int id : graph.outputs) of(id).stays = true;
    given(graph.gradients);
    const int end = int(graph.calls.size());
    for (int at = 0; at < end; ++at) {
      const GraphCall& c = graph.calls[size_t(at)];
      for (int id : c.outs) {
        Storage& s = of(id);
        const OutSpec& spec = graph.values[size_t(id)].spec;
        if (s.first < 0) s.first = at, s.base = id, s.bytes = elements(spec) * itemsize(spec.dtype);
        s.uses.push_back(at);
      }
      for_each_read(c, [&](int id) { of(id).uses.push_back(at); });
      if (c.host) given(c.host->gradients);
    }
    measure(graph);
  }

  bool idle(const Storage& s, int at) const {  // made before, used after, not now
    return !s.outside && !s.stays && s.first >= 0 && s.first < at && s.uses.back() > at && !std::binary_search(s.uses.begin(), s.uses.end(), at);
  }

 private:
  void measure(const Graph& graph) {
    std::vector<int64_t> come(graph.calls.size(), 0), go(graph.calls.size(), 0);
    for (const Storage& s : storages) {
      if (s.outside || s.first < 0) continue;
      come[size_t(s.first)] += s.bytes;
      if (!s.stays) go[size_t(s.uses.back())] += s.bytes;
    }
    int64_t live = 0;
    for (size_t at = 0; at < come.size(); ++at) {
      live += come[at];
      const GraphCall& c = graph.calls[at];
      const bool in_place = c.op != nullptr && (c.op->is_pointwise || c.op->name == "_cross_entropy_backward");
      const int64_t now = live - (in_place ? std::min(come[at], go[at]) : 0);  // the result takes the place of an argument that dies
      if (now > peak) peak = now, this->at = int(at);
      live -= go[at];
    }
  }
};

// Operations to make it again, roughly.
double cost(const Graph& graph, const GraphCall& c) {
  double n = 0;
  for (int id : c.outs) n += double(elements(graph.values[size_t(id)].spec));
  const auto spec = [&](size_t k) -> const OutSpec& { return graph.values[size_t(c.args[k].ids[0])].spec; };
  if (c.op->name == "_attention") return 4 * double(elements(spec(0))) * double(spec(1).sizes[spec(1).sizes.size() - 2]);
  if (!is_product(c)) return kElement * n;
  if (c.op->name == "_conv") return 2 * n * double(elements(spec(1))) / double(std::max<int64_t>(spec(1).sizes[0], 1));
  return 2 * n * double(spec(0).sizes.empty() ? 1 : spec(0).sizes.back());
}

// What it takes to have a storage again at call `until`, with what it is made of where that is gone by then.
double price(const Graph& graph, const Lives& lives, int storage, int until, std::set<int>& counted) {
  const Lives::Storage& life = lives.storages[size_t(storage)];
  if (life.outside || life.stays || life.first < 0 || !counted.insert(storage).second) return 0;
  const GraphCall& made = graph.calls[size_t(life.first)];
  if (!is_repeatable(made)) return 1e30;
  double sum = cost(graph, made);
  for (const GraphArg& a : made.args)
    for (int id : a.ids) {
      const int from = id < 0 ? -1 : graph.values[size_t(id)].storage;
      if (from >= 0 && lives.storages[size_t(from)].uses.back() < until) sum += price(graph, lives, from, until, counted);
    }
  return sum;
}

// The storage that is idle at the peak and costs least per byte, of equal ones the one that is needed first; -1: none.
int cheapest(const Graph& graph, const Graph& now, const Lives& lives, const std::set<int>& tried) {
  int best = -1;
  double least = 0;
  for (size_t s = 0; s < lives.storages.size(); ++s) {
    const Lives::Storage& life = lives.storages[s];
    if (!lives.idle(life, lives.at) || life.bytes < std::min(kLeast, least_bytes) || tried.count(int(s)) != 0 || size_t(life.base) >= graph.values.size()) continue;
    std::set<int> counted;
    const int next = *std::upper_bound(life.uses.begin(), life.uses.end(), lives.at);
    const double per_byte = price(now, lives, int(s), next, counted) / double(life.bytes);
    int64_t whole = 0;
    for (int k : counted) whole += lives.storages[size_t(k)].bytes;
    if (whole > kMostBeside * life.bytes || per_byte > 1e20 || (best >= 0 && per_byte > least * 1.05)) continue;
    best = int(s);
    least = per_byte;
  }
  return best;
}

Chosen every_storage(const Graph& graph) {
  Chosen all;
  for (const GraphValue& v : graph.values) all.emplace(v.storage, 0);
  return all;
}

// Takes back, dearest first, what is not needed to stay there: choices that later ones made needless, or that lowered one peak for nothing because
// another could not be.
Graph spared(const Graph& graph, Chosen chosen, double most, Graph best) {
  const Lives lives(graph);
  std::vector<std::pair<double, int>> order;
  for (const auto& [s, from] : chosen) order.emplace_back(-cost(graph, graph.calls[size_t(lives.storages[size_t(s)].first)]), s);
  std::sort(order.begin(), order.end());
  for (const auto& [dear, s] : order) {
    Chosen fewer = chosen;
    fewer.erase(s);
    Graph next = recompute(graph, fewer).graph;
    if (double(peak_bytes(next)) > most) continue;
    chosen = std::move(fewer);
    best = std::move(next);
  }
  return best;
}

}  // namespace

Graph recompute(const Graph& graph, double budget) {
  if (budget < 0) return recompute(graph, every_storage(graph)).graph;
  Chosen chosen;
  std::set<int> tried;  // with what is chosen so far, in vain
  Recomputed best = recompute(graph, chosen);
  if (budget >= 1) return best.graph;
  Lives lives(best.graph);
  const double most = budget * double(lives.peak);
  for (int k = 0; k < kMostTries && double(lives.peak) > most; ++k) {
    const int s = cheapest(graph, best.graph, lives, tried);
    if (s < 0) break;
    tried.insert(s);
    const std::vector<int>& uses = lives.storages[size_t(s)].uses;
    const Chosen before = chosen;
    chosen[s] = best.origin[size_t(*std::upper_bound(uses.begin(), uses.end(), lives.at))];  // the first use after the peak
    Recomputed next = recompute(graph, chosen);
    Lives then(next.graph);
    if (then.peak > lives.peak || (then.peak == lives.peak && then.at == lives.at)) {
      chosen = before;
      continue;
    }
    best = std::move(next);
    lives = std::move(then);
    tried.clear();
  }
  return spared(graph, chosen, std::max(most, double(lives.peak)), std::move(best.graph));
}

int64_t peak_bytes(const Graph& graph) { return Lives(graph).peak; }

}  // namespace mg
