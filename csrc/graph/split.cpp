// A joint graph of a function and its gradients, cut in two: what the first part has that the second needs is saved in between.
#include <algorithm>

#include "split.h"

namespace mg {

std::pair<Graph, Graph> split(const Graph& joint, size_t forward_calls, size_t results, size_t cotangents) {
  Graph forward, backward;
  forward.values = backward.values = joint.values;
  forward.calls.assign(joint.calls.begin(), joint.calls.begin() + std::ptrdiff_t(forward_calls));
  backward.calls.assign(joint.calls.begin() + std::ptrdiff_t(forward_calls), joint.calls.end());
  // The cotangents are the last inputs made by hand; what backward alone met (constants) comes after them or before.
  std::vector<int> seeds;
  for (int id : joint.inputs) {
    const bool made = std::find(joint.cotangents.begin(), joint.cotangents.end(), id) != joint.cotangents.end();
    (made ? seeds : forward.inputs).push_back(id);
  }
  MG_INTERNAL(seeds.size() == cotangents, "split: ", seeds.size(), " cotangents, expected ", cotangents);
  forward.outputs.assign(joint.outputs.begin(), joint.outputs.begin() + std::ptrdiff_t(results));
  backward.outputs.assign(joint.outputs.begin() + std::ptrdiff_t(results), joint.outputs.end());
  std::vector<bool> seen(joint.values.size(), false);
  for (int id : seeds) seen[size_t(id)] = true;
  auto need = [&](int id) {
    if (id < 0 || seen[size_t(id)]) return;
    seen[size_t(id)] = true;
    const int maker = joint.values[size_t(id)].maker;
    if (maker >= 0 && size_t(maker) >= forward_calls) return;
    backward.inputs.push_back(id);
    forward.outputs.push_back(id);
  };
  for (const GraphCall& call : backward.calls)
    for (const GraphArg& a : call.args)
      for (int id : a.ids) need(id);
  for (int id : backward.outputs) need(id);
  backward.cotangents = seeds;
  backward.inputs.insert(backward.inputs.end(), seeds.begin(), seeds.end());
  return {renumbered(std::move(forward)), renumbered(std::move(backward))};
}

}  // namespace mg
