// From a group of calls to a FusedProgram (core/fused.h): registers, casts, levels, and the iteration space with its axes merged.
#include <algorithm>
#include <bit>
#include <map>

#include "../core/layout.h"
#include "../core/reduce_dims.h"
#include "facts.h"
#include "fuse.h"

namespace mg {

namespace {

constexpr int64_t kLongestRow = 16384;  // elements of a row that is reduced: it stays in cache until it is stored
constexpr int64_t kGathered = 8192;     // elements of an operand that may be walked against its order in memory

bool is_half(DType d) { return d == DType::Float16 || d == DType::BFloat16; }
DType widened(DType d) { return is_half(d) ? DType::Float32 : d; }
DType accumulated(DType d) { return d == DType::Float64 ? d : is_floating(d) ? DType::Float32 : DType::Int64; }
bool is_operand(ArgKind k) { return k == ArgKind::Tensor || k == ArgKind::Operand || k == ArgKind::Scalar; }

int64_t numel_of(const Dims& sizes) {
  int64_t n = 1;
  for (int64_t s : sizes) n *= s;
  return n;
}

// The operand is walked in the order of the result, or small.
bool in_order(const OutSpec& arg, const OutSpec& out) {
  const Dims strides = broadcast_strides(arg.sizes, arg.strides, out.sizes);
  int inner = -1;
  for (int k = 0; k < out.sizes.size(); ++k)
    if (out.sizes[k] != 1 && (inner < 0 || out.strides[k] <= out.strides[inner])) inner = k;
  return inner < 0 || strides[inner] == 0 || strides[inner] == 1 || numel_of(arg.sizes) <= kGathered;
}

bool is_masked_fill(const GraphCall& call) { return call.op->name == "masked_fill"; }  // a `where` by another name
DType computed_in(const Graph& g, const GraphCall& call) { return widened(is_masked_fill(call) ? g.values[size_t(call.args[0].ids[0])].spec.dtype : call.compute); }

bool fits(const Graph& g, const GraphCall& call) {
  const OutSpec& out = g.values[size_t(result_of(call))].spec;
  for (const GraphArg& a : call.args) {
    if (a.is_list) return false;
    if (!a.is_tensor) continue;
    const OutSpec& spec = g.values[size_t(a.ids[0])].spec;
    if (!(spec.device == out.device) || is_complex(spec.dtype) || numel_of(spec.sizes) == 0) return false;
  }
  return has_fused_factory(out.device.type) && !is_complex(out.dtype) && numel_of(out.sizes) != 0;
}

FuseRole map_role(const Graph& g, const GraphCall& call) {
  const ScalarRow* row = scalar_row_of(call);
  const DType compute = computed_in(g, call);
  if (row == nullptr || !row->computes_in(compute) || (row->divides && !is_inexact(compute)) || (call.op->can_fail && !is_inexact(compute))) return FuseRole::None;
  if (is_masked_fill(call) && (call.args[2].is_tensor || !is_inexact(compute))) return FuseRole::None;
  if (std::string_view(row->name) == "pow" && !is_inexact(compute)) return FuseRole::None;  // may raise
  int operands = 0;
  for (size_t k = 0; k < call.args.size(); ++k) {
    if (!is_operand(call.op->kinds[k])) continue;
    ++operands;
    const GraphArg& a = call.args[k];
    if (!a.is_tensor && (!a.number.is_number() || a.number.kind == Kind::Complex)) return FuseRole::None;
    if (a.is_tensor && !in_order(g.values[size_t(a.ids[0])].spec, g.values[size_t(result_of(call))].spec)) return FuseRole::None;
  }
  return operands >= row->arity ? FuseRole::Map : FuseRole::None;
}

FuseRole reduce_role(const Graph& g, const GraphCall& call) {
  const OutSpec &x = g.values[size_t(call.args[0].ids[0])].spec, &out = g.values[size_t(call.outs[0])].spec;
  const std::string& name = call.op->name;
  const int n = x.sizes.size();
  if (n == 0 || n > 62 || !is_contiguous(x.sizes, x.strides) || !is_contiguous(out.sizes, out.strides) || x.dtype == DType::Bool) return FuseRole::None;
  const Value& dim = call.args[1].number;
  const uint64_t mask = reduce_mask(name.c_str(), dim, n), last = uint64_t(1) << (n - 1);
  const bool extreme = name == "amax" || name == "amin";
  if (!extreme && !is_floating(call.compute) && call.compute != DType::Int64) return FuseRole::None;
  if (mask == last && x.sizes.back() <= kLongestRow && x.sizes.back() > 1) return FuseRole::ReduceLast;
  if (mask == 2 * last - 1 && x.device.type == DeviceType::CPU) return FuseRole::ReduceAll;  // Triton's writer has no form for it
  if (n > 1 && mask == last - 1 && name == "sum") return FuseRole::ReduceLeading;
  return FuseRole::None;
}

// The target is written element by element, and nobody reads its memory by another name.
bool writes_plainly(const Graph& g, const GraphCall& call) {
  const int target = target_of(call);
  const GraphValue& t = g.values[size_t(target)];
  if (!call.op->is_pointwise || call.op->mutated >= 0) return false;
  for (int k = 0; k < t.spec.sizes.size(); ++k)
    if (t.spec.sizes[k] > 1 && t.spec.strides[k] == 0) return false;
  return std::all_of(call.args.begin(), call.args.end(), [&](const GraphArg& a) { return !a.is_tensor || a.ids[0] == target || g.values[size_t(a.ids[0])].storage != t.storage; });
}

class Builder {
 public:
  Builder(const Graph& graph, const std::vector<const GraphCall*>& parts, const FuseSpace& space, const std::vector<int>& roots,
          const std::function<bool(int)>& needed)
      : graph_(graph),
        needed_(needed),
        walk_(space),
        roots_(roots),
        space_(space.sizes()),
        layout_(space.dense ? contiguous_strides(space_) : space.layout),
        keeps_last_(space.row != 0) {
    for (const GraphCall* call : parts) add(*call);
    for (const auto& [id, last] : overwritten_) store(id, last, FuseRole::Map);
    order_operands();
    merge_axes();
    choose_levels();
  }
  FusedGroup take() { return std::move(group_); }

