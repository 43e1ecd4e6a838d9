// Softmax and log_softmax written by hand over the last dimension become the ops, and what autograd made of them the ops' gradients.
//
//   m = x.amax(-1, True)    e = exp(x - m)    y = e / e.sum(-1, True)    or    z = x - m    y = z - z.exp().sum(-1, True).log()
//
// and whatever else is the same for the rows of rows.h. Those decide as well what is not: exp(x) / sum(exp(x)) overflows where softmax does not,
// the logarithm of a softmax is -inf where log_softmax is not, and in a row of -inf the gradient of x - logsumexp(x) is no NaN.
// Only where all that y and the gradient are made of goes, and where it is no slower.
#include <algorithm>
#include <set>

#include "../core/layout.h"
#include "fuse.h"
#include "passes.h"
#include "pattern.h"
#include "rows.h"

namespace mg {

namespace {

constexpr int kNear = 64, kMostTries = 32;  // calls that a gradient takes, values that may be y's gradient

class Softmax {
 public:
  Softmax(const Pattern& p, int x) : p_(p), rows_(p, x), x_(x) {}

  bool find() {
    rows_.give(x_, rows_.special());
    calls_ = rows_.compute(p_.made_at(x_) + 1, n_calls());
    for (const char* op : {"softmax", "log_softmax"}) {
      y_ = last_equal(calls_, computed(op, {rows_[x_], Value(-1)}), true);
      op_ = op;
      if (y_ >= 0) break;
    }
    if (y_ < 0) return false;
    find_gradient();
    return goes() && holds() && pays();
  }

  const std::set<int>& calls_that_go() const { return gone_; }
  void replace(Rewriting& r) const {
    const GraphArg last = number_arg(Value(int64_t(-1)));
    const int at = p_.made_at(y_), y = r.add(at, op_.c_str(), {tensor_arg(x_), last}, call(at).line)[0];
    r.stand_in(at, y_, y);
    if (dx_ >= 0) {
      const int back = p_.made_at(dx_);
      r.stand_in(back, dx_, r.add(back, backward().c_str(), {tensor_arg(g_), tensor_arg(y), last}, call(back).line)[0]);
    }
    for (int k : gone_) r.drop(k);
  }

 private:
  const GraphCall& call(int at) const { return p_.graph.calls[size_t(at)]; }
  std::string backward() const { return "_" + op_ + "_backward"; }
  int n_calls() const { return int(p_.graph.calls.size()); }

  // Of the values that these calls make, the one (the first, the last) that is this; or -1.
  int last_equal(const std::vector<int>& calls, const Tensor& wanted, bool first = false) const {
    int found = -1;
    for (int at : calls) {
      const int id = call(at).outs[0];
      if (!rows_.is_full(id) || !same_rows(rows_[id], wanted)) continue;
      found = id;
      if (first) break;
    }
    return found;
  }

  // What met values of x is made of g, or is it: whatever is within reach above is tried, the nearest first.
  void find_gradient() {
    std::set<int> reach;
    for (int at : calls_)
      for (int id : call(at).outs)
        for (int reader : p_.readers(id))
          if (!rows_.has(call(reader).outs.empty() ? id : call(reader).outs[0])) climb(reader, reach);
    std::vector<int> tries(reach.begin(), reach.end());
    std::erase_if(tries, [&](int id) { return !rows_.is_full(id); });
    std::stable_sort(tries.begin(), tries.end(), [&](int a, int b) { return p_.made_at(a) > p_.made_at(b); });
    if (tries.size() > kMostTries) tries.resize(kMostTries);
    for (int g : tries) {
      const int from = std::max(p_.made_at(g), p_.made_at(y_)) + 1;
      rows_.give(g, rows_.random());
      const std::vector<int> calls = rows_.compute(from, std::min(from + kNear, n_calls()));
      dx_ = last_equal(calls, computed(backward().c_str(), {rows_[g], rows_[y_], Value(-1)}));
      if (dx_ >= 0) {
        g_ = g;
        calls_.insert(calls_.end(), calls.begin(), calls.end());
        std::sort(calls_.begin(), calls_.end());
        return;
      }
      rows_.forget(calls);
      rows_.give(g, Tensor());
    }
  }
  void climb(int at, std::set<int>& reach) const {
    if (at < 0 || !Rows::can_take(call(at))) return;
    for (const GraphArg& a : call(at).args)
      if (a.is_tensor && !rows_.has(a.ids[0]) && reach.insert(a.ids[0]).second) climb(p_.made_at(a.ids[0]), reach);
  }

