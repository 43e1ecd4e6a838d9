// See facts.h.
#include "facts.h"

#include <algorithm>

namespace mg {

GraphArg tensor_arg(int id) {
  GraphArg a;
  a.is_tensor = true;
  a.ids = {id};
  return a;
}

GraphArg number_arg(const Value& v) {
  GraphArg a;
  a.number = OwnedValue(v);
  return a;
}

bool draws(const GraphCall& call) {
  if (call.op == nullptr) return false;
  bool may = false;
  for (size_t k = 0; k < call.op->args.size(); ++k) {
    may |= call.op->args[k].kind == ArgKind::Generator;
    if (call.op->args[k].name == "dropout_p" && !call.args[k].is_tensor && call.args[k].number.as_double() == 0) return false;
  }
  return may;
}

int target_of(const GraphCall& call) { return call.args[size_t(std::max(call.op->mutated, 0))].ids[0]; }

int result_of(const GraphCall& call) { return call.mode == Write::Inplace ? target_of(call) : call.outs[0]; }

bool is_call(const GraphCall& call, const char* op) {
  return call.op != nullptr && call.mode == Write::Fresh && call.op->name == op;
}

bool same_geometry(const OutSpec& a, const OutSpec& b) {
  return a.dtype == b.dtype && a.device == b.device && a.sizes == b.sizes && a.strides == b.strides;
}

Facts::Facts(const Graph& graph)
    : values(graph.values),
      memory_(graph.values.size() + 1),
      same_(graph.values.size()),
      reads_(graph.values.size(), 0),
      shown_(graph.values.size(), false),
      maker_of_(graph.values.size(), -1) {
  const int end = int(graph.calls.size());
  auto memory = [&](int id) -> Memory& { return memory_[size_t(values[size_t(id)].storage)]; };
  auto show = [&](int id) {
    if (id < 0) return;
    shown_[size_t(id)] = memory(id).shown = true;
    memory(id).last_read = end;
  };
  for (size_t id = 0; id < same_.size(); ++id) same_[id] = int(id);
  for (int id : graph.inputs) memory(id).input = true;
  for (const GraphConstant& c : graph.constants) memory(c.id).input = true;
  for (int at = 0; at < end; ++at) {
    const GraphCall& call = graph.calls[size_t(at)];
    for_each_read(call, [&](int id) {
      ++reads_[size_t(id)];
      memory(id).last_read = std::max(memory(id).last_read, at);
      memory(id).by_address |= call.op != nullptr && call.op->name == "_as_strided";
    });
    if (call.host) {
      for (int id : call.host->writes) memory(id).writes.push_back(at);
      for (const GraphGradient& g : call.host->gradients) show(g.value);
    } else if (call.mode == Write::Inplace) {
      memory(target_of(call)).writes.push_back(at);
    }
  }
  for (int id : graph.outputs) show(id);
  for (const GraphGradient& g : graph.gradients) show(g.value);
  makers_.reserve(graph.calls.size() * 2);
}

const GraphCall* Facts::maker(int id) const {
  const int at = maker_of_[size_t(id)];
  return at < 0 ? nullptr : &makers_[size_t(at)];
}

bool Facts::written_between(int id, int after, int until) const {
  const std::vector<int>& writes = storage_of(id).writes;
  return std::any_of(writes.begin(), writes.end(), [&](int at) { return at > after && at <= until; });
}

bool Facts::may_share(int result, int source, int at) const {
  if (!same_geometry(spec(result), spec(source))) return false;
  const Memory &a = storage_of(result), &b = storage_of(source);
  const GraphCall* by = maker(source);
  const bool whole = by != nullptr && !by->op->is_view && !b.input;  // the source owns its memory
  if (a.by_address && !whole) return false;
  if (a.shown && (!whole || b.shown)) return false;
  if (whole && !b.shown && b.last_read <= at) return true;  // nobody else looks at the source any more
  return a.writes.empty() && !written_between(source, at, a.last_read);
}

void Facts::share(int result, int source) {
  const int from = values[size_t(result)].storage, to = values[size_t(source)].storage;
  const int64_t shift = spec(source).offset - spec(result).offset;
  for (GraphValue& v : values) {
    if (v.storage != from || from == to) continue;
    v.storage = to;
    v.spec.offset += shift;
  }
  Memory &a = memory_[size_t(from)], &b = memory_[size_t(to)];
  if (from != to) {
    b.writes.insert(b.writes.end(), a.writes.begin(), a.writes.end());
    b.last_read = std::max(a.last_read, b.last_read);
    b.shown = a.shown || b.shown;
    b.by_address = a.by_address || b.by_address;
  }
  shown_[size_t(source)] = shown_[size_t(source)] || shown_[size_t(result)];
  reads_[size_t(source)] += reads_[size_t(result)] - 1;  // the call that is dropped read it
  for (int& id : same_)
    if (id == result) id = source;
}

GraphCall& Facts::resolved(GraphCall& call) const {
  for (GraphArg& a : call.args)
    for (int& id : a.ids) id = now(id);
  if (!call.host) return call;
  const bool moved = std::any_of(call.host->gradients.begin(), call.host->gradients.end(),
                                 [&](const GraphGradient& g) { return now(g.value) != g.value; });
  if (!moved) return call;
  call.host = std::make_shared<HostCall>(*call.host);
  for (GraphGradient& g : call.host->gradients) g.value = now(g.value);
  return call;
}

void Facts::made(const GraphCall& call) {
  if (call.outs.empty()) return;
  for (int id : call.outs) maker_of_[size_t(id)] = int(makers_.size());
  makers_.push_back(call);
}

Graph Facts::finish(const Graph& before, std::vector<GraphCall> calls) const {
  Graph out = before;
  out.values = values;
  out.calls = std::move(calls);
  for (int& id : out.outputs) id = now(id);
  for (GraphGradient& g : out.gradients) g.value = now(g.value);
  return renumbered(std::move(out));
}

}  // namespace mg
