// Which steps of a plan read a weight: something from outside, large enough to be worth keeping packed or transformed (../core/prepared.h).
#include <algorithm>
#include <set>
#include <string_view>

#include "plan.h"

namespace mg {

namespace {

constexpr int64_t kLeastBytes = 16 * 1024;

struct WeightArgument {
  std::string_view op;
  size_t argument;
};
constexpr WeightArgument kWeights[] = {{"linear", 1}, {"matmul", 1}, {"mm", 1}, {"addmm", 2}, {"_conv", 1}, {"_conv_transpose", 1}};

}  // namespace

void Plan::note_weights() {
  std::set<int> outside;  // storages
  for (int id : graph_.inputs) outside.insert(graph_.values[size_t(id)].storage);
  for (const GraphConstant& c : graph_.constants) outside.insert(graph_.values[size_t(c.id)].storage);
  for (size_t at = 0; at < steps_.size(); ++at) {
    const GraphCall& call = graph_.calls[at];
    if (steps_[at].way != Way::Kernel || call.mode != Write::Fresh) continue;
    const auto* found = std::find_if(std::begin(kWeights), std::end(kWeights), [&](const WeightArgument& w) { return w.op == call.op->name; });
    if (found == std::end(kWeights)) continue;
    const int id = call.args[found->argument].ids[0];
    const GraphValue& value = graph_.values[size_t(id)];
    int64_t bytes = itemsize(value.spec.dtype);
    for (int64_t size : value.spec.sizes) bytes *= size;
    if (bytes < kLeastBytes || outside.count(value.storage) == 0) continue;
    steps_[at].weight = int(weights_.size());
    weights_.push_back({id, std::make_unique<WeightUse>()});
  }
}

void Plan::prepare_no_weights() {
  for (Step& step : steps_) step.weight = -1;
  weights_.clear();
}

int64_t Plan::prepared_bytes() const {
  std::set<std::shared_ptr<PreparedWeight>> held;  // several steps may use one
  for (const Weight& w : weights_)
    if (auto prepared = w.use->held()) held.insert(std::move(prepared));
  int64_t sum = 0;
  for (const auto& prepared : held) sum += prepared->bytes();
  return sum;
}

}  // namespace mg
