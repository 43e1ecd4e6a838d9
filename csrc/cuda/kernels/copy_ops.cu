// Ops that are copies of regions: flip, roll, tril, triu, cat, stack, the gradients of select, slice, diagonal and unfold, _restride,
// _complex. Each is one or a few strided copies (copy.cu), the adding ones a kernel that gathers per target.
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
  const int64_t item = itemsize(in.dtype);
  if (in.numel == 0) return;
  Dims strides = in.strides;
  char* base = in.data();
  for (int64_t d : inv.ints(1)) {
    if (in.dim() == 0) break;
    if (d < 0) d += in.dim();
    base += (in.sizes[int(d)] - 1) * in.strides[int(d)] * item;
    strides[int(d)] = -in.strides[int(d)];
  }
  LoopPlan plan(in.sizes);  // negative strides are fine here: only tensors have to have positive ones
  const Tensor target = out.dtype == in.dtype ? inv.outs[0] : empty(out.sizes, in.dtype, out.device);
  plan.add(*target);
  plan.add(base, in.sizes, strides, item);
  plan.finish();
  dispatch_bits(item, [&](auto bits) {
    using B = decltype(bits);
    with_offsets<2>(plan, [&](const Offsets<2>& offsets, char* const* p) {
      launch_items(move_kernel<B>, offsets.count, reinterpret_cast<B*>(p[0]), reinterpret_cast<const B*>(p[1]), offsets);
    });
  });
  if (!target.is(inv.outs[0])) copy_into(inv.outs[0], target);
}

Tensor narrow(const TensorImpl& t, int d, int64_t start, int64_t length) {
  Dims sizes = t.sizes;
  sizes[d] = length;
  return alias(t, std::move(sizes), t.strides, t.offset + start * t.strides[d]);
}

// Splits `in` at the seam of each rolled dim; every corner block is one copy.
void roll_block(const TensorImpl& out, const TensorImpl& in, const Dims& dims, const Dims& shifts, int k) {
  if (k == dims.size()) return copy_on_device(out, in);
  const int d = int(dims[k]);
  const int64_t size = in.sizes[d], shift = ((shifts[k] % size) + size) % size;
  roll_block(*narrow(out, d, shift, size - shift), *narrow(in, d, 0, size - shift), dims, shifts, k + 1);
  if (shift != 0) roll_block(*narrow(out, d, 0, shift), *narrow(in, d, size - shift, shift), dims, shifts, k + 1);
}

// roll(input, shifts, dims)
void roll_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  if (inv.in(0).dim() == 0) return copy_on_device(inv.out(), inv.in(0));
  if (inv.args[2].len == 0) {  // over the flattened tensor
    const int64_t n = inv.in(0).numel;
    const Tensor in = staged(inv.in(0), inv.in(0).dtype);
    const Tensor work = inv.out().contiguous ? inv.outs[0] : empty(inv.out().sizes, inv.out().dtype, inv.out().device);
    const Dims flat{n}, unit{1};
    roll_block(*alias(*work, flat, unit, work->offset), *alias(*in, flat, unit, in->offset), Dims{0}, inv.ints(1), 0);
    if (!work.is(inv.outs[0])) copy_into(inv.outs[0], work);
    return;
  }
  Dims dims, shifts;  // the same dim may be named twice: its shifts add up
  for (int i = 0; i < inv.args[2].len; ++i) {
    const int64_t d = inv.args[2].ints[i] < 0 ? inv.args[2].ints[i] + inv.in(0).dim() : inv.args[2].ints[i];
    const int64_t size = inv.in(0).sizes[int(d)], shift = inv.args[1].ints[i] % size;
    const auto at = std::find(dims.begin(), dims.end(), d);
    if (at != dims.end()) {
      shifts[int(at - dims.begin())] += shift;
    } else {
      dims.push_back(d);
      shifts.push_back(shift);
    }
  }
  roll_block(inv.out(), inv.in(0), dims, shifts, 0);
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

// cat(tensors, dim): one strided copy per input into its slab of the output.
void cat_cuda(Invocation& inv) {
  TensorImpl& out = inv.out();
  if (out.numel == 0) return;
  const int d = int(inv.i(1) < 0 ? inv.i(1) + out.dim() : inv.i(1));
  int64_t start = 0;
  for (int k = 0; k < inv.args[0].len; ++k) {
    const TensorImpl& t = *inv.args[0].tensors[k];
    if (skipped_by_cat(t)) continue;
    copy_on_device(*alias(out, t.sizes, out.strides, out.offset + start * out.strides[d]), t);
    start += t.sizes[d];
  }
}

