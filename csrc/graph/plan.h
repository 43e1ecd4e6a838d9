// Plan: a Graph made ready to run, again and again, without Python and without recording.
//
// What a call needs is settled once: its kernel, the dtype it computes in, the shapes of its results, and its memory: what a run makes lies at
// places planned by life times, in a few regions that are taken when they are needed first and given back after their last use. Tensors that live
// inside of a run, and their views, are made once; a large one that leaves the graph (a result, a gradient) is cut out of its region and lives on by
// itself. While some handler is active (a profiler, a transform) the calls go through call() instead.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>

#include "../core/prepared.h"
#include "graph.h"

namespace mg {

class Plan {
 public:
  explicit Plan(Graph graph);
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan();
  /// One tensor per input of the graph; one per output comes back. Raises what an op raises; what was written in place by then stays so.
  std::vector<Tensor> run(const std::vector<Tensor>& inputs) const;
  const Graph& graph() const { return graph_; }
  /// Memory of all regions together: what a run makes, by plan.
  int64_t arena_bytes() const;
  /// Calls that compute something: what is not a view.
  int kernels() const;
  /// Memory of what is kept of weights now, other plans' of the same weights included.
  int64_t prepared_bytes() const;
  /// Nothing is kept of weights; before the first run.
  void prepare_no_weights();

 private:
  std::vector<Tensor> laid_out(const std::vector<Tensor>& inputs) const;
  Tensor result(int id, const Tensor& t) const;
  enum class Way : uint8_t {
    Host,
    Call,    // through call()
    Kernel,  // the kernel itself, with its results allocated before
    Fused,
    Joined,
    View,    // of a tensor that is another one in each run
    Done,    // a view made once
  };
  struct Step {
    Way way = Way::Call;
    DType compute = DType::Float32;
    bool plain = false, complex = false;
    int weight = -1;         // in weights_: an argument of which the kernel may keep what it makes
    std::vector<int> fresh;  // results whose tensors are new in each run
    std::vector<int> dead;   // values that nobody needs any more
    std::vector<size_t> begins, ends;  // regions: before, after the call
  };
  struct Place {  // of a storage
    int64_t bytes = 0, offset = 0;
    int first = -1, last = -1;  // calls
    int block = -1;             // storages of one block follow each other at one place
    int region = -1;
    bool inside = false;        // lives inside of a run, in a region
    bool cut_out = false;       // lies in a region until it is made, and leaves it; neither: allocated in each run, or from outside
  };
  struct RegionPlan {
    int64_t bytes = 0;
    int first = INT32_MAX, last = -1;  // calls
    std::vector<int> storages;         // inside of it
  };
  struct State;  // the tensors of a run
  using Slots = std::vector<Tensor>;

  void note_gradients();
  void choose_ways();
  void choose_way(size_t at, const std::vector<Tensor>& stand_ins);
  void note_deaths();
  void note_weights();        // plan_weights.cpp
  void plan_arena();          // plan_memory.cpp
  void choose_storages();
  void share_blocks();
  void place_blocks();
  bool can_take(size_t at, int from, int id) const;
  std::unique_ptr<State> make_state() const;
  std::vector<Tensor> run_planned(const std::vector<Tensor>& inputs, State& state) const;
  std::vector<Tensor> run_plainly(const std::vector<Tensor>& inputs) const;
  void run_kernel(const GraphCall& c, const Step& step, Slots& slots) const;
  void drop_gradients(const std::vector<Tensor>& inputs) const;
  void give_gradients(const std::vector<GraphGradient>& gradients, Slots& slots) const;
  const Place& place_of(int id) const { return places_[size_t(graph_.values[size_t(id)].storage)]; }
  Tensor fresh(int id, State& state) const;

  Graph graph_;
  std::vector<Step> steps_;
  std::vector<bool> given_;              // values that become some leaf's .grad
  std::vector<bool> owned_by_one_leaf_;  // of these, those that may do so without a copy
  std::vector<const std::vector<GraphGradient>*> given_lists_;
  std::vector<int> input_number_;        // of a value that is an input
  std::vector<bool> made_once_;          // values whose tensors stay from run to run
  std::vector<Place> places_;            // per storage
  struct Weight {
    int value;
    std::unique_ptr<WeightUse> use;
  };
  std::vector<Weight> weights_;
  std::vector<RegionPlan> regions_;
  mutable std::unique_ptr<State> state_;
  mutable std::atomic<bool> busy_{false};
};

}  // namespace mg
