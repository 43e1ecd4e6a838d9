// Fusion: groups of pointwise calls, casts and sums become one call each, which reads its operands once and keeps what is between in cache.
#pragma once
#include <optional>

#include "fuse_space.h"
#include "graph.h"

namespace mg {

/// The graph with groups of calls replaced by fused ones, in an order in which they may run. Bits of pointwise results stay.
Graph fuse(const Graph& graph, bool lean = false);  // lean: not where what is made again would live longer

// --- fuse_program.cpp: what may take part, and the program of a group

enum class FuseRole : uint8_t { None, Map, Cast, ReduceLast, ReduceLeading, ReduceAll };
inline bool is_reduction(FuseRole r) { return r == FuseRole::ReduceLast || r == FuseRole::ReduceLeading || r == FuseRole::ReduceAll; }
FuseRole fuse_role(const Graph& graph, const GraphCall& call);
const ScalarRow* find_scalar_row(std::string_view name);  // null: there is none
/// The line of csrc/scalar.h for a pointwise call with these arguments, or null.
const ScalarRow* scalar_row_of(const GraphCall& call);

struct FusedGroup {
  FusedProgram program;
  std::vector<int> inputs, outputs, writes;  // values, in the order of the operands
};
/// The walk of one call that may take part.
FuseSpace fuse_space(const Graph& graph, const GraphCall& call);
/// `parts` in their order; `roots`: of each value, what it is a view of; `needed(id)`: somebody outside reads that value.
FusedGroup make_group(const Graph& graph, const std::vector<const GraphCall*>& parts, const FuseSpace& space, const std::vector<int>& roots,
                      const std::function<bool(int)>& needed);

}  // namespace mg
