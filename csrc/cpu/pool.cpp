// Pooling over the last 1 to 3 dims: max (with indices), its adaptive and fractional forms, and the moves along indices
// that are its gradients. pool_average.cpp has the averages, pool_axes.h the windows, pool_rows.h the vector loops.
// Meta: ../core/meta_pool.cpp.
#include "pool_last.h"

namespace mg::cpu {

namespace {

// Windows of the outputs [w_begin, w_end) of one row. What the loop needs is in locals: the compiler must assume that
// writing `index` changes the windows' vectors.
template <class T>
void max_row(const Axes& a, int64_t od, int64_t oh, int64_t w_begin, int64_t w_end, const T* x, T* y, int64_t* index) {
  const int64_t H = a.h.size, W = a.w.size, step_d = a.d.dilation, step_h = a.h.dilation, step_w = a.w.dilation;
  const int64_t d0 = a.d.first[od], d1 = a.d.last[od], h0 = a.h.first[oh], h1 = a.h.last[oh];
  const int64_t *const w_first = a.w.first.data(), *const w_last = a.w.last.data();
  for (int64_t ow = w_begin; ow < w_end; ++ow) {
    const int64_t w0 = w_first[ow], w1 = w_last[ow];
    // a dilated window can step over a tiny input: no maximum
    const bool empty = d0 >= d1 || h0 >= h1 || w0 >= w1;
    int64_t best = empty ? 0 : (d0 * H + h0) * W + w0;
    Wide<T> top = empty ? lowest<Wide<T>>() : Wide<T>(x[best]);
    for (int64_t d = d0; d < d1; d += step_d)
      for (int64_t h = h0; h < h1; h += step_h) {
        const int64_t row = (d * H + h) * W;
        for (int64_t w = w0; w < w1; w += step_w) {
          const Wide<T> v = x[row + w];
          const bool take = (v > top) | (v != v);  // chosen, not branched on: which one wins is a coin flip
          top = take ? v : top;
          best = take ? row + w : best;
        }
      }
    y[ow] = T(top);
    index[ow] = best;
  }
}

// Positions and values of the maxima of one plane; as PyTorch, the first of equals, but the last NaN.
template <class T>
void max_plane(const Axes& a, const T* x, T* y, int64_t* index) {
  const int64_t outputs = a.w.out();
  RowStarts starts(a);
  for (int64_t od = 0; od < a.d.out(); ++od)
    for (int64_t oh = 0; oh < a.h.out(); ++oh, y += outputs, index += outputs) {
      int64_t inner = 0, inner_end = 0;
      if constexpr (std::is_floating_point_v<T>)
        if (starts.find(a, od, oh)) {
          inner = a.w.inner, inner_end = a.w.inner_end;
          pool_rows<T>().max(x, starts.run(a), y + inner, index + inner);
        }
      max_row(a, od, oh, 0, inner, x, y, index);
      max_row(a, od, oh, inner_end, outputs, x, y, index);
    }
}

void max_pool(Invocation& inv, const Axes& a) {
  if (inv.out().numel == 0 || max_pool_last(inv.in(0), inv.outs[0], inv.outs[1], a)) return;
  const Target out(inv.outs[0]), indices(inv.outs[1]);
  const Tensor x = contiguous(inv.tensor(0));
  const int64_t planes = out.out.numel() / a.out();
  dispatch(x.dtype(), [&]<class T>(T) {
    over_planes(planes, a.cost(), [&](int64_t p) {
      max_plane(a, x.ptr<T>() + p * a.in(), out.out.ptr<T>() + p * a.out(), indices.out.ptr<int64_t>() + p * a.out());
    });
  });
  out.finish();
  indices.finish();
}
void max_pool_cpu(Invocation& inv) {
  max_pool(inv, windows(inv.in(0), inv.out(), dims_of(inv, 1), inv.ints(1), inv.ints(2), inv.ints(3), inv.ints(4)));
}
void adaptive_max_pool_cpu(Invocation& inv) { max_pool(inv, adaptive(inv.in(0), inv.out(), dims_of(inv, 1))); }

// Windows of a fractional pool: all of one size, placed by a random number per plane and dim (Graham,
// arXiv:1412.6071); `sample` in [0, 1), the arithmetic in T as in PyTorch.
template <class T>
Axis fractional_axis(T sample, int64_t size, int64_t out, int64_t kernel) {
  Axis a;
  a.size = size;
  a.first.assign(size_t(out), 0);
  const T alpha = out > 1 ? T(size - kernel) / T(out - 1) : T(0);
  for (int64_t i = 0; i + 1 < out; ++i) {
    const int64_t start = int64_t((T(i) + sample) * alpha) - int64_t(sample * alpha);
    a.first[size_t(i)] = std::clamp<int64_t>(start, 0, size - kernel);
  }
  a.first.back() = size - kernel;
  a.last = a.span = a.first;
  for (int64_t& last : a.last) last += kernel;
  return a;
}

// (input, kernel_size, output_size, random_samples) -> out, indices
void fractional_max_pool_cpu(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Target out(inv.outs[0]), indices(inv.outs[1]);
  const Tensor x = contiguous(inv.tensor(0)), samples = contiguous(inv.tensor(3));
  const int dims = dims_of(inv, 1);
  const Dims kernel = inv.ints(1), in_sizes(std::span(x.sizes()).last(size_t(dims))), sizes = inv.ints(2);
  int64_t in = 1, small = 1;
  for (int d = 0; d < dims; ++d) in *= in_sizes[d], small *= at(sizes, d);
  dispatch_floating(x.dtype(), [&]<class T>(T) {
    over_planes(out.out.numel() / small, 4 * in, [&](int64_t p) {
      Axes a;
      for (int d = 0; d < dims; ++d) {  // PyTorch's order of the samples: last dim first for images, first for volumes
        const int64_t k = dims == 2 ? 1 - d : d;
        a[3 - dims + d] =
            fractional_axis(Wide<T>(samples.ptr<T>()[p * dims + k]), in_sizes[d], at(sizes, d), at(kernel, d));
      }
      max_plane(a, x.ptr<T>() + p * in, out.out.ptr<T>() + p * small, indices.out.ptr<int64_t>() + p * small);
    });
  });
  out.finish();
  indices.finish();
}

// Elements of the last `dims` dims, and of all dims before them.
int64_t plane_size(const TensorImpl& t, int dims) {
  int64_t n = 1;
  for (int d = t.dim() - dims; d < t.dim(); ++d) n *= t.sizes[d];
  return n;
}
int64_t plane_count(const TensorImpl& t, int dims) {
  int64_t n = 1;
  for (int d = 0; d + dims < t.dim(); ++d) n *= t.sizes[d];
  return n;
}

int64_t checked(int64_t index, int64_t size) {
  MG_CHECK(index >= 0 && index < size, Index, "max_pool gradient: index ", index, " is out of range for a plane of ",
           size, " elements.");
  return index;
}

// The same in channels_last.
bool scatter_last(const TensorImpl& g, const TensorImpl& indices, const Tensor& dx, int dims) {
  if (!lies_channels_last(g, dims) || !lies_channels_last(indices, dims) || !lies_channels_last(*dx, dims)) return false;
  if (g.dtype == DType::Int64) return false;
  const LastImages im(g);
  const int64_t small = g.numel / (im.n * im.c), big = dx.numel() / (im.n * im.c);
  dispatch_last(g.dtype, [&]<class T>(T) {
    fill_zero(dx);
    for_channel_blocks(im, [&](int64_t n, int64_t c0, int64_t c1) {
      T* to = dx.ptr<T>() + n * big * im.c;
      for (int64_t i = n * small; i < (n + 1) * small; ++i)
        for (int64_t c = c0; c < c1; ++c)
          to[checked(indices.ptr<int64_t>()[i * im.c + c], big) * im.c + c] += g.ptr<T>()[i * im.c + c];
    });
  });
  return true;
}

// (grad, indices, input_size): zeros with grad added at flat positions of each plane.
void pool_scatter_cpu(Invocation& inv) {
  if (scatter_last(inv.in(0), inv.in(1), inv.outs[0], dims_of(inv, 2))) return;
  const Target out(inv.outs[0]);
  const Tensor g = contiguous(inv.tensor(0)), indices = contiguous(inv.tensor(1));
  const int64_t big = plane_size(inv.out(), dims_of(inv, 2)), small = plane_size(inv.in(0), dims_of(inv, 2));
  dispatch_floating(g.dtype(), [&]<class T>(T) {
    sum_planes<T>(out.out, big, big + small, [&](int64_t p, Wide<T>* sums) {
      const int64_t* index = indices.ptr<int64_t>() + p * small;
      const T* src = g.ptr<T>() + p * small;
      for (int64_t i = 0; i < small; ++i) sums[checked(index[i], big)] += Wide<T>(src[i]);
    });
  });
  out.finish();
}

// (input, indices, dims): the elements of each plane at flat positions.
void pool_gather_cpu(Invocation& inv) {
  const Target out(inv.outs[0]);
  const Tensor x = contiguous(inv.tensor(0)), indices = contiguous(inv.tensor(1));
  const int dims = int(inv.i(2));
  const int64_t big = plane_size(inv.in(0), dims), small = plane_size(inv.in(1), dims);
  dispatch(x.dtype(), [&]<class T>(T) {
    over_planes(plane_count(inv.in(0), dims), small, [&](int64_t p) {
      const int64_t* index = indices.ptr<int64_t>() + p * small;
      const T* src = x.ptr<T>() + p * big;
      T* y = out.out.ptr<T>() + p * small;
      for (int64_t i = 0; i < small; ++i) y[i] = src[checked(index[i], big)];
    });
  });
  out.finish();
}

}  // namespace

MG_KERNEL("_max_pool", CPU, max_pool_cpu);
MG_KERNEL("_adaptive_max_pool", CPU, adaptive_max_pool_cpu);
MG_KERNEL("_fractional_max_pool", CPU, fractional_max_pool_cpu);
MG_KERNEL("_pool_scatter", CPU, pool_scatter_cpu);
MG_KERNEL("_pool_gather", CPU, pool_gather_cpu);

}  // namespace mg::cpu