  // Calls whose results nobody reads any more; true if all that y and dx are made of is among them.
  bool goes() {
    for (size_t k = calls_.size(); k-- > 0;) {
      const GraphCall& c = call(calls_[k]);
      const bool dead = std::all_of(c.outs.begin(), c.outs.end(), [&](int id) {
        if (id == y_ || id == dx_) return true;
        const std::vector<int>& readers = p_.readers(id);
        return !p_.facts.shown(id) && !p_.facts.written(id) && std::all_of(readers.begin(), readers.end(), [&](int r) { return gone_.contains(r); });
      });
      if (dead) gone_.insert(calls_[k]);
    }
    std::vector<int> todo = {y_};
    if (dx_ >= 0) todo.push_back(dx_);
    std::set<int> seen = {x_, g_, y_};
    while (!todo.empty()) {
      const int id = todo.back(), at = p_.made_at(id);
      todo.pop_back();
      if (!gone_.contains(at)) return false;
      for (const GraphArg& a : call(at).args)
        for (int from : a.ids)
          if (seen.insert(from).second) todo.push_back(from);
    }
    return true;
  }

  // What the new calls read is what the old ones read.
  bool holds() const {
    const int at = p_.made_at(y_), first = std::min(at, *gone_.begin()) - 1, last = dx_ < 0 ? at : p_.made_at(dx_);
    return !p_.facts.written(y_) && !p_.facts.written_between(x_, first, last) && (g_ < 0 || !p_.facts.written_between(g_, at, last));
  }

  // Measured (docs/fusion.md): without gradients a group that computes what comes before and after as well is the faster one, but for short rows
  // and for those that leave the cache. Before a product softmax may be attention's.
  bool pays() const {
    for (int id : {y_, dx_})  // the op's results are contiguous; others would be copied
      if (id >= 0 && !(p_.spec(id).strides == contiguous_strides(p_.spec(id).sizes))) return false;
    const int64_t columns = p_.spec(x_).sizes.back();
    if (dx_ >= 0 || columns <= 64 || columns >= 32768) return true;
    const auto joins = [&](int at) { return at >= 0 && fuse_role(p_.graph, call(at)) != FuseRole::None; };
    const std::vector<int>& readers = p_.readers(y_);
    if (std::any_of(readers.begin(), readers.end(), [&](int at) { return call(at).op != nullptr && p_.is_product(call(at)); })) return true;
    return !joins(p_.made_at(x_)) && std::none_of(readers.begin(), readers.end(), joins);
  }

  const Pattern& p_;
  Rows rows_;
  const int x_;
  int y_ = -1, g_ = -1, dx_ = -1;
  std::string op_;
  std::vector<int> calls_;  // that could be computed for the rows
  std::set<int> gone_;
};

bool reduces_last(const Pattern& p, const GraphCall& c) {
  if (!is_call(c, "amax") && !is_call(c, "_max_dim") && !is_call(c, "logsumexp")) return false;
  const OutSpec& x = p.spec(c.args[0].ids[0]);
  if (x.device.type != DeviceType::CPU || (x.dtype != DType::Float32 && x.dtype != DType::Float64) || x.sizes.size() < 2) return false;
  return x.sizes.back() > 1 && std::none_of(x.sizes.begin(), x.sizes.end(), [](int64_t n) { return n == 0; });
}

}  // namespace

Graph use_softmax(const Graph& given, size_t* boundary) {
  const auto may_be = [](const GraphCall& c) { return is_call(c, "exp") || is_call(c, "logsumexp"); };
  if (std::none_of(given.calls.begin(), given.calls.end(), may_be)) return given;
  size_t cut = boundary != nullptr ? *boundary : given.calls.size();
  const Graph graph = functionalise(given, cut);
  const Pattern p(graph);
  Rewriting r(graph);
  std::set<int> seen, gone;
  for (const GraphCall& c : graph.calls) {
    if (!reduces_last(p, c) || !seen.insert(c.args[0].ids[0]).second) continue;
    Softmax s(p, c.args[0].ids[0]);
    if (!s.find() || std::any_of(s.calls_that_go().begin(), s.calls_that_go().end(), [&](int at) { return gone.contains(at); })) continue;
    s.replace(r);
    gone.insert(s.calls_that_go().begin(), s.calls_that_go().end());
  }
  if (gone.empty()) return given;
  if (boundary != nullptr) *boundary = cut;
  return r.finish(boundary);
}

}  // namespace mg
