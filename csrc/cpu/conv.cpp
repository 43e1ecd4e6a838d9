// The convolution ops: arguments to ConvShape, layout and low precision. half and bfloat16 are computed in float and
// rounded once.
//
// Meta: ../core/meta_conv.cpp. Declarations: minigrad/ops/conv.py. Read next: conv.h (legend and algorithms).
#include "conv.h"

#include "../core/op.h"

namespace mg::cpu {

namespace {

struct Pair {
  int64_t h, w;
  explicit Pair(const Dims& d) : h(d[0]), w(d.back()) {}
};

// `big` is the image side of the convolution (its input), `small` the pixel side (its output); `w` the kernel.
// An unbatched image is a batch of one.
ConvShape shape_of(Dims big, Dims small, Pair kernel, Pair stride, Pair padding, Pair dilation, int64_t groups) {
  if (big.size() == 3) big.insert(0, 1), small.insert(0, 1);
  return {big[0],   big[1],   big[2],    big[3],    small[1],   groups,     kernel.h, kernel.w,
          stride.h, stride.w, padding.h, padding.w, dilation.h, dilation.w, small[2], small[3]};
}

// Runs body(T{}, in, out) with contiguous tensors of a type that the kernels take; `out` is copied back if it is not
// inv's own.
template <class F>
void with_layout(Invocation& inv, int tensors, F&& body) {
  const Tensor& result = inv.outs[0];
  const DType compute = result.dtype() == DType::Float64 ? DType::Float64 : DType::Float32;
  Tensor in[3];
  bool direct = result->contiguous && result.dtype() == compute;
  for (int i = 0; i < tensors; ++i)
    if (inv.has(i)) {
      in[i] = to_contiguous(inv.in(i), compute);
      direct = direct && !(in[i]->storage == result->storage);
    }
  const Tensor out = direct ? result : empty(result.sizes(), compute);
  if (compute == DType::Float64)
    body(double{}, in, out);
  else
    body(float{}, in, out);
  if (!direct) copy_into(result, out);
}

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.ptr<T>() : nullptr;
}

Pair kernel_of(const Tensor& w) { return Pair({w.size(2), w.size(3)}); }

void conv2d_cpu(Invocation& inv) {
  with_layout(inv, 3, [&]<class T>(T, Tensor* in, const Tensor& out) {
    const ConvShape s = shape_of(in[0].sizes(), out.sizes(), kernel_of(in[1]), Pair(inv.ints(3)), Pair(inv.ints(4)),
                                 Pair(inv.ints(5)), inv.i(6));
    conv_forward<T>(s, in[0].ptr<T>(), in[1].ptr<T>(), data_or_null<T>(in[2]), out.ptr<T>());
  });
}

void conv_transpose2d_cpu(Invocation& inv) {
  with_layout(inv, 3, [&]<class T>(T, Tensor* in, const Tensor& out) {
    const ConvShape s = shape_of(out.sizes(), in[0].sizes(), kernel_of(in[1]), Pair(inv.ints(3)), Pair(inv.ints(4)),
                                 Pair(inv.ints(7)), inv.i(6));
    conv_data<T>(s, in[0].ptr<T>(), in[1].ptr<T>(), data_or_null<T>(in[2]), out.ptr<T>());
  });
}

void conv2d_weight_grad_cpu(Invocation& inv) {
  with_layout(inv, 2, [&]<class T>(T, Tensor* in, const Tensor& out) {
    const ConvShape s = shape_of(in[0].sizes(), in[1].sizes(), Pair(inv.ints(2)), Pair(inv.ints(3)), Pair(inv.ints(4)),
                                 Pair(inv.ints(5)), inv.i(6));
    conv_weight<T>(s, in[0].ptr<T>(), in[1].ptr<T>(), out.ptr<T>());
  });
}

}  // namespace

MG_KERNEL("conv2d", CPU, conv2d_cpu);
MG_KERNEL("conv_transpose2d", CPU, conv_transpose2d_cpu);
MG_KERNEL("_conv2d_weight_grad", CPU, conv2d_weight_grad_cpu);

}  // namespace mg::cpu
