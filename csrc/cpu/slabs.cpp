#include "slabs.h"

#include <algorithm>
#include <cmath>

#include "convert.h"
#include "copy.h"
#include "indices.h"
#include "reduce_into.h"
#include "rows.h"

namespace mg::cpu {

Tensor checked_indices(const Op& op, const TensorImpl& index, int64_t size, int dim, bool wrap) {
  const bool as_is = index.contiguous && index.dtype == DType::Int64;
  Tensor whole = as_is ? Tensor(const_cast<TensorImpl*>(&index)) : to_contiguous(index, DType::Int64);
  const int64_t* at = whole.ptr<int64_t>();
  const int64_t n = index.numel, lowest = wrap ? -size : 0;
  std::atomic<bool> bad{false}, negative{false};
  parallel_for(0, n, kRowGrain, [&](int64_t begin, int64_t end) {
    int64_t outside = 0,
            below = 0;  // sign bits collect; two subtractions and two ors per index, vectorised even by SSE2
    for (int64_t i = begin; i < end; ++i) {
      outside |= int64_t((uint64_t(at[i]) - uint64_t(lowest)) | (uint64_t(size) - 1 - uint64_t(at[i])));
      below |= at[i];
    }
    if (outside < 0) bad = true;
    if (below < 0) negative = true;
  });
  if (bad) {
    const int64_t* wrong = std::find_if(at, at + n, [&](int64_t i) { return i < lowest || i >= size; });
    const bool elementwise = op.family == "gather" || op.family == "scatter";  // PyTorch raises RuntimeError there
    fail(elementwise ? ErrorKind::Runtime : ErrorKind::Index, op.name.c_str() + (op.name[0] == '_'), ": index ", *wrong,
         " is out of bounds for dimension ", dim, " with size ", size, " (element ", wrong - at,
         " of the index tensor), expected a value in [", lowest, ", ", size, ")");
  }
  if (negative) {
    if (as_is) whole = to_contiguous(index, DType::Int64);
    int64_t* wrapped = whole.ptr<int64_t>();
    for (int64_t i = 0; i < n; ++i) wrapped[i] += wrapped[i] < 0 ? size : 0;
  }
  return whole;
}

namespace {

constexpr int64_t kWideSlab = 256;  // elements of a slab that are worth a task of their own

// When neighbouring indices are closer in the dense side than neighbouring elements of a slab, walk the indices
// innermost: every element of the slab then counts as a row of its own.
void prefer_index_inner(LoopPlan& plan, int dense, int64_t step) {
  if (plan.ndim == 0 || plan.inner() == 1 || std::abs(plan.inner_stride(dense)) <= std::abs(step)) return;
  const int last = plan.ndim++;
  plan.sizes[last] = 1;
  for (int k = 0; k < plan.operands; ++k) plan.strides[k][last] = 0;
}

template <class W>
void gather_elements(char* dst, const char* src, const int64_t* offsets, int64_t begin, int64_t end, int64_t step) {
  for (int64_t k = begin; k < end; ++k)
    *reinterpret_cast<W*>(dst + k * step) = *reinterpret_cast<const W*>(src + offsets[k]);
}

void gather_by_width(int64_t item, char* dst, const char* src, const int64_t* offsets, int64_t begin, int64_t end,
                     int64_t step) {
  switch (item) {
    case 1:
      return gather_elements<uint8_t>(dst, src, offsets, begin, end, step);
    case 2:
      return gather_elements<uint16_t>(dst, src, offsets, begin, end, step);
    case 4:
      return gather_elements<uint32_t>(dst, src, offsets, begin, end, step);
    case 16:
      return gather_elements<complex128>(dst, src, offsets, begin, end, step);
    default:
      return gather_elements<uint64_t>(dst, src, offsets, begin, end, step);
  }
}

// A slab is read and added to memory that no prefetcher foresees: the next one's lines are asked for while this one is
// added (16M floats by 16384 rows, 2 threads: 5.7 -> 3.1 ms).
constexpr int64_t kFetchBytes = 1 << 20;  // of all slabs: fewer lie in the cache anyway
constexpr int64_t kFetchMost = 8 << 10;   // of one slab: it must stay in L1 until its turn; longer ones prefetch well

inline void fetch_lines(const char* p, int64_t bytes) {
  for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(p + b);
}

struct Scatter {
  const LoopPlan& plan;
  const int64_t* offsets;
  int64_t n, step;
  double scale;

