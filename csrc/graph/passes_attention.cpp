// Attention written by hand becomes the op of scaled_dot_product_attention, and its gradients that op's.
//
//   scores = q @ kᵀ [* scale] [+ bias] [masked_fill / where]     out = softmax(scores) @ v
//   dp = g @ vᵀ    dv = pᵀ @ g    ds = softmax's gradient [masked_fill] [* scale]    dq = ds @ k    dkᵀ = qᵀ @ ds
//
// in any order of factors and masks, with casts between. Only where nobody else looks at the scores, the weights or their gradients.
// What is known of a mask when the graph is made (constants; buffers, which the compiled form then watches) decides whether it is causal.
// Not equal bits: the kernel adds in blocks, and keeps scores of 16-bit floats in 32 bits. A query that sees no key gets NaN here as there.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "../autograd/handler.h"
#include "../autograd/node.h"
#include "passes.h"
#include "pattern.h"

namespace mg {

namespace {

constexpr double kHides = -1e8;  // added to a score, it leaves a weight of 0
constexpr double kInf = std::numeric_limits<double>::infinity();

struct Mask {
  int condition = -1, bias = -1;  // of them at most one
  bool hides = false;             // where the condition is true
  double fill = 0;                // what the scores become there
  bool causal = false;            // nothing else than that
  bool blind = true;              // a query may see no key, for all that is known
};

struct Forward {
  int at = -1, scores_at = -1;  // calls: the second product, the first one
  int q = -1, k_T = -1, v = -1, out = -1;
  int weights = -1, used = -1;  // softmax's result; what meets v: itself or a cast of it
  double scale = 1;
  Mask mask;
  std::vector<int> calls, inner;  // that go: calls, and values which nobody else may read
};

struct Backward {
  int at = -1, last = -1;  // the first call of it, the last
  int g = -1, dv = -1, dq = -1, dk_T = -1;
  std::vector<int> calls, inner;
};

class Matcher {
 public:
  explicit Matcher(const Graph& graph) : p_(graph) {}

  bool forward(int at, Forward& f) const {
    const GraphCall& last = call(at);
    if (!p_.is_product(last)) return false;
    f.at = at, f.used = input(last, 0), f.v = input(last, 1), f.out = last.outs[0];
    f.weights = f.used;
    f.calls = {at};
    f.inner = {f.used};
    if (const GraphCall* cast = p_.made_by(f.used, "_to_dtype")) {
      step(f, f.used);
      f.weights = input(*cast, 0);
      f.inner.push_back(f.weights);
    }
    const GraphCall* softmax = p_.made_by(f.weights, "softmax");
    if (softmax == nullptr || !over_last(*softmax, 1, f.weights)) return false;
    step(f, f.weights);
    return climb(f, input(*softmax, 0), 1) && fits(f);
  }

  // True when the weights are not read by gradients, or by ones that are all of the pattern (found in b).
  bool backward(const Forward& f, Backward& b) const {
    int weights_T = -1, softmax_at = -1;
    for (int id : std::set{f.used, f.weights})
      for (int at : p_.readers(id)) {
        if (std::count(f.calls.begin(), f.calls.end(), at)) continue;
        const GraphCall& c = call(at);
        if (is_call(c, "_softmax_backward") && input(c, 1) == f.weights && over_last(c, 2, f.weights) && softmax_at < 0) softmax_at = at;
        else if (c.op != nullptr && c.op->is_view && p_.are_transposed(c.outs[0], f.used) && weights_T < 0) weights_T = at;
        else return false;
      }
    if (weights_T >= 0 && !value_gradient(weights_T, b)) return false;
    return (softmax_at < 0 || score_gradient(f, softmax_at, b)) && (b.calls.empty() || b.at > f.at);
  }

  // Nobody else looks at what goes, and what stays holds at the new places what it held at the old ones.
  bool closed(const Forward& f, const Backward& b) const {
    std::set<int> calls(f.calls.begin(), f.calls.end());
    calls.insert(b.calls.begin(), b.calls.end());
    std::vector<int> inner = f.inner;
    inner.insert(inner.end(), b.inner.begin(), b.inner.end());
    for (int id : inner) {
      if (p_.facts.shown(id) || p_.facts.written(id)) return false;
      for (int at : p_.readers(id))
        if (!calls.contains(at)) return false;
    }
    const int end = std::max(f.at, b.last);
    for (int id : {f.q, f.k_T, f.v, f.mask.condition, f.mask.bias})
      if (id >= 0 && p_.facts.written_between(id, std::min(f.scores_at, f.at) - 1, end)) return false;
    if (b.calls.empty()) return true;
    return !p_.facts.written_between(f.out, f.at, b.last) && !p_.facts.written_between(b.g, b.at - 1, b.last);
  }

