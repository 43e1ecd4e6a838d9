// Products of complex tensors (matmul family, convolutions): four runs of the op's own real kernel on the parts,
//   re = a.re b.re - a.im b.im,   im = a.re b.im + a.im b.re,
// so they get its blocking, threads and vector code. (Gauss's form with three products loses digits to cancellation.)
#include "../core/complex_parts.h"
#include "../core/layout.h"
#include "../core/parallel.h"
#include "complex_math.h"
#include "staged.h"

namespace mg::cpu {

namespace {

// The product of arguments a and b of `op`, contiguous and complex; `args` holds the other arguments.
Tensor bilinear(const Op& op, Arguments& args, int a, int b, const Dims& sizes, DType dtype) {
  const DType real = to_real(dtype);
  Tensor parts[2][2], terms[2][2];
  const TensorImpl* factor[2] = {args.values[a].t, args.values[b].t};
  for (int f = 0; f < 2; ++f)
    for (int k = 0; k < 2; ++k) parts[f][k] = to_contiguous(*part(*factor[f], k), real);
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      args.values[a] = Value(parts[0][i]);
      args.values[b] = Value(parts[1][j]);
      terms[i][j] = empty(sizes, real);
      run_real(op, args, &terms[i][j], real);
    }
  const Tensor out = empty(sizes, dtype);
  dispatch_complex(dtype, [&](auto tag) {
    using C = decltype(tag);
    using T = decltype(C::re);
    const T *rr = terms[0][0].ptr<T>(), *ri = terms[0][1].ptr<T>(), *ir = terms[1][0].ptr<T>(), *ii = terms[1][1].ptr<T>();
    C* o = out.ptr<C>();
    parallel_for(0, out.numel(), 32768, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) o[i] = C{rr[i] - ii[i], ri[i] + ir[i]};
    });
  });
  return out;
}

// to = alpha * product + beta * addend (any layout that broadcasts to it); beta 0 ignores the addend, NaN and all.
void combine(const Tensor& to, const Tensor& product, complex128 alpha, const TensorImpl* addend, complex128 beta) {
  const bool adds = addend != nullptr && nonzero(beta);
  Tensor extra;
  if (adds)
    extra = to_contiguous(*alias(*addend, product.sizes(), broadcast_strides(addend->sizes, addend->strides, product.sizes()),
                                 addend->offset),
                          product.dtype());
  dispatch_complex(product.dtype(), [&](auto tag) {
    using C = decltype(tag);
    using T = decltype(C::re);
    const C a{T(alpha.re), T(alpha.im)}, b{T(beta.re), T(beta.im)};
    C* p = product.ptr<C>();
    const C* e = adds ? extra.ptr<C>() : nullptr;
    for (int64_t i = 0; i < product.numel(); ++i) p[i] = adds ? a * p[i] + b * e[i] : a * p[i];
  });
  copy_into(to, product);
}

// Also the gradient of a convolution's weight (input, grad, …).
void matmul(Invocation& inv) {
  Arguments args(inv);
  copy_into(inv.outs[0], bilinear(inv.op, args, 0, 1, inv.out().sizes, inv.compute));
}

// addmm, addmv, baddbmm (input, a, b, beta, alpha)
void addmm(Invocation& inv) {
  static OpRef matmul_op{"matmul"};
  Arguments args(inv);
  args.values[0] = inv.args[1];
  args.values[1] = inv.args[2];
  const Tensor product = bilinear(*matmul_op, args, 0, 1, inv.out().sizes, inv.compute);
  combine(inv.outs[0], product, inv.args[4].as_complex(), &inv.in(0), inv.args[3].as_complex());
}

// linear and convolutions (input, weight, bias, …): the bias runs along the output's channel dim, which the weight's spatial dims
// follow.
void with_bias(Invocation& inv) {
  Arguments args(inv);
  args.values[2] = Value();
  const Tensor product = bilinear(inv.op, args, 0, 1, inv.out().sizes, inv.compute);
  if (!inv.has(2)) return copy_into(inv.outs[0], product);
  const TensorImpl& bias = inv.in(2);
  Dims sizes(product.dim()), strides(product.dim());
  for (int64_t& s : sizes) s = 1;
  const int at = product.dim() - 1 - (inv.in(1).dim() - 2);
  sizes[at] = bias.sizes[0];
  strides[at] = bias.strides[0];
  combine(inv.outs[0], product, {1, 0}, alias(bias, sizes, strides, bias.offset).get(), {1, 0});
}

}  // namespace

MG_KERNEL_COMPLEX("matmul", CPU, matmul);
MG_KERNEL_COMPLEX("mm", CPU, matmul);
MG_KERNEL_COMPLEX("bmm", CPU, matmul);
MG_KERNEL_COMPLEX("mv", CPU, matmul);
MG_KERNEL_COMPLEX("dot", CPU, matmul);
MG_KERNEL_COMPLEX("addmm", CPU, addmm);
MG_KERNEL_COMPLEX("addmv", CPU, addmm);
MG_KERNEL_COMPLEX("baddbmm", CPU, addmm);
MG_KERNEL_COMPLEX("linear", CPU, with_bias);
MG_KERNEL_COMPLEX("_conv", CPU, with_bias);
MG_KERNEL_COMPLEX("_conv_transpose", CPU, with_bias);
MG_KERNEL_COMPLEX("_conv_weight_grad", CPU, matmul);

}  // namespace mg::cpu
