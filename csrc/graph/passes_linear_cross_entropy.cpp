// A linear layer whose logits go into a cross entropy and nowhere else becomes one call that makes the logits of some rows at a time
// (cpu/linear_cross_entropy.cpp). In a training step whose loss's own gradient does not depend on the loss, that call gives the
// gradients too, and forward and backward are one: the logits' memory is never there.
#include <algorithm>

#include "../core/reduce_dims.h"
#include "facts.h"
#include "passes.h"

namespace mg {

namespace {

constexpr int64_t kLarge = 8 << 20, kRows = 1024;  // bytes of logits, and samples; keeping fewer costs nothing

int64_t elements(const OutSpec& s) {
  int64_t n = 1;
  for (int64_t k : s.sizes) n *= k;
  return n;
}
bool is_dense(const OutSpec& s) {
  int64_t expected = 1;
  for (int d = s.sizes.size(); d-- > 0; expected *= s.sizes[d])
    if (s.sizes[d] != 1 && s.strides[d] != expected) return false;
  return true;
}
bool is_pure(const GraphCall& c) { return c.op != nullptr && c.mode == Write::Fresh && c.op->mutated < 0 && !draws(c); }
int operand(const GraphCall& c, size_t k) { return k < c.args.size() && c.args[k].is_tensor ? c.args[k].ids[0] : -1; }

class Pattern {
 public:
  Pattern(const Graph& graph, const Facts& facts, int loss) : graph_(graph), facts_(facts), loss_(loss), drop_(graph.calls.size(), false) {}
  bool matches() { return finds_product() && finds_readers() && finds_gradients() && may_move(); }
  Graph replaced() const;

 private:
  const GraphCall& call(int at) const { return graph_.calls[size_t(at)]; }
  const OutSpec& spec(int id) const { return graph_.values[size_t(id)].spec; }
  int storage(int id) const { return graph_.values[size_t(id)].storage; }
  int maker(int id) const { return graph_.values[size_t(id)].maker; }
  // All of the rows of the same matrix.
  bool same_rows(int id, int like) const {
    return storage(id) == storage(like) && is_dense(spec(id)) && is_dense(spec(like)) && spec(id).offset == spec(like).offset &&
           elements(spec(id)) == elements(spec(like)) && spec(id).sizes.size() >= 2 && spec(id).sizes.back() == spec(like).sizes.back();
  }

  bool finds_product() {
    logits_ = operand(call(loss_), 0);
    int id = logits_;
    while (maker(id) >= 0 && call(maker(id)).op != nullptr && call(maker(id)).op->is_view && call(maker(id)).mode == Write::Fresh) id = operand(call(maker(id)), 0);
    product_ = maker(id);
    if (product_ < 0 || !is_call(call(product_), "linear")) return false;
    input_ = operand(call(product_), 0);
    weight_ = operand(call(product_), 1);
    const OutSpec& x = spec(input_);
    return spec(weight_).sizes.size() == 2 && x.sizes.size() >= 2 && (x.dtype == DType::Float32 || x.dtype == DType::Float64) && x.device.type == DeviceType::CPU &&
           spec(logits_).sizes.size() == 2 && same_rows(logits_, id) && spec(logits_).sizes[0] >= kRows && elements(spec(id)) * itemsize(x.dtype) >= kLarge;
  }

  // Calls that read a storage, views aside; false where it leaves the graph or is written to. Calls and views are to go.
  bool readers(int of, std::vector<int>& found) {
    if (facts_.leaves(of) || facts_.written(of)) return false;
    for (int at = 0; at < int(graph_.calls.size()); ++at) {
      bool reads = false;
      for_each_read(call(at), [&](int id) { reads |= storage(id) == storage(of); });
      if (!reads) continue;
      if (!is_pure(call(at))) return false;
      if (!call(at).op->is_view) found.push_back(at);
      drop_[size_t(at)] = true;
    }
    return true;
  }

  bool finds_readers() {
    std::vector<int> found;
    drop_[size_t(product_)] = true;
    if (!readers(logits_, found) || found.size() > 2 || found[0] != loss_) return false;
    if (found.size() == 2) {
      const GraphCall &f = call(loss_), &b = call(gradient_ = found[1]);
      const bool same = is_call(b, "_cross_entropy_backward") && operand(b, 1) == logits_ && operand(b, 2) == operand(f, 1) &&
                        operand(b, 3) == operand(f, 2) && operand(b, 4) == f.outs[1] && operand(b, 5) == f.outs[2];
      if (!same) return false;
    }
    for (size_t k : {1, 2})  // logsumexp and the total weight are for the gradient alone
      if (facts_.leaves(call(loss_).outs[k]) || facts_.reads(call(loss_).outs[k]) != (gradient_ >= 0)) return false;
    return true;
  }