  // Measured: blocks of less than 16 queries waste lanes, and the gradients' kernel computes the scores again.
  bool pays(const Forward& f, const Backward& b) const {
    const Dims& q = p_.spec(f.q).sizes;
    const int64_t queries = q[q.size() - 2], keys = p_.spec(f.k_T).sizes.back();
    if (queries < 16 && (queries > 3 || !b.calls.empty())) return false;
    if (f.mask.causal || b.calls.empty()) return true;
    return f.mask.condition >= 0 ? keys >= 16 : keys >= 512;
  }

  const Pattern& pattern() const { return p_; }
  const GraphCall& call(int at) const { return p_.graph.calls[size_t(at)]; }

 private:
  static int input(const GraphCall& c, size_t k) { return k < c.args.size() && c.args[k].is_tensor ? c.args[k].ids[0] : -1; }
  bool over_last(const GraphCall& c, size_t k, int id) const {
    const int64_t dim = c.args[k].number.as_int(), n = p_.spec(id).sizes.size();
    return dim == -1 || dim == n - 1;
  }
  void step(Forward& f, int id) const {
    f.calls.push_back(p_.made_at(id));
    if (std::find(f.inner.begin(), f.inner.end(), id) == f.inner.end()) f.inner.push_back(id);
  }

  // From the scores up to the product of queries and keys; `factor` is what comes after.
  bool climb(Forward& f, int id, double factor) const {
    const int at = id < 0 ? -1 : p_.made_at(id);
    if (at < 0 || call(at).op == nullptr || call(at).mode != Write::Fresh || f.calls.size() > 8) return false;
    const GraphCall& c = call(at);
    const std::string& op = c.op->name;
    step(f, id);
    if (p_.is_product(c)) {
      f.scores_at = at, f.q = input(c, 0), f.k_T = input(c, 1), f.scale = factor;
      return true;
    }
    if (op == "_to_dtype") return climb(f, input(c, 0), factor);
    if (op == "mul" || op == "true_divide") {
      std::optional<double> by = p_.number(c.args[1]);
      int x = 0;
      if (!by && op == "mul") by = p_.number(c.args[0]), x = 1;
      if (!by || *by == 0 || !std::isfinite(*by)) return false;
      return climb(f, input(c, size_t(x)), op == "mul" ? factor * *by : factor / *by);
    }
    if (f.mask.condition >= 0 || f.mask.bias >= 0) return false;
    if (op == "masked_fill") return condition(f, input(c, 1), true, c.args[2], factor) && climb(f, input(c, 0), factor);
    if (op == "where") {
      const bool hides = !p_.number(c.args[2]).has_value();
      return condition(f, input(c, 0), hides, c.args[hides ? 1 : 2], factor) && climb(f, input(c, hides ? 2 : 1), factor);
    }
    if (op != "add" || factor != 1 || c.args[2].number.as_double() != 1) return false;
    for (size_t x = 0; x < 2; ++x) {  // which of the two are the scores
      Forward g = f;
      g.mask.bias = input(c, 1 - x);
      if (g.mask.bias < 0 || p_.made_at(input(c, x)) < 0 || !climb(g, input(c, x), factor)) continue;
      f = g;
      return true;
    }
    return false;
  }

  bool condition(Forward& f, int id, bool hides, const GraphArg& fill, double factor) const {
    const std::optional<double> value = p_.number(fill);
    if (id < 0 || !value || factor <= 0 || !(*value * factor <= kHides)) return false;
    f.mask.condition = id, f.mask.hides = hides, f.mask.fill = *value * factor;
    return p_.spec(id).dtype == DType::Bool;
  }

