// What passes ask about a graph before they let one tensor stand for another: who writes to a storage and when, who
// reads it last, what leaves the graph. It also carries the changes: once a value has been replaced, later calls are
// `resolved` to read its stand-in.
#pragma once
#include "graph.h"

namespace mg {

GraphArg tensor_arg(int id);
GraphArg number_arg(const Value& v);

bool draws(const GraphCall& call);                    // random numbers: it may be neither dropped nor repeated
int target_of(const GraphCall& call);                 // of an in-place call
int result_of(const GraphCall& call);                 // of a call with one result, also of an in-place one
bool is_call(const GraphCall& call, const char* op);  // a fresh (not in-place) call of that op

template <class F>
void for_each_read(const GraphCall& call, F&& f) {
  for (const GraphArg& a : call.args)
    for (int id : a.ids)
      if (id >= 0) f(id);
  if (!call.host) return;
  for (const GraphGradient& g : call.host->gradients)
    if (g.value >= 0) f(g.value);
  for (int id : call.host->writes) f(id);
}

class Facts {
 public:
  explicit Facts(const Graph& graph);

  std::vector<GraphValue> values;  // with storages as they are after the replacements
  const OutSpec& spec(int id) const { return values[size_t(id)].spec; }
  /// Call that made it, as it now stands, or null for inputs and constants.
  const GraphCall* maker(int id) const;

  bool shown(int id) const { return shown_[size_t(id)]; }  // a result or a gradient: it stays a tensor of its own
  int reads(int id) const { return reads_[size_t(id)]; }  // how often calls read it
  bool leaves(int id) const { return storage_of(id).shown; }
  bool from_outside(int id) const { return storage_of(id).input; }
  bool written(int id) const { return !storage_of(id).writes.empty(); }
  bool written_between(int id, int after, int until) const;
  int last_read(int id) const { return storage_of(id).last_read; }

  /// May everything that reads `result`, the fresh result of call `at`, read `source` instead?
  bool may_share(int result, int source, int at) const;
  /// From now on it does.
  void share(int result, int source);
  int now(int id) const { return id < 0 ? id : same_[size_t(id)]; }
  /// The call with its arguments replaced; noted as the maker of its results.
  GraphCall& resolved(GraphCall& call) const;
  void made(const GraphCall& call);
  /// The graph of these calls, with replaced values nowhere.
  Graph finish(const Graph& before, std::vector<GraphCall> calls) const;

 private:
  struct Memory {
    std::vector<int> writes;  // calls
    int last_read = -1;
    bool shown = false, input = false, by_address = false;  // by_address: as_strided reads it by absolute offset
  };
  const Memory& storage_of(int id) const { return memory_[size_t(values[size_t(id)].storage)]; }
  std::vector<Memory> memory_;
  std::vector<int> same_, reads_;
  std::vector<bool> shown_;
  std::vector<GraphCall> makers_;
  std::vector<int> maker_of_;
};

bool same_geometry(const OutSpec& a, const OutSpec& b);  // dtype, device, sizes, strides

}  // namespace mg
