// Picking one entry per row of log_softmax(x), as nll_loss, gather and log_p[arange(n), target] do, has a gradient g that is zero but for one entry
// per row, and then log_softmax's:
//
//   d = scatter(zeros, target, v) [* factor]    dx = _log_softmax_backward(d, log_p) = d - exp(log_p) sum(d)
//
// This is what cross_entropy's gradient computes from the target and one number per row, with log_p for logits whose logsumexp is 0. The
// matrix of zeros is not made. Where nobody but nll_loss and this gradient reads log_p, it is not made either: nll_loss becomes cross_entropy.
// Other forward parts stay as they are, because what they raise for a target out of range is their own.
#include <algorithm>
#include <limits>

#include "passes.h"
#include "pattern.h"

namespace mg {

namespace {

int operand(const GraphCall& c, size_t k) { return k < c.args.size() && c.args[k].is_tensor ? c.args[k].ids[0] : -1; }

bool is_dense(const OutSpec& s) {
  int64_t expected = 1;
  for (int d = s.sizes.size(); d-- > 0; expected *= s.sizes[d])
    if (s.sizes[d] != 1 && s.strides[d] != expected) return false;
  return true;
}

class PickedRows {
 public:
  PickedRows(const Pattern& p, int at) : p_(p), at_(at), log_p_(operand(call(), 1)) {}

  bool find() {
    if (!is_call(call(), "_log_softmax_backward")) return false;
    const OutSpec& y = p_.spec(log_p_);
    const int n = y.sizes.size();
    const int64_t dim = call().args[2].number.as_int();
    if (n < 2 || (dim != -1 && dim != n - 1) || y.device.type != DeviceType::CPU) return false;
    if (y.dtype != DType::Float32 && y.dtype != DType::Float64) return false;
    one_ = y.sizes;
    one_.back() = 1;
    rows_ = 1;
    for (int d = 0; d + 1 < n; ++d) rows_ *= y.sizes[d];
    if (rows_ == 0 || y.sizes.back() == 0 || !is_dense(y) || !is_dense(p_.spec(call().outs[0]))) return false;
    if (!is_scattered(operand(call(), 0)) || !holds()) return false;
    find_loss();
    return true;
  }

  void replace(Rewriting& r) const {
    const std::string& line = call().line;
    const auto add = [&](const char* op, std::vector<GraphArg> args) { return tensor_arg(r.add(at_, op, std::move(args), line)[0]); };
    const auto number = [](auto v) { return number_arg(Value(v)); };
    const OutSpec& y = p_.spec(log_p_);
    const Dims row = {rows_};
    GraphArg g = tensor_arg(values_), target = tensor_arg(target_);
    if (factor_ >= 0) g = add("mul", {g, tensor_arg(factor_)});
    g = add("view", {add("neg", {g}), number(row)});
    if (may_wrap_) target = add("where", {add("lt", {target, number(int64_t(0))}), add("add", {target, number(y.sizes.back())}), target});
    if (p_.spec(target_).sizes.size() > 1) target = add("view", {target, number(row)});
    GraphArg lse, logits, one = add("_full", {number(Dims()), number(1.0), number(y.dtype), number(y.device)});
    if (loss_ >= 0) {
      lse = tensor_arg(replace_loss(r)), logits = tensor_arg(x_);
    } else {
      lse = add("_full", {number(row), number(0.0), number(y.dtype), number(y.device)});
      logits = add("view", {tensor_arg(log_p_), number(Dims{rows_, y.sizes.back()})});
    }
    const int64_t none = std::numeric_limits<int64_t>::min(), per_sample = 0;
    const GraphArg dx = add("_cross_entropy_backward", {g, logits, target, GraphArg(), lse, one, number(none), number(per_sample), number(0.0)});
    r.stand_in(at_, call().outs[0], add("view", {dx, number(y.sizes)}).ids[0]);
    r.drop(at_);
    for (int k : gone_) r.drop(k);
  }

 private:
  // nll_loss(log_softmax(x)) that is all there is to log_p.
  void find_loss() {
    const GraphCall* softmax = p_.made_by(log_p_, "log_softmax");
    const std::vector<int>& readers = p_.readers(log_p_);
    if (softmax == nullptr || !softmax->args[2].number.none() || one_.size() != 2 || readers.size() != 2) return;
    if (p_.facts.shown(log_p_) || p_.facts.written(log_p_)) return;
    const int at = readers[0], x = operand(*softmax, 0);
    const GraphCall& loss = p_.graph.calls[size_t(at)];
    const bool plain = is_call(loss, "_nll_loss") && operand(loss, 0) == log_p_ && operand(loss, 2) < 0;
    if (!plain || p_.facts.written(loss.outs[0]) || p_.facts.written_between(x, p_.made_at(log_p_) - 1, at_)) return;
    loss_ = at, x_ = x;
  }
  // Gives the logsumexp.
  int replace_loss(Rewriting& r) const {
    const GraphCall& loss = p_.graph.calls[size_t(loss_)];
    const std::vector<int> out =
        r.add(loss_, "_cross_entropy", {tensor_arg(x_), loss.args[1], GraphArg(), loss.args[3], loss.args[4], number_arg(Value(0.0))}, loss.line);
    r.stand_in(loss_, loss.outs[0], out[0]);
    r.stand_in(loss_, loss.outs[1], out[2]);
    r.drop(loss_);
    r.drop(p_.made_at(log_p_));
    return out[1];
  }

