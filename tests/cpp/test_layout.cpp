// Layout arithmetic against brute force: view_strides, broadcasting, loop plans, bounds, schema parsing.
#include <algorithm>
#include <random>
#include <vector>

#include "../../csrc/core/layout.h"
#include "../../csrc/core/schema.h"
#include "check.h"

using namespace mg;

namespace {

std::mt19937 rng(7);
int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(rng); }

// Offsets of all elements in row-major order.
std::vector<int64_t> offsets(const Dims& sizes, const Dims& strides, int64_t start = 0) {
  std::vector<int64_t> out{start};
  for (int d = 0; d < sizes.size(); ++d) {
    std::vector<int64_t> next;
    for (int64_t base : out)
      for (int64_t k = 0; k < sizes[d]; ++k) next.push_back(base + k * strides[d]);
    out = next;
  }
  return out;
}

Dims random_sizes(int max_dims, int64_t low = 0) {
  Dims s;
  for (int64_t d = pick(0, max_dims); d > 0; --d) s.push_back(pick(low, 4));
  return s;
}

// A random strided tensor: permuted, sliced or expanded.
Tensor random_tensor(const Dims& sizes) {
  Dims wide = sizes, strides;
  for (int64_t& s : wide) s = s * pick(1, 2);
  Tensor base = empty(wide, DType::Int64);
  strides = base.strides();
  for (int d = 0; d < sizes.size(); ++d) {
    if (sizes[d] != 0 && wide[d] == 2 * sizes[d] && pick(0, 1)) strides[d] *= 2;
    if (pick(0, 5) == 0) strides[d] = 0;
  }
  Tensor t = alias(*base, sizes, strides, 0);
  if (sizes.size() >= 2 && pick(0, 1)) {
    Dims a = t.sizes(), b = t.strides();
    const int i = int(pick(0, sizes.size() - 1)), j = int(pick(0, sizes.size() - 1));
    std::swap(a[i], a[j]);
    std::swap(b[i], b[j]);
    t = alias(*t, a, b, 0);
  }
  return t;
}

void test_view_strides() {
  for (int round = 0; round < 20000; ++round) {
    Tensor t = random_tensor(random_sizes(4));
    Dims shape;  // a random factorisation of numel
    int64_t rest = t.numel();
    while (rest > 1) {
      const int64_t f = pick(1, 3);
      if (rest % f == 0) {
        shape.push_back(f);
        rest /= f;
      } else {
        shape.push_back(rest);
        rest = 1;
      }
    }
    if (t.numel() == 0) shape = t.sizes();
    Dims strides;
    const bool fits = view_strides(*t, shape, strides);
    if (fits) CHECK(offsets(shape, strides) == offsets(t.sizes(), t.strides()));
    if (t->contiguous) CHECK(fits);
  }
}

void test_contiguity() {
  for (int round = 0; round < 5000; ++round) {
    Tensor t = random_tensor(random_sizes(4));
    const auto at = offsets(t.sizes(), t.strides());
    bool linear = true;
    for (size_t k = 0; k < at.size(); ++k) linear &= at[k] == int64_t(k);
    CHECK(t->contiguous == linear || t.numel() == 0);
  }
}

