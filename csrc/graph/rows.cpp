// See rows.h.
#include "rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "../autograd/handler.h"
#include "../autograd/node.h"
#include "../core/reduce_dims.h"
#include "arguments.h"

namespace mg {

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity(), kNaN = std::numeric_limits<double>::quiet_NaN();

constexpr double kSpecial[Rows::kCount][Rows::kColumns] = {
    {0.3, -1.2, 0.8, 2.1, -0.4, 0, 1.7},
    {12, -31, 25, 7, -18, 3, 22},
    {3, 1, 3, -2, 3, 0, 2.5},
    {2, 2, 2, 2, 2, 2, 2},
    {-kInf, 1, 0.5, -kInf, 2, -1, 0},
    {1.5, -kInf, -kInf, -kInf, -kInf, -kInf, -kInf},
    {-kInf, -kInf, -kInf, -kInf, -kInf, -kInf, -kInf},
    {0, 1, kInf, 2, -1, 0.5, 3},
    {1, kNaN, 0, 2, -3, 0.5, 1},
    {0, -2000, -1000, 0.5, -3000, 1, 0},
    {2001, 2000, 1999, 2000.5, 1990, 1800, 2002},
    {-2001, -2000, -1999, -2000.5, -1990, -1995, -2002},
};

bool is_view(const std::string& op) { return op == "view" || op == "squeeze" || op == "unsqueeze"; }
bool reduces(const std::string& op) { return op == "sum" || op == "amax" || op == "_max_dim" || op == "logsumexp"; }

}  // namespace

Rows::Rows(const Pattern& p, int like)
    : p_(p), values_(p.graph.values.size()), dtype_(p.spec(like).dtype), full_(p.spec(like).sizes), kept_(full_), reduced_(full_) {
  kept_.back() = 1;
  reduced_.erase(reduced_.size() - 1);
}

std::optional<Dims> Rows::image(const Dims& sizes) const {
  Dims rows(full_.size(), 1);
  rows[0] = kCount;
  if (sizes == kept_) return rows;
  rows.back() = kColumns;
  if (sizes == full_) return rows;
  rows.erase(rows.size() - 1);
  return sizes == reduced_ ? std::optional(rows) : std::nullopt;
}

Tensor Rows::special() const {
  Tensor t = empty(*image(full_), DType::Float64);
  std::copy(&kSpecial[0][0], &kSpecial[0][0] + kCount * kColumns, t.ptr<double>());
  return t;
}

Tensor Rows::random() const {
  Tensor t = empty(*image(full_), DType::Float64);
  for (int64_t k = 0; k < kCount * kColumns; ++k) t.ptr<double>()[k] = std::sin(double(k * k + 1) * 1.7);
  return t;
}

bool Rows::can_take(const GraphCall& c) {
  if (c.op == nullptr || c.mode != Write::Fresh || c.op->mutated >= 0 || draws(c)) return false;
  const std::string& op = c.op->name;
  return c.op->is_pointwise || reduces(op) || is_view(op) || op == "expand" || op == "_to_dtype" || op == "_full" || op == "_scatter";
}

bool Rows::knows_arguments(const GraphCall& c) const {
  const bool numbers_count = c.op->is_pointwise || c.op->name == "_full";  // others': dimensions
  for (const GraphArg& a : c.args) {
    if (a.is_list || (a.is_tensor && !has(a.ids[0]))) return false;
    if (a.is_tensor || !numbers_count || !a.number.is_number()) continue;
    const double v = std::fabs(a.number.as_double());
    if (v != 0 && v != 1 && v != kInf) return false;
  }
  return true;
}

bool Rows::compute(const GraphCall& c) {
  if (!can_take(c) || has(c.outs[0]) || !knows_arguments(c)) return false;
  const std::string& op = c.op->name;
  std::vector<Dims> sizes;
  for (int id : c.outs) {
    const std::optional<Dims> rows = image(p_.spec(id).sizes);
    if (!rows || (is_floating(p_.spec(id).dtype) && p_.spec(id).dtype != dtype_)) return false;
    sizes.push_back(*rows);
  }
  GraphCall here = c;
  for (GraphArg& a : here.args)
    if (a.number.kind == Kind::DType && is_floating(a.number.dtype)) a.number = OwnedValue(Value(DType::Float64));
  if (is_view(op)) {
    here.op = find_op("view");
    here.args = {here.args[0], number_arg(Value(sizes[0]))};
  } else if (op == "expand" || op == "_full") {
    here.args[op == "expand" ? 1 : 0] = number_arg(Value(sizes[0]));
  } else if (reduces(op)) {
    const int n = p_.spec(c.args[0].ids[0]).sizes.size();
    if (n != full_.size() || reduce_mask("sum", c.args[1].number, n) != uint64_t(1) << (n - 1)) return false;
  }
  Tensor outs[kMaxOutputs];
  try {
    const CallArguments args(here, values_);
    call(*here.op, args.values.values, outs);
  } catch (const Error&) {
    return false;
  }
  for (size_t k = 0; k < sizes.size(); ++k)
    if (!(outs[k]->sizes == sizes[k])) return false;
  for (size_t k = 0; k < sizes.size(); ++k) give(c.outs[k], outs[k]);
  return true;
}

std::vector<int> Rows::compute(int from, int to) {
  const GradModeGuard off(false);
  const HandlerGuard none(nullptr);
  std::vector<int> done;
  for (int at = from; at < to; ++at)
    if (compute(p_.graph.calls[size_t(at)])) done.push_back(at);
  return done;
}

void Rows::forget(const std::vector<int>& calls) {
  for (int at : calls)
    for (int id : p_.graph.calls[size_t(at)].outs) give(id, Tensor());
}

Tensor computed(const char* name, const std::vector<Value>& given) {
  const GradModeGuard off(false);
  const HandlerGuard none(nullptr);
  const Op* op = find_op(name);
  ValueArray args;
  for (int k = 0; k < op->n_args; ++k) args[k] = size_t(k) < given.size() ? given[size_t(k)] : op->defaults[k];
  Tensor outs[kMaxOutputs];
  call(*op, args, outs);
  return outs[0];
}

bool same_rows(const Tensor& a, const Tensor& b) {
  if (a->dtype != DType::Float64 || b->dtype != DType::Float64 || !(a->sizes == b->sizes)) return false;
  const Tensor x = computed("_copy_contiguous", {a}), y = computed("_copy_contiguous", {b});
  const int64_t n = x->sizes.back();
  for (const double *p = x.ptr<double>(), *q = y.ptr<double>(), *end = p + x.numel(); p != end; p += n, q += n) {
    const auto nan = [&](const double* row) { return std::any_of(row, row + n, [](double v) { return std::isnan(v); }); };
    if (nan(p) != nan(q)) return false;
    if (nan(p)) continue;
    double size = 0;
    for (int64_t k = 0; k < n; ++k)
      if (std::isfinite(q[k])) size = std::max(size, std::fabs(q[k]));
    for (int64_t k = 0; k < n; ++k)
      if (p[k] != q[k] && !(std::fabs(p[k] - q[k]) <= 1e-12 * size)) return false;
  }
  return true;
}

}  // namespace mg