  bool fits(const Forward& f) const {
    const OutSpec &q = p_.spec(f.q), &k = p_.spec(f.k_T), &v = p_.spec(f.v), &out = p_.spec(f.out);
    if (!is_floating(q.dtype) || q.device.type != DeviceType::CPU) return false;
    for (const OutSpec* s : {&k, &v, &out})
      if (s->dtype != q.dtype || !(s->device == q.device)) return false;
    const int n = q.sizes.size();
    Dims scores = q.sizes;
    scores[n - 1] = k.sizes[n - 1];
    for (int id : f.inner)  // masks and casts have not widened them; float64 in between is asked for
      if (!(p_.spec(id).sizes == scores) || !is_floating(p_.spec(id).dtype) || (p_.spec(id).dtype == DType::Float64 && q.dtype != DType::Float64))
        return false;
    for (const OutSpec* s : {&q, &k, &v})
      for (int64_t size : s->sizes)
        if (size == 0) return false;
    if (f.mask.bias < 0) return true;
    const OutSpec& bias = p_.spec(f.mask.bias);
    return bias.dtype == DType::Float32 || bias.dtype == q.dtype;
  }

  bool take(Backward& b, int at) const {
    b.calls.push_back(at);
    b.at = b.at < 0 ? at : std::min(b.at, at);
    b.last = std::max(b.last, at);
    return true;
  }
  bool is_g(Backward& b, int id) const {
    if (b.g < 0) b.g = id;
    return p_.same_tensor(b.g, id);
  }

  // dv = weightsᵀ @ g
  bool value_gradient(int view_at, Backward& b) const {
    const int weights_T = call(view_at).outs[0];
    const std::vector<int>& readers = p_.readers(weights_T);
    if (readers.size() != 1 || !p_.is_product(call(readers[0])) || input(call(readers[0]), 0) != weights_T) return false;
    b.dv = call(readers[0]).outs[0];
    b.inner.push_back(weights_T);
    return is_g(b, input(call(readers[0]), 1)) && take(b, readers[0]) && take(b, view_at) && (b.at = readers[0]) >= 0;
  }

  // dp = g @ vᵀ, up from softmax's gradient, and from there down to dq and dk.
  bool score_gradient(const Forward& f, int softmax_at, Backward& b) const {
    int dp = input(call(softmax_at), 0);
    b.inner.push_back(dp);
    if (const GraphCall* cast = p_.made_by(dp, "_to_dtype")) {
      take(b, p_.made_at(dp));
      b.inner.push_back(dp = input(*cast, 0));
    }
    const int at = p_.made_at(dp);
    if (at < 0 || !p_.is_product(call(at)) || !is_g(b, input(call(at), 0)) || !p_.are_transposed(input(call(at), 1), f.v)) return false;
    take(b, at);
    take(b, softmax_at);
    return descend(f, call(softmax_at).outs[0], b, 1, false);
  }

  bool descend(const Forward& f, int ds, Backward& b, double factor, bool hidden) const {
    b.inner.push_back(ds);
    if (b.calls.size() > 12) return false;
    const std::vector<int>& readers = p_.readers(ds);
    if (readers.size() == 1 && call(readers[0]).op != nullptr && call(readers[0]).mode == Write::Fresh) {
      const GraphCall& c = call(readers[0]);
      const std::string& op = c.op->name;
      const bool first = input(c, 0) == ds;
      if (first && op == "_to_dtype") return take(b, readers[0]) && descend(f, c.outs[0], b, factor, hidden);
      if (first && (op == "mul" || op == "true_divide"))
        if (const std::optional<double> by = p_.number(c.args[1]))
          return take(b, readers[0]) && descend(f, c.outs[0], b, op == "mul" ? factor * *by : factor / *by, hidden);
      if (hides_gradient(f, c, ds)) return take(b, readers[0]) && descend(f, c.outs[0], b, factor, true);
    }
    if (std::fabs(factor - f.scale) > 1e-6 * std::fabs(f.scale) || hidden != (f.mask.condition >= 0)) return false;
    for (int at : readers) {
      const GraphCall& c = call(at);
      if (!p_.is_product(c)) return false;
      if (input(c, 0) == ds && b.dq < 0 && p_.are_transposed(input(c, 1), f.k_T)) b.dq = c.outs[0];
      else if (input(c, 1) == ds && b.dk_T < 0 && p_.are_transposed(input(c, 0), f.q)) b.dk_T = c.outs[0];
      else return false;
      take(b, at);
    }
    return true;
  }

