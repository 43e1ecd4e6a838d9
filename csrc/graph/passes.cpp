// See passes.h.
#include "passes.h"

#include <algorithm>
#include <map>

#include "facts.h"

namespace mg {

namespace {

// How often each storage has been written to so far.
struct Writes {
  const Graph& graph;
  std::vector<int> count;
  explicit Writes(const Graph& g) : graph(g), count(g.values.size() + 1, 0) {}
  int& of(int id) { return count[size_t(graph.values[size_t(id)].storage)]; }
  void note(const GraphCall& call) {
    if (call.host)
      for (int id : call.host->writes) ++of(id);
    else if (call.mode == Write::Inplace)
      ++of(target_of(call));
  }
};

void append(std::string& key, const void* p, size_t n) { key.append(static_cast<const char*>(p), n); }

// Everything that decides a call's results; empty: it may not be merged.
std::string key_of(const GraphCall& call, Writes& writes) {
  if (call.host || call.mode != Write::Fresh || draws(call) || call.outs.empty()) return {};
  std::string key(call.op->name);
  for (const GraphArg& a : call.args) {
    key += a.is_tensor ? 't' : a.is_list ? 'l' : char('A' + int(a.number.kind));
    for (int id : a.ids) {
      append(key, &id, sizeof id);
      if (id >= 0) append(key, &writes.of(id), sizeof(int));
    }
    if (a.is_tensor || a.is_list) continue;
    const Value& v = a.number;
    switch (v.kind) {
      case Kind::None: break;
      case Kind::Bool: key += v.b ? '1' : '0'; break;
      case Kind::Int: append(key, &v.i, sizeof v.i); break;
      case Kind::Float: append(key, &v.f, sizeof v.f); break;
      case Kind::DType: append(key, &v.dtype, sizeof v.dtype); break;
      case Kind::Device: append(key, &v.device.type, sizeof v.device.type), append(key, &v.device.index, sizeof v.device.index); break;
      case Kind::Ints: append(key, v.ints, size_t(v.len) * sizeof(int64_t)); break;
      case Kind::Str: key += v.str; break;
      default: return {};
    }
    key += ';';
  }
  return key;
}

}  // namespace

Graph eliminate_common_subexpressions(const Graph& graph) {
  Writes all(graph), now(graph);
  for (const GraphCall& call : graph.calls) all.note(call);
  std::vector<bool> shown(graph.values.size(), false);  // must stay a tensor of its own
  for (int id : graph.outputs) shown[size_t(id)] = true;
  auto show = [&](const GraphGradient& g) {
    if (g.value >= 0) shown[size_t(g.value)] = true;
  };
  for (const GraphGradient& g : graph.gradients) show(g);
  for (const GraphCall& call : graph.calls)
    if (call.host)
      for (const GraphGradient& g : call.host->gradients) show(g);
  std::vector<bool> leaves(graph.values.size() + 1, false);  // memory that is seen outside, through a view perhaps
  for (size_t id = 0; id < shown.size(); ++id)
    if (shown[id]) leaves[size_t(graph.values[id].storage)] = true;
  std::vector<int> same(graph.values.size());
  for (size_t id = 0; id < same.size(); ++id) same[id] = int(id);
  std::map<std::string, const GraphCall*> seen;
  Graph out = graph;
  out.calls.clear();
  for (GraphCall call : graph.calls) {
    for (GraphArg& a : call.args)
      for (int& id : a.ids)
        if (id >= 0) id = same[size_t(id)];
    bool alone = true;  // nobody writes to what it makes, and it leaves the graph nowhere
    for (int id : call.outs) alone &= !shown[size_t(id)] && all.of(id) == 0;
    const std::string key = alone ? key_of(call, now) : std::string();
    now.note(call);
    if (!key.empty()) {
      const auto [found, fresh] = seen.try_emplace(key, nullptr);
      const auto storage_of = [&](int id) { return out.values[size_t(id)].storage; };
      bool apart = fresh;
      for (size_t k = 0; !apart && k < call.outs.size(); ++k) {
        const int from = storage_of(call.outs[k]), to = storage_of(found->second->outs[k]);
        apart = from != to && leaves[size_t(from)] && leaves[size_t(to)];
      }
      if (!apart) {
        for (size_t k = 0; k < call.outs.size(); ++k) {
          const int kept = same[size_t(call.outs[k])] = found->second->outs[k];
          const int from = storage_of(call.outs[k]), to = storage_of(kept);
          if (leaves[size_t(from)]) leaves[size_t(to)] = true;
          for (GraphValue& v : out.values)  // views of what goes are views of what stays, and keep its memory
            if (v.storage == from) v.storage = to;
        }
        continue;
      }
      out.calls.push_back(std::move(call));
      if (fresh) found->second = &graph.calls[size_t(graph.values[size_t(out.calls.back().outs[0])].maker)];
    } else {
      out.calls.push_back(std::move(call));
    }
  }
  return renumbered(std::move(out));
}

Graph eliminate_dead_code(const Graph& graph) {
  std::vector<bool> live(graph.values.size(), false), live_storage(graph.values.size() + 1, false);
  auto need = [&](int id) {
    if (id < 0) return;
    live[size_t(id)] = true;
    live_storage[size_t(graph.values[size_t(id)].storage)] = true;
  };
  for (int id : graph.inputs) live_storage[size_t(graph.values[size_t(id)].storage)] = true;  // writes to them are seen outside
  for (int id : graph.outputs) need(id);
  for (const GraphGradient& g : graph.gradients) need(g.value);
  std::vector<GraphCall> kept;
  for (size_t at = graph.calls.size(); at-- > 0;) {
    const GraphCall& call = graph.calls[at];
    bool wanted = call.host != nullptr || draws(call) || (call.mode == Write::Inplace && live_storage[size_t(graph.values[size_t(target_of(call))].storage)]);
    for (int id : call.outs) wanted = wanted || live[size_t(id)];
    if (!wanted) continue;
    for_each_read(call, need);
    kept.push_back(call);
  }
  Graph out = graph;
  out.calls.assign(kept.rbegin(), kept.rend());
  std::erase_if(out.constants, [&](const GraphConstant& c) { return !live[size_t(c.id)]; });
  return renumbered(std::move(out));
}

const std::vector<Pass>& passes() {
  static const std::vector<Pass> all = {
      {"inplace", functionalise},
      {"views", fold_views},
      {"algebra", simplify_algebra},
      {"constants", fold_constants},
      {"common_subexpressions", eliminate_common_subexpressions},
      {"gradient_parts", join_gradient_parts},
      {"lost_writes", eliminate_lost_writes},
      {"dead_code", eliminate_dead_code},
  };
  return all;
}

const std::vector<Pass>& plan_passes() {
  static const std::vector<Pass> all = {
      {"softmax", [](const Graph& graph) { return use_softmax(graph, nullptr); }},
      {"attention", [](const Graph& graph) { return use_attention(graph, nullptr); }},
      {"cross_entropy_gradient", [](const Graph& graph) { return use_cross_entropy_gradient(graph, nullptr); }},
      {"linear_cross_entropy", chunk_linear_cross_entropy},
      {"sink", sink},
      {"recompute", recompute},
  };
  return all;
}

Graph use_structured_ops(const Graph& graph, size_t* boundary) {
  return use_cross_entropy_gradient(use_attention(use_softmax(graph, boundary), boundary), boundary);
}

Graph run_pass(const Graph& graph, const std::string& name) {
  for (const auto* list : {&passes(), &plan_passes()})
    for (const Pass& p : *list)
      if (name == p.name) return p.run(graph);
  fail(ErrorKind::Value, "run_pass: no pass of the name ", name);
}

Graph optimize(const Graph& graph, bool constants) {
  Graph out = graph;
  for (const Pass& p : passes())
    if (constants || p.run != fold_constants) out = p.run(out);
  return out;
}

}  // namespace mg
