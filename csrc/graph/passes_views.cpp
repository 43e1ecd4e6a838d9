// Views: a view is nothing but a geometry on a storage, so two of the same geometry are one, and a chain that nobody
// else looks into is one step. Sound whatever is written in between, since views share their memory.
#include <map>
#include <tuple>

#include "../core/layout.h"
#include "facts.h"
#include "passes.h"

namespace mg {

namespace {

bool row_major(const OutSpec& spec) {
  int64_t stride = 1;
  for (int k = spec.sizes.size(); k-- > 0;) {
    if (spec.sizes[k] != 1 && spec.strides[k] != stride) return false;
    stride *= spec.sizes[k];
  }
  return true;
}

// `call` makes a view of a view: the same view made of what lies `below`, when one op can.
bool rebase(GraphCall& call, int below, const Facts& facts) {
  const OutSpec &base = facts.spec(below), &out = facts.spec(call.outs[0]);
  if (base.dtype != out.dtype) return false;
  if (row_major(base) && out.strides == contiguous_strides(out.sizes) && base.offset == out.offset && base.strides.size() > 0 &&
      find_op("view") != nullptr) {
    int64_t a = 1, b = 1;
    for (int64_t s : base.sizes) a *= s;
    for (int64_t s : out.sizes) b *= s;
    if (a == b && a != 0) {
      call.op = find_op("view");
      call.args = {tensor_arg(below), number_arg(Value(out.sizes))};
      return true;
    }
  }
  const GraphCall* maker = facts.maker(below);
  if (maker == nullptr || facts.from_outside(below) || base.offset != 0)
    return false;  // where an argument's elements begin is known at its call only
  call.op = find_op("_as_strided");
  call.args = {tensor_arg(below),
               number_arg(Value(out.sizes)),
               number_arg(Value(out.strides)),
               number_arg(Value(out.offset)),
               number_arg(Value(base.strides)),
               number_arg(Value(int64_t(0)))};
  return true;
}

}  // namespace

Graph fold_views(const Graph& graph) {
  Facts facts(graph);
  using Geometry = std::tuple<int, int64_t, DType, std::vector<int64_t>, std::vector<int64_t>>;
  std::map<Geometry, int> known;
  auto geometry = [&](int id) {
    const OutSpec& s = facts.spec(id);
    return Geometry{facts.values[size_t(id)].storage,
                    s.offset,
                    s.dtype,
                    {s.sizes.begin(), s.sizes.end()},
                    {s.strides.begin(), s.strides.end()}};
  };
  for (int id : graph.inputs) known.emplace(geometry(id), id);
  std::vector<GraphCall> kept;
  for (GraphCall call : graph.calls) {
    facts.resolved(call);
    if (call.op != nullptr && call.mode == Write::Fresh && call.op->is_view && call.outs.size() == 1) {
      const int out = call.outs[0];
      const auto found = known.find(geometry(out));
      if (found != known.end() && !facts.shown(out) && found->second != out) {
        facts.share(out, found->second);
        continue;
      }
      for (const GraphCall* before = facts.maker(call.args[0].ids[0]); before != nullptr && before->op->is_view;
           before = facts.maker(call.args[0].ids[0])) {
        const int middle = call.args[0].ids[0];
        if (facts.reads(middle) != 1 || facts.shown(middle) || !rebase(call, before->args[0].ids[0], facts)) break;
      }
    }
    for (int id : call.outs) known.emplace(geometry(id), id);
    facts.made(call);
    kept.push_back(std::move(call));
  }
  return facts.finish(graph, std::move(kept));
}

}  // namespace mg