  // What is made of the logits' gradient: dinput, dweight, dbias.
  bool finds_gradients() {
    if (gradient_ < 0) return true;
    std::vector<int> found;
    const int d = call(gradient_).outs[0];
    if (!readers(d, found)) return false;
    for (int at : found) {
      const GraphCall& c = call(at);
      const int a = operand(c, 0), b = operand(c, 1), out = c.outs[0];
      int which = -1;
      if (is_call(c, "matmul") && storage(a) == storage(d) && storage(b) != storage(d)) {
        const OutSpec& left = spec(a);
        if (same_rows(a, d) && b == weight_ && spec(out).sizes == spec(input_).sizes) which = 0;
        const bool turned = left.sizes.size() == 2 && left.sizes[0] == spec(d).sizes[1] && left.sizes[1] == spec(d).sizes[0] && left.strides[0] == 1 &&
                            left.strides[1] == spec(d).sizes[1] && left.offset == spec(d).offset;
        if (turned && spec(b).sizes.size() == 2 && same_rows(b, input_)) which = 1;
      } else if (is_call(c, "sum") && same_rows(a, d) && elements(spec(out)) == spec(d).sizes[1]) {
        const int n = spec(a).sizes.size();
        if ((reduce_mask("sum", c.args[1].number, n) >> (n - 1) & 1) == 0) which = 2;
      }
      if (which < 0 || made_[which] >= 0 || !is_dense(spec(out)) || spec(out).dtype != spec(d).dtype) return false;
      made_[which] = at;
      last_ = std::max(last_, at);
    }
    return true;
  }

  // Everything from the product to the gradients runs in another order: what does not depend on the loss first.
  bool may_move() {
    const int end = gradient_ < 0 ? loss_ : gradient_;
    last_ = std::max(last_, end);
    after_.assign(graph_.values.size(), false);
    for (int at = product_; at <= end; ++at) {
      if (!is_pure(call(at))) return false;
      bool depends = at == product_;
      for_each_read(call(at), [&](int id) { depends |= after_[size_t(id)]; });
      for (int id : call(at).outs) after_[size_t(id)] = depends;
    }
    if (gradient_ >= 0 && after_[size_t(operand(call(gradient_), 0))]) return false;
    for (int id : {input_, weight_, operand(call(product_), 2), operand(call(loss_), 1), operand(call(loss_), 2)})
      if (id >= 0 && (after_[size_t(id)] || facts_.written_between(id, product_, last_))) return false;
    return true;
  }

  GraphCall combined(Graph& out, std::vector<GraphCall>& then) const;

  const Graph& graph_;
  const Facts& facts_;
  const int loss_;
  int logits_ = -1, product_ = -1, input_ = -1, weight_ = -1, gradient_ = -1, last_ = -1;
  int made_[3] = {-1, -1, -1};
  std::vector<bool> drop_, after_;
};

GraphCall Pattern::combined(Graph& out, std::vector<GraphCall>& then) const {
  const GraphCall &product = call(product_), &loss = call(loss_);
  GraphCall c;
  c.op = find_op("_linear_cross_entropy");
  c.compute = loss.compute;
  c.line = loss.line;
  int needs = 0;
  for (int k = 0; k < 3; ++k) needs |= made_[k] >= 0 ? 1 << k : 0;
  const GraphArg none = number_arg(Value());
  c.args = {product.args[0], product.args[1], product.args.size() > 2 ? product.args[2] : none, loss.args[1], loss.args[2], needs ? call(gradient_).args[0] : none,
            loss.args[3], loss.args[4], loss.args[5], number_arg(Value(int64_t(needs)))};
  int next = 0;
  for (const GraphValue& v : out.values) next = std::max(next, v.storage + 1);
  const auto fresh = [&](const Dims& sizes) {
    GraphValue v;
    v.spec = spec(logits_);
    v.spec.offset = 0;
    v.spec.sizes = sizes;
    v.spec.strides = Dims{1};
    v.storage = next++;
    out.values.push_back(std::move(v));
    return int(out.values.size()) - 1;
  };
  c.outs = {loss.outs[0]};
  for (int k = 0; k < 2; ++k) c.outs.push_back(made_[k] >= 0 ? call(made_[k]).outs[0] : fresh({0}));
  c.outs.push_back(fresh({made_[2] >= 0 ? spec(weight_).sizes[0] : 0}));
  if (made_[2] >= 0) {  // as sum() left it, with its dims of size one
    const int sum = call(made_[2]).outs[0];
    GraphCall view;
    view.op = find_op("view");
    view.line = call(made_[2]).line;
    view.args = {tensor_arg(c.outs[3]), number_arg(Value(spec(sum).sizes))};
    view.outs = {sum};
    for (GraphValue& v : out.values)
      if (v.storage == storage(sum)) v.storage = out.values[size_t(c.outs[3])].storage;
    then.push_back(std::move(view));
  }
  return c;
}

Graph Pattern::replaced() const {
  Graph out = graph_;
  out.calls.clear();
  const int end = gradient_ < 0 ? loss_ : gradient_;
  std::vector<GraphCall> then;
  GraphCall all = combined(out, then);
  for (int at = 0; at < int(graph_.calls.size()); ++at) {
    const bool waits = at > product_ && at <= end && std::any_of(call(at).outs.begin(), call(at).outs.end(), [&](int id) { return after_[size_t(id)]; });
    if (at == loss_ || at == gradient_ || drop_[size_t(at)]) {
    } else if (waits) {
      then.push_back(call(at));
    } else {
      out.calls.push_back(call(at));
    }
    if (at != end) continue;
    out.calls.push_back(std::move(all));
    out.calls.insert(out.calls.end(), then.begin(), then.end());
  }
  return renumbered(std::move(out));
}

}  // namespace

Graph chunk_linear_cross_entropy(const Graph& graph) {
  Graph out = graph;
  for (bool found = true; found;) {
    found = false;
    const Facts facts(out);
    for (int at = 0; at < int(out.calls.size()) && !found; ++at) {
      if (!is_call(out.calls[size_t(at)], "_cross_entropy")) continue;
      Pattern p(out, facts, at);
      if (!(found = p.matches())) continue;
      Graph better = p.replaced();
      out = std::move(better);
    }
  }
  return out;
}

}  // namespace mg
