// Whether two graphs are one program at two sizes: the same calls on the same values, where only sizes and numbers
// differ.
#pragma once
#include "graph.h"

namespace mg {

/// Where two graphs do different things, in words; empty when they are one program.
std::string program_difference(const Graph& a, const Graph& b);

}  // namespace mg