void test_loop_plan() {
  for (int round = 0; round < 20000; ++round) {
    const Dims shape = random_sizes(4, 1);
    Tensor out = empty(shape, DType::Int64), a = random_tensor(shape);
    Dims small = shape;  // an operand that broadcasts
    for (int64_t& s : small)
      if (pick(0, 2) == 0) s = 1;
    Tensor b = random_tensor(small);
    LoopPlan plan(shape);
    plan.add(*out);
    if (a.sizes() == shape) plan.add(*a);
    else plan.add(*out);
    if (broadcast_strides(b.sizes(), b.strides(), shape).size() == shape.size() && b.sizes() == small) plan.add(*b);
    else plan.add(*out);
    plan.finish();
    std::vector<std::vector<int64_t>> seen;  // (out, a, b) byte offsets, every element once, in any order
    for (int64_t r = 0; r < plan.rows(); ++r) {
      char* p[LoopPlan::kMaxOperands];
      plan.row_pointers(r, p);
      for (int64_t k = 0; k < plan.inner(); ++k) {
        std::vector<int64_t> row;
        for (int o = 0; o < plan.operands; ++o) row.push_back(p[o] + k * plan.inner_stride(o) - plan.base[o]);
        seen.push_back(row);
      }
    }
    CHECK(int64_t(seen.size()) == out.numel());
    std::sort(seen.begin(), seen.end());
    const auto oo = offsets(shape, out.strides());
    const auto ao = offsets(shape, a.sizes() == shape ? a.strides() : out.strides());
    const auto bo = offsets(shape, b.sizes() == small ? broadcast_strides(b.sizes(), b.strides(), shape) : out.strides());
    for (size_t k = 0; k < seen.size(); ++k)
      CHECK(seen[k][0] == oo[k] * 8 && seen[k][1] == ao[k] * 8 && seen[k][2] == bo[k] * 8);
  }
  LoopPlan plan(Dims{3, 4, 5});
  Tensor t = empty({3, 4, 5}, DType::Float32);
  plan.add(*t);
  plan.add(*t);
  plan.finish();
  CHECK(plan.ndim == 1 && plan.inner() == 60);
}

template <class F> bool raises(F f) {
  try {
    f();
  } catch (const Error&) {
    return true;
  }
  return false;
}

void test_bounds_and_shapes() {
  Tensor t = empty({4, 5}, DType::Float32);
  check_in_bounds({2, 2}, {5, 1}, 3, *t, "t");
  CHECK(raises([&] { check_in_bounds({2, 2}, {5, 1}, 14, *t, "t"); }));
  CHECK(raises([&] { check_in_bounds({2}, {INT64_MAX}, 0, *t, "t"); }));
  CHECK(raises([&] { check_in_bounds({1}, {1}, -1, *t, "t"); }));
  CHECK(raises([] { empty({INT64_MAX, 3}, DType::Float32); }));
  CHECK(raises([] { empty({-1}, DType::Float32); }));
  CHECK(infer_shape(Dims{2, -1}, 10, "t") == Dims({2, 5}));
  CHECK(raises([] { infer_shape(Dims{3, -1}, 10, "t"); }));
  CHECK(raises([] { infer_shape(Dims{-1, -1}, 10, "t"); }));
  Dims shape{3, 1};
  CHECK(broadcast_into(shape, Dims{2, 1, 4}) && shape == Dims({2, 3, 4}));
  CHECK(!broadcast_into(shape, Dims{5}));
  CHECK(wrap_dim(-1, 3, "t") == 2 && raises([] { wrap_dim(3, 3, "t"); }) && wrap_dim(-1, 0, "t") == 0);
}

void test_schema() {
  Op op;
  parse_schema("f(input!, other: operand, dims: ints? = None, *, alpha: scalar = 1, eps: float = 1e-5, mode: str = 'a') -> out, index", op);
  CHECK(op.name == "f" && op.args.size() == 6 && op.mutated == 0 && op.n_outputs() == 2);
  CHECK(op.args[1].kind == ArgKind::Operand && op.args[2].optional && op.args[3].keyword_only);
  CHECK(op.args[3].default_value.kind == Kind::Int && op.args[4].default_value.f == 1e-5);
  CHECK(raises([] {
    Op bad;
    parse_schema("f(x: nonsense) -> y", bad);
  }));
  CHECK(raises([] {
    Op bad;
    parse_schema("f(x)", bad);
  }));
}

}  // namespace

int main() {
  test_view_strides();
  test_contiguity();
  test_loop_plan();
  test_bounds_and_shapes();
  test_schema();
  return mg_test::report("layout");
}