  // masked_fill(ds, condition, 0), or where() of it.
  bool hides_gradient(const Forward& f, const GraphCall& c, int ds) const {
    if (f.mask.condition < 0) return false;
    const auto zero = [&](size_t k) { return p_.number(c.args[k]) == 0.0; };
    if (c.op->name == "masked_fill") return f.mask.hides && input(c, 0) == ds && input(c, 1) == f.mask.condition && zero(2);
    if (c.op->name != "where" || input(c, 0) != f.mask.condition) return false;
    return f.mask.hides ? input(c, 2) == ds && zero(1) : input(c, 1) == ds && zero(2);
  }

  Pattern p_;
};

// --- What is known of a mask

// Which scores a query sees, as far as the elements are known: looked at once, when the graph is made.
void look_at_mask(const Pattern& p, Forward& f, std::vector<int>& assumed) {
  Mask& m = f.mask;
  if (m.condition < 0 && m.bias < 0) {
    m.blind = false;
    return;
  }
  std::vector<int> inputs;
  const Tensor held = p.known(m.condition >= 0 ? m.condition : m.bias, inputs);
  if (!held.defined() || held->dim() < 1 || held->device.type != DeviceType::CPU) return;
  const GradModeGuard off(false);
  const HandlerGuard none(nullptr);
  static OpRef to_dtype{"_to_dtype"}, dense{"_copy_contiguous"};
  const bool bools = held->dtype == DType::Bool;
  Tensor numbers = bools ? held : invoke(to_dtype, held, DType::Float64);
  if (!numbers->contiguous) numbers = invoke(dense, numbers);
  const int n = held->dim(), d = p.spec(f.q).sizes.size();
  const int64_t columns = numbers->sizes[n - 1], rows = n > 1 ? numbers->sizes[n - 2] : 1, all = numbers->numel;
  bool causal = all == rows * columns && rows == p.spec(f.q).sizes[d - 2] && columns == p.spec(f.k_T).sizes[d - 1], each_sees = true;
  const bool* bits = bools ? numbers.ptr<bool>() : nullptr;
  const double* added = bools ? nullptr : numbers.ptr<double>();
  const bool hides = m.hides, plain = m.condition >= 0;
  for (int64_t row = 0; row < all / columns; ++row) {
    bool sees = false;
    for (int64_t k = 0; k < columns; ++k) {
      const bool hidden = bits != nullptr ? bits[row * columns + k] == hides : added[row * columns + k] <= kHides;
      sees |= !hidden;
      causal &= hidden == (k > row) && (hidden || plain || added[row * columns + k] == 0);
    }
    each_sees &= sees;
  }
  m.blind = !each_sees;
  m.causal = causal;
  if (each_sees) assumed.insert(assumed.end(), inputs.begin(), inputs.end());
}

// --- The new calls

class Weaver {
 public:
  Weaver(const Matcher& m, Rewriting& r, const Forward& f) : m_(m), p_(m.pattern()), r_(r), f_(f) {}

  bool place(const Backward& b) {
    if (f_.mask.condition >= 0 && f_.mask.blind && f_.mask.fill > -kInf && p_.spec(f_.q).dtype == DType::Float64) return false;  // -1e9 is not all there is to see
    const std::string& line = m_.call(f_.at).line;
    const auto turned = [&](int id) { return r_.view(f_.at, id, "transpose", {number_arg(Value(int64_t(-2))), number_arg(Value(int64_t(-1)))}, line); };
    const int k = turned(f_.k_T), mask = mask_for_kernel(line);
    const std::vector<GraphArg> options = {number_arg(Value(0.0)), number_arg(Value(f_.mask.causal)), number_arg(Value(f_.scale)), number_arg(Value(false))};
    std::vector<GraphArg> args = {tensor_arg(f_.q), tensor_arg(k), tensor_arg(f_.v), mask < 0 ? GraphArg() : tensor_arg(mask)};
    std::vector<GraphArg> all = args;
    all.insert(all.end(), options.begin(), options.end());
    const bool blind = f_.mask.blind && !f_.mask.causal && (f_.mask.bias >= 0 || f_.mask.fill == -kInf);
    if (blind) all.insert(all.end(), {GraphArg(), number_arg(Value(std::numeric_limits<double>::quiet_NaN()))});
    const std::vector<int> out = r_.add(f_.at, "_attention", all, line);
    r_.stand_in(f_.at, f_.out, out[0]);
    for (int at : f_.calls) r_.drop(at);
    if (b.calls.empty()) return true;
    const std::string& back = m_.call(b.at).line;
    args.insert(args.begin(), tensor_arg(b.g));
    for (int id : out) args.push_back(tensor_arg(id));
    args.insert(args.end(), options.begin(), options.end());
    const std::vector<int> d = r_.add(b.at, "_attention_backward", args, back);
    if (b.dq >= 0) r_.stand_in(b.at, b.dq, d[0]);
    if (b.dk_T >= 0) r_.stand_in(b.at, b.dk_T, d[1], true);
    if (b.dv >= 0) r_.stand_in(b.at, b.dv, d[2]);
    for (int at : b.calls) r_.drop(at);
    return true;
  }

