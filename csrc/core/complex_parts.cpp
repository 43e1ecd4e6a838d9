// See complex_parts.h.
#include "complex_parts.h"

#include "reduce_dims.h"

namespace mg {

Tensor part(const TensorImpl& t, int which) {
  Dims strides = t.strides;
  for (int64_t& s : strides) s *= 2;
  Tensor view = alias(t, t.sizes, strides, t.offset * 2 + which);
  view->dtype = to_real(t.dtype);
  return view;
}

Tensor pairs(const TensorImpl& t) {
  Dims sizes = t.sizes, strides = t.strides;
  for (int64_t& s : strides) s *= 2;
  sizes.push_back(2);
  strides.push_back(1);
  Tensor view = alias(t, sizes, strides, t.offset * 2);
  view->dtype = to_real(t.dtype);
  view->set_layout(sizes, strides);
  return view;
}

void run_real(const Op& op, const Value* args, Tensor* outs, DType compute) {
  Invocation real{op, args, outs, compute};
  op.kernels[int(outs[0].device().type)](real);
}

static Dims dims_of(uint64_t mask) {
  Dims dims;
  for (int d = 0; mask >> d != 0; ++d)
    if (mask >> d & 1) dims.push_back(d);
  return dims;
}

// (input, dim, keepdim, dtype)
void complex_sum(Invocation& inv) {
  const Tensor x = cast(inv.tensor(0), inv.compute);
  if (x.dim() == 0) return copy_into(inv.outs[0], x);
  const Tensor in = pairs(*x), work = empty(inv.out().sizes, inv.compute, x.device());
  const Dims dims = dims_of(reduce_mask(inv));
  Tensor out = pairs(*work);
  Arguments args(inv);
  args.values[0] = Value(in);
  args.values[1] = Value(dims);
  args.values[3] = Value();
  run_real(inv.op, args, &out, in.dtype());
  copy_into(inv.outs[0], work);
}

void complex_truth(Invocation& inv) {
  const Tensor bits = to_contiguous(inv.in(0), DType::Bool);
  Arguments args(inv);
  args.values[0] = Value(bits);
  run_real(inv.op, args, inv.outs, DType::Bool);
}

// (input!, mean or from, std or to, …)
void complex_normal(Invocation& inv) {
  Tensor out = pairs(inv.out());
  Arguments args(inv);
  args.values[0] = Value(out);
  args.values[2] = Value(inv.f(2) * 0.70710678118654752440);
  run_real(inv.op, args, &out, out.dtype());
}
void complex_uniform(Invocation& inv) {
  Tensor out = pairs(inv.out());
  Arguments args(inv);
  args.values[0] = Value(out);
  run_real(inv.op, args, &out, out.dtype());
}

std::array<Tensor, 2> variances_of_parts(Invocation& inv) {
  static OpRef var_op{"_var"};
  std::array<Tensor, 2> parts;
  for (int k = 0; k < 2; ++k) {
    const Tensor in = part(inv.in(0), k);
    parts[size_t(k)] = empty(inv.out().sizes, in.dtype(), in.device());
    Arguments args(inv);
    args.values[0] = Value(in);
    run_real(*var_op, args, &parts[size_t(k)], in.dtype());
  }
  return parts;
}

// _vector_norm(input, dim, keepdim, dtype, ord)
void norm_of_magnitudes(Invocation& inv, const Tensor& magnitudes) {
  Arguments args(inv);
  args.values[0] = Value(magnitudes);
  args.values[3] = Value();
  run_real(inv.op, args, inv.outs, magnitudes.dtype());
}

}  // namespace mg
