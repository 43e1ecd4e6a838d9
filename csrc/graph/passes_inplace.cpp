// In-place calls on what the graph made itself become ordinary ones: the target's later readers read a fresh value instead. So they
// take part in fusion and in the other passes; the plan lets the fresh value lie where the old one dies.
//
// A storage's *line* is all the values that lay in it in the graph as it was given. A write may be replaced if the line begins with a result of
// this graph, the target is all of it, and of what was made before the write, at most the target itself leaves the graph. Later readers of
// the target, or of another name of it (one geometry), read the fresh value. Views lie in its memory from then on, at the same offsets: those that
// are made later anyway, those made before are made once more.
#include <algorithm>

#include "../core/layout.h"
#include "arguments.h"
#include "facts.h"
#include "passes.h"

namespace mg {

namespace {

int64_t count(const OutSpec& spec) {
  int64_t n = 1;
  for (int64_t s : spec.sizes) n *= s;
  return n;
}

class Functional {
 public:
  Functional(const Graph& graph, size_t& boundary) : graph_(graph), out_(graph), now_(graph.values.size()), lines_(graph.values.size() + 1), end_(int(graph.calls.size())) {
    for (size_t id = 0; id < now_.size(); ++id) {
      now_[id] = int(id);
      stand_ins_.push_back(stand_in(graph.values[id].spec));
      next_storage_ = std::max(next_storage_, graph.values[id].storage + 1);
    }
    for (int id : graph.inputs) line(id).outside = true;
    for (const GraphConstant& c : graph.constants) line(c.id).outside = true;
    for (int at = 0; at < end_; ++at) note(at);
    for (int id : graph.outputs) line(id).reads.push_back({end_, id, true});
    note(graph.gradients, end_);
    out_.calls.clear();
    size_t cut = 0;
    for (int at = 0; at < end_; ++at) {
      copy(at);
      if (size_t(at) + 1 == boundary) cut = out_.calls.size();
    }
    boundary = cut;
    for (int& id : out_.outputs) id = now(id);
    rename(out_.gradients);
  }
  Graph take() { return renumbered(std::move(out_)); }

 private:
  struct Read {
    int at, id;
    bool shown;  // as a result or a gradient: the tensor itself is seen
  };
  struct Line {
    std::vector<Read> reads;
    int root = -1;
    bool outside = false;
  };
  Line& line(int id) { return lines_[size_t(graph_.values[size_t(id)].storage)]; }
  const OutSpec& spec(int id) const { return out_.values[size_t(id)].spec; }
  int now(int id) const { return id < 0 ? id : now_[size_t(id)]; }

  void note(const std::vector<GraphGradient>& gradients, int at) {
    for (const GraphGradient& g : gradients)
      if (g.value >= 0) line(g.value).reads.push_back({at, g.value, true});
  }
  void note(int at) {
    const GraphCall& c = graph_.calls[size_t(at)];
    for (const GraphArg& a : c.args)
      for (int id : a.ids)
        if (id >= 0) line(id).reads.push_back({at, id, false});
    if (c.host) note(c.host->gradients, at);
    const bool owns = c.op != nullptr && c.mode == Write::Fresh && !c.op->is_view && c.op->mutated < 0;
    for (int id : c.outs) {
      if (owns) line(id).root = id;
      else if (c.op == nullptr || !c.op->is_view) line(id).outside = true;
    }
  }

  void rename(std::vector<GraphGradient>& gradients) const {
    for (GraphGradient& g : gradients) g.value = now(g.value);
  }

  void copy(int at) {
    const GraphCall& given = graph_.calls[size_t(at)];
    GraphCall call = given;
    for (GraphArg& a : call.args)
      for (int& id : a.ids) id = now(id);
    if (call.host && !call.host->gradients.empty()) {
      call.host = std::make_shared<HostCall>(*call.host);
      rename(call.host->gradients);
    }
    if (call.op != nullptr && call.mode == Write::Inplace && stands_alone(given, at) && make_fresh(call)) replace(given, at, call);
    if (call.op != nullptr && call.op->is_view && call.mode == Write::Fresh)
      for (int id : call.outs) out_.values[size_t(id)].storage = out_.values[size_t(call.args[0].ids[0])].storage;
    out_.calls.push_back(std::move(call));
    out_.calls.insert(out_.calls.end(), std::make_move_iterator(views_.begin()), std::make_move_iterator(views_.end()));
    views_.clear();
  }

