// What others ask of the engine, and the hooks of anomaly mode.
#pragma once
#include "node.h"

namespace mg {

// The engine. roots[i] with gradient grads[i] (undefined: ones, scalars only). Without `inputs`, gradients accumulate into leaves;
// with `inputs` they are returned instead (or accumulated only there when `accumulate`).
struct BackwardOptions {
  bool retain_graph = false, create_graph = false, accumulate = true;
  bool has_inputs = false;
};
std::vector<Tensor> backward(std::span<const Tensor> roots, std::span<Tensor> grads, std::span<const Tensor> inputs,
                             const BackwardOptions& options);

// Anomaly mode: set by csrc/python. current_line() names the user's Python line.
struct AnomalyHooks {
  std::string (*current_line)() = nullptr;
  void (*note_write)(const Storage* s) = nullptr;
  std::string (*last_write)(const Storage* s) = nullptr;
};
extern AnomalyHooks anomaly_hooks;

}  // namespace mg