 private:
  using Step = FusedStep;
  std::vector<Step>& steps() { return group_.program.steps; }
  const OutSpec& spec(int id) const { return graph_.values[size_t(id)].spec; }

  int push(Step s) {
    steps().push_back(std::move(s));
    return int(steps().size()) - 1;
  }

  int operand(int id, Dims strides, bool written) {
    FusedOperand o;
    o.dtype = spec(id).dtype;
    o.strides = std::move(strides);
    o.written = written;
    group_.program.operands.push_back(std::move(o));
    ids_.push_back(id);
    return int(ids_.size()) - 1;
  }

  Dims along_axes(const Dims& shape, const Dims& strides) const {
    std::optional<Dims> found = walk_.strides(shape, strides);
    MG_INTERNAL(found.has_value(), "fuse: an operand of shape ", shape, " has no strides over ", space_);
    return *std::move(found);
  }

  // The register that holds a value, as a call reads it whose elements have this shape, as `dtype` (16-bit floats pass for float32).
  int value(int id, const Dims& shape, DType dtype) {
    const auto made = made_.find(roots_[size_t(id)]);
    const auto fits = [&](DType d) { return d == dtype || (is_half(d) && dtype == DType::Float32); };
    if (made != made_.end() && fits(steps()[size_t(made->second)].dtype)) return made->second;
    if (made == made_.end() && fits(spec(id).dtype)) dtype = spec(id).dtype;
    int from = -1;
    if (made == made_.end()) {
      Dims strides = along_axes(shape, broadcast_strides(spec(id).sizes, spec(id).strides, shape));
      const auto [at, first] = loaded_.try_emplace({id, {strides.begin(), strides.end()}}, -1);
      if (first) at->second = operand(id, std::move(strides), false);
      from = at->second;
    }
    const auto [known, fresh] = converted_.try_emplace({made == made_.end() ? -1 - from : made->first, dtype}, -1);
    if (!fresh) return known->second;
    Step s;
    s.dtype = dtype;
    if (made != made_.end()) {
      s.kind = Step::Kind::Cast;
      s.args = {made->second};
    } else {
      s.kind = Step::Kind::Load;
      s.operand = from;
    }
    return known->second = push(std::move(s));
  }

