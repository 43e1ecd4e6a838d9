// Plan: a Graph made ready to run, again and again, without Python and without recording.
#pragma once
#include "graph.h"

namespace mg {

class Plan {
 public:
  explicit Plan(Graph graph);
  /// One tensor per input of the graph; one per output comes back. Raises what an op raises; what was written in place by then stays so.
  std::vector<Tensor> run(const std::vector<Tensor>& inputs) const;
  const Graph& graph() const { return graph_; }

 private:
  void plan_reuse();
  void give_gradients(const std::vector<GraphGradient>& gradients, std::vector<Tensor>& slots) const;

  Graph graph_;
  std::vector<bool> given_;                   // values that become some leaf's .grad
  std::vector<bool> owned_by_one_leaf_;       // of these, those that may do so without a copy
  std::vector<std::vector<int>> dead_after_;  // per call: values that nobody needs any more
  std::vector<int> writes_into_;              // per call: the dying value whose memory its result takes, or -1
};

}  // namespace mg
