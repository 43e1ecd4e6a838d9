// Ops that are copies of regions: flip, roll, tril, triu, cat, stack, the gradients of select, slice, diagonal and unfold, _restride,
// _complex. Each is one or a few strided copies (copy.cu), the adding ones a kernel that gathers per target.
#include "../../core/complex_parts.h"
#include "../../core/copy_regions.h"
#include "../kernel.h"
#include "copy.h"

namespace mg::cuda {
namespace {

template <class D>
__global__ void move_kernel(D* dst, const D* src, Offsets<2> offsets) {
  MG_GRID_LOOP(i, offsets.count) {
    int64_t at[2];
    offsets.get(i, at);
    *byte_at(dst, at[0]) = *byte_at(src, at[1]);
  }
}

void flip_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  TensorImpl& out = inv.out();
  if (in.numel == 0) return;
  const Tensor target = out.dtype == in.dtype ? inv.outs[0] : empty(out.sizes, in.dtype, out.device);
  const LoopPlan plan = flip_plan(*target, in, inv.ints(1));
  dispatch_bits(itemsize(in.dtype), [&](auto bits) {
    using B = decltype(bits);
    with_offsets<2>(plan, [&](const Offsets<2>& offsets, char* const* p) {
      launch_items(move_kernel<B>, offsets.count, reinterpret_cast<B*>(p[0]), reinterpret_cast<const B*>(p[1]), offsets);
    });
  });
  if (!target.is(inv.outs[0])) copy_into(inv.outs[0], target);
}

// Rows of `cols`, matrices of `rows`; keeps col <= row + diagonal (lower) or col >= row + diagonal.
template <class T>
__global__ void triangle_kernel(T* out, const T* in, int64_t n, int64_t rows, int64_t cols, int64_t diagonal, bool lower) {
  MG_GRID_LOOP(i, n) {
    const int64_t col = i % cols, row = i / cols % rows;
    out[i] = (lower ? col <= row + diagonal : col >= row + diagonal) ? in[i] : T{};
  }
}
template <bool lower>
void triangle_cuda(Invocation& inv) {
  const TensorImpl& t = inv.in(0);
  if (t.numel == 0) return;
  const int64_t rows = t.sizes[t.dim() - 2], cols = t.sizes[t.dim() - 1], diagonal = std::clamp<int64_t>(inv.i(1), -rows - 1, cols + 1);
  const Tensor in = staged(t, t.dtype);
  const StagedOut out(inv.outs[0], t.dtype);
  dispatch_bits(itemsize(t.dtype), [&](auto bits) {
    using B = decltype(bits);
    launch_items(triangle_kernel<B>, t.numel, out.template ptr<B>(), static_cast<const B*>(in.ptr<B>()), t.numel, rows, cols, diagonal, lower);
  });
  out.commit();
}

// (g, input_shape, view arguments …)
void region_backward_cuda(Invocation& inv) {
  const Tensor region = region_of_gradient(inv, region_view(inv.op), inv.out());
  fill(inv.out(), Value(0));
  copy_on_device(*region, inv.in(0));
}

// --- adding into memory that overlaps itself

struct Geometry {
  int ndim;
  int64_t sizes[kMaxDims], strides[kMaxDims];  // of the target, elements; slowest first
  int64_t source[kMaxDims];                    // of the source
};

// All source positions whose target is `place`, in index order: a walk through the dims that fixes each index by trying those that can
// still reach the place. The depth-first order is the order of the indices, so sums are those of the CPU.
template <class T>
__global__ void collect_kernel(T* storage, int64_t length, const T* src, Geometry g) {
  using S = std::conditional_t<is_complex_element<T>, T, compute_t<T>>;
  MG_GRID_LOOP(place, length) {
    T sum = storage[place];
    int64_t reach[kMaxDims + 1];  // what dims d … can add at most
    reach[g.ndim] = 0;
    for (int d = g.ndim - 1; d >= 0; --d) reach[d] = reach[d + 1] + (g.sizes[d] - 1) * g.strides[d];
    int64_t index[kMaxDims], rest[kMaxDims + 1], from[kMaxDims + 1];
    rest[0] = place, from[0] = 0;
    int d = 0;
    bool enter = true;
    while (d >= 0) {
      if (enter && d == g.ndim) {
        if (rest[d] == 0) {
          const T value = src[from[d]];
          if constexpr (std::is_same_v<T, bool>) sum = sum || value;
          else if constexpr (is_complex_element<T>) sum = T{sum.re + value.re, sum.im + value.im};
          else sum = convert<T>(S(convert<S>(sum) + convert<S>(value)));
        }
        --d, enter = false;
        continue;
      }
      if (enter) {  // the first index from which the dims behind can still reach
        const int64_t missing = rest[d] - reach[d + 1];
        index[d] = missing > 0 && g.strides[d] > 0 ? (missing + g.strides[d] - 1) / g.strides[d] : 0;
      } else {
        ++index[d];
      }
      const int64_t left = rest[d] - index[d] * g.strides[d];
      if (index[d] < g.sizes[d] && left >= 0 && (left <= reach[d + 1])) {
        rest[d + 1] = left;
        from[d + 1] = from[d] + index[d] * g.source[d];
        ++d, enter = true;
      } else {
        --d, enter = false;
      }
    }
    storage[place] = sum;
  }
}

// storage (1-d, contiguous)[offset + sum of index * strides] += src. Strides are not negative.
void add_into(const Tensor& storage, const Dims& strides, int64_t offset, const TensorImpl& src) {
  if (src.numel == 0) return;
  Geometry g;
  g.ndim = src.dim();
  for (int d = 0; d < g.ndim; ++d) g.sizes[d] = src.sizes[d], g.strides[d] = strides[d], g.source[d] = src.strides[d];
  const int64_t length = storage.numel() - offset;
  dispatch_any(src.dtype, [&](auto tag) {
    using T = decltype(tag);
    launch_items(collect_kernel<T>, length, storage.ptr<T>() + offset, length, static_cast<const T*>(static_cast<const void*>(src.data())), g);
  });
}

// _restride(g, from_stride, from_offset, size, stride, offset): see csrc/cpu/join.cpp
void restride_cuda(Invocation& inv) {
  const TensorImpl& g = inv.in(0);
  const Dims from = inv.ints(1), size = inv.ints(3), stride = inv.ints(4);
  const Tensor storage = workspace(restride_length(inv), g.dtype, g.device);
  fill(*storage, Value(0));
  add_into(storage, from, inv.i(2), g);
  copy_on_device(inv.out(), *alias(*storage, size, stride, inv.i(5)));
}

// _unfold_backward(g, input_shape, dimension, size, step)
void unfold_backward_cuda(Invocation& inv) {
  static OpRef unfold{"unfold"};
  const Tensor work = empty(inv.out().sizes, inv.out().dtype, inv.out().device);
  const Tensor region = region_of_gradient(inv, *unfold, *work);
  fill(*work, Value(0));
  const Tensor g = staged(inv.in(0), work.dtype());
  add_into(alias(*work, Dims{work.numel()}, Dims{1}, 0), region->strides, region->offset, *g);
  copy_into(inv.outs[0], work);
}

// _complex(real, imag)
void complex_cuda(Invocation& inv) {
  const TensorImpl& out = inv.out();
  for (int k = 0; k < 2; ++k) {
    const Tensor t = staged(inv.in(k), inv.in(k).dtype, out.device);
    const Tensor spread = alias(*t, out.sizes, broadcast_strides(t.sizes(), t.strides(), out.sizes), t->offset);
    copy_on_device(*part(out, k), *spread);
  }
}
MG_CUDA_KERNEL_COMPLEX("_complex", complex_cuda);

MG_CUDA_KERNEL("flip", flip_cuda);
MG_CUDA_KERNEL("roll", roll_by_copies);
MG_CUDA_KERNEL("tril", triangle_cuda<true>);
MG_CUDA_KERNEL("triu", triangle_cuda<false>);
MG_CUDA_KERNEL("cat", cat_by_copies);
MG_CUDA_KERNEL("stack", stack_by_copies);
MG_CUDA_KERNEL("_select_backward", region_backward_cuda);
MG_CUDA_KERNEL("_slice_backward", region_backward_cuda);
MG_CUDA_KERNEL("_narrow_backward", region_backward_cuda);
MG_CUDA_KERNEL("_diagonal_backward", region_backward_cuda);
MG_CUDA_KERNEL("select_scatter", scatter_region);
MG_CUDA_KERNEL("slice_scatter", scatter_region);
MG_CUDA_KERNEL("diagonal_scatter", scatter_region);
MG_CUDA_KERNEL("_restride", restride_cuda);
MG_CUDA_KERNEL("_unfold_backward", unfold_backward_cuda);
MG_CUDA_KERNEL_COMPLEX("flip", nullptr);
MG_CUDA_KERNEL_COMPLEX("roll", nullptr);
MG_CUDA_KERNEL_COMPLEX("tril", nullptr);
MG_CUDA_KERNEL_COMPLEX("triu", nullptr);
MG_CUDA_KERNEL_COMPLEX("cat", nullptr);
MG_CUDA_KERNEL_COMPLEX("stack", nullptr);
MG_CUDA_KERNEL_COMPLEX("_select_backward", nullptr);
MG_CUDA_KERNEL_COMPLEX("_slice_backward", nullptr);
MG_CUDA_KERNEL_COMPLEX("_narrow_backward", nullptr);
MG_CUDA_KERNEL_COMPLEX("_diagonal_backward", nullptr);
MG_CUDA_KERNEL_COMPLEX("select_scatter", nullptr);
MG_CUDA_KERNEL_COMPLEX("slice_scatter", nullptr);
MG_CUDA_KERNEL_COMPLEX("diagonal_scatter", nullptr);
MG_CUDA_KERNEL_COMPLEX("_restride", nullptr);
MG_CUDA_KERNEL_COMPLEX("_unfold_backward", nullptr);

}  // namespace
}  // namespace mg::cuda
