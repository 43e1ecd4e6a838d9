// Algebra that keeps every bit: calls whose result is one of their arguments (x * 1, -(-x), a copy of what dies), and
// calls that have a cheaper twin (x ** 2, x / 4). What changes -0.0 or NaN is not here: x + 0.0, x * 0.
#include <cmath>

#include "facts.h"
#include "passes.h"

namespace mg {

namespace {

int tensor_at(const GraphCall& call, size_t k) {
  return k < call.args.size() && call.args[k].is_tensor ? call.args[k].ids[0] : -1;
}

const Value* number_at(const GraphCall& call, size_t k) {
  if (k >= call.args.size() || call.args[k].is_tensor || call.args[k].is_list) return nullptr;
  const Value& v = call.args[k].number;
  return v.kind == Kind::Int || v.kind == Kind::Float || v.kind == Kind::Bool ? &v : nullptr;
}

bool is_number(const GraphCall& call, size_t k, double n) {
  const Value* v = number_at(call, k);
  return v != nullptr && v->as_double() == n && std::signbit(v->as_double()) == std::signbit(n);
}

// The same op once more gives the argument back.
bool undoes_itself(const std::string& op) { return op == "neg" || op == "bitwise_not" || op == "logical_not"; }
bool settles(const std::string& op) {
  return op == "relu" || op == "abs" || op == "floor" || op == "ceil" || op == "trunc" || op == "round";
}
bool copies(const std::string& op) {
  return op == "clone" || op == "_copy_contiguous" || op == "_to_dtype" || op == "_to_device";
}

// Every number of `narrow` is one of `wide`.
bool holds_all(DType wide, DType narrow) {
  if (wide == narrow) return true;
  if (wide == DType::Float32) return narrow == DType::Float16 || narrow == DType::BFloat16;
  if (wide == DType::Float64) return narrow == DType::Float32 || narrow == DType::Float16 || narrow == DType::BFloat16;
  return false;
}

// The call's condition is a constant: the branch that it takes, or -1.
int branch_of(const GraphCall& call, const Facts& facts) {
  const GraphCall* condition = tensor_at(call, 0) < 0 ? nullptr : facts.maker(tensor_at(call, 0));
  if (condition == nullptr || !is_call(*condition, "_full") || facts.written(condition->outs[0])) return -1;
  const Value* value = number_at(*condition, 1);
  return value == nullptr ? -1 : tensor_at(call, value->as_double() != 0 ? 1 : 2);
}

// The argument that the call's result equals, or -1. Its layout is checked by the caller.
int repeats(const GraphCall& call, const Facts& facts) {
  const std::string& op = call.op->name;
  const int x = tensor_at(call, 0);
  if (op == "mul") return is_number(call, 1, 1) ? x : is_number(call, 0, 1) ? tensor_at(call, 1) : -1;
  if (op == "true_divide") return is_number(call, 1, 1) ? x : -1;
  if (op == "sub") return is_number(call, 1, 0) && is_number(call, 2, 1) ? x : -1;
  if (op == "add") return is_number(call, 1, -0.0) && is_number(call, 2, 1) ? x : -1;
  if (op == "pow") return is_number(call, 1, 1) ? x : -1;
  if (op == "where") return branch_of(call, facts);
  if (copies(op)) return x;
  if (!undoes_itself(op) && !settles(op)) return -1;
  const GraphCall* before = x < 0 ? nullptr : facts.maker(x);
  if (before == nullptr || !is_call(*before, op.c_str()) || facts.written(x)) return -1;
  if (settles(op)) return before->args.size() == 1 && call.args.size() == 1 ? x : -1;
  const int source = tensor_at(*before, 0);
  return op == "logical_not" && facts.spec(source).dtype != DType::Bool ? -1 : source;
}

// A tensor argument is not written between the call that read it first and `at`, so it may be read there instead.
bool steady(const Facts& facts, int id, int since, int at) { return !facts.written_between(id, since, at); }

bool is_real_float(DType d) { return d == DType::Float32 || d == DType::Float64; }

// x / 2^k is x * 2^-k, rounded alike.
void divide_by_multiplying(GraphCall& call, const Facts& facts) {
  const Value* v = number_at(call, 1);
  const int x = tensor_at(call, 0);
  if (v == nullptr || x < 0 || !is_real_float(facts.spec(x).dtype) ||
      facts.spec(call.outs[0]).dtype != facts.spec(x).dtype)
    return;
  int exponent = 0;
  const double by = v->as_double();
  if (!std::isfinite(by) || std::fabs(std::frexp(by, &exponent)) != 0.5 || exponent < -100 || exponent > 100) return;
  GraphArg reciprocal;
  reciprocal.number = OwnedValue(Value(1.0 / by));
  const GraphArg input = call.args[0];
  call.op = find_op("mul");
  call.args = {input, reciprocal};
}

void square(GraphCall& call, const Facts& facts) {
  const int x = tensor_at(call, 0);
  if (x < 0 || !is_number(call, 1, 2) || !is_real_float(facts.spec(x).dtype) ||
      facts.spec(call.outs[0]).dtype != facts.spec(x).dtype)
    return;
  const GraphArg input = call.args[0];
  call.op = find_op("mul");
  call.args = {input, input};
}

// A cast of a cast that lost nothing.
void cast_once(GraphCall& call, const Facts& facts, const std::vector<int>& position, int at) {
  const int wide = tensor_at(call, 0);
  const GraphCall* before = wide < 0 ? nullptr : facts.maker(wide);
  if (before == nullptr || !is_call(*before, "_to_dtype") || facts.written(wide)) return;
  const int x = tensor_at(*before, 0);
  const bool same_layout = facts.spec(x).strides == facts.spec(wide).strides;
  if (same_layout && holds_all(facts.spec(wide).dtype, facts.spec(x).dtype) &&
      steady(facts, x, position[size_t(wide)], at))
    call.args[0].ids[0] = x;
}

}  // namespace

Graph simplify_algebra(const Graph& graph) {
  Facts facts(graph);
  std::vector<GraphCall> kept;
  std::vector<int> position(graph.values.size(), -1);  // of the call that made it
  for (int at = 0; at < int(graph.calls.size()); ++at) {
    GraphCall call = graph.calls[size_t(at)];
    facts.resolved(call);
    for (int id : call.outs) position[size_t(id)] = at;
    if (call.op != nullptr && call.mode == Write::Fresh && call.outs.size() == 1) {
      if (call.op->name == "_to_dtype") cast_once(call, facts, position, at);
      const int x = repeats(call, facts);
      const int read_at = x >= 0 && undoes_itself(call.op->name) ? position[size_t(tensor_at(call, 0))] : at;
      if (x >= 0 && steady(facts, x, read_at, at) && facts.may_share(call.outs[0], x, at)) {
        facts.share(call.outs[0], x);
        continue;
      }
      if (call.op->name == "true_divide")
        divide_by_multiplying(call, facts);
      else if (call.op->name == "pow")
        square(call, facts);
    }
    facts.made(call);
    kept.push_back(std::move(call));
  }
  return facts.finish(graph, std::move(kept));
}

}  // namespace mg