  int constant(const Value& number, DType dtype) {
    const int64_t bits = number.kind == Kind::Float ? std::bit_cast<int64_t>(number.f) : number.as_int();
    const auto [known, fresh] = constants_.try_emplace({{int(number.kind), bits}, dtype}, -1);
    if (!fresh) return known->second;
    Step s;
    s.kind = Step::Kind::Constant;
    s.dtype = dtype;
    s.number = OwnedValue(number);
    return known->second = push(std::move(s));
  }

  int cast(int from, DType dtype) {
    if (steps()[size_t(from)].dtype == dtype) return from;
    Step s;
    s.kind = Step::Kind::Cast;
    s.dtype = dtype;
    s.args = {from};
    return push(std::move(s));
  }

  int apply(const Op* op, const ScalarRow* row, std::vector<int> args, DType compute, DType out) {
    Step s;
    s.kind = Step::Kind::Apply;
    s.op = op;
    s.row = row;
    s.args = std::move(args);
    s.compute = compute;
    const DType natural = row->boolean ? DType::Bool : compute;
    s.dtype = is_half(out) && natural == DType::Float32 ? out : natural;
    return cast(push(std::move(s)), out);
  }

  void add(const GraphCall& call) {
    const int id = result_of(call);
    const FuseRole role = fuse_role(graph_, call);
    if ((role == FuseRole::ReduceLeading || role == FuseRole::ReduceAll) && !needed_(id)) return;  // dead: nobody inside may read it
    int result;
    if (role == FuseRole::Map) {
      const ScalarRow* row = scalar_row_of(call);
      const DType compute = computed_in(graph_, call);
      std::vector<int> args;
      for (size_t k = 0; k < call.args.size(); ++k) {
        if (!is_operand(call.op->kinds[k])) continue;
        const bool mask = row->mask && k == (is_masked_fill(call) ? 1 : 0);
        const DType wanted = mask ? DType::Bool : compute;
        args.push_back(call.args[k].is_tensor ? value(call.args[k].ids[0], spec(id).sizes, wanted) : constant(call.args[k].number, wanted));
      }
      if (is_masked_fill(call)) std::rotate(args.begin(), args.begin() + 1, args.end());
      result = apply(call.op, row, std::move(args), compute, spec(id).dtype);
    } else if (role == FuseRole::Cast) {
      const int from = value(call.args[0].ids[0], spec(id).sizes, spec(call.args[0].ids[0]).dtype);
      result = cast(from, spec(id).dtype);
    } else {
      result = reduce(call, role);
    }
    made_[roots_[size_t(id)]] = result;
    if (call.mode == Write::Inplace) {
      overwritten_[id] = result;
      for (auto at = converted_.begin(); at != converted_.end();) at = at->first.first == roots_[size_t(id)] ? converted_.erase(at) : std::next(at);
    } else if (needed_(id)) {
      store(id, result, role);
    }
  }

  int reduce(const GraphCall& call, FuseRole role) {
    const DType out = spec(call.outs[0]).dtype, sums = accumulated(call.compute);
    Step s;
    s.kind = role == FuseRole::ReduceLast ? Step::Kind::Reduce : role == FuseRole::ReduceLeading ? Step::Kind::ReduceRows : Step::Kind::ReduceAll;
    s.level = role == FuseRole::ReduceLast ? FusedLevel::Row : role == FuseRole::ReduceLeading ? FusedLevel::Column : FusedLevel::Total;
    s.dtype = sums;
    s.args = {value(call.args[0].ids[0], spec(call.args[0].ids[0]).sizes, sums)};
    const bool mean = call.op->name == "mean";
    s.op = mean && role == FuseRole::ReduceLast ? find_op("sum") : call.op;
    const int total = push(std::move(s));
    if (role != FuseRole::ReduceLast) return total;
    if (!mean) return cast(total, out);
    const int count = constant(Value(double(space_.back())), sums);
    return apply(find_op("true_divide"), find_scalar_row("true_divide"), {total, count}, sums, out);
  }

