// Tracing: a function runs once on tensors without data, and every op call it makes, its gradients' and in-place ones included, is noted
// in a Graph instead of computed. The tracer is a Handler (csrc/autograd/handler.h) below autograd: what backward() calls is noted too.
//
// Tensors that exist already become inputs when an op first meets them: the tensor itself turns data-less until the trace ends, so that its
// place in modules, optimizers and graphs of leaves stays what it is. Asking one for its values raises; the trace is then given up.
#pragma once
#include <unordered_map>
#include <unordered_set>

#include "../autograd/node.h"
#include "graph.h"

namespace mg {

struct Tracer final : Handler {
  Graph graph;
  std::unordered_set<const Op*> unpredictable;  // ops whose result's size depends on values
  std::string (*current_line)() = nullptr;
  mutable std::string asked;  // the reason why a value was asked for, if one was

  Tracer(int level, Handler* below) : Handler(level, below) {
    is_tracer = true;
    keeps = 1;
  }

  std::string why() const override;
  bool wants(const Op&, const Value*) const override { return true; }
  void meet(const Op& op, const Value* args) override;
  void run(const Op& op, const Value* args, const MetaResult& r, Tensor* outs, Write mode) override;

  int id_of(TensorImpl& t);                        // number of its value; a tensor met for the first time becomes an input
  Tensor new_input(const TensorImpl& like, bool packed = false);  // a placeholder of the same spec, a leaf without history; packed: without gaps
  void rewind(size_t calls);                       // forgets the calls after the first `calls`
  void host_call(std::string label, std::function<void()> run, const std::vector<Tensor>& leaves);
  /// Makes what was marked ordinary again, .grad as it was; called once, also after an error. The graph then has its `gradients`.
  void finish();
  const std::vector<Tensor>& met() const { return met_; }  // tensors that became inputs, in the order of `graph.inputs`; undefined: new_input's

 private:
  int add_value(const TensorImpl& t, int maker);
  int storage_number(const Ref<Storage>& storage);
  void note_gradients(std::span<const int> leaves, std::vector<GraphGradient>& out);

  std::vector<Tensor> met_, grads_before_;
  std::unordered_map<const Storage*, int> storages_;
  std::vector<Ref<Storage>> kept_;  // so that no address comes twice
};

}  // namespace mg
