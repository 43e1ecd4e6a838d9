// Cutting a joint graph of a function and its gradients.
#pragma once
#include <utility>

#include "graph.h"

namespace mg {

/// The first `forward_calls` calls give the `results` first outputs and whatever the rest needs of them; the rest takes that and the
/// cotangents, and gives the other outputs.
std::pair<Graph, Graph> split(const Graph& joint, size_t forward_calls, size_t results, size_t cotangents);

}  // namespace mg
