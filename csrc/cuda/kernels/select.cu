// Order statistics without sorting: kthvalue, median, nanmedian, topk. A block per row finds the key of a given rank digit by digit from the
// most significant (radix select): a histogram of the digit among the keys that agree so far says which bucket holds the rank. Keys
// carry their positions, so the answer is one element, that of the stable sort. At most 12 readings of the keys, mostly 4 to 6.
#include "sort_keys.h"

namespace mg::cuda {
namespace {

enum class Rank { Fixed, Median, NanMedian };
struct RankRule {
  Rank kind;
  int64_t k;  // Fixed: counted from 0
  bool floating;
};

// The key of rank k (from 0) of a row. Every thread of the block calls it.
template <class K>
__device__ K select_key(const K* row, int64_t n, int64_t k) {
  MG_SHARED(unsigned, histogram, [256]);
  MG_SHARED(int, bucket);
  MG_SHARED(int64_t, before);
  MG_SHARED(K, chosen);
  int prefix[K::kDigits];
  int digits = 0;
  int first_position = K::kKeyDigits;  // leading digits of positions that are 0 for all
  for (int64_t rest = n - 1, d = K::kDigits; d-- > K::kKeyDigits && rest > 0; rest >>= 8) first_position = int(d);
  auto agrees = [&](const K& key) {
    for (int d = 0; d < digits; ++d)
      if (key.digit(d) != prefix[d]) return false;
    return true;
  };
  while (digits < K::kDigits) {
    if (digits >= K::kKeyDigits && digits < first_position && n > 1) {
      prefix[digits++] = 0;
      continue;
    }
    __syncthreads();
    for (int b = int(threadIdx.x); b < 256; b += int(blockDim.x)) histogram[b] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
      if (agrees(row[i])) atomicAdd(&histogram[row[i].digit(digits)], 1u);
    __syncthreads();
    if (threadIdx.x == 0) {
      int64_t seen = 0;
      int b = 0;
      while (b < 255 && seen + histogram[b] <= k) seen += histogram[b++];
      bucket = b;
      before = seen;
    }
    __syncthreads();
    k -= before;
    prefix[digits++] = bucket;
    if (histogram[bucket] == 1) break;
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
    if (agrees(row[i])) chosen = row[i];
  __syncthreads();
  return chosen;
}

template <class K>
__global__ void select_kernel(K* out, const K* keys, int64_t n, RankRule rule) {
  const K* row = keys + blockIdx.x * n;
  int64_t k = rule.k;
  if (rule.kind != Rank::Fixed) {
    int64_t nans = 0;
    for (int64_t i = threadIdx.x; rule.floating && i < n; i += blockDim.x) nans += row[i].is_nan();
    nans = block_reduce(nans, [](int64_t a, int64_t b) { return a + b; });
    const int64_t numbers = n - nans;
    if (rule.kind == Rank::Median) k = nans > 0 ? numbers : (n - 1) / 2;  // the first NaN if there is one
    else k = numbers > 0 ? (numbers - 1) / 2 : 0;
  }
  const K found = select_key(row, n, k);
  if (threadIdx.x == 0) out[blockIdx.x] = found;
}

void select_row(Invocation& inv, Rank kind, int64_t k) {
  const SortCall call(inv, 1);
  call.with_keys(false, [&]<class T, class K>(T tag, Keys<K>& keys) {
    const Keys<K> chosen(keys.rows, 1, call.x.device());
    launch_blocks(select_kernel<K>, keys.rows, threads_for_row(keys.n / 4, 512), 0, chosen.data, static_cast<const K*>(keys.data), keys.n,
                  RankRule{kind, k, is_floating(call.dtype)});
    call.store(inv, tag, chosen.data, 1, 1);
  });
}

// _kth(input, dim, keepdim, k): k-th smallest, counted from 1. _median, _nanmedian: the lower one.
void kth_cuda(Invocation& inv) { select_row(inv, Rank::Fixed, inv.i(3) - 1); }
void median_cuda(Invocation& inv) { select_row(inv, Rank::Median, 0); }
void nanmedian_cuda(Invocation& inv) { select_row(inv, Rank::NanMedian, 0); }

// The first k of each row, in order: all keys up to the k-th go to shared memory in any order and are sorted there.
template <class K>
__global__ void topk_kernel(K* out, const K* keys, int64_t n, int k, int padded) {
  MG_DYN_SHARED(K, best);
  MG_SHARED(unsigned, count);
  const K* row = keys + blockIdx.x * n;
  const K last = select_key(row, n, k - 1);
  if (threadIdx.x == 0) count = 0;
  for (int i = k + int(threadIdx.x); i < padded; i += int(blockDim.x)) best[i] = K::last();
  __syncthreads();
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
    if (!(last < row[i])) best[atomicAdd(&count, 1u)] = row[i];
  bitonic_sort(best, padded);
  for (int i = int(threadIdx.x); i < k; i += int(blockDim.x)) out[int64_t(blockIdx.x) * k + i] = best[i];
}

// _topk(input, k, dim, largest, sorted). NaN counts as largest, so it leads when largest is asked.
void topk_cuda(Invocation& inv) {
  const SortCall call(inv, 2);
  const int64_t k = inv.i(1);
  if (k == 0) return;
  call.with_keys(inv.b(3), [&]<class T, class K>(T tag, Keys<K>& keys) {
    if (k > kTile || keys.n <= kTile) {
      keys.sort();
      return call.store(inv, tag, keys.data, k, keys.n);
    }
    const Keys<K> best(keys.rows, k, call.x.device());
    const int padded = padded_size(k);
    launch_blocks(topk_kernel<K>, keys.rows, threads_for_row(keys.n / 4, 512), size_t(padded) * sizeof(K), best.data,
                  static_cast<const K*>(keys.data), keys.n, int(k), padded);
    call.store(inv, tag, best.data, k, k);
  });
}

MG_CUDA_KERNEL("_kth", kth_cuda);
MG_CUDA_KERNEL("_median", median_cuda);
MG_CUDA_KERNEL("_nanmedian", nanmedian_cuda);
MG_CUDA_KERNEL("_topk", topk_cuda);

}  // namespace
}  // namespace mg::cuda
