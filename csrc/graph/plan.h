// Plan: a Graph made ready to run, again and again, without Python and without recording.
//
// What a call needs is settled once: its kernel, the dtype it computes in, the shapes of its results. What is small and lives inside of a
// run lies in one block of memory (the arena), at places planned by life times; these tensors and views of them are made once. What leaves the
// graph (results, gradients) and what is large is allocated in each run, so that both share the memory of one another. While some handler is active (a
// profiler, a transform) the calls go through call() instead.
#pragma once
#include <atomic>
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
  int64_t arena_bytes() const { return arena_bytes_; }
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
    std::vector<int> fresh;  // results that are allocated in each run
    std::vector<int> dead;   // values that nobody needs any more
    std::vector<std::pair<int, int>> taken;  // results that lie where a dying argument lies: (result, argument)
  };
  struct Place {  // of a storage in the arena
    int64_t bytes = 0, offset = 0;
    int first = -1, last = -1;  // calls
    int block = -1;             // storages of one block follow each other at one place
    bool in_arena = false;      // else: allocated in each run
    bool outside = false;       // comes from outside or is seen there: nobody else's memory once it is made
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
  bool lies_in_arena(int id) const { return places_[size_t(graph_.values[size_t(id)].storage)].in_arena; }

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
  int64_t arena_bytes_ = 0;
  mutable std::unique_ptr<State> state_;
  mutable std::atomic<bool> busy_{false};
};

}  // namespace mg