 private:
  int mask_for_kernel(const std::string& line) {
    const Mask& m = f_.mask;
    if (m.causal) return -1;
    if (m.condition < 0) return m.bias;
    const OutSpec &q = p_.spec(f_.q), &condition = p_.spec(m.condition);
    const int64_t scores = q.sizes[q.sizes.size() - 2] * p_.spec(f_.k_T).sizes.back();
    const bool exact = m.fill == -kInf || !m.blind;
    if (exact && scores >= 64 * 64) return m.hides ? allowed(line) : m.condition;
    // A small one is faster as numbers to add, and -1e9 has to be one: where all is hidden, all is seen alike.
    const DType dtype = q.dtype == DType::Float64 ? DType::Float64 : DType::Float32;
    const double fill = std::max(m.fill, m.fill == -kInf || dtype == DType::Float64 ? -kInf : double(std::numeric_limits<float>::lowest()));
    const int zeros = r_.add(f_.at, "_full", {number_arg(Value(condition.sizes)), number_arg(Value(0.0)), number_arg(Value(dtype)), number_arg(Value(q.device))}, line)[0];
    if (m.hides) return r_.add(f_.at, "masked_fill", {tensor_arg(zeros), tensor_arg(m.condition), number_arg(Value(fill))}, line)[0];
    return r_.add(f_.at, "where", {tensor_arg(m.condition), tensor_arg(zeros), number_arg(Value(fill))}, line)[0];
  }

  int allowed(const std::string& line) {
    const int condition = f_.mask.condition;
    if (const GraphCall* no = p_.made_by(condition, "logical_not"); no != nullptr && p_.spec(no->args[0].ids[0]).dtype == DType::Bool && steady(no->args[0].ids[0]))
      return no->args[0].ids[0];
    if (const GraphCall* eq = p_.made_by(condition, "eq"); eq != nullptr && eq->args[0].is_tensor && p_.number(eq->args[1]) && !eq->args[1].is_tensor && steady(eq->args[0].ids[0]))
      return r_.add(f_.at, "ne", eq->args, line)[0];
    return r_.add(f_.at, "logical_not", {tensor_arg(condition)}, line)[0];
  }
  bool steady(int id) const { return !p_.facts.written(id); }

  const Matcher& m_;
  const Pattern& p_;
  Rewriting& r_;
  const Forward& f_;
};

}  // namespace

Graph use_attention(const Graph& graph, size_t* boundary) {
  if (std::none_of(graph.calls.begin(), graph.calls.end(), [](const GraphCall& c) { return is_call(c, "softmax"); })) return graph;
  const Matcher m(graph);
  Rewriting r(graph);
  std::vector<int> assumed;
  bool any = false;
  for (int at = 0; at < int(graph.calls.size()); ++at) {
    Forward f;
    Backward b;
    if (!m.forward(at, f) || !m.backward(f, b) || !m.closed(f, b)) continue;
    std::vector<int> inputs;
    look_at_mask(m.pattern(), f, inputs);
    if (!m.pays(f, b) || !Weaver(m, r, f).place(b)) continue;
    assumed.insert(assumed.end(), inputs.begin(), inputs.end());
    any = true;
  }
  if (!any) return graph;
  Graph out = r.finish(boundary);
  out.assumed.insert(out.assumed.end(), assumed.begin(), assumed.end());
  return out;
}

}  // namespace mg
