// Max pooling over the last 1 to 3 dims (with indices), its adaptive and fractional forms, and the moves along indices that are its
// gradients. One thread per element. pool_average.cu has the averages, pool_axes.h the windows. Meta: ../../core/meta_pool.cpp.
#include "chains.h"
#include "faults.h"
#include "pool_axes.h"

namespace mg::cuda {
namespace {

template <class T>
MG_DEVICE T lowest_value() {
  using Limits = std::numeric_limits<T>;
  if constexpr (Limits::has_infinity) return -Limits::infinity();
  else return Limits::lowest();
}

// The maximum of positions [d0, d1) x [h0, h1) x [w0, w1) in steps of the dilations: the first of equals, but the last NaN, as PyTorch.
// An empty window (dilated over a tiny input) has none: the lowest value, index 0.
template <class T>
MG_DEVICE void window_max(const WindowAxes& a, int64_t d0, int64_t d1, int64_t h0, int64_t h1, int64_t w0, int64_t w1, const T* x, T* y,
                          int64_t* index) {
  using C = compute_t<T>;
  const bool empty = d0 >= d1 || h0 >= h1 || w0 >= w1;
  int64_t best = empty ? 0 : (d0 * a.h.size + h0) * a.w.size + w0;
  C top = empty ? lowest_value<C>() : convert<C>(x[best]);
  for (int64_t d = d0; d < d1; d += a.d.dilation)
    for (int64_t h = h0; h < h1; h += a.h.dilation)
      for (int64_t w = w0; w < w1; w += a.w.dilation) {
        const int64_t at = (d * a.h.size + h) * a.w.size + w;
        const C v = convert<C>(x[at]);
        if (v > top || v != v) top = v, best = at;
      }
  *y = convert<T>(top);
  *index = best;
}

template <class T>
__global__ void max_pool_kernel(WindowAxes a, const T* x, T* y, int64_t* index, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const PlanePlace o = plane_place(i, a.d.out, a.h.out, a.w.out);
    window_max(a, a.d.first(o.d), a.d.last(o.d), a.h.first(o.h), a.h.last(o.h), a.w.first(o.w), a.w.last(o.w), x + o.plane * a.in(), y + i,
               index + i);
  }
}

void max_pool(Invocation& inv, const WindowAxes& a) {
  if (inv.out().numel == 0) return;
  const Tensor x = contiguous(inv.tensor(0));
  const StagedOut out(inv.outs[0], x.dtype()), indices(inv.outs[1], DType::Int64);
  dispatch_real(x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const int64_t count = inv.out().numel;
    launch_items(max_pool_kernel<T>, count, a, static_cast<const T*>(x.ptr<T>()), out.template ptr<T>(), indices.template ptr<int64_t>(), count);
  });
  out.commit();
  indices.commit();
}
void max_pool_cuda(Invocation& inv) {
  max_pool(inv, windows(inv.in(0), inv.out(), dims_of(inv, 1), inv.ints(1), inv.ints(2), inv.ints(3), inv.ints(4)));
}
void adaptive_max_pool_cuda(Invocation& inv) { max_pool(inv, adaptive_windows(inv.in(0), inv.out(), dims_of(inv, 1))); }

// Start of window i of a fractional pool: windows of one size, placed by a random number per plane and dim (Graham, arXiv:1412.6071);
// `sample` in [0, 1), the arithmetic in T as in PyTorch.
template <class T>
MG_DEVICE int64_t fractional_start(T sample, const WindowAxis& a, int64_t i) {
  if (i + 1 >= a.out) return a.size - a.kernel;
  const T alpha = T(a.size - a.kernel) / T(a.out - 1);
  const int64_t start = int64_t((T(i) + sample) * alpha) - int64_t(sample * alpha), most = a.size - a.kernel;
  return start < 0 ? 0 : start > most ? most : start;
}

template <class T>
__global__ void fractional_max_pool_kernel(WindowAxes a, int dims, const T* x, const T* samples, T* y, int64_t* index, int64_t count) {
  using C = compute_t<T>;
  MG_GRID_LOOP(i, count) {
    const PlanePlace o = plane_place(i, a.d.out, a.h.out, a.w.out);
    // PyTorch's order of the samples: last dim first for images, first for volumes.
    const T* s = samples + o.plane * dims;
    const int64_t d = dims < 3 ? 0 : fractional_start(convert<C>(s[0]), a.d, o.d);
    const int64_t h = dims < 2 ? 0 : fractional_start(convert<C>(s[1]), a.h, o.h);
    const int64_t w = fractional_start(convert<C>(s[dims == 2 ? 0 : dims - 1]), a.w, o.w);
    window_max(a, d, d + a.d.kernel, h, h + a.h.kernel, w, w + a.w.kernel, x + o.plane * a.in(), y + i, index + i);
  }
}