// stack(tensors, dim)
void stack_cuda(Invocation& inv) {
  TensorImpl& out = inv.out();
  if (out.numel == 0) return;
  const int d = int(inv.i(1) < 0 ? inv.i(1) + out.dim() : inv.i(1));
  Dims strides = out.strides;
  strides.erase(d);
  for (int k = 0; k < inv.args[0].len; ++k) {
    const TensorImpl& t = *inv.args[0].tensors[k];
    copy_on_device(*alias(out, t.sizes, strides, out.offset + k * out.strides[d]), t);
  }
}

// (g, input_shape, view arguments …)
void region_backward_cuda(Invocation& inv) {
  fill(inv.out(), Value(0));
  const Tensor region = region_of(region_view(inv.op), inv.out(), inv.args, 2);
  MG_CHECK(region.sizes() == inv.in(0).sizes, Runtime, inv.op.name, ": gradient of shape ", inv.in(0).sizes,
           " does not fit the region ", region.sizes());
  copy_on_device(*region, inv.in(0));
}

// (input, src, view arguments …)
void region_scatter_cuda(Invocation& inv) {
  copy_on_device(inv.out(), inv.in(0));
  copy_on_device(*region_of(region_view(inv.op), inv.out(), inv.args, 2), inv.in(1));
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
  int64_t length = 1;
  auto reach = [&](const Dims& sizes, const Dims& strides, int64_t last) {
    for (int i = 0; i < sizes.size(); ++i) {
      if (sizes[i] == 0) return;
      last += (sizes[i] - 1) * strides[i];
    }
    length = std::max(length, last + 1);
  };
  reach(g.sizes, from, inv.i(2));
  reach(size, stride, inv.i(5));
  const Tensor storage = workspace(length, g.dtype, g.device);
  fill(*storage, Value(0));
  add_into(storage, from, inv.i(2), g);
  copy_on_device(inv.out(), *alias(*storage, size, stride, inv.i(5)));
}

// _unfold_backward(g, input_shape, dimension, size, step)
void unfold_backward_cuda(Invocation& inv) {
  static OpRef unfold{"unfold"};
  const Tensor work = empty(inv.out().sizes, inv.out().dtype, inv.out().device);
  const Tensor region = region_of(*unfold, *work, inv.args, 2);
  MG_CHECK(region.sizes() == inv.in(0).sizes, Runtime, inv.op.name, ": got a gradient of shape ", inv.in(0).sizes, " for windows of shape ",
           region.sizes());
  fill(*work, Value(0));
  const Tensor g = staged(inv.in(0), work.dtype());
  add_into(alias(*work, Dims{work.numel()}, Dims{1}, 0), region->strides, region->offset, *g);
  copy_into(inv.outs[0], work);
}

// _complex(real, imag)
void complex_cuda(Invocation& inv) {
  const TensorImpl& out = inv.out();
  const DType real = to_real(out.dtype);
  for (int k = 0; k < 2; ++k) {
    const Tensor t = staged(inv.in(k), inv.in(k).dtype, out.device);
    const Tensor spread = alias(*t, out.sizes, broadcast_strides(t.sizes(), t.strides(), out.sizes), t->offset);
    Dims strides = out.strides;
    for (int d = 0; d < strides.size(); ++d) strides[d] *= 2;
    Tensor part = alias(out, out.sizes, strides, out.offset * 2 + k);
    part->dtype = real;
    copy_on_device(*part, *spread);
  }
}
MG_CUDA_KERNEL_COMPLEX("_complex", complex_cuda);

MG_CUDA_KERNEL("flip", flip_cuda);
MG_CUDA_KERNEL("roll", roll_cuda);
MG_CUDA_KERNEL("tril", triangle_cuda<true>);
MG_CUDA_KERNEL("triu", triangle_cuda<false>);
MG_CUDA_KERNEL("cat", cat_cuda);
MG_CUDA_KERNEL("stack", stack_cuda);
MG_CUDA_KERNEL("_select_backward", region_backward_cuda);
MG_CUDA_KERNEL("_slice_backward", region_backward_cuda);
MG_CUDA_KERNEL("_narrow_backward", region_backward_cuda);
MG_CUDA_KERNEL("_diagonal_backward", region_backward_cuda);
MG_CUDA_KERNEL("select_scatter", region_scatter_cuda);
MG_CUDA_KERNEL("slice_scatter", region_scatter_cuda);
MG_CUDA_KERNEL("diagonal_scatter", region_scatter_cuda);
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
