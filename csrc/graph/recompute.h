// Between passes_recompute.cpp, which makes values again, and passes_budget.cpp, which chooses them.
#pragma once
#include <map>
#include <set>

#include "facts.h"
#include "passes.h"

namespace mg {

bool is_cheap(const GraphCall& call);       // to be repeated: views, pointwise ops, norms
bool is_product(const GraphCall& call);     // its work goes beyond its elements
bool is_repeatable(const GraphCall& call);  // under a budget

/// From how many bytes on values are made again or made late. Tests lower it, to see small programs go that way.
inline int64_t least_bytes = 1 << 20;

/// Storages whose values are made again though that is dear, and the call from which on: what reads them before reads what is there.
using Chosen = std::map<int, int>;
struct Recomputed {
  Graph graph;
  std::vector<int> origin;  // per call: which of the graph's it is, or before which it was put
};
Recomputed recompute(const Graph& graph, const Chosen& chosen);

}  // namespace mg