  void store(int id, int from, FuseRole role) {
    const OutSpec& s = spec(id);
    Dims strides(space_.size());  // a number for everything
    if (role == FuseRole::ReduceLeading) strides.back() = s.strides.back();
    else if (role != FuseRole::ReduceAll) strides = along_axes(s.sizes, s.strides);
    Step step;
    step.kind = Step::Kind::Store;
    step.dtype = s.dtype;
    step.args = {from};
    step.operand = operand(id, std::move(strides), true);
    push(std::move(step));
  }

  void order_operands() {  // inputs first
    FusedProgram& p = group_.program;
    std::vector<int> place(ids_.size());
    std::vector<FusedOperand> sorted;
    for (std::vector<int>* kind : {&group_.inputs, &group_.outputs, &group_.writes}) {
      for (size_t k = 0; k < ids_.size(); ++k) {
        const bool written = p.operands[k].written;
        if (kind != (!written ? &group_.inputs : overwritten_.contains(ids_[k]) ? &group_.writes : &group_.outputs)) continue;
        place[k] = int(sorted.size());
        sorted.push_back(p.operands[k]);
        kind->push_back(ids_[k]);
      }
      if (kind == &group_.inputs) p.n_inputs = int(sorted.size());
    }
    p.operands = std::move(sorted);
    for (Step& s : p.steps)
      if (s.operand >= 0) s.operand = place[size_t(s.operand)];
  }

  // Axes in the order of memory, without those of size 1, neighbours joined where every operand goes on.
  void merge_axes() {
    FusedProgram& p = group_.program;
    std::vector<int> order;
    for (int k = 0; k < space_.size(); ++k)
      if (space_[k] != 1 || (keeps_last_ && k + 1 == space_.size())) order.push_back(k);
    if (!keeps_last_) std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return layout_[a] > layout_[b]; });
    std::vector<std::vector<int>> joined;  // runs of axes, each walked as one
    const auto goes_on = [&](int outer, int inner) {
      return std::all_of(p.operands.begin(), p.operands.end(), [&](const FusedOperand& o) { return o.strides[outer] == o.strides[inner] * space_[inner]; });
    };
    for (size_t k = 0; k < order.size(); ++k) {
      const bool apart = keeps_last_ && k + 1 == order.size();
      if (k > 0 && !apart && goes_on(order[k - 1], order[k])) joined.back().push_back(order[k]);
      else joined.push_back({order[k]});
    }
    Dims sizes;
    for (const auto& run : joined) {
      int64_t n = 1;
      for (int axis : run) n *= space_[axis];
      sizes.push_back(n);
    }
    for (FusedOperand& o : p.operands) {
      Dims strides;
      for (const auto& run : joined) strides.push_back(o.strides[run.back()]);
      if (joined.empty()) strides.push_back(o.written ? 1 : 0);
      o.strides = std::move(strides);
    }
    if (joined.empty()) sizes.push_back(1);
    p.sizes = std::move(sizes);
  }

  static bool reduces(const Step& s) { return s.kind == Step::Kind::Reduce || s.kind == Step::Kind::ReduceRows || s.kind == Step::Kind::ReduceAll; }

  void choose_levels() {
    FusedProgram& p = group_.program;
    std::vector<bool> whole(p.steps.size(), false);  // stored or summed element by element
    for (const Step& s : p.steps) {
      if (s.kind == Step::Kind::Store && p.operands[size_t(s.operand)].strides.back() != 0) whole[size_t(s.args[0])] = true;
      if (reduces(s)) whole[size_t(s.args[0])] = true;
    }
    for (size_t k = 0; k < p.steps.size(); ++k) {
      Step& s = p.steps[k];
      if (reduces(s)) continue;
      if (s.kind == Step::Kind::Store) {
        s.level = p.steps[size_t(s.args[0])].level;
        continue;
      }
      bool row = s.kind != Step::Kind::Load || (p.operands[size_t(s.operand)].strides.back() == 0 && p.cols() > 1);
      for (int r : s.args) row &= p.steps[size_t(r)].level == FusedLevel::Row;
      s.level = row && !whole[k] ? FusedLevel::Row : FusedLevel::Element;
    }
  }

