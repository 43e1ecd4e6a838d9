// See pattern.h.
#include "pattern.h"

#include <algorithm>

#include "../autograd/handler.h"
#include "../autograd/node.h"
#include "../core/layout.h"
#include "arguments.h"

namespace mg {

namespace {

constexpr int64_t kLargestKnown = int64_t(1) << 26;  // bytes; what is looked at is not kept

int64_t bytes(const OutSpec& spec) {
  int64_t n = itemsize(spec.dtype);
  for (int64_t s : spec.sizes) n *= s;
  return n;
}

OutSpec with_strides(const OutSpec& given) {
  OutSpec s = given;
  if (!s.has_strides) s.strides = contiguous_strides(s.sizes);
  s.has_strides = true;
  return s;
}

// What the op says of the call's results; empty when it refuses.
std::vector<OutSpec> natural_results(const Graph& graph, const GraphCall& call, DType* compute = nullptr) {
  std::vector<Tensor> stand_ins(graph.values.size());
  for_each_read(call, [&](int id) { stand_ins[size_t(id)] = stand_in(graph.values[size_t(id)].spec); });
  CallArguments args(call, stand_ins);
  MetaResult r(call.op->n_out);
  try {
    call.op->meta(*call.op, args.values, r);
  } catch (const Error&) {
    return {};
  }
  if (compute != nullptr) *compute = r.compute;
  std::vector<OutSpec> out;
  for (int k = 0; k < call.op->n_out; ++k) out.push_back(with_strides(r.out[k]));
  return out;
}

}  // namespace

Pattern::Pattern(const Graph& g) : graph(g), facts(g), readers_(g.values.size()) {
  for (size_t at = 0; at < g.calls.size(); ++at)
    for_each_read(g.calls[at], [&](int id) { readers_[size_t(id)].push_back(int(at)); });
}

const GraphCall* Pattern::made_by(int id, const char* op) const {
  const int at = id < 0 ? -1 : made_at(id);
  return at >= 0 && is_call(graph.calls[size_t(at)], op) ? &graph.calls[size_t(at)] : nullptr;
}

bool Pattern::is_product(const GraphCall& call) const {
  if (!is_call(call, "matmul") && !is_call(call, "bmm")) return false;
  const Dims &a = spec(call.args[0].ids[0]).sizes, &b = spec(call.args[1].ids[0]).sizes;
  return a.size() == b.size() && a.size() >= 2 && std::equal(a.begin(), a.end() - 2, b.begin());
}

bool Pattern::same_tensor(int a, int b) const {
  return a == b || (facts.values[size_t(a)].storage == facts.values[size_t(b)].storage && spec(a).offset == spec(b).offset &&
                    same_geometry(spec(a), spec(b)));
}

bool Pattern::are_transposed(int a, int b) const {
  const OutSpec &x = spec(a), &y = spec(b);
  const int n = x.sizes.size();
  if (facts.values[size_t(a)].storage != facts.values[size_t(b)].storage || x.offset != y.offset || x.dtype != y.dtype || n < 2 || y.sizes.size() != n)
    return false;
  OutSpec turned = x;
  std::swap(turned.sizes[n - 1], turned.sizes[n - 2]);
  std::swap(turned.strides[n - 1], turned.strides[n - 2]);
  return same_geometry(turned, y);
}

std::optional<double> Pattern::number(const GraphArg& a) const {
  if (a.is_list) return {};
  if (!a.is_tensor) {
    const Value& v = a.number;
    if (v.kind != Kind::Int && v.kind != Kind::Float) return {};
    return v.as_double();
  }
  const GraphCall* full = made_by(a.ids[0], "_full");
  if (full == nullptr || facts.written(a.ids[0]) || spec(a.ids[0]).sizes.size() != 0) return {};
  return number(full->args[1]);
}

Tensor Pattern::known(int id, std::vector<int>& assumed) const {
  const auto [found, fresh] = known_.try_emplace(id);
  if (fresh) {
    const GradModeGuard off(false);
    const HandlerGuard none(nullptr);
    found->second.first = compute(id, found->second.second);
  }
  assumed.insert(assumed.end(), found->second.second.begin(), found->second.second.end());
  return found->second.first;
}

Tensor Pattern::compute(int id, std::vector<int>& assumed) const {
  if (facts.written(id) || bytes(spec(id)) > kLargestKnown) return {};
  for (const GraphConstant& c : graph.constants)
    if (c.id == id) return c.tensor;
  for (const GraphConstant& c : graph.seen)
    if (c.id == id) {
      assumed.push_back(id);
      return c.tensor;
    }
  if (made_at(id) < 0) return {};
  const GraphCall& call = graph.calls[size_t(made_at(id))];
  if (call.op == nullptr || call.mode != Write::Fresh || draws(call) || call.op->name.starts_with("_empty")) return {};
  std::vector<Tensor> values(graph.values.size());
  for (const GraphArg& a : call.args)
    for (int arg : a.ids)
      if (arg >= 0 && !(values[size_t(arg)] = known(arg, assumed)).defined()) return {};
  CallArguments args(call, values);
  Tensor outs[kMaxOutputs];
  try {
    mg::call(*call.op, args.values, outs);
  } catch (const Error&) {
    return {};
  }
  return outs[std::find(call.outs.begin(), call.outs.end(), id) - call.outs.begin()];
}

// --- Rewriting

Rewriting::Rewriting(const Graph& g) : graph(g), before_(g.calls.size() + 1), dropped_(g.calls.size(), false) {
  for (const GraphValue& v : g.values) storages_ = std::max(storages_, v.storage + 1);
}

std::vector<int> Rewriting::add(int at, const char* op, std::vector<GraphArg> args, const std::string& line) {
  GraphCall call;
  call.op = find_op(op);
  call.args = std::move(args);
  for (size_t k = call.args.size(); k < size_t(call.op->n_args); ++k) call.args.push_back(number_arg(call.op->defaults[k]));
  call.line = line;
  const std::vector<OutSpec> specs = natural_results(graph, call, &call.compute);
  MG_INTERNAL(!specs.empty(), "rewriting: ", op, " refuses its arguments");
  for (const OutSpec& spec : specs) {
    GraphValue v;
    v.spec = spec;
    v.storage = call.op->is_view ? graph.values[size_t(call.args[0].ids[0])].storage : storages_++;
    call.outs.push_back(int(graph.values.size()));
    graph.values.push_back(std::move(v));
  }
  before_[size_t(at)].push_back(call);
  return call.outs;
}

int Rewriting::view(int at, int id, const char* op, std::vector<GraphArg> more, const std::string& line) {
  more.insert(more.begin(), tensor_arg(id));
  return add(at, op, std::move(more), line)[0];
}

void Rewriting::stand_in(int at, int old, int now, bool transposed) { standins_.push_back({at, {old, now, transposed}}); }

GraphCall Rewriting::view_call(int base, int out, const std::string& line) const {
  GraphCall call;
  call.op = find_op("transpose");
  call.args = {tensor_arg(base), number_arg(Value(int64_t(-2))), number_arg(Value(int64_t(-1)))};
  call.outs = {out};
  call.compute = graph.values[size_t(base)].spec.dtype;
  call.line = line;
  return call;
}

// The new calls in their places. What is not `copied` becomes the value it stands for, in a layout of its own.
Graph Rewriting::assembled(size_t* boundary, const std::vector<bool>& copied) const {
  Graph g = graph;
  g.calls.clear();
  std::vector<std::vector<GraphCall>> before = before_;
  for (size_t k = 0; k < standins_.size(); ++k) {
    const auto& [at, s] = standins_[k];
    std::vector<GraphCall>& calls = before[size_t(at)];
    const std::string line = calls.back().line;
    int from = s.now;
    if (copied[k]) {
      if (s.transposed) {
        from = int(g.values.size());
        g.values.push_back(g.values[size_t(s.now)]);
        OutSpec& spec = g.values.back().spec;
        const int n = spec.sizes.size();
        std::swap(spec.sizes[n - 1], spec.sizes[n - 2]);
        std::swap(spec.strides[n - 1], spec.strides[n - 2]);
        calls.push_back(view_call(s.now, from, line));
      }
      GraphCall copy;
      copy.op = find_op("_copy_contiguous");
      copy.args = {tensor_arg(from)};
      copy.outs = {s.old};
      copy.compute = g.values[size_t(s.old)].spec.dtype;
      copy.line = line;
      calls.push_back(std::move(copy));
      continue;
    }
    const int storage = g.values[size_t(s.old)].storage, to = g.values[size_t(s.now)].storage;
    for (GraphValue& v : g.values)
      if (v.storage == storage) v.storage = to;
    g.values[size_t(s.old)].spec = g.values[size_t(s.now)].spec;
    if (s.transposed) {
      OutSpec& spec = g.values[size_t(s.old)].spec;
      const int n = spec.sizes.size();
      std::swap(spec.sizes[n - 1], spec.sizes[n - 2]);
      std::swap(spec.strides[n - 1], spec.strides[n - 2]);
      calls.push_back(view_call(s.now, s.old, line));
    } else {
      for (GraphCall& call : calls)
        for (GraphArg& a : call.args) std::replace(a.ids.begin(), a.ids.end(), s.now, s.old);
      for (std::vector<GraphCall>& list : before)
        for (GraphCall& call : list) {
          for (GraphArg& a : call.args) std::replace(a.ids.begin(), a.ids.end(), s.now, s.old);
          std::replace(call.outs.begin(), call.outs.end(), s.now, s.old);
        }
    }
  }
  size_t cut = 0;
  for (size_t at = 0; at <= graph.calls.size(); ++at) {
    g.calls.insert(g.calls.end(), before[at].begin(), before[at].end());
    if (at < graph.calls.size() && !dropped_[at]) g.calls.push_back(graph.calls[at]);
    if (boundary != nullptr && at + 1 == *boundary) cut = g.calls.size();
  }
  if (boundary != nullptr) *boundary = cut;
  return renumbered(std::move(g));
}

// Layouts of what is made of values in a new layout. False where an op refuses it, or where it would show outside.
bool Rewriting::lay_out_anew(Graph& g) const {
  std::vector<bool> changed(g.values.size(), false), fixed(g.values.size(), false);
  for (int id : g.outputs) fixed[size_t(id)] = true;
  for (size_t id = 0; id < graph.values.size(); ++id) {
    changed[id] = !same_geometry(g.values[id].spec, graph.values[id].spec);
    if (changed[id] && fixed[id]) return false;
  }
  for (const GraphCall& call : g.calls) {
    bool touched = false;
    if (call.op != nullptr) for_each_read(call, [&](int id) { touched |= changed[size_t(id)]; });
    if (!touched || call.mode != Write::Fresh) continue;
    const std::vector<OutSpec> specs = natural_results(g, call);
    if (specs.empty()) return false;
    for (size_t k = 0; k < call.outs.size(); ++k) {
      OutSpec& spec = g.values[size_t(call.outs[k])].spec;
      if (!(specs[k].sizes == spec.sizes) || specs[k].dtype != spec.dtype) return false;
      if (same_geometry(specs[k], spec) && specs[k].offset == spec.offset) continue;
      if (fixed[size_t(call.outs[k])]) return false;
      spec.strides = specs[k].strides;
      spec.offset = specs[k].offset;
      changed[size_t(call.outs[k])] = true;
    }
  }
  return true;
}

Graph Rewriting::finish(size_t* boundary) {
  std::vector<bool> copied(standins_.size(), false);
  size_t cut = boundary != nullptr ? *boundary : 0;
  const auto attempt = [&](Graph& g) {
    cut = boundary != nullptr ? *boundary : 0;
    g = assembled(boundary != nullptr ? &cut : nullptr, copied);
    return lay_out_anew(g);
  };
  constexpr size_t kFewStandins = 16;  // of more, all are copied where one has to be
  Graph g;
  if (!attempt(g)) {
    copied.assign(standins_.size(), true);
    for (size_t k = 0; k < standins_.size() && standins_.size() <= kFewStandins; ++k) {
      copied[k] = false;
      if (!attempt(g)) copied[k] = true;
    }
    MG_INTERNAL(attempt(g), "rewriting: no layout");
  }
  if (boundary != nullptr) *boundary = cut;
  return g;
}

}  // namespace mg
