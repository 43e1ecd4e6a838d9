// Graph: what a traced function does, as a list of op calls on numbered values. The compiler's data: made by trace.cpp, rewritten and
// printed by minigrad/compiler, run by plan.cpp. It knows ops, shapes and numbers, never tensors' histories.
//
// A value is one tensor: its spec, which storage it lies in (views and in-place results share one), and the call that made it. Inputs have
// no maker. Calls stand in the order in which they happened, which is an order in which they may run.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "../core/fused.h"

namespace mg {

struct GraphValue {
  OutSpec spec;      // strides always given
  int storage = -1;  // values of the same number share memory
  int maker = -1;    // call; -1: input or constant
  bool requires_grad = false;
};

struct GraphArg {
  OwnedValue number;     // when it is no tensor
  std::vector<int> ids;  // one for a tensor; a list may hold -1 (optional indices)
  bool is_tensor = false, is_list = false;
};

// A leaf's .grad is set to a value (-1: to nothing).
struct GraphGradient {
  int leaf, value;
};

// Python that has to happen at this place of every run: an optimizer's or a scheduler's step. It may write the inputs it names.
struct HostCall {
  std::string label;
  std::function<void()> run;
  std::vector<GraphGradient> gradients;  // given to their leaves before
  std::vector<int> writes;
};

struct GraphCall {
  const Op* op = nullptr;  // null: host, fused or joined (join.h)
  std::shared_ptr<HostCall> host;
  std::shared_ptr<FusedKernel> fused;  // operands: args, then outs, then what it writes in place
  std::vector<int> writes;             // of a fused or joined call: values that are there before it
  std::vector<GraphCall> parts;        // the calls that a fused or joined one stands for
  DType compute = DType::Float32;      // what the op's meta function said (MetaResult)
  Write mode = Write::Fresh;  // Inplace: the target is args[op->mutated] or args[0]; no fresh values
  std::vector<GraphArg> args;
  std::vector<int> outs;
  std::string line;  // of the user's program
  bool again = false;  // computed a second time, where it is needed (passes_recompute.cpp)
};

// A value known when the graph was made (passes_constants.cpp).
struct GraphConstant {
  int id;
  Tensor tensor;
};

struct Graph {
  std::vector<GraphValue> values;
  std::vector<GraphCall> calls;
  std::vector<int> inputs, outputs;
  std::vector<GraphConstant> constants;
  std::vector<GraphConstant> seen;  // what inputs that seldom change (buffers) held when the function was traced …
  std::vector<int> assumed;         // … and of which of them the graph depends on that: whoever runs it has to watch them
  std::vector<int> cotangents;             // inputs that stand for gradients of results (joint graphs)
  std::vector<GraphGradient> gradients;  // after the last call
};

/// The graph with every value's `maker` set anew from its calls.
Graph renumbered(Graph graph);
/// Text of one call: `%7: f32[4, 3] = relu(%6)`.
std::string to_string(const Graph& graph, const GraphCall& call);
std::string to_string(const Graph& graph);

}  // namespace mg