  const Graph& graph_;
  const std::function<bool(int)>& needed_;
  const FuseSpace& walk_;
  const std::vector<int>& roots_;
  const Dims space_, layout_;
  const bool keeps_last_;
  FusedGroup group_;
  std::vector<int> ids_;  // values of the operands
  std::map<int, int> made_;  // by root: views of a value are its elements in the same order
  std::map<std::pair<int, std::vector<int64_t>>, int> loaded_;  // with its strides: two calls may read a value along different axes
  std::map<int, int> overwritten_;  // value written in place -> the register with what it holds at the end
  std::map<std::pair<int, DType>, int> converted_;  // value made, or -1 - operand
  std::map<std::pair<std::pair<int, int64_t>, DType>, int> constants_;
};

}  // namespace

const ScalarRow* scalar_row_of(const GraphCall& call) {
  if (is_masked_fill(call)) return find_scalar_row("where");
  const ScalarRow* row = find_scalar_row(call.op->name);
  if (row == nullptr) return nullptr;
  const GraphArg* last = nullptr;
  for (size_t k = 0; k < call.args.size(); ++k)
    if (is_operand(call.op->kinds[k])) last = &call.args[k];
  if (last == nullptr || last->is_tensor || !last->number.is_number() || last->number.kind == Kind::Complex) return row;
  const double x = last->number.as_double();
  if (call.op->name == "pow") {  // as csrc/cpu/pointwise.cpp chooses
    const char* name = x == 2 ? "square" : x == 3 ? "cube" : x == 0.5 ? "sqrt" : x == -0.5 ? "rsqrt" : x == -1 ? "reciprocal" : nullptr;
    return name != nullptr ? find_scalar_row(name) : row;
  }
  const ScalarRow* unit = x == 1 ? find_scalar_row(call.op->name + "_unit") : nullptr;
  return unit != nullptr ? unit : row;
}

FuseRole fuse_role(const Graph& graph, const GraphCall& call) {
  if (call.op == nullptr || call.mode == Write::Out || call.op->mutated >= 0 || call.op->n_out != 1 || call.op->is_view) return FuseRole::None;
  if (call.mode == Write::Inplace && !writes_plainly(graph, call)) return FuseRole::None;
  const std::string& name = call.op->name;
  const bool converts = name == "_to_dtype";
  const bool reduces = name == "sum" || name == "mean" || name == "amax" || name == "amin";
  const bool maps = call.op->is_pointwise || is_masked_fill(call);
  if ((!maps && !converts && !reduces) || !fits(graph, call)) return FuseRole::None;
  if (maps) return map_role(graph, call);
  if (reduces) return reduce_role(graph, call);
  const OutSpec &from = graph.values[size_t(call.args[0].ids[0])].spec, &to = graph.values[size_t(call.outs[0])].spec;
  return in_order(from, to) ? FuseRole::Cast : FuseRole::None;
}

FuseSpace fuse_space(const Graph& graph, const GraphCall& call) {
  const FuseRole role = fuse_role(graph, call);
  const OutSpec& whole = graph.values[size_t(is_reduction(role) ? call.args[0].ids[0] : result_of(call))].spec;
  FuseSpace space(whole.sizes, whole.strides);
  if (role == FuseRole::ReduceLast || role == FuseRole::ReduceLeading) space.row = whole.sizes.back();
  for (const GraphArg& a : call.args) {
    if (!a.is_tensor) continue;
    const OutSpec& arg = graph.values[size_t(a.ids[0])].spec;
    space.add_operand(broadcast_strides(arg.sizes, arg.strides, whole.sizes));
  }
  return space;
}

FusedGroup make_group(const Graph& graph, const std::vector<const GraphCall*>& parts, const FuseSpace& space, const std::vector<int>& roots,
                      const std::function<bool(int)>& needed) {
  return Builder(graph, parts, space, roots, needed).take();
}

}  // namespace mg
