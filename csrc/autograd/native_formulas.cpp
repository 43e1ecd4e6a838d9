// C++ twins of the hottest gradient formulas, under the same names and over the same saved values as the Python ones in minigrad/ops
// (tests/test_engine.py proves them equal). They go through call() like everything else, so double backward works.
#include <string_view>

#include "../core/layout.h"
#include "node.h"

namespace mg {

namespace {

OpRef mul_op{"mul"}, neg_op{"neg"}, expand_op{"expand"}, view_op{"view"}, transpose_op{"transpose"}, relu_backward_op{"relu_backward"};

bool needs(const OpNode& n, int arg) { return n.needs >> arg & 1; }

// An argument that is a tensor (saved, checked) or a number.
Tensor times(const Tensor& g, OpNode& n, int arg) {
  const Value& v = n.args[arg].value;
  if (v.kind == Kind::Tensor || v.none()) return invoke(mul_op, g, n.saved_input(arg));
  return invoke(mul_op, g, v);
}

bool is_one(const Value& v) { return v.is_number() && v.as_double() == 1.0; }

void add(OpNode& n, Tensor* g, Tensor* r) {
  if (needs(n, 0)) r[0] = g[0];
  if (needs(n, 1)) r[1] = is_one(n.args[2].value) ? g[0] : invoke(mul_op, g[0], static_cast<const Value&>(n.args[2].value));
}

void sub(OpNode& n, Tensor* g, Tensor* r) {
  if (needs(n, 0)) r[0] = g[0];
  if (!needs(n, 1)) return;
  r[1] = invoke(neg_op, g[0]);
  if (!is_one(n.args[2].value)) r[1] = invoke(mul_op, r[1], static_cast<const Value&>(n.args[2].value));
}

void mul(OpNode& n, Tensor* g, Tensor* r) {
  if (needs(n, 0)) r[0] = times(g[0], n, 1);
  if (needs(n, 1)) r[1] = times(g[0], n, 0);
}

void neg(OpNode&, Tensor* g, Tensor* r) { r[0] = invoke(neg_op, g[0]); }

void relu(OpNode& n, Tensor* g, Tensor* r) {
  r[0] = invoke(relu_backward_op, g[0], n.saved_out.size() ? n.saved_output(0) : n.saved_input(0));  // either gives the same mask
}

// sum(input, dim, keepdim): the gradient is g spread over the reduced dims.
void sum(OpNode& n, Tensor* g, Tensor* r) {
  const Dims sizes = n.input_sizes(0);
  Tensor grad = g[0];
  const Value& dim = n.args[1].value;
  const bool keepdim = n.args[2].value.as_int() != 0;
  if (dim.kind == Kind::Ints && dim.len > 0 && !keepdim && !sizes.empty()) {
    Dims kept = sizes;
    for (int k = 0; k < dim.len; ++k) kept[int(wrap_dim(dim.ints[k], sizes.size(), "sum"))] = 1;
    grad = invoke(view_op, grad, kept);
  }
  r[0] = invoke(expand_op, grad, sizes);
}

void view(OpNode& n, Tensor* g, Tensor* r) {
  const Dims sizes = n.input_sizes(0);
  static OpRef copy_op{"_copy_contiguous"};
  Dims strides;
  r[0] = invoke(view_op, view_strides(*g[0], sizes, strides) ? g[0] : invoke(copy_op, g[0]), sizes);
}

void transpose(OpNode& n, Tensor* g, Tensor* r) {
  r[0] = invoke(transpose_op, g[0], static_cast<const Value&>(n.args[1].value), static_cast<const Value&>(n.args[2].value));
}

struct Entry {
  std::string_view name;
  NativeFormula fn;
};
constexpr Entry table[] = {{"add", add}, {"sub", sub}, {"mul", mul}, {"neg", neg}, {"relu", relu}, {"sum", sum}, {"view", view},
                           {"transpose", transpose}};

}  // namespace

NativeFormula find_native_formula(std::string_view op) {
  for (const Entry& e : table)
    if (e.name == op) return e.fn;
  return nullptr;
}

}  // namespace mg