// (input, kernel_size, output_size, random_samples) -> out, indices
void fractional_max_pool_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Tensor x = contiguous(inv.tensor(0)), samples = staged(inv.in(3), x.dtype());
  const StagedOut out(inv.outs[0], x.dtype()), indices(inv.outs[1], DType::Int64);
  const int dims = dims_of(inv, 1);
  const WindowAxes a = windows(inv.in(0), inv.out(), dims, inv.ints(1), Dims{1}, Dims{0}, Dims{1});
  dispatch_floating(x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const int64_t count = inv.out().numel;
    launch_items(fractional_max_pool_kernel<T>, count, a, dims, static_cast<const T*>(x.ptr<T>()), static_cast<const T*>(samples.ptr<T>()),
                 out.template ptr<T>(), indices.template ptr<int64_t>(), count);
  });
  out.commit();
  indices.commit();
}

// Elements of the last `dims` dims.
int64_t plane_size(const TensorImpl& t, int dims) {
  int64_t n = 1;
  for (int d = t.dim() - dims; d < t.dim(); ++d) n *= t.sizes[d];
  return n;
}

__global__ void chain_kernel(FaultNote note, const int64_t* index, int64_t small, int64_t big, int* head, int* next, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const int64_t plane = i / small, at = index[i];
    if (at >= 0 && at < big) chain_to(head + plane * big, next + plane * small, at, int(i - plane * small));
    else note_fault(note, kIndexFault, at, big);
  }
}
template <class T>
__global__ void add_chains_kernel(const T* g, const int* head, const int* next, int64_t small, int64_t big, T* dx, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const int64_t first = i / big * small;
    compute_t<T> sum{};
    for (int s = head[i]; s >= 0; s = next[first + s]) sum += convert<compute_t<T>>(g[first + s]);
    dx[i] = convert<T>(sum);
  }
}

// (grad, indices, input_size): zeros with grad added at flat positions of each plane, in the order of the indices.
void pool_scatter_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Tensor g = contiguous(inv.tensor(0)), indices = staged(inv.in(1), DType::Int64);
  const StagedOut out(inv.outs[0], g.dtype());
  const int64_t big = plane_size(inv.out(), dims_of(inv, 2)), small = plane_size(inv.in(0), dims_of(inv, 2));
  const Chains chains(inv.op.name.c_str(), inv.out().numel / big, big, small, g.device());
  launch_items(chain_kernel, g.numel(), fault_note(inv.op), static_cast<const int64_t*>(indices.ptr<int64_t>()), small, big, chains.head(),
               chains.next(), g.numel());
  chains.sort();
  dispatch_floating(g.dtype(), [&](auto tag) {
    using T = decltype(tag);
    launch_items(add_chains_kernel<T>, inv.out().numel, static_cast<const T*>(g.ptr<T>()), static_cast<const int*>(chains.head()),
                 static_cast<const int*>(chains.next()), small, big, out.template ptr<T>(), inv.out().numel);
  });
  out.commit();
}

template <class U>
__global__ void pool_gather_kernel(FaultNote note, const U* x, const int64_t* index, U* y, int64_t small, int64_t big, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const int64_t at = index[i];
    if (at >= 0 && at < big) y[i] = x[i / small * big + at];
    else note_fault(note, kIndexFault, at, big);
  }
}

// (input, indices, dims): the elements of each plane at flat positions.
void pool_gather_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Tensor x = contiguous(inv.tensor(0)), indices = staged(inv.in(1), DType::Int64);
  const StagedOut out(inv.outs[0], x.dtype());
  const int dims = int(inv.i(2));
  const int64_t big = plane_size(inv.in(0), dims), small = plane_size(inv.in(1), dims);
  dispatch_bits(itemsize(x.dtype()), [&](auto bits) {
    using U = decltype(bits);
    launch_items(pool_gather_kernel<U>, inv.out().numel, fault_note(inv.op), static_cast<const U*>(x.ptr<U>()), static_cast<const int64_t*>(indices.ptr<int64_t>()),
                 out.template ptr<U>(), small, big, inv.out().numel);
  });
  out.commit();
}

MG_CUDA_KERNEL("_max_pool", max_pool_cuda);
MG_CUDA_KERNEL("_adaptive_max_pool", adaptive_max_pool_cuda);
MG_CUDA_KERNEL("_fractional_max_pool", fractional_max_pool_cuda);
MG_CUDA_KERNEL("_pool_scatter", pool_scatter_cuda);
MG_CUDA_KERNEL("_pool_gather", pool_gather_cuda);

}  // namespace
}  // namespace mg::cuda
