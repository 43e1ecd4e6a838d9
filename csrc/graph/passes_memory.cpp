// Writes that nobody reads, and gradients gathered part by part.
#include <algorithm>

#include "facts.h"
#include "passes.h"

namespace mg {

namespace {

// In-place calls that overwrite every element of their target and read none.
bool overwrites(const GraphCall& call) {
  if (call.op == nullptr || call.mode != Write::Inplace || call.op->can_fail) return false;
  const std::string& op = call.op->name;
  return op == "copy_" || op == "fill_" || op == "zero_";
}

bool reads_storage(const GraphCall& call, const Facts& facts, int storage, size_t from_arg) {
  bool found = false;
  for (size_t k = from_arg; k < call.args.size(); ++k)
    for (int id : call.args[k].ids) found |= id >= 0 && facts.values[size_t(id)].storage == storage;
  return found;
}

// The call is overwritten before anybody sees what it wrote.
bool lost(const std::vector<GraphCall>& calls, size_t at, const Facts& facts) {
  const int target = target_of(calls[at]), storage = facts.values[size_t(target)].storage;
  for (size_t next = at + 1; next < calls.size(); ++next) {
    const GraphCall& call = calls[next];
    if (call.host) return false;
    if (overwrites(call) && target_of(call) == target) return !reads_storage(call, facts, storage, 1);
    if (reads_storage(call, facts, storage, 0)) {
      if (call.op->is_view) continue;  // looks at no element
      return false;
    }
  }
  return false;
}

int64_t count(const OutSpec& spec) {
  int64_t n = 1;
  for (int64_t s : spec.sizes) n *= s;
  return n;
}

}  // namespace

Graph eliminate_lost_writes(const Graph& graph) {
  const Facts facts(graph);
  std::vector<GraphCall> kept;
  for (size_t at = 0; at < graph.calls.size(); ++at)
    if (!overwrites(graph.calls[at]) || !lost(graph.calls, at, facts)) kept.push_back(graph.calls[at]);
  Graph out = graph;
  out.calls = std::move(kept);
  return renumbered(std::move(out));
}

namespace {

// One part of a gradient: `value` belongs at [start, start + length) of the dimension; `length` 0: at one position of
// it (select).
struct Part {
  int64_t start, length;
  int value;
};

// Parts of x's gradient as autograd gathers them: the first makes the buffer, the others are added to views of it.
//   %b = _narrow_backward(%g0, …)     %n = narrow(%b, …)     add_(%n, %g1)
struct Gathering {
  int buffer, dim;
  std::vector<Part> parts;
  std::vector<size_t> calls;  // all of them
};

bool is_part(const std::string& op) { return op == "_narrow_backward" || op == "_select_backward"; }

// Where the view `spec` of the contiguous `whole` lies along `dim`; false when it is cut otherwise.
bool place(const OutSpec& whole, const OutSpec& spec, int dim, bool select, Part& part) {
  const int64_t stride = whole.strides[dim];
  if (stride == 0 || spec.offset % stride != 0) return false;
  OutSpec want = whole;
  part.start = spec.offset / stride;
  if (select) {
    want.sizes.erase(dim), want.strides.erase(dim);
    part.length = 0;
  } else {
    if (spec.sizes.size() != whole.sizes.size()) return false;
    want.sizes[dim] = part.length = spec.sizes[dim];
  }
  return part.start < whole.sizes[dim] && want.sizes == spec.sizes && want.strides == spec.strides;
}

bool gather(const Graph& graph, const Facts& facts, size_t at, Gathering& g) {
  const GraphCall& first = graph.calls[at];
  const bool select = first.op->name == "_select_backward";
  g.buffer = first.outs[0];
  const OutSpec& whole = facts.spec(g.buffer);
  const int dims = whole.sizes.size();
  g.dim = int(first.args[2].number.as_int());
  if (g.dim < 0) g.dim += dims;
  if (!select && (dims == 4 || dims == 5)) return false;  // cat would keep channels_last
  const int64_t size = whole.sizes[g.dim];
  const int64_t start = first.args[3].number.as_int();
  g.parts = {{start < 0 ? start + size : start, select ? 0 : first.args[4].number.as_int(), first.args[0].ids[0]}};
  g.calls = {at};
  const int storage = facts.values[size_t(g.buffer)].storage;
  int64_t covered = select ? 1 : g.parts[0].length;
  for (size_t next = at + 1; covered < size && next < graph.calls.size(); ++next) {
    const GraphCall& call = graph.calls[next];
    if (!reads_storage(call, facts, storage, 0) && !call.host) continue;
    if (call.op == nullptr) return false;
    g.calls.push_back(next);
    if (call.op->is_view && call.args[0].ids[0] == g.buffer && facts.reads(call.outs[0]) == 1 &&
        !facts.shown(call.outs[0]))
      continue;
    Part part{};
    const bool adds = call.op->name == "add" && call.mode == Write::Inplace && call.args[1].is_tensor &&
                      call.args[2].number.as_double() == 1;
    if (!adds || target_of(call) == g.buffer || !place(whole, facts.spec(target_of(call)), g.dim, select, part))
      return false;
    part.value = call.args[1].ids[0];
    const OutSpec& given = facts.spec(part.value);
    if (given.dtype != whole.dtype || given.sizes != facts.spec(target_of(call)).sizes ||
        facts.values[size_t(part.value)].storage == storage)
      return false;
    g.parts.push_back(part);
    covered += select ? 1 : part.length;
  }
  std::sort(g.parts.begin(), g.parts.end(), [](const Part& a, const Part& b) { return a.start < b.start; });
  int64_t end = 0;
  for (const Part& p : g.parts) {
    if (p.start != end || facts.spec(p.value).dtype != whole.dtype) return false;
    end += select ? 1 : p.length;
  }
  return end == size && g.parts.size() > 1 && count(whole) != 0;
}

GraphCall joined(const GraphCall& first, const Gathering& g, DType dtype) {
  GraphCall call = first;
  call.op = find_op(first.op->name == "_select_backward" ? "stack" : "cat");
  GraphArg parts, dim;
  parts.is_list = true;
  for (const Part& p : g.parts) parts.ids.push_back(p.value);
  dim.number = OwnedValue(Value(int64_t(g.dim)));
  call.args = {parts, dim};
  call.compute = dtype;
  return call;
}

}  // namespace

Graph join_gradient_parts(const Graph& graph) {
  const Facts facts(graph);
  std::vector<GraphCall> calls = graph.calls;
  std::vector<bool> dropped(calls.size(), false);
  for (size_t at = 0; at < graph.calls.size(); ++at) {
    const GraphCall& first = graph.calls[at];
    if (first.op == nullptr || first.mode != Write::Fresh || !is_part(first.op->name) || dropped[at]) continue;
    Gathering g;
    if (!gather(graph, facts, at, g)) continue;
    const size_t last = g.calls.back();
    const bool steady = std::all_of(g.parts.begin(), g.parts.end(),
                                    [&](const Part& p) { return !facts.written_between(p.value, int(at), int(last)); });
    if (!steady) continue;
    for (size_t k : g.calls) dropped[k] = true;
    dropped[last] = false;
    calls[last] = joined(first, g, facts.spec(g.buffer).dtype);
  }
  Graph out = graph;
  out.calls.clear();
  for (size_t at = 0; at < calls.size(); ++at)
    if (!dropped[at]) out.calls.push_back(std::move(calls[at]));
  return renumbered(std::move(out));
}

}  // namespace mg