  const GraphCall& call() const { return p_.graph.calls[size_t(at_)]; }
  bool goes(int id) {
    if (p_.readers(id).size() != 1 || p_.facts.shown(id) || p_.facts.written(id)) return false;
    gone_.push_back(p_.made_at(id));
    return true;
  }

  bool is_scattered(int d) {
    if (const GraphCall* product = p_.made_by(d, "mul"); product != nullptr && goes(d)) {
      for (size_t k : {0, 1}) {
        factor_ = operand(*product, 1 - k);
        if (factor_ < 0 || operand(*product, k) < 0) continue;
        const Dims& sizes = p_.spec(factor_).sizes;
        if ((sizes.size() == 0 || sizes == one_) && is_scatter(operand(*product, k))) return true;
      }
      return false;
    }
    return is_scatter(d);
  }

  bool is_scatter(int d) {
    for (const char* op : {"_scatter", "scatter_add"})
      if (const GraphCall* c = p_.made_by(d, op)) {
        const int64_t dim = c->args[1].number.as_int(), last = one_.size() - 1;
        target_ = operand(*c, 2), values_ = operand(*c, 3);
        return (dim == -1 || dim == last) && target_ >= 0 && values_ >= 0 && p_.spec(target_).sizes == one_ && p_.spec(values_).sizes == one_ &&
               is_dense(p_.spec(target_)) && goes(d) && is_zero(operand(*c, 0));
      }
    const GraphCall* c = p_.made_by(d, "index_put");
    if (c == nullptr || one_.size() != 2 || c->args[1].ids.size() != 2) return false;
    target_ = c->args[1].ids[1], values_ = operand(*c, 2), may_wrap_ = true;
    if (values_ < 0 || target_ < 0 || p_.spec(target_).dtype != DType::Int64) return false;
    if (!(p_.spec(target_).sizes == Dims{rows_}) || !(p_.spec(values_).sizes == Dims{rows_})) return false;
    return counts_rows(c->args[1].ids[0]) && goes(d) && is_zero(operand(*c, 0));
  }

  bool is_zero(int id) {
    if (const GraphCall* full = p_.made_by(id, "_full")) {
      goes(id);
      return p_.number(full->args[1]) == 0.0;
    }
    std::vector<int> assumed;
    const Tensor t = p_.known(id, assumed);
    return t.defined() && assumed.empty() && t->contiguous && t->dtype == p_.spec(log_p_).dtype && all_zero(t);
  }
  static bool all_zero(const Tensor& t) {
    const char* from = t->data();
    return std::all_of(from, from + t->nbytes(), [](char c) { return c == 0; });
  }

  bool counts_rows(int id) const {
    std::vector<int> assumed;
    if (id < 0 || !(p_.spec(id).sizes == Dims{rows_})) return false;
    const Tensor t = p_.known(id, assumed);
    if (!t.defined() || !assumed.empty() || t->dtype != DType::Int64 || !t->contiguous) return false;
    for (int64_t k = 0; k < rows_; ++k)
      if (t.ptr<int64_t>()[k] != k) return false;
    return true;
  }

  bool holds() const {
    const int first = gone_.empty() ? at_ : *std::min_element(gone_.begin(), gone_.end());
    for (int id : {log_p_, target_, values_, factor_})
      if (id >= 0 && p_.facts.written_between(id, first - 1, at_)) return false;
    return p_.spec(values_).dtype == p_.spec(log_p_).dtype && (factor_ < 0 || p_.spec(factor_).dtype == p_.spec(log_p_).dtype);
  }

  const Pattern& p_;
  const int at_, log_p_;
  Dims one_;  // of one entry per row
  int64_t rows_ = 0;
  int target_ = -1, values_ = -1, factor_ = -1;
  int loss_ = -1, x_ = -1;  // the call of nll_loss that goes, and the logits
  bool may_wrap_ = false;  // index counts negative classes from the end
  std::vector<int> gone_;
};

}  // namespace

Graph use_cross_entropy_gradient(const Graph& graph, size_t* boundary) {
  if (std::none_of(graph.calls.begin(), graph.calls.end(), [](const GraphCall& c) { return is_call(c, "_log_softmax_backward"); })) return graph;
  const Pattern p(graph);
  Rewriting r(graph);
  bool any = false;
  for (int at = 0; at < int(graph.calls.size()); ++at) {
    PickedRows rows(p, at);
    if (!rows.find()) continue;
    rows.replace(r);
    any = true;
  }
  return any ? r.finish(boundary) : graph;
}

}  // namespace mg
