// Between passes_recompute.cpp, which makes values again, and passes_budget.cpp, which chooses them.
#pragma once
#include <set>

#include "facts.h"
#include "passes.h"

namespace mg {

bool is_cheap(const GraphCall& call);       // to be repeated: views, pointwise ops, norms
bool is_product(const GraphCall& call);     // its work goes beyond its elements
bool is_repeatable(const GraphCall& call);  // under a budget

/// From how many bytes on values are made again or made late. Tests lower it, to see small programs go that way.
inline int64_t least_bytes = 1 << 20;

/// recompute(), and also the values of these storages.
Graph recompute(const Graph& graph, const std::set<int>& chosen);

}  // namespace mg
