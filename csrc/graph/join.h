// Joined calls: what is done alike to many tensors, as one call over a list of them.
#pragma once
#include "graph.h"

namespace mg {

/// The graph with neighbouring calls that update many tensors alike as one call each, in place. After fuse().
Graph join_updates(const Graph& graph);
/// args: the tensors, then what the parts have in common.
inline bool is_joined(const GraphCall& call) { return call.op == nullptr && !call.host && !call.fused; }
std::string joined_name(const GraphCall& call);
void run_joined(const GraphCall& call, const std::vector<Tensor>& slots);

}  // namespace mg
