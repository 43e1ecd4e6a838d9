// Joining: calls near each other that do the same to many tensors (a clipped gradient for each parameter) become one, which runs as one
// kernel over all of them (core/many_tensors.h). `a_k * s` with one s, and `clamp(a_k, low, high)`, of results that nobody reads afterwards: they are
// written in place, and who read the call's result reads them. Last of all rewrites: what could join a fused group has done so.
#include "join.h"

#include <algorithm>
#include <set>

#include "../core/many_tensors.h"
#include "facts.h"
#include "plan_state.h"

namespace mg {

namespace {

constexpr size_t kNear = 16;  // calls that may lie between; more would keep values alive for long

class Joining {
 public:
  explicit Joining(const Graph& graph) : graph_(graph), out_(graph), now_(graph.values.size()), done_(graph.calls.size(), false) {
    int storages = 0;
    for (const GraphValue& v : graph.values) storages = std::max(storages, v.storage + 1);
    kept_.assign(size_t(storages), false);
    last_read_.assign(size_t(storages), -1);
    bytes_.assign(size_t(storages), 0);
    for (const GraphValue& v : graph.values)
      if (v.storage >= 0) bytes_[size_t(v.storage)] = std::max(bytes_[size_t(v.storage)], reach(v.spec));
    for (size_t id = 0; id < now_.size(); ++id) now_[id] = int(id);
    for (const auto* ids : {&graph.inputs, &graph.outputs})
      for (int id : *ids) kept_[storage(id)] = true;
    for (const GraphConstant& c : graph.constants) kept_[storage(c.id)] = true;
    keep(graph.gradients);
    for (size_t at = 0; at < graph.calls.size(); ++at) {
      for_each_read(graph.calls[at], [&](int id) { last_read_[storage(id)] = int(at); });
      for (int id : graph.calls[at].writes) last_read_[storage(id)] = int(at);
      if (graph.calls[at].host) keep(graph.calls[at].host->gradients);
    }
    out_.calls.clear();
    for (size_t at = 0; at < graph.calls.size(); ++at) copy(at);
    for (int& id : out_.outputs) id = now_[size_t(id)];
    rename(out_.gradients);
  }
  Graph take() { return renumbered(std::move(out_)); }

 private:
  size_t storage(int id) const { return size_t(graph_.values[size_t(id)].storage); }
  const OutSpec& spec(int id) const { return graph_.values[size_t(id)].spec; }
  static int64_t reach(const OutSpec& s) {  // bytes from the storage's start to behind the last element
    int64_t last = s.offset;
    for (int k = 0; k < s.sizes.size(); ++k) {
      if (s.sizes[k] == 0) return 0;
      last += (s.sizes[k] - 1) * s.strides[k];
    }
    return (last + 1) * itemsize(s.dtype);
  }
  void keep(const std::vector<GraphGradient>& gradients) {
    for (const GraphGradient& g : gradients)
      if (g.value >= 0) kept_[storage(g.value)] = true;
  }
  void rename(std::vector<GraphGradient>& gradients) const {
    for (GraphGradient& g : gradients)
      if (g.value >= 0) g.value = now_[size_t(g.value)];
  }

  // Does the table's row for that device have a kernel that gives the call's bits, in place?
  bool has_kernel(const GraphCall& c) const {
    if (c.op == nullptr || c.mode != Write::Fresh || c.args.empty() || !c.args[0].is_tensor) return false;
    const OutSpec& s = spec(c.args[0].ids[0]);
    const ManyTensorKernels* kernels = many_tensor_kernels(s.device.type);
    if (kernels == nullptr || !(s.dtype == DType::Float32 || s.dtype == DType::Float64 || (kernels->half_types && is_floating(s.dtype)))) return false;
    if (c.op->name == "clamp_both") return !c.args[1].is_tensor && !c.args[2].is_tensor && c.args[1].number.as_double() <= c.args[2].number.as_double();
    if (c.op->name != "mul" || !c.args[1].is_tensor) return false;
    const OutSpec& factor = spec(c.args[1].ids[0]);
    return factor.sizes.empty() && is_floating(factor.dtype) && factor.device == s.device;
  }

  bool may_join(size_t at) const {
    const GraphCall& c = graph_.calls[at];
    if (!has_kernel(c)) return false;
    const int from = c.args[0].ids[0];
    const OutSpec& s = spec(from);
    int64_t n = itemsize(s.dtype);
    for (int64_t size : s.sizes) n *= size;
    if (n != bytes_[storage(from)]) return false;  // a part of a larger one, that a result would keep alive
    return same_layout_spec(s, spec(c.outs[0])) && s.strides == contiguous_strides(s.sizes) && !kept_[storage(from)] && last_read_[storage(from)] == int(at) &&
           c.compute == s.dtype;
  }

