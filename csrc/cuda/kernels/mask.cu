// Masks and counts: nonzero, masked_fill, bincount, and the index behind repeat_interleave. The sizes of nonzero, bincount and
// repeat_interleave depend on the data: their kernels wait for one number and replace the empty output that call() made.
#include "copy.h"
#include "slabs.h"

namespace mg::cuda {
namespace {

// The running sum of int64 numbers (cumsum, another kernel of this backend).
Tensor running_sum(const Tensor& t) {
  static OpRef cumsum_op{"cumsum"};
  return invoke(cumsum_op, t, Value(0));
}

struct Shape {
  int ndim;
  int64_t sizes[kMaxDims];
};

__global__ void count_kernel(int64_t* ones, const bool* mask, int64_t n) { MG_GRID_LOOP(i, n) ones[i] = mask[i]; }
__global__ void positions_kernel(int64_t* out, const bool* mask, const int64_t* upto, int64_t n, Shape shape) {
  MG_GRID_LOOP(i, n) {
    if (!mask[i]) continue;
    int64_t* row = out + (upto[i] - 1) * shape.ndim;
    int64_t rest = i;
    for (int d = shape.ndim - 1; d >= 0; --d) {
      row[d] = rest % shape.sizes[d];
      rest /= shape.sizes[d];
    }
  }
}

// _nonzero(input)
void nonzero_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const int64_t n = in.numel;
  Shape shape{in.dim(), {}};
  for (int d = 0; d < in.dim(); ++d) shape.sizes[d] = in.sizes[d];
  int64_t found = 0;
  Tensor mask, upto;
  if (n > 0) {
    mask = staged(in, DType::Bool);
    const Tensor ones = workspace(n, DType::Int64, in.device);
    launch_items(count_kernel, n, ones.ptr<int64_t>(), static_cast<const bool*>(mask.ptr<bool>()), n);
    upto = running_sum(ones);
    found = read_int(*upto, n - 1);
  }
  inv.outs[0] = empty(Dims{found, in.dim()}, DType::Int64, in.device);
  if (found > 0 && in.dim() > 0)
    launch_items(positions_kernel, n, inv.out().ptr<int64_t>(), static_cast<const bool*>(mask.ptr<bool>()), static_cast<const int64_t*>(upto.ptr<int64_t>()),
                 n, shape);
}

template <class B>
__global__ void masked_fill_kernel(B* out, const B* in, const uint8_t* mask, const B* value, Offsets<3> offsets) {
  MG_GRID_LOOP(i, offsets.count) {
    int64_t at[3];
    offsets.get(i, at);
    *byte_at(out, at[0]) = mask[at[2]] != 0 ? *value : *byte_at(in, at[1]);
  }
}

// masked_fill(input, mask, value)
void masked_fill_cuda(Invocation& inv) {
  TensorImpl& out = inv.out();
  const Value& v = inv.args[2];
  MG_CHECK(!v.is_tensor() || !is_complex(v.t->dtype) || is_complex(out.dtype), Runtime, inv.op.name, ": a complex value cannot be converted to ",
           out.dtype, " without overflow");
  const Tensor value = number_tensor(inv.op, v, out.dtype, out.device);
  LoopPlan plan(out.sizes);
  plan.add(out);
  plan.add(inv.in(0));
  plan.add(inv.in(1));
  plan.finish();
  dispatch_bits(itemsize(out.dtype), [&](auto bits) {
    using B = decltype(bits);
    with_offsets<3>(plan, [&](const Offsets<3>& offsets, char* const* base) {
      launch_items(masked_fill_kernel<B>, offsets.count, reinterpret_cast<B*>(base[0]), reinterpret_cast<const B*>(base[1]),
                   reinterpret_cast<const uint8_t*>(base[2]), static_cast<const B*>(value.ptr<B>()), offsets);
    });
  });
}

__global__ void count_values_kernel(unsigned long long* bins, const int64_t* x, int64_t n) {
  MG_GRID_LOOP(i, n) atomicAdd(bins + x[i], 1ull);  // whole numbers: any order gives the same
}
// {lowest, largest} of x, by one block.
__global__ void range_kernel(int64_t* out, const int64_t* x, int64_t n) {
  MG_SHARED(int64_t, low, [256]);
  MG_SHARED(int64_t, high, [256]);
  const int t = int(threadIdx.x);
  int64_t a = x[0], b = x[0];
  for (int64_t i = t; i < n; i += blockDim.x) a = x[i] < a ? x[i] : a, b = x[i] > b ? x[i] : b;
  low[t] = a, high[t] = b;
  __syncthreads();
  if (t != 0) return;
  for (int k = 1; k < int(blockDim.x); ++k) a = low[k] < a ? low[k] : a, b = high[k] > b ? high[k] : b;
  out[0] = a, out[1] = b;
}

// bincount(input, weights?, minlength)
void bincount_cuda(Invocation& inv) {
  const Tensor in = staged(inv.in(0), DType::Int64);
  const int64_t n = in.numel();
  int64_t bins = inv.i(2);
  if (n > 0) {
    const Tensor range = workspace(2, DType::Int64, in.device());
    launch_blocks(range_kernel, 1, threads_for_row(n), 0, range.ptr<int64_t>(), static_cast<const int64_t*>(in.ptr<int64_t>()), n);
    const int64_t low = read_int(*range, 0), high = read_int(*range, 1);
    MG_CHECK(low >= 0, Runtime, inv.op.name, ": only supports 1-d non-negative integral inputs: got ", low);
    MG_CHECK(high < std::numeric_limits<int64_t>::max(), Runtime, inv.op.name, ": too many bins for the value ", high);
    bins = std::max(bins, high + 1);
  }
  const DType dtype = inv.out().dtype;
  inv.outs[0] = empty(Dims{bins}, dtype, in.device());
  fill(inv.out(), Value(0));
  if (n == 0) return;
  if (!inv.has(1))
    return launch_items(count_values_kernel, n, reinterpret_cast<unsigned long long*>(inv.out().ptr<int64_t>()),
                        static_cast<const int64_t*>(in.ptr<int64_t>()), n);
  const Tensor weights = staged(inv.in(1), dtype), keys = new_keys(n, in.device());
  add_index(inv.op, keys, in, bins, itemsize(dtype), false);
  LoopPlan one(Dims{});
  one.add(inv.out().data(), Dims{}, Dims{}, itemsize(dtype));
  one.add(weights->data(), Dims{}, Dims{}, itemsize(dtype));
  one.finish();
  slab_scatter(one, keys, itemsize(dtype), dtype, {.reduce = Reduce::Add});
}

__global__ void repeat_kernel(int64_t* out, const int64_t* upto, int64_t n, int64_t total) {
  MG_GRID_LOOP(i, total) {
    int64_t low = 0, high = n - 1;  // the first whose running sum exceeds i
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (upto[middle] > i) high = middle;
      else low = middle + 1;
    }
    out[i] = low;
  }
}