  // Elements [first, last) of every slab whose destination lies in [low, high), for the slab row at these pointers.
  template <class T, Reduce reduce>
  void run(char* dst, const char* src, int64_t low, int64_t high, int64_t first, int64_t last) const {
    const int64_t ds = plan.inner_stride(0), ss = plan.inner_stride(1);
    const T factor = convert<T>(scale);
    constexpr int64_t item = sizeof(T);
    const bool dense = ds == item && ss == item;
    const int64_t bytes = (last - first) * item;
    const bool fetch = dense && bytes <= kFetchMost && n * bytes >= kFetchBytes;
    for (int64_t k = 0; k < n; ++k) {
      const int64_t at = offsets[k];
      if (at < low || at >= high) continue;
      if (fetch && k + 1 < n && offsets[k + 1] >= low && offsets[k + 1] < high) {
        fetch_lines(src + (k + 1) * step + first * item, bytes);
        fetch_lines(dst + offsets[k + 1] + first * item, bytes);
      }
      if (dense) {
        T* __restrict d = reinterpret_cast<T*>(dst + at);
        const T* __restrict s = reinterpret_cast<const T*>(src + k * step);
        for (int64_t i = first; i < last; ++i) reduce_into<reduce>(d[i], s[i], factor);
      } else {
        for (int64_t i = first; i < last; ++i)
          reduce_into<reduce>(*reinterpret_cast<T*>(dst + at + i * ds),
                              *reinterpret_cast<const T*>(src + k * step + i * ss), factor);
      }
    }
  }
};

}  // namespace

void slab_gather(LoopPlan plan, const int64_t* offsets, int64_t n, int64_t step, int64_t item) {
  if (plan.numel == 0 || n == 0) return;
  prefer_index_inner(plan, 0, step);
  const int64_t inner = plan.inner(), ds = plan.inner_stride(0), ss = plan.inner_stride(1);
  const DType same_width = item == 1    ? DType::UInt8
                           : item == 2  ? DType::Int16
                           : item == 4  ? DType::Int32
                           : item == 16 ? DType::Complex128
                                        : DType::Int64;
  const RowFn copy = row_copier(same_width, same_width);
  const int64_t piece = std::max<int64_t>(kRowGrain / inner, 1), pieces = (n - 1) / piece + 1;
  const int64_t cost = inner * std::min(n, piece);
  parallel_for(0, plan.rows() * pieces, std::max<int64_t>(kRowGrain / cost, 1), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      char* p[LoopPlan::kMaxOperands];
      plan.row_pointers(task / pieces, p);
      const int64_t from = task % pieces * piece, to = std::min(from + piece, n);
      if (inner == 1)
        gather_by_width(item, p[0], p[1], offsets, from, to, step);
      else
        for (int64_t k = from; k < to; ++k) copy(p[0] + k * step, ds, p[1] + offsets[k], ss, inner);
    }
  });
}

void slab_scatter(LoopPlan plan, const int64_t* offsets, int64_t n, int64_t step, DType dtype, Reduce reduce,
                  double scale) {
  if (plan.numel == 0 || n == 0) return;
  prefer_index_inner(plan, 1, step);
  // No two tasks write one element. Wide slabs are shared by columns: every task adds its columns of all the slabs,
  // which reads memory in order. Of narrow ones every task owns a range of destinations, and passes over all the
  // indices.
  const int64_t top = *std::max_element(offsets, offsets + n) + 1, rows = plan.rows(), inner = plan.inner();
  const int64_t work = inner * n;
  const bool by_columns = inner >= kWideSlab * get_num_threads();
  const int64_t most = by_columns ? inner / kWideSlab : std::max<int64_t>(top, 1);
  const int64_t parts = std::clamp<int64_t>(work / kRowGrain, 1, std::min<int64_t>(get_num_threads(), most));
  const Scatter scatter{plan, offsets, n, step, scale};
  const auto cut = [&](int64_t size, int64_t part) { return int64_t(__int128(size) * part / parts); };
  parallel_for(0, rows * parts, std::max<int64_t>(kRowGrain * parts / std::max<int64_t>(work, 1), 1),
               [&](int64_t begin, int64_t end) {
                 for (int64_t task = begin; task < end; ++task) {
                   char* p[LoopPlan::kMaxOperands];
                   plan.row_pointers(task / parts, p);
                   const int64_t part = task % parts;
                   dispatch_reduce(dtype, reduce, [&]<class T, Reduce r>() {
                     if (by_columns)
                       scatter.run<T, r>(p[0], p[1], 0, top, cut(inner, part), cut(inner, part + 1));
                     else
                       scatter.run<T, r>(p[0], p[1], cut(top, part), cut(top, part + 1), 0, inner);
                   });
                 }
               });
}

Tensor identity_of(Reduce reduce, DType dtype) {
  const Tensor one = empty(Dims{}, dtype);
  if (reduce != Reduce::Max && reduce != Reduce::Min) {
    fill(*one, reduce == Reduce::Mul, reduce == Reduce::Mul);
    return one;
  }
  const bool lowest = reduce == Reduce::Max;
  const int64_t limit = dispatch(dtype, [&](auto tag) -> int64_t {
    using T = decltype(tag);
    if constexpr (std::is_integral_v<T>)
      return lowest ? int64_t(std::numeric_limits<T>::min()) : int64_t(std::numeric_limits<T>::max());
    else
      return 0;
  });
  fill(*one, lowest ? -INFINITY : INFINITY, limit);
  return one;
}

void divide_by_counts(TensorImpl& target, const TensorImpl& counts) {
  LoopPlan plan(target.sizes);
  plan.add(target);
  plan.add(counts);
  plan.finish();
  dispatch_any(target.dtype, [&](auto tag) {
    using T = decltype(tag);
    for_rows(plan, [&](char** p, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        T& v = *reinterpret_cast<T*>(p[0] + i * plan.inner_stride(0));
        const int64_t c = *reinterpret_cast<const int64_t*>(p[1] + i * plan.inner_stride(1));
        if (c <= 1) continue;
        if constexpr (std::is_integral_v<T>)
          v = T(int64_t(v) / c - (int64_t(v) % c < 0));
        else
          v = T(v / convert<T>(c));
      }
    });
  });
}

}  // namespace mg::cpu