  // Whoever reads what the call writes may read another tensor instead.
  bool stands_alone(const GraphCall& c, int at) {
    const int target = target_of(c);
    const Line& l = line(target);
    const OutSpec& t = graph_.values[size_t(target)].spec;
    if (l.outside || l.root < 0 || t.offset != 0) return false;
    const OutSpec& root = graph_.values[size_t(l.root)].spec;
    if (root.offset != 0 || root.dtype != t.dtype || count(root) != count(t)) return false;
    return std::all_of(l.reads.begin(), l.reads.end(), [&](const Read& r) {
      if (r.at < at) return !r.shown;  // a gradient that an optimizer has seen
      const OutSpec& s = graph_.values[size_t(r.id)].spec;
      if (graph_.values[size_t(r.id)].maker > at) return true;
      return s.dtype == t.dtype && !(r.shown && r.id != target);
    });
  }

  // The call as one with a result of its own; false where that would be another tensor.
  bool make_fresh(GraphCall& call) const {
    const int target = target_of(call);
    const OutSpec& t = spec(target);
    if (!has_fused_factory(t.device.type)) return false;  // nothing to win there
    GraphCall fresh = call;
    fresh.mode = Write::Fresh;
    if (call.op->name == "copy_") {
      const int from = call.args[1].is_tensor ? call.args[1].ids[0] : -1;
      if (from < 0 || spec(from).device != t.device || spec(from).sizes != t.sizes || is_complex(spec(from).dtype) != is_complex(t.dtype)) return false;
      const bool same = spec(from).dtype == t.dtype;
      GraphArg to;
      to.number = OwnedValue(same ? Value() : Value(t.dtype));
      fresh.op = find_op(same ? "clone" : "_to_dtype");
      fresh.args = {call.args[1], to};
    } else if (call.op->name == "masked_fill_") {
      fresh.op = find_op("masked_fill");
    } else if (!call.op->is_pointwise || call.op->mutated >= 0 || call.op->n_out != 1) {
      return false;
    }
    MetaResult r(fresh.op->n_out);
    CallArguments args(fresh, stand_ins_);
    try {
      fresh.op->meta(*fresh.op, args.values, r);
    } catch (const std::exception&) {
      return false;
    }
    const Dims strides = r.out[0].has_strides ? r.out[0].strides : contiguous_strides(r.out[0].sizes);
    if (r.out[0].dtype != t.dtype || !(r.out[0].device == t.device) || r.out[0].sizes != t.sizes || strides != t.strides) return false;
    if (call.op->is_pointwise && r.compute != call.compute) return false;
    fresh.compute = r.compute;
    call = std::move(fresh);
    return true;
  }

  void replace(const GraphCall& given, int at, GraphCall& call) {
    const int target = target_of(given), fresh = int(out_.values.size());
    GraphValue v = out_.values[size_t(now(target))];
    v.storage = next_storage_++;
    stand_ins_.push_back(stand_in(v.spec));
    out_.values.push_back(std::move(v));
    call.outs = {fresh};
    std::vector<int> other;
    for (const Read& r : line(target).reads) {
      if (r.at <= at || graph_.values[size_t(r.id)].maker > at) continue;
      const bool same = spec(r.id).offset == 0 && same_geometry(spec(r.id), spec(target));
      if (same) now_[size_t(r.id)] = fresh;
      else if (std::find(other.begin(), other.end(), r.id) == other.end()) other.push_back(r.id);
    }
    for (int id : other) views_.push_back(view_again(id, fresh, call.line));
  }

  GraphCall view_again(int id, int fresh, const std::string& line) {
    GraphValue v = graph_.values[size_t(id)];
    v.storage = out_.values[size_t(fresh)].storage;
    now_[size_t(id)] = int(out_.values.size());
    stand_ins_.push_back(stand_in(v.spec));
    GraphCall view;
    view.op = find_op("_as_strided");
    view.args = {tensor_arg(fresh), number_arg(Value(v.spec.sizes)), number_arg(Value(v.spec.strides)), number_arg(Value(v.spec.offset)),
                 number_arg(Value(spec(fresh).strides)), number_arg(Value(int64_t(0)))};
    view.outs = {now_[size_t(id)]};
    view.compute = v.spec.dtype;
    view.line = line;
    out_.values.push_back(std::move(v));
    return view;
  }

  const Graph& graph_;
  Graph out_;
  std::vector<int> now_;  // of a value of the given graph
  std::vector<Line> lines_;
  std::vector<Tensor> stand_ins_;
  std::vector<GraphCall> views_;  // to follow the call
  int next_storage_ = 0, end_;
};

}  // namespace

Graph functionalise(const Graph& graph) {
  size_t end = graph.calls.size();
  return functionalise(graph, end);
}

Graph functionalise(const Graph& graph, size_t& boundary) {
  const bool any = std::any_of(graph.calls.begin(), graph.calls.end(), [](const GraphCall& c) { return c.mode == Write::Inplace; });
  return any ? Functional(graph, boundary).take() : graph;
}

}  // namespace mg
