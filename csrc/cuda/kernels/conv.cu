// Convolution of 1 to 3 spatial dims and its two adjoints, as products of matrices (gemm.h) whose patches are read from the image where it
// lies: no im2col matrix, any strides (channels_last too), real and complex. Sums have one order for a shape.
//
// Legend: N images, C input and O output channels, G groups (Cg = C / G, Og = O / G), D H W input and OD OH OW output sizes, K* kernel.
// Tap p = (c, kd, kh, kw); pixel q = (n, od, oh, ow); place i = (n, d, h, w). For each group:
//   forward   y[o, q]  = sum_p w[o, p] patch[p, q]
//   data      dx[c, i] = sum_(o, k) w[o, (c, k)] dy[o, the pixel that reads place i by tap k]; this is the transposed convolution, too
//   weight    dw[o, p] = sum_q dy[o, q] patch[p, q]
// Meta: ../../core/meta_conv.cpp.
#include "gemm.h"

namespace mg::cuda {
namespace {

// One number per spatial dim; images and sequences get leading dims of `fill`.
struct Triple {
  int64_t d, h, w;
};
Triple triple(const Dims& v, int dims, int64_t fill) {
  const auto at = [&](int i) { return i < 3 - dims ? fill : v.size() == 1 ? v[0] : v[i - (3 - dims)]; };
  return {at(0), at(1), at(2)};
}

// A tensor (N, C, D, H, W) with its strides in elements.
struct Image {
  int64_t n, c, d, h, w, sn, sc, sd, sh, sw;
  // `dims` spatial dims; an image without batch dim is a batch of one.
  Image(const TensorImpl& t, int dims) {
    Dims sizes = t.sizes, strides = t.strides;
    if (sizes.size() == dims + 1) sizes.insert(0, 1), strides.insert(0, 0);
    while (sizes.size() < 5) sizes.insert(2, 1), strides.insert(2, 0);
    n = sizes[0], c = sizes[1], d = sizes[2], h = sizes[3], w = sizes[4];
    sn = strides[0], sc = strides[1], sd = strides[2], sh = strides[3], sw = strides[4];
  }
  int64_t places() const { return n * d * h * w; }
};

struct Geometry {
  Triple kernel, stride, padding, dilation;
  int64_t groups, cg, og;
  int64_t taps() const { return kernel.d * kernel.h * kernel.w; }
};

// Index arithmetic is in int when all counts fit, else in int64_t: divisions are what it consists of.
template <class I>
struct Place {
  I n, d, h, w;
};
template <class I>
MG_DEVICE Place<I> split(I i, I d, I h, I w) {
  Place<I> p;
  p.w = i % w, i /= w;
  p.h = i % h, i /= h;
  p.d = i % d, p.n = i / d;
  return p;
}

// The image x as the matrix patch[p, q], or, transposed, patch[q, p].
template <class T, class I, bool transposed>
struct Patches {
  using element = T;
  static constexpr bool rows_adjacent = transposed;
  const T* x;
  Image in;
  Geometry g;
  I od, oh, ow;
  struct View {
    const Patches& s;
    const T* x;
    MG_DEVICE T operator()(int64_t row, int64_t column) const {
      const Place<I> tap = split<I>(I(transposed ? column : row), I(s.g.kernel.d), I(s.g.kernel.h), I(s.g.kernel.w));  // n: channel
      const Place<I> to = split<I>(I(transposed ? row : column), s.od, s.oh, s.ow);
      const int64_t d = int64_t(to.d) * s.g.stride.d - s.g.padding.d + int64_t(tap.d) * s.g.dilation.d;
      const int64_t h = int64_t(to.h) * s.g.stride.h - s.g.padding.h + int64_t(tap.h) * s.g.dilation.h;
      const int64_t w = int64_t(to.w) * s.g.stride.w - s.g.padding.w + int64_t(tap.w) * s.g.dilation.w;
      if (d < 0 || d >= s.in.d || h < 0 || h >= s.in.h || w < 0 || w >= s.in.w) return convert<T>(0.0f);
      return x[to.n * s.in.sn + tap.n * s.in.sc + d * s.in.sd + h * s.in.sh + w * s.in.sw];
    }
  };
  MG_DEVICE View begin(int64_t group, int64_t) const { return {*this, x + group * g.cg * in.sc}; }
};

// dy as the matrix [(o, k), i]: the pixel that reads place i by tap k, or zero.
template <class T, class I>
struct Readers {
  using element = T;
  static constexpr bool rows_adjacent = false;
  const T* dy;
  Image out;  // of dy
  Geometry g;
  I d, h, w;  // of dx
  // The pixel at `at` of one dim, -1: none.
  MG_DEVICE static int64_t pixel(int64_t at, int64_t tap, int64_t stride, int64_t padding, int64_t dilation, int64_t size) {
    const int64_t from = at + padding - tap * dilation;
    if (from < 0) return -1;
    const int64_t p = int64_t(I(from) / I(stride));
    return p < size && p * stride == from ? p : -1;
  }
  struct View {
    const Readers& s;
    const T* dy;
    MG_DEVICE T operator()(int64_t row, int64_t column) const {
      const Place<I> tap = split<I>(I(row), I(s.g.kernel.d), I(s.g.kernel.h), I(s.g.kernel.w));
      const Place<I> at = split<I>(I(column), s.d, s.h, s.w);
      const int64_t d = pixel(at.d, tap.d, s.g.stride.d, s.g.padding.d, s.g.dilation.d, s.out.d);
      const int64_t h = pixel(at.h, tap.h, s.g.stride.h, s.g.padding.h, s.g.dilation.h, s.out.h);
      const int64_t w = pixel(at.w, tap.w, s.g.stride.w, s.g.padding.w, s.g.dilation.w, s.out.w);
      if (d < 0 || h < 0 || w < 0) return convert<T>(0.0f);
      return dy[at.n * s.out.sn + tap.n * s.out.sc + d * s.out.sd + h * s.out.sh + w * s.out.sw];
    }
  };
  MG_DEVICE View begin(int64_t group, int64_t) const { return {*this, dy + group * g.og * out.sc}; }
};

// A tensor as the matrix [channel, place], or [place, channel].
template <class T, class I>
struct Channels {
  using element = T;
  static constexpr bool rows_adjacent = false;
  const T* p;
  Image t;
  int64_t channels;  // of a group
  struct View {
    const Channels& s;
    const T* p;
    MG_DEVICE T operator()(int64_t row, int64_t column) const {
      const Place<I> at = split<I>(I(column), I(s.t.d), I(s.t.h), I(s.t.w));
      return p[at.n * s.t.sn + row * s.t.sc + at.d * s.t.sd + at.h * s.t.sh + at.w * s.t.sw];
    }
  };
  MG_DEVICE View begin(int64_t group, int64_t) const { return {*this, p + group * channels * t.sc}; }
};

// A contiguous weight (O, Cg, taps) as the matrix [o, p], or, flipped, [c, (o, k)].
template <class T, class I, bool flipped>
struct Weights {
  using element = T;
  static constexpr bool rows_adjacent = false;
  const T* w;
  int64_t cg, og, taps;
  struct View {
    const Weights& s;
    const T* w;
    MG_DEVICE T operator()(int64_t row, int64_t column) const {
      if constexpr (!flipped) return w[row * s.cg * s.taps + column];
      const I o = I(column) / I(s.taps);
      return w[(o * s.cg + row) * s.taps + (I(column) - o * I(s.taps))];
    }
  };
  MG_DEVICE View begin(int64_t group, int64_t) const { return {*this, w + group * og * cg * taps}; }
};

// [channel, place] of a result, with one number added per channel.
template <class T, class Acc, class I>
struct ChannelResult {
  T* out;
  Image t;
  int64_t channels;
  const T* bias;  // may be null
  int64_t bias_stride;
  struct View {
    T* out;
    int64_t group;
  };
  MG_DEVICE View begin(int64_t group, int64_t, int64_t) const { return {out + group * channels * t.sc, group}; }
  MG_DEVICE void operator()(const View& to, int64_t row, int64_t column, Acc sum) const {
    const Place<I> at = split<I>(I(column), I(t.d), I(t.h), I(t.w));
    if (bias != nullptr) sum = plus(sum, gemm_load<Acc>(bias[(to.group * channels + row) * bias_stride]));
    to.out[at.n * t.sn + row * t.sc + at.d * t.sd + at.h * t.sh + at.w * t.sw] = convert<T>(sum);
  }
};

// f(T{}, I{}): the element type, and the index type for counts of which none is beyond `most`.
template <class F>
void dispatch_conv(DType d, int64_t most, F&& f) {
  const auto typed = [&](auto tag) {
    if (most < INT32_MAX / 2) return f(tag, int32_t{});
    f(tag, int64_t{});
  };
  if (is_complex(d)) return dispatch_complex(d, typed);
  dispatch_floating(d, typed);
}

// The result, or, where it shares memory with an operand, a tensor copied to it at the end.
struct Target {
  const Tensor& result;
  Tensor out;
  Target(const Invocation& inv, int tensors) : result(inv.outs[0]), out(result) {
    for (int i = 0; i < tensors; ++i)
      if (inv.has(i) && inv.in(i).storage == result->storage) out = empty(result.sizes(), result.dtype(), result.device());
  }
  void commit() const {
    if (!out.is(result)) copy_into(result, out);
  }
};

template <class T>
const T* bias_of(const Invocation& inv) {
  return inv.has(2) ? inv.in(2).ptr<T>() : nullptr;
}
int64_t bias_stride(const Invocation& inv) { return inv.has(2) ? inv.in(2).strides[0] : 0; }

// Of an op whose arguments 3 and 4 are stride and padding.
Geometry geometry_of(const Invocation& inv, const Dims& weight, int dilation, int groups) {
  const int dims = weight.size() - 2;
  return {triple(Dims(std::span(weight).subspan(2)), dims, 1), triple(inv.ints(3), dims, 1), triple(inv.ints(4), dims, 0),
          triple(inv.ints(dilation), dims, 1), inv.i(groups), weight[1], weight[0] / inv.i(groups)};
}

// _conv(input, weight, bias?, stride, padding, dilation, groups)
// _conv_transpose(input, weight, bias?, stride, padding, output_padding, groups, dilation)
template <bool transposed>
void conv_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Tensor weight = staged(inv.in(1), inv.compute);
  const Geometry g = geometry_of(inv, weight.sizes(), transposed ? 7 : 5, 6);
  const Target target(inv, 3);
  const Image from(inv.in(0), weight.dim() - 2), to(*target.out, weight.dim() - 2);
  const int64_t m = transposed ? g.cg : g.og, n = to.places(), k = (transposed ? g.og : g.cg) * g.taps();
  int64_t most = std::max(n, k);
  if (transposed) most = std::max({most, to.d + g.padding.d, to.h + g.padding.h, to.w + g.padding.w, g.stride.d, g.stride.h, g.stride.w});
  dispatch_conv(inv.compute, most, [&]<class T, class I>(T, I) {
    using Acc = gemm_sum_t<T>;
    using Read = std::conditional_t<transposed, Readers<T, I>, Patches<T, I, false>>;
    const Weights<T, I, transposed> a{weight.ptr<T>(), g.cg, g.og, g.taps()};
    const Read b{inv.in(0).template ptr<T>(), from, g, I(to.d), I(to.h), I(to.w)};
    const ChannelResult<T, Acc, I> result{target.out.template ptr<T>(), to, m, bias_of<T>(inv), bias_stride(inv)};
    gemm<Acc>(m, n, k, g.groups, a, b, result, PlainBatches{}, inv.out().device);
  });
  target.commit();
}

// [o, p] of a contiguous gradient (O, Cg, taps).
template <class T, class Acc>
struct WeightResult {
  T* dw;
  int64_t og, columns;
  struct View {
    T* dw;
  };
  MG_DEVICE View begin(int64_t group, int64_t, int64_t) const { return {dw + group * og * columns}; }
  MG_DEVICE void operator()(const View& to, int64_t row, int64_t column, Acc sum) const { to.dw[row * columns + column] = convert<T>(sum); }
};

// (input, grad, kernel_size, stride, padding, dilation, groups)
void conv_weight_grad_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const StagedOut out(inv.outs[0], inv.compute);
  const Geometry g = geometry_of(inv, inv.out().sizes, 5, 6);
  const int dims = inv.out().dim() - 2;
  const Image x(inv.in(0), dims), dy(inv.in(1), dims);
  const int64_t m = g.og, n = g.cg * g.taps(), k = dy.places();
  dispatch_conv(inv.compute, std::max(n, k), [&]<class T, class I>(T, I) {
    using Acc = gemm_sum_t<T>;
    const Channels<T, I> a{inv.in(1).template ptr<T>(), dy, g.og};
    const Patches<T, I, true> b{inv.in(0).template ptr<T>(), x, g, I(dy.d), I(dy.h), I(dy.w)};
    const WeightResult<T, Acc> result{out.template ptr<T>(), g.og, n};
    gemm<Acc>(m, n, k, g.groups, a, b, result, PlainBatches{}, inv.out().device);
  });
  out.commit();
}

MG_CUDA_KERNEL("_conv", conv_cuda<false>);
MG_CUDA_KERNEL("_conv_transpose", conv_cuda<true>);
MG_CUDA_KERNEL("_conv_weight_grad", conv_weight_grad_cuda);
MG_CUDA_KERNEL_COMPLEX("_conv", conv_cuda<false>);
MG_CUDA_KERNEL_COMPLEX("_conv_transpose", conv_cuda<true>);
MG_CUDA_KERNEL_COMPLEX("_conv_weight_grad", conv_weight_grad_cuda);

}  // namespace
}  // namespace mg::cuda