  bool same_update(const GraphCall& a, const GraphCall& b) const {
    const OutSpec &s = spec(a.outs[0]), &t = spec(b.outs[0]);
    if (a.op != b.op || s.dtype != t.dtype || !(s.device == t.device)) return false;
    for (size_t k = 1; k < a.args.size(); ++k)
      if (a.args[k].is_tensor ? a.args[k].ids != b.args[k].ids : a.args[k].number.as_double() != b.args[k].number.as_double()) return false;
    return true;
  }

  // Those that may run together with call `at`: what lies between has nothing to do with them.
  std::vector<size_t> company(size_t at) const {
    std::vector<size_t> found;
    if (!may_join(at)) return found;
    const GraphCall& first = graph_.calls[at];
    std::set<size_t> touched;  // storages of calls that stay where they are, and of what all have in common
    for (size_t k = 1; k < first.args.size(); ++k)
      if (first.args[k].is_tensor) touched.insert(storage(first.args[k].ids[0]));
    for (size_t k = at; k < graph_.calls.size() && k - at < kNear + found.size() && !graph_.calls[k].host; ++k) {
      const GraphCall& c = graph_.calls[k];
      if (may_join(k) && same_update(first, c) && touched.insert(storage(c.args[0].ids[0])).second) {
        found.push_back(k);
        touched.insert(storage(c.outs[0]));
        continue;
      }
      if (written(c, first)) break;
      for_each_read(c, [&](int id) { touched.insert(storage(id)); });
      for (const auto* ids : {&c.outs, &c.writes})
        for (int id : *ids) touched.insert(storage(id));
    }
    return found;
  }

  // Does the call write to what `first` reads besides its target?
  bool written(const GraphCall& c, const GraphCall& first) const {
    std::vector<int> ids = c.writes;
    if (c.op != nullptr && (c.mode == Write::Inplace || c.op->mutated >= 0)) ids.push_back(target_of(c));
    for (int id : ids)
      for (size_t k = 1; k < first.args.size(); ++k)
        if (first.args[k].is_tensor && storage(first.args[k].ids[0]) == storage(id)) return true;
    return false;
  }

  void copy(size_t at) {
    if (done_[at]) return;
    const std::vector<size_t> together = company(at);
    if (together.size() < 2) {
      out_.calls.push_back(renamed(graph_.calls[at]));
      return;
    }
    GraphCall joined;
    joined.line = graph_.calls[at].line;
    GraphArg targets;
    targets.is_list = true;
    for (size_t k : together) {
      done_[k] = true;
      joined.parts.push_back(renamed(graph_.calls[k]));
      targets.ids.push_back(joined.parts.back().args[0].ids[0]);
      write_in_place(graph_.calls[k].outs[0], targets.ids.back());
    }
    joined.args = joined.parts[0].args;
    joined.writes = targets.ids;
    joined.args[0] = std::move(targets);
    out_.calls.push_back(std::move(joined));
  }

  void write_in_place(int result, int target) {
    const int from = out_.values[size_t(result)].storage, to = out_.values[size_t(target)].storage;
    for (GraphValue& v : out_.values)
      if (v.storage == from) v.storage = to;
    for (int& id : now_)
      if (id == result) id = target;
  }

  GraphCall renamed(const GraphCall& given) const {
    GraphCall call = given;
    for (GraphArg& a : call.args)
      for (int& id : a.ids)
        if (id >= 0) id = now_[size_t(id)];
    for (int& id : call.writes) id = now_[size_t(id)];
    if (call.host && !call.host->gradients.empty()) {
      call.host = std::make_shared<HostCall>(*call.host);
      rename(call.host->gradients);
    }
    return call;
  }

  const Graph& graph_;
  Graph out_;
  std::vector<int> now_, last_read_;
  std::vector<int64_t> bytes_;  // of storages
  std::vector<bool> done_;  // calls
  std::vector<bool> kept_;  // storages that the graph shows, or did not make
};

}  // namespace

Graph join_updates(const Graph& graph) { return Joining(graph).take(); }

std::string joined_name(const GraphCall& call) { return call.parts[0].op->name + "_ of " + std::to_string(call.parts.size()); }

void run_joined(const GraphCall& call, const std::vector<Tensor>& slots) {
  std::vector<TensorImpl*> tensors;
  for (int id : call.args[0].ids) tensors.push_back(slots[size_t(id)].get());
  const ManyTensorKernels& kernels = *many_tensor_kernels(tensors[0]->device.type);
  if (call.parts[0].op->name == "mul") kernels.scale(tensors, *slots[size_t(call.args[1].ids[0])]);
  else kernels.clamp(tensors, call.args[1].number.as_double(), call.args[2].number.as_double());
  for (TensorImpl* t : tensors) note_write(*t);
}

}  // namespace mg
