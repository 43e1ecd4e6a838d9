// Deferral: a function that cannot be captured whole runs as it is written, but its op calls are noted instead of computed, and computed
// together, as a graph, when somebody asks for an element, or at its end. So everything between two breaks is fused, in whatever Python
// functions it stands, backward() included, and nothing is ever replayed: Python runs each time.
//
// A Deferrer is a tracer (a handler below autograd) of one call of the function. Its tensors have no data until settle() fills them in, in
// place: the same tensors, the same storages. What the function does is compared with what it did before as it does it: Segments is a tree of
// the calls noted so far, a call is one step down in it, and the plan for what is still alive lies where the walk ends.
//
// Safe because noted calls only read: tensors with elements are inputs, and whatever writes to one, hands its memory out, changes its
// layout, or moves the random generator has everything noted computed before (settle_pending). takes() says what is never noted.
#pragma once
#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "../autograd/handler.h"
#include "plan.h"

namespace mg {

// One noted call, and what came after it.
struct NotedCall {
  GraphCall call;
  std::vector<GraphValue> fresh;  // values that came with it: inputs met for the first time, then its results
  size_t inputs = 0;              // how many of them are inputs
  NotedCall* before = nullptr;
  std::vector<std::unique_ptr<NotedCall>> next;
  struct Ending {
    std::vector<int> alive;
    std::shared_ptr<Plan> plan;
    std::string reason;  // why the segment ended here when the plan was made
    int64_t runs = 0;
  };
  std::vector<Ending> endings;
};

// What all calls of a function share.
struct Segments {
  NotedCall root;
  std::function<std::shared_ptr<Plan>(const Graph&)> make_plan;
  std::function<std::string()> current_line;
  std::function<bool()> may_be_caught;  // whether an error raised now might be handled inside of the function
  std::function<void()> wait;           // lets other threads run
  std::unordered_set<const Op*> alone;  // never noted
  std::unordered_set<const Op*> raising;
  std::unordered_map<const Op*, uint8_t> traits;
  size_t plans = 0, calls = 0;  // made, in the tree
  int64_t settled = 0;          // segments that were computed
  bool full() const { return plans > 64 || calls > 20000; }
  uint8_t traits_of(const Op& op);
};

struct Deferrer final : Handler {
  bool paused = false;  // inside of compiler.disable

  Deferrer(std::shared_ptr<Segments> segments, Handler* below);

  std::string why() const override;
  bool wants(const Op&, const Value*) const override { return !paused && std::this_thread::get_id() == thread_; }
  bool takes(const Op& op, const Value* args, const MetaResult& r, const Tensor* outs, Write mode) override;
  void run(const Op& op, const Value* args, const MetaResult& r, Tensor* outs, Write mode) override;
  void settle(const char* reason) override;
  void adopt(TensorImpl& t) override;
  void forget(const Standin& s) override;

 private:
  int number_of(TensorImpl& t);
  int new_input(TensorImpl& t);
  void number_arguments(const Op& op, const Value* args);
  NotedCall& step_down(const Op& op, const Value* args, const MetaResult& r, Write mode, size_t before);
  NotedCall& extend(const Op& op, const Value* args, const MetaResult& r, Write mode, size_t before);
  bool readable(const TensorImpl& t) const;
  std::vector<int> alive() const;
  Graph graph(const std::vector<int>& alive) const;
  std::shared_ptr<Plan> plan_for(const std::vector<int>& alive, const char* reason);
  void compute(const char* reason);
  void give_data(const std::vector<int>& ids, std::vector<Tensor>& results);
  void one_by_one();
  void begin_anew();

  std::shared_ptr<Segments> segments_;
  const std::thread::id thread_ = std::this_thread::get_id();
  NotedCall* at_;
  int noted_ = 0;                       // calls since the segment began
  std::vector<int> storage_;            // of each value
  int storages_ = 0;
  std::vector<Tensor> inputs_;
  std::vector<uint32_t> versions_;      // of the inputs
  std::unordered_map<const TensorImpl*, int> numbers_;
  std::vector<TensorImpl*> tensors_;    // those without data; null when gone
  std::vector<int> ids_;                // of the tensors among a call's arguments, in their order
  std::string failed_;
  bool busy_ = false;
  std::thread::id computing_;
};

}  // namespace mg
