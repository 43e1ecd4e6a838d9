// C++ twins of the hottest gradient formulas, under the same names and over the same saved values as the Python ones in minigrad/ops
// (tests/test_engine.py proves them equal). They go through call() like everything else, so double backward works.
#include <string_view>

#include "../core/layout.h"
#include "node.h"

namespace mg {

namespace {

OpRef mul_op{"mul"}, div_op{"true_divide"}, neg_op{"neg"}, expand_op{"expand"}, view_op{"view"}, matmul_op{"matmul"},
    transpose_op{"transpose"}, relu_backward_op{"relu_backward"}, copy_op{"_copy_contiguous"}, sum_op{"sum"};

bool needs(const OpNode& n, int arg) { return n.needs >> arg & 1; }

// Views: without a graph to record, an alias is all there is to it.
Tensor transposed(const Tensor& t, int64_t a, int64_t b) {
  if (thread_state.grad_mode) return invoke(transpose_op, t, a, b);
  Dims sizes = t.sizes(), strides = t.strides();
  const int i = int(wrap_dim(a, t.dim(), "transpose")), j = int(wrap_dim(b, t.dim(), "transpose"));
  if (t.dim() == 0) return t;
  std::swap(sizes[i], sizes[j]);
  std::swap(strides[i], strides[j]);
  return alias(*t, sizes, strides, t->offset);
}

Tensor viewed(const Tensor& t, const Dims& sizes) {
  Dims strides;
  const bool fits = view_strides(*t, sizes, strides);
  if (thread_state.grad_mode) return invoke(view_op, fits ? t : invoke(copy_op, t), sizes);
  if (fits) return alias(*t, sizes, strides, t->offset);
  Tensor dense = to_contiguous(*t, t.dtype());
  return alias(*dense, sizes, contiguous_strides(sizes), 0);
}

Tensor expanded(const Tensor& t, const Dims& sizes) {
  if (thread_state.grad_mode) return invoke(expand_op, t, sizes);
  // A small constant is cheaper to write out than to broadcast in every op that meets it.
  if (t.numel() == 1 && t.dtype() == DType::Float32 && t.device().type == DeviceType::CPU) {
    int64_t n = 1;
    for (int64_t s : sizes) n *= s;
    if (n <= 1024) {
      Tensor full = empty(sizes, DType::Float32);
      std::fill_n(full.ptr<float>(), n, *t.ptr<float>());
      return full;
    }
  }
  return alias(*t, sizes, broadcast_strides(t.sizes(), t.strides(), sizes), t->offset);
}

Tensor rows(const Tensor& t) {  // all leading dims as one
  if (t.dim() == 2) return t;
  int64_t leading = 1;
  for (int k = 0; k + 1 < t.dim(); ++k) leading *= t.sizes()[k];
  return viewed(t, Dims{leading, t.size(-1)});
}

// An argument that is a tensor (saved, checked) or a number.
Tensor times(const Tensor& g, OpNode& n, int arg) {
  return invoke(mul_op, g, n.saved_value(arg));
}

const Value& attribute(const OpNode& n, int arg) { return n.args[arg].value; }
bool is_one(const Value& v) { return v.is_number() && v.kind != Kind::Complex && v.as_double() == 1.0; }

bool add(OpNode& n, Tensor* g, Tensor* r) {
  if (needs(n, 0)) r[0] = g[0];
  if (needs(n, 1)) r[1] = is_one(attribute(n, 2)) ? g[0] : invoke(mul_op, g[0], attribute(n, 2));
  return true;
}

bool sub(OpNode& n, Tensor* g, Tensor* r) {
  if (needs(n, 0)) r[0] = g[0];
  if (!needs(n, 1)) return true;
  r[1] = invoke(neg_op, g[0]);
  if (!is_one(attribute(n, 2))) r[1] = invoke(mul_op, r[1], attribute(n, 2));
  return true;
}

bool mul(OpNode& n, Tensor* g, Tensor* r) {
  if (needs(n, 0)) r[0] = times(g[0], n, 1);
  if (needs(n, 1)) r[1] = times(g[0], n, 0);
  return true;
}

bool true_divide(OpNode& n, Tensor* g, Tensor* r) {
  if (needs(n, 1)) return false;
  r[0] = invoke(div_op, g[0], n.saved_value(1));
  return true;
}

bool neg(OpNode&, Tensor* g, Tensor* r) {
  r[0] = invoke(neg_op, g[0]);
  return true;
}

bool relu(OpNode& n, Tensor* g, Tensor* r) {
  if (n.saved_out.size() == 0) return false;
  r[0] = invoke(relu_backward_op, g[0], n.saved_output(0));
  return true;
}

// A reduction's gradient with the reduced dims put back as size 1.
Tensor restored(OpNode& n, const Tensor& g, const Dims& sizes) {
  const Value& dim = attribute(n, 1);
  if (dim.kind != Kind::Ints || dim.len == 0 || attribute(n, 2).as_int() != 0 || sizes.empty()) return g;
  Dims kept = sizes;
  for (int k = 0; k < dim.len; ++k) kept[int(wrap_dim(dim.ints[k], sizes.size(), "sum"))] = 1;
  return viewed(g, kept);
}

bool sum(OpNode& n, Tensor* g, Tensor* r) {
  const Dims sizes = n.input_sizes(0);
  r[0] = expanded(restored(n, g[0], sizes), sizes);
  return true;
}

bool mean(OpNode& n, Tensor* g, Tensor* r) {
  const Dims sizes = n.input_sizes(0);
  int64_t total = 1;
  for (int64_t s : sizes) total *= s;
  const int64_t count = g[0].numel() ? total / g[0].numel() : 1;
  r[0] = expanded(invoke(div_op, restored(n, g[0], sizes), std::max<int64_t>(count, 1)), sizes);
  return true;
}

bool view(OpNode& n, Tensor* g, Tensor* r) {
  r[0] = viewed(g[0], n.input_sizes(0));
  return true;
}

bool transpose(OpNode& n, Tensor* g, Tensor* r) {
  r[0] = transposed(g[0], attribute(n, 1).as_int(), attribute(n, 2).as_int());
  return true;
}

bool t(OpNode&, Tensor* g, Tensor* r) {
  r[0] = g[0].dim() < 2 ? g[0] : transposed(g[0], 0, 1);
  return true;
}

bool expand(OpNode&, Tensor* g, Tensor* r) {  // the engine sums over what was broadcast
  r[0] = g[0];
  return true;
}

bool matmul(OpNode& n, Tensor* g, Tensor* r) {
  if (n.input_sizes(0).size() != 2 || n.input_sizes(1).size() != 2) return false;
  if (needs(n, 0)) r[0] = invoke(matmul_op, g[0], transposed(n.saved_input(1), 0, 1));
  if (needs(n, 1)) r[1] = invoke(matmul_op, transposed(n.saved_input(0), 0, 1), g[0]);
  return true;
}

bool linear(OpNode& n, Tensor* g, Tensor* r) {
  if (g[0].dim() < 2) return false;
  if ((needs(n, 0) && n.saved_input(1).dim() == 1) || (needs(n, 1) && n.saved_input(0).dim() != g[0].dim())) return false;  // x @ w
  if (needs(n, 0)) r[0] = invoke(matmul_op, g[0], n.saved_value(1));
  if (needs(n, 1)) r[1] = invoke(matmul_op, transposed(rows(g[0]), 0, 1), rows(n.saved_input(0)));
  if (needs(n, 2)) r[2] = invoke(sum_op, rows(g[0]), Dims{0});
  return true;
}

struct Entry {
  std::string_view name;
  NativeFormula fn;
};
constexpr Entry table[] = {{"add", add},   {"sub", sub},   {"mul", mul},   {"true_divide", true_divide}, {"neg", neg},
                           {"relu", relu}, {"sum", sum},   {"mean", mean}, {"view", view},               {"transpose", transpose},
                           {"t", t},       {"expand", expand}, {"matmul", matmul}, {"linear", linear}};

}  // namespace

NativeFormula find_native_formula(std::string_view op) {
  for (const Entry& e : table)
    if (e.name == op) return e.fn;
  return nullptr;
}

}  // namespace mg
