// Passes: each takes a graph and returns a better one that computes the same bits. Named as in the literature.
#pragma once
#include "graph.h"

namespace mg {

/// Common subexpressions: a call that repeats an earlier one, with nothing written in between, gives the earlier one's values.
Graph eliminate_common_subexpressions(const Graph& graph);
/// Dead code: calls whose results nobody needs. Random draws stay: they move the generator.
Graph eliminate_dead_code(const Graph& graph);
/// All passes, in their order.
Graph optimize(const Graph& graph);

}  // namespace mg
