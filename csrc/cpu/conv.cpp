// The convolution ops: arguments to ConvShape, layout and low precision. half and bfloat16 are computed in float and
// rounded once.
//
// Meta: ../core/meta_conv.cpp. Declarations: minigrad/ops/layers/conv.py. Read next: conv.h (legend and algorithms).
#include "conv.h"

#include "../core/layout.h"
#include "../core/memory_format.h"
#include "../core/op.h"
#include "conv_pixels.h"
#include "conv_winograd.h"
#include "prepared.h"

namespace mg::cpu {

namespace {

// One value per spatial dim; a shorter list of `dims` values gets `fill` in front, a single value counts for all dims.
struct Triple {
  int64_t d, h, w;
  Triple(const Dims& v, int dims, int64_t fill) {
    const auto at = [&](int i) { return i < 3 - dims ? fill : v.size() == 1 ? v[0] : v[i - (3 - dims)]; };
    d = at(0), h = at(1), w = at(2);
  }
};

struct Windows {
  Triple stride, padding, dilation;
  Windows(const Dims& s, const Dims& p, const Dims& d, int dims)
      : stride(s, dims, 1), padding(p, dims, 0), dilation(d, dims, 1) {}
};

// (N, C, D, H, W) of a tensor with that many spatial dims. An unbatched image is a batch of one.
Dims volume(Dims sizes, int dims) {
  if (sizes.size() == dims + 1) sizes.insert(0, 1);
  while (sizes.size() < 5) sizes.insert(2, 1);
  return sizes;
}

// `big` is the image side of the convolution (its input), `small` the pixel side (its output).
ConvShape shape_of(const Dims& big_sizes, const Dims& small_sizes, const Triple& k, const Windows& w, int dims,
                   int64_t groups) {
  const Dims big = volume(big_sizes, dims), small = volume(small_sizes, dims);
  return {big[0],       big[1],       big[2],       big[3],     big[4],     small[1],    groups,      k.d,
          k.h,          k.w,          w.stride.d,   w.stride.h, w.stride.w, w.padding.d, w.padding.h, w.padding.w,
          w.dilation.d, w.dilation.h, w.dilation.w, small[2],   small[3],   small[4]};
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
      in[i] = i == 1 ? staged_weight(inv.in(i), compute) : staged(inv.in(i), compute);
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

int spatial(const Tensor& weight) { return weight.dim() - 2; }
Triple kernel_of(const Tensor& w) { return Triple(Dims(std::span(w.sizes()).subspan(2)), spatial(w), 1); }

// Float images that lie as (N, H, W, C) without gaps: Winograd's kernels and products of 1x1 read and write them as
// they are.
bool channels_last(const TensorImpl& t) {
  if (t.dtype != DType::Float32 || t.dim() != 4 || !is_channels_last(t.sizes, t.strides)) return false;
  const Dims& n = t.sizes;
  return t.strides == Dims{n[1] * n[2] * n[3], 1, n[1] * n[3], n[1]};
}
Tensor image(const Tensor& t) { return channels_last(*t) ? t : staged(*t, DType::Float32); }

bool shares_storage(const Invocation& inv, int tensors) {
  for (int i = 0; i < tensors; ++i)
    if (inv.has(i) && inv.tensor(i)->storage == inv.outs[0]->storage) return true;
  return false;
}

// The result written in place, true, if it and the images suit Winograd's kernels and at least one is channels_last.
// Results that are not finite are left to the way of all others.
bool conv_channels_last(const Invocation& inv, const ConvShape& s, bool transposed) {
  const Tensor &y = inv.outs[0], &x = inv.tensor(0);
  if (!(channels_last(*x) || channels_last(*y)) || x.dtype() != DType::Float32) return false;
  if (!(transposed ? winograd_data_suits(s) : winograd_suits(s))) return false;
  if (!(channels_last(*y) || y->contiguous) || shares_storage(inv, 3)) return false;
  const Tensor in = image(x), w = staged_weight(inv.in(1), DType::Float32);
  const Tensor bias = inv.has(2) ? staged(inv.in(2), DType::Float32) : Tensor();
  const float* b = bias.defined() ? bias.ptr<float>() : nullptr;
  const bool from = channels_last(*in), to = channels_last(*y);
  if (transposed) return winograd_data(s, in.ptr<float>(), w.ptr<float>(), b, y.ptr<float>(), {to, from});
  return winograd_forward(s, in.ptr<float>(), w.ptr<float>(), b, y.ptr<float>(), {from, to});
}
bool weight_channels_last(const Invocation& inv, const ConvShape& s) {
  const Tensor &dw = inv.outs[0], &x = inv.tensor(0), &g = inv.tensor(1);
  if (!(channels_last(*x) || channels_last(*g)) || !dw->contiguous || !winograd_suits(s)) return false;
  if (shares_storage(inv, 2)) return false;
  if (x.dtype() != DType::Float32 || g.dtype() != DType::Float32) return false;
  const Tensor in = image(x), dy = image(g);
  return winograd_weight(s, in.ptr<float>(), dy.ptr<float>(), dw.ptr<float>(),
                         {channels_last(*in), channels_last(*dy)});
}

// Kernels of one tap over images that all lie as (N H W, C) are products of matrices as they lie.
bool is_product(const Invocation& inv, const ConvShape& s, int tensors, const Tensor& a, const Tensor& b) {
  const bool plain = s.kernel() == 1 && s.G == 1 && s.SH == 1 && s.SW == 1 && s.PH == 0 && s.PW == 0;
  const bool same = s.H == s.OH && s.W == s.OW;  // output_padding adds pixels
  return plain && same && channels_last(*a) && channels_last(*b) && !shares_storage(inv, tensors);
}
Epilogue<float> with_bias(const Tensor& bias) {
  Epilogue<float> e;
  if (bias.defined()) e.add = bias.ptr<float>();
  return e;
}
bool product_channels_last(const Invocation& inv, const ConvShape& s, bool transposed) {
  const Tensor &y = inv.outs[0], &x = inv.tensor(0);
  if (!is_product(inv, s, 3, x, y)) return false;
  const Tensor w = staged_weight(inv.in(1), DType::Float32), bias = inv.has(2) ? staged(inv.in(2), DType::Float32) : Tensor();
  const int64_t pixels = s.N * s.pixels(), from = transposed ? s.O : s.C, to = transposed ? s.C : s.O;
  const Strided<float> weight{w.ptr<float>(), s.C, 1};
  gemm<float, float>(pixels, to, from, {x.ptr<float>(), from, 1}, transposed ? weight : weight.mT(), y.ptr<float>(), to,
                     with_bias(bias));
  return true;
}
bool weight_product_channels_last(const Invocation& inv, const ConvShape& s) {
  const Tensor &dw = inv.outs[0], &x = inv.tensor(0), &g = inv.tensor(1);
  if (!is_product(inv, s, 2, x, g) || !dw->contiguous) return false;
  gemm<float, float>(s.O, s.C, s.N * s.pixels(), {g.ptr<float>(), 1, s.O}, {x.ptr<float>(), s.C, 1}, dw.ptr<float>(),
                     s.C);
  return true;
}

// A float image as (N, H, W, C), copied if it does not lie so.
Tensor pixel_image(const Tensor& t) {
  if (channels_last(*t)) return t;
  const Tensor image = empty_strided(t.sizes(), channels_last_strides(t.sizes()), DType::Float32);
  copy_into(image, t);
  return image;
}
bool suits_pixels(const Invocation& inv, const ConvShape& s, int tensors, const Tensor& image) {
  return channels_last(*image) && inv.tensor(0).dtype() == DType::Float32 && pixels_suit(s) &&
         !shares_storage(inv, tensors);
}
bool conv_pixels(const Invocation& inv, const ConvShape& s, bool transposed) {
  const Tensor &y = inv.outs[0], &w = inv.tensor(1);
  if (!suits_pixels(inv, s, 3, y) || w.dtype() != DType::Float32) return false;
  const Tensor x = pixel_image(inv.tensor(0)), bias = inv.has(2) ? staged(inv.in(2), DType::Float32) : Tensor();
  (transposed ? pixels_data : pixels_forward)(s, x.ptr<float>(), w, data_or_null<float>(bias), y.ptr<float>());
  return true;
}
// Images of planes that are faster turned into pixels and back: products whose patches would be read in short or
// dilated pieces, or scattered.
bool planes_pay(const ConvShape& s, bool transposed) {
  if (s.C < 16 || s.O < 16 || !pixels_suit(s)) return false;
  if (s.G > 1) return s.kernel() > 1 && s.OW <= 16;
  if (s.kernel() == 1) return !transposed && s.SW > 1 && s.OW <= 8;
  return !(transposed ? winograd_data_suits(s) : winograd_suits(s));
}
bool conv_volume(const Invocation& inv, const ConvShape& s, bool transposed) {
  const Tensor &y = inv.outs[0], &x = inv.tensor(0), &w = inv.tensor(1);
  if (x.dtype() != DType::Float32 || w.dtype() != DType::Float32 || !y->contiguous || shares_storage(inv, 3))
    return false;
  if (w.dim() != 5 || !volume_suits(s, transposed)) return false;
  const Tensor bias = inv.has(2) ? staged(inv.in(2), DType::Float32) : Tensor();
  return volume_convolved(s, x, w, data_or_null<float>(bias), y, transposed);
}
bool weight_volume(const Invocation& inv, const ConvShape& s) {
  const Tensor &x = inv.tensor(0), &g = inv.tensor(1), &dw = inv.outs[0];
  if (x.dtype() != DType::Float32 || dw.dtype() != DType::Float32 || dw.dim() != 5 || shares_storage(inv, 2))
    return false;
  return volume_suits(s, false) && volume_weight(s, x, g, dw);
}

bool conv_turned(const Invocation& inv, const ConvShape& s, bool transposed) {
  const Tensor& y = inv.outs[0];
  if (!y->contiguous || y.dtype() != DType::Float32 || !planes_pay(s, transposed)) return false;
  const Dims big{s.N, s.C, s.H, s.W}, small{s.N, s.O, s.OH, s.OW};
  const Dims &from = transposed ? small : big, &to = transposed ? big : small;
  const auto as_image = [](const Tensor& t, const Dims& sizes) {
    return alias(*t, sizes, contiguous_strides(sizes), t->offset);
  };
  const Tensor x = pixel_image(as_image(staged(inv.in(0), DType::Float32), from));
  const Tensor weight = staged_weight(inv.in(1), DType::Float32),
               bias = inv.has(2) ? staged(inv.in(2), DType::Float32) : Tensor();
  const Tensor w = as_image(weight, {s.O, s.Cg(), s.KH, s.KW});
  const Tensor out = empty_strided(to, channels_last_strides(to), DType::Float32);
  (transposed ? pixels_data : pixels_forward)(s, x.ptr<float>(), w, data_or_null<float>(bias), out.ptr<float>());
  copy_into(as_image(y, to), out);
  return true;
}
bool weight_pixels(const Invocation& inv, const ConvShape& s) {
  const Tensor &x = inv.tensor(0), &g = inv.tensor(1), &dw = inv.outs[0];
  const bool turned =
      deals_out(s) && x.dim() == 4 && pixels_suit(s) && x.dtype() == DType::Float32 && s.C >= 16 && s.O >= 16;
  if (!turned && !suits_pixels(inv, s, 2, channels_last(*x) ? x : g)) return false;
  if (dw.dtype() != DType::Float32 || shares_storage(inv, 2)) return false;
  pixels_weight(s, pixel_image(x).ptr<float>(), pixel_image(g).ptr<float>(), dw);
  return true;
}

// (input, weight, bias?, stride, padding, dilation, groups)
void conv_cpu(Invocation& inv) {
  const Tensor& weight = inv.tensor(1);
  const int dims = spatial(weight);
  const Windows w(inv.ints(3), inv.ints(4), inv.ints(5), dims);
  const ConvShape s = shape_of(inv.in(0).sizes, inv.out().sizes, kernel_of(weight), w, dims, inv.i(6));
  if (conv_channels_last(inv, s, false) || product_channels_last(inv, s, false) || conv_pixels(inv, s, false)) return;
  if (conv_turned(inv, s, false) || conv_volume(inv, s, false)) return;
  with_layout(inv, 3, [&]<class T>(T, Tensor* in, const Tensor& out) {
    conv_forward<T>(s, in[0].ptr<T>(), in[1].ptr<T>(), data_or_null<T>(in[2]), out.ptr<T>());
  });
}

// (input, weight, bias?, stride, padding, output_padding, groups, dilation)
void conv_transpose_cpu(Invocation& inv) {
  const Tensor& weight = inv.tensor(1);
  const int dims = spatial(weight);
  const Windows w(inv.ints(3), inv.ints(4), inv.ints(7), dims);
  const ConvShape s = shape_of(inv.out().sizes, inv.in(0).sizes, kernel_of(weight), w, dims, inv.i(6));
  if (conv_channels_last(inv, s, true) || product_channels_last(inv, s, true) || conv_pixels(inv, s, true)) return;
  if (conv_turned(inv, s, true) || conv_volume(inv, s, true)) return;
  with_layout(inv, 3, [&]<class T>(T, Tensor* in, const Tensor& out) {
    conv_data<T>(s, in[0].ptr<T>(), in[1].ptr<T>(), data_or_null<T>(in[2]), out.ptr<T>());
  });
}

// (input, grad, kernel_size, stride, padding, dilation, groups)
void conv_weight_grad_cpu(Invocation& inv) {
  const Tensor& result = inv.outs[0];
  const int dims = spatial(result);
  const Windows w(inv.ints(3), inv.ints(4), inv.ints(5), dims);
  const ConvShape s = shape_of(inv.in(0).sizes, inv.in(1).sizes, kernel_of(result), w, dims, inv.i(6));
  if (weight_channels_last(inv, s) || weight_product_channels_last(inv, s) || weight_pixels(inv, s)) return;
  if (weight_volume(inv, s)) return;
  with_layout(inv, 2, [&]<class T>(T, Tensor* in, const Tensor& out) {
    conv_weight<T>(s, in[0].ptr<T>(), in[1].ptr<T>(), out.ptr<T>());
  });
}

}  // namespace

MG_KERNEL("_conv", CPU, conv_cpu);
MG_KERNEL("_conv_transpose", CPU, conv_transpose_cpu);
MG_KERNEL("_conv_weight_grad", CPU, conv_weight_grad_cpu);

}  // namespace mg::cpu
