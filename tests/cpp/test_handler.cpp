// Data-less tensors without Python: a handler that only records what call() hands it, as a tracer does. Shapes come
// from the metas, autograd records above the handler, so the ops of the gradient formulas, views and in-place writes
// reach it too.
#include "../../csrc/autograd/backward.h"
#include "check.h"

using namespace mg;

namespace {

struct Recorder final : Handler {
  std::vector<std::string> ops;
  int64_t next = 0;
  Recorder() : Handler(1, nullptr) {}
  bool wants(const Op&, const Value*) const override { return false; }
  std::string why() const override { return "the value is not known while tracing. Try returning it."; }
  void run(const Op& op, const Value* args, const MetaResult& r, Tensor* outs, Write mode) override {
    ops.push_back(op.name + (mode == Write::Inplace ? "_" : ""));
    if (mode == Write::Inplace) {
      ++outs[0]->storage->version;
      return;
    }
    for (int k = 0; k < op.n_outputs(); ++k) {
      outs[k] = make_placeholder(Ref<Handler>(this), r.out[k], next++);
      if (op.is_view) outs[k]->storage = args[0].t->storage, outs[k]->offset = r.out[k].offset;
    }
  }
};

struct MulFormula final : Formula {  // d(a b) = g b, g a
  void apply(OpNode& node, Tensor* grads, Tensor* result) override {
    static OpRef mul{"mul"};
    for (int k = 0; k < 2; ++k)
      if (node.needs >> k & 1) result[k] = invoke(mul, grads[0], node.saved_input(1 - k));
  }
};

void declare() {
  Op& mul = register_op("mul(input, other: operand) -> out", "binary");
  auto f = std::make_shared<MulFormula>();
  f->save_args[0] = 2, f->save_args[1] = 1;
  mul.formula = f;
  mul.differentiable = true;
  mul.grad_inputs = 3, mul.grad_outputs = 1;
  register_op("transpose(input, dim0: int, dim1: int) -> out", "transpose").is_view = true;
  register_op("fill_(input!, value: operand) -> out", "fill");
  register_op("add(input, other: operand, *, alpha: scalar = 1) -> out", "binary");
}

OpRef mul_op{"mul"}, transpose_op{"transpose"}, fill_op{"fill_"};

Tensor placeholder(const Ref<Recorder>& h, Dims sizes) {
  OutSpec spec;
  spec.sizes = std::move(sizes);
  return make_placeholder(Ref<Handler>(h.get()), spec, h->next++);
}

void forward_views_and_writes() {
  Ref<Recorder> h(new Recorder);
  Tensor a = placeholder(h, {2, 3}), b = placeholder(h, {3});
  Tensor c = invoke(mul_op, a, b);
  CHECK(c->dataless && c.sizes() == (Dims{2, 3}) && c.dtype() == DType::Float32);
  Tensor t = invoke(transpose_op, c, 0, 1);
  CHECK(t->dataless && t.sizes() == (Dims{3, 2}) && t.strides() == (Dims{1, 3}) &&
        t->storage.get() == c->storage.get());
  const uint32_t version = c->storage->version;
  invoke(fill_op, t, 1.0);
  CHECK(c->storage->version == version + 1);
  Tensor plain = empty({3}, DType::Float32);
  fill_zero(plain);
  CHECK(invoke(mul_op, c, plain)->dataless);
  CHECK(h->ops == (std::vector<std::string>{"mul", "transpose", "fill__", "mul"}));
}

void backward_reaches_the_handler() {
  Ref<Recorder> h(new Recorder);
  Tensor a = placeholder(h, {2, 2}), b = placeholder(h, {2, 2}), seed = placeholder(h, {2, 2});
  a->requires_grad = true;
  Tensor out = invoke(mul_op, invoke(mul_op, a, b), a);
  CHECK(needs_grad(*out));
  Tensor grads[] = {seed};
  const Tensor roots[] = {out}, inputs[] = {a};
  BackwardOptions options;
  options.has_inputs = true;
  options.accumulate = false;
  std::vector<Tensor> found = backward(roots, grads, inputs, options);
  CHECK(found.size() == 1 && found[0]->dataless && found[0].sizes() == a.sizes() && !needs_grad(*found[0]));
  // out = (a b) a: two products forward; backward g a, g (a b), (g a) b and one sum.
  CHECK(h->ops.size() == 6 && std::count(h->ops.begin(), h->ops.end(), "mul") == 5 &&
        std::count(h->ops.begin(), h->ops.end(), "add") == 1);
}

void elements_are_refused() {
  Ref<Recorder> h(new Recorder);
  Tensor a = placeholder(h, {2, 2});
  for (auto use :
       {+[](const Tensor& t) { (void)read_double(*t); },
        +[](const Tensor& t) { (void)to_contiguous(*t, DType::Float64); }, +[](const Tensor& t) { fill_zero(t); },
        +[](const Tensor& t) { copy_into(empty(t.sizes(), t.dtype()), t); }}) {
    bool raised = false;
    try {
      use(a);
    } catch (const Error& e) {
      raised = e.message.find("while tracing. Try") != std::string::npos;
    }
    CHECK(raised);
  }
  h->active = false;  // the transform is over: its tensors must not be used any more
  bool raised = false;
  try {
    invoke(mul_op, a, a);
  } catch (const Error&) {
    raised = true;
  }
  CHECK(raised);
}

void no_handler_no_cost() {
  CHECK(!handlers_exist());
  Tensor a = empty({2}, DType::Float32);
  fill_zero(a);
  CHECK(!invoke(mul_op, a, a)->dataless);
}

}  // namespace

int main() {
  install_autograd_hooks();
  declare();
  forward_views_and_writes();
  backward_reaches_the_handler();
  elements_are_refused();
  no_handler_no_cost();
  return mg_test::report("handler");
}
