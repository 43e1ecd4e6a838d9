// sort, mode and searchsorted; kthvalue, median and topk are in select.cu. How rows are sorted: sort_keys.h.
#include "../../core/reduce_dims.h"
#include "sort_keys.h"

namespace mg::cuda {

SortCall::SortCall(const Invocation& inv, int dim_arg) : lines{1, 1, 1}, dtype(inv.in(0).dtype) {
  const TensorImpl& t = inv.in(0);
  const DimView v(t.sizes, t.dim() == 0 ? 0 : wrap_dim(inv.i(dim_arg), t.dim(), inv.op.name.c_str()));
  lines = {v.outer, v.size, v.inner};
  x = staged(t, dtype);
}

namespace {

// _sort(input, dim, descending)
void sort_cuda(Invocation& inv) {
  const SortCall call(inv, 1);
  call.with_keys(inv.b(2), [&]<class T, class K>(T tag, Keys<K>& keys) {
    keys.sort();
    call.store(inv, tag, keys.data, keys.n, keys.n);
  });
}

struct Run {
  int64_t length, last;  // position of its last key in the sorted row
};
// The longest run of equal keys of each row, the first of several: its last key becomes best[row].
template <class K>
__global__ void longest_run_kernel(K* best, const K* keys, int64_t n, bool floating) {
  const K* row = keys + blockIdx.x * n;
  Run longest{0, 0};
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const K own = row[i];
    const bool nan = floating && own.is_nan();  // NaNs are all different
    if (!nan && i + 1 < n && own.same(row[i + 1])) continue;
    int64_t low = 0, high = i;
    while (low < high) {  // where the run begins
      const int64_t middle = low + (high - low) / 2;
      if (row[middle].same(own)) high = middle;
      else low = middle + 1;
    }
    const int64_t length = nan ? 1 : i - low + 1;
    if (length > longest.length) longest = {length, i};
  }
  longest = block_reduce(longest, [](Run a, Run b) {
    return b.length > a.length || (b.length == a.length && b.length > 0 && b.last < a.last) ? b : a;
  });
  if (threadIdx.x == 0) best[blockIdx.x] = row[longest.last];
}

// _mode(input, dim, keepdim): the most frequent value, the smallest of several; its last position.
void mode_cuda(Invocation& inv) {
  const SortCall call(inv, 1);
  call.with_keys(false, [&]<class T, class K>(T tag, Keys<K>& keys) {
    keys.sort();
    const Keys<K> best(keys.rows, 1, call.x.device());
    launch_blocks(longest_run_kernel<K>, keys.rows, threads_for_row(keys.n), 0, best.data, static_cast<const K*>(keys.data), keys.n,
                  is_floating(call.dtype));
    call.store(inv, tag, best.data, 1, 1);
  });
}

// A thread per value. Number of keys before it: keys < value, or with `right` keys <= value. A bad sorter gives a bad answer, not a crash.
template <class T>
__global__ void searchsorted_kernel(int64_t* out, const T* sequence, const int64_t* sorter, const T* values, int64_t count, int64_t n,
                                    int64_t width, bool right) {
  MG_GRID_LOOP(i, count) {
    const int64_t row = width > 0 ? i / width * n : 0;
    const uint64_t value = ordered_bits(values[i]);
    int64_t at = 0;
    for (int64_t left = n; left > 0;) {  // the probes of std::lower_bound, so that unsorted keys give the usual answer
      const int64_t half = left / 2;
      int64_t probe = at + half;
      if (sorter != nullptr) {
        probe = sorter[row + probe];
        probe = probe < 0 ? 0 : probe >= n ? n - 1 : probe;
      }
      const uint64_t key = ordered_bits(sequence[row + probe]);
      if (right ? key <= value : key < value) at += half + 1, left -= half + 1;
      else left = half;
    }
    out[i] = at;
  }
}

// _searchsorted(sorted_sequence, input, sorter?, out_int32, right)
void searchsorted_cuda(Invocation& inv) {
  const DType dtype = is_floating(inv.compute) ? float_compute(inv.compute) : DType::Int64;
  const Device device = inv.out().device;
  const Tensor sequence = staged(inv.in(0), dtype, device), x = staged(inv.in(1), dtype, device);
  const Tensor sorter = inv.has(2) ? staged(inv.in(2), DType::Int64, device) : Tensor();
  const StagedOut out(inv.outs[0], DType::Int64);
  const bool shared = sequence.dim() == 1;
  const int64_t n = sequence.size(-1), width = shared || x.dim() == 0 ? 0 : x.size(-1);
  auto go = [&](auto tag) {
    using T = decltype(tag);
    launch_items(searchsorted_kernel<T>, x.numel(), out.template ptr<int64_t>(), static_cast<const T*>(sequence.ptr<T>()),
                 sorter.defined() ? static_cast<const int64_t*>(sorter.ptr<int64_t>()) : nullptr, static_cast<const T*>(x.ptr<T>()), x.numel(), n,
                 width, inv.b(4));
  };
  if (dtype == DType::Int64) go(int64_t{});
  else if (dtype == DType::Float64) go(double{});
  else go(float{});
  out.commit();
}

MG_CUDA_KERNEL("_sort", sort_cuda);
MG_CUDA_KERNEL("_mode", mode_cuda);
MG_CUDA_KERNEL("_searchsorted", searchsorted_cuda);

}  // namespace
}  // namespace mg::cuda