// _repeat_index(repeats)
void repeat_index_cuda(Invocation& inv) {
  const Tensor repeats = staged(inv.in(0), DType::Int64);
  const int64_t n = repeats.numel();
  int64_t total = 0;
  Tensor upto;
  if (n > 0) {
    const Tensor range = workspace(2, DType::Int64, repeats.device());
    launch_blocks(range_kernel, 1, threads_for_row(n), 0, range.ptr<int64_t>(), static_cast<const int64_t*>(repeats.ptr<int64_t>()), n);
    upto = running_sum(alias(*repeats, Dims{n}, Dims{1}, repeats->offset));
    const int64_t low = read_int(*range, 0);
    MG_CHECK(low >= 0, Runtime, "repeat_interleave: repeats can not be negative: got ", low);
    total = read_int(*upto, n - 1);
    MG_CHECK(total >= 0, Runtime, "repeat_interleave: the sum of repeats overflows");
  }
  inv.outs[0] = empty(Dims{total}, DType::Int64, repeats.device());
  if (total > 0) launch_items(repeat_kernel, total, inv.out().ptr<int64_t>(), static_cast<const int64_t*>(upto.ptr<int64_t>()), n, total);
}

MG_CUDA_KERNEL("_nonzero", nonzero_cuda);
MG_CUDA_KERNEL_COMPLEX("_nonzero", nonzero_cuda);
MG_CUDA_KERNEL("masked_fill", masked_fill_cuda);
MG_CUDA_KERNEL("masked_fill_", masked_fill_cuda);
MG_CUDA_KERNEL_COMPLEX("masked_fill", nullptr);
MG_CUDA_KERNEL_COMPLEX("masked_fill_", nullptr);
MG_CUDA_KERNEL("bincount", bincount_cuda);
MG_CUDA_KERNEL("_repeat_index", repeat_index_cuda);

}  // namespace
}  // namespace mg::cuda
