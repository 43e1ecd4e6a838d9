// Any-axes reductions, the host's part: which dims are kept and which are folded, each sorted by stride and merged, and how the work is
// cut. The cut depends on the shape alone, so results have the same bits on every device and in every run.
//
//   Serial   a thread per output: neighbouring outputs are neighbours in memory (outer reductions), or lines are very short
//   Warp     a warp per output: inner reductions of short lines
//   Block    a block per output
//
// Long lines of few outputs are cut into pieces, whose partial results a second launch merges (Warp).
#pragma once
#include "groups.h"

namespace mg::cuda {

constexpr int kReduceDims = 12;

struct ReducePlan {
  int nk = 0, nr = 0;  // both at least 1
  bool narrow = true;  // all indices fit 32 bits
  int64_t outputs = 1, length = 1;
  int64_t ksize[kReduceDims], kin[kReduceDims];    // kept dims: strides of the input in bytes,
  int64_t kout[kReduceDims];                       // of the contiguous result in elements
  int64_t rsize[kReduceDims], rin[kReduceDims];
  int64_t pieces = 1, piece = 1;  // of the folded range, in elements

  ReducePlan(const TensorImpl& x, uint64_t mask, const Dims& out_sizes);

  MG_DEVICE static int64_t unravel(int64_t i, int n, const int64_t* sizes, const int64_t* strides, bool narrow) {
    int64_t offset = 0;
    for (int d = n - 1; d > 0; --d) {
      int64_t rest;
      if (narrow) rest = uint32_t(i) / uint32_t(sizes[d]);
      else rest = i / sizes[d];
      offset += (i - rest * sizes[d]) * strides[d];
      i = rest;
    }
    return offset + i * strides[0];
  }
  MG_DEVICE int64_t input_offset(int64_t k) const { return unravel(k, nk, ksize, kin, narrow); }
  MG_DEVICE int64_t output_index(int64_t k) const { return unravel(k, nk, ksize, kout, narrow); }
  MG_DEVICE int64_t folded_offset(int64_t r) const { return unravel(r, nr, rsize, rin, narrow); }
};

namespace reduce_detail {
struct Dim {
  int64_t size, in, out;
};
// Largest stride first; then dims that continue each other become one.
inline int sort_and_merge(Dim* d, int n) {
  std::stable_sort(d, d + n, [](const Dim& a, const Dim& b) { return a.in > b.in; });
  int last = 0;
  for (int k = 1; k < n; ++k) {
    if (d[last].in == d[k].in * d[k].size && d[last].out == d[k].out * d[k].size) d[last] = {d[last].size * d[k].size, d[k].in, d[k].out};
    else d[++last] = d[k];
  }
  return n == 0 ? 0 : last + 1;
}
}  // namespace reduce_detail

inline ReducePlan::ReducePlan(const TensorImpl& x, uint64_t mask, const Dims& out_sizes) {
  const int64_t item = itemsize(x.dtype);
  const Dims out_strides = contiguous_strides(out_sizes);
  const bool keepdim = out_sizes.size() == x.dim();
  reduce_detail::Dim kept[kMaxDims + 1], folded[kMaxDims + 1];
  for (int d = 0, o = 0; d < x.dim(); ++d) {
    const bool fold = mask >> d & 1;
    (fold ? length : outputs) *= x.sizes[d];
    if (x.sizes[d] != 1 && fold) folded[nr++] = {x.sizes[d], x.strides[d] * item, 0};
    if (x.sizes[d] != 1 && !fold) kept[nk++] = {x.sizes[d], x.strides[d] * item, out_strides[keepdim ? d : o]};
    o += !fold;
  }
  nk = reduce_detail::sort_and_merge(kept, nk);
  nr = reduce_detail::sort_and_merge(folded, nr);
  MG_CHECK(nk <= kReduceDims && nr <= kReduceDims, Runtime, "reduction: too many dims that cannot be merged: got ", std::max(nk, nr),
           ", expected at most ", kReduceDims, ". Try x.contiguous() first.");
  if (nk == 0) kept[nk++] = {outputs, 0, 0};
  if (nr == 0) folded[nr++] = {length, item, 0};
  for (int d = 0; d < nk; ++d) ksize[d] = kept[d].size, kin[d] = kept[d].in, kout[d] = kept[d].out;
  for (int d = 0; d < nr; ++d) rsize[d] = folded[d].size, rin[d] = folded[d].in;
  narrow = outputs <= INT32_MAX && length <= INT32_MAX;
  piece = std::max<int64_t>(length, 1);
}

enum class ReduceWay { Serial, Warp, Block };

// Which way, and `pieces` of the folded range (a multiple of 16 elements each).
inline ReduceWay choose_way(ReducePlan& p) {
  const bool columns = p.outputs > 1 && p.kin[p.nk - 1] < p.rin[p.nr - 1];
  const ReduceWay way = columns || p.length <= 8 ? ReduceWay::Serial : p.length <= 1024 ? ReduceWay::Warp : ReduceWay::Block;
  const int64_t most = way == ReduceWay::Block ? 2048 : 262144, least = way == ReduceWay::Block ? 16384 : 128;
  const int64_t wanted = std::min<int64_t>({most / std::max<int64_t>(p.outputs, 1), p.length / least, 1024});
  if (wanted > 1 && way != ReduceWay::Warp) {
    p.piece = ((p.length + wanted - 1) / wanted + 15) / 16 * 16;
    p.pieces = (p.length + p.piece - 1) / p.piece;
  }
  return way;
}

}  // namespace mg::cuda
