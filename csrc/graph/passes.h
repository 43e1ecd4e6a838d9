// Passes: each takes a graph and returns a better one that computes the same bits. Named as in the literature.
#pragma once
#include "graph.h"

namespace mg {

/// Views: of two with the same geometry one stays; a chain of views becomes one step.
Graph fold_views(const Graph& graph);
/// In-place: calls that write to all of a result of the graph give a result of their own, for fusion to join.
Graph functionalise(const Graph& graph);
/// `boundary`: a number of calls, kept where it lay.
Graph functionalise(const Graph& graph, size_t& boundary);
/// Algebra: x * 1, x / 1, -(-x), copies of what dies, casts of casts; x ** 2 and x / 2^k get their cheaper twins.
Graph simplify_algebra(const Graph& graph);
/// Constants: what is made of numbers alone is computed now.
Graph fold_constants(const Graph& graph);
/// Common subexpressions: a call that repeats an earlier one, with nothing written in between, gives the earlier one's values.
Graph eliminate_common_subexpressions(const Graph& graph);
/// The gradients of all parts of one tensor (split, unbind) are joined once instead of added to zeros; only a zero's sign may change.
Graph join_gradient_parts(const Graph& graph);
/// Lost writes: copy_, fill_ and zero_ that are overwritten before anybody looks.
Graph eliminate_lost_writes(const Graph& graph);
/// Dead code: calls whose results nobody needs. Random draws stay: they move the generator.
Graph eliminate_dead_code(const Graph& graph);

/// Softmax and log_softmax written by hand become the ops, with their gradients. `boundary` as in use_attention.
Graph use_softmax(const Graph& graph, size_t* boundary);
/// Attention written by hand becomes the op of scaled_dot_product_attention, with its gradients. `boundary`: a number of calls, kept
/// where it lay (the end of a function's own calls, before those of its gradients).
Graph use_attention(const Graph& graph, size_t* boundary);
/// The gradient of log_softmax whose rows have one entry each that counts (nll_loss, gather, log_p[arange(n), target]) becomes the one of
/// cross_entropy, which needs no matrix of zeros.
Graph use_cross_entropy_gradient(const Graph& graph, size_t* boundary);
/// linear, cross entropy and their gradients as one call that never holds all logits. On the CPU, for many logits.
Graph chunk_linear_cross_entropy(const Graph& graph);
/// Those that see a function and its gradients together, before they are parted: softmax, attention, cross_entropy_gradient.
Graph use_structured_ops(const Graph& graph, size_t* boundary);
/// Large results are made right before they are read, where that keeps nothing else alive for longer.
Graph sink(const Graph& graph);
/// Large results of cheap calls that lie idle for long are computed again: less memory.
Graph recompute(const Graph& graph);
/// Below 1: dearer values too, cheapest per byte first, until the estimated peak is below this share of what it would be.
/// Below 0: whatever can be, at any price (tests).
Graph recompute(const Graph& graph, double budget);
/// What a run holds at most beside what it is given, in bytes, estimated.
int64_t peak_bytes(const Graph& graph);

struct Pass {
  const char* name;
  Graph (*run)(const Graph&);
};
/// All passes, in their order.
const std::vector<Pass>& passes();
/// What a plan adds to them: calls for this library's kernels, and less memory. Exported programs go without.
const std::vector<Pass>& plan_passes();
/// One of either by its name.
Graph run_pass(const Graph& graph, const std::string& name);
/// All of them; `constants`: fold constants too (not where sizes may change from call to call).
Graph optimize(const Graph& graph, bool constants = true);

}  // namespace mg
