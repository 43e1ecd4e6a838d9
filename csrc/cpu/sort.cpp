// sort, topk, order statistics, mode and binary search along one dim. Rows become integer keys with positions
// (sort_keys.h); results are read back from the input by position. Sorting is always stable, in both directions.
#include <memory>

#include "../core/parallel.h"
#include "../core/reduce_dims.h"
#include "sort_keys.h"
#include "staged.h"

namespace mg::cpu {

namespace {

// Float32 and narrower in float, integers in int64: exact, and a third of the code.
DType key_dtype(DType d) { return is_floating(d) ? float_compute(d) : DType::Int64; }
template <class F>
void dispatch_key(DType d, F&& f) {
  if (d == DType::Int64) return f(int64_t{});
  dispatch_float(d, f);
}

DimView view_of(const Invocation& inv, int arg) {
  const TensorImpl& x = inv.in(0);
  return DimView(x.sizes, x.dim() == 0 ? 0 : wrap_dim(inv.i(arg), x.dim(), inv.op.name.c_str()));
}

// One row of keys with the place of its elements: element i is x[at + i * step].
template <class T, class K>
struct Row {
  K *keys, *spare;
  const T* x;
  int64_t n, at, step, number;
  T value(int64_t i) const { return x[at + keys[i].at() * step]; }
};

// f(row) for every row of (outer, size, inner), its keys in input order.
template <class T, class K, class F>
void for_rows_of(const DimView& v, const T* x, bool flip, int64_t cost, F f) {
  parallel_for(
      0, v.outer * v.inner, std::max<int64_t>(8192 / std::max<int64_t>(v.size * cost, 1), 1),
      [&](int64_t b, int64_t e) {
        const auto keys = std::make_unique_for_overwrite<K[]>(size_t(2 * v.size));
        for (int64_t r = b; r < e; ++r) {
          Row<T, K> row{
              keys.get(), keys.get() + v.size, x, v.size, r / v.inner * v.size * v.inner + r % v.inner, v.inner, r};
          for (int64_t i = 0; i < v.size; ++i) row.keys[i] = K::make(x[row.at + i * v.inner], i, flip);
          f(row);
        }
      });
}

// Picks element type and key width: dtypes of up to 4 bytes have 32-bit keys.
template <class F>
void keyed_rows(const Tensor& x, DType original, const DimView& v, bool flip, int64_t cost, F f) {
  dispatch_key(x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (!std::is_same_v<T, double>)
      if (itemsize(original) <= 4 && v.size < int64_t(1) << 32)
        return for_rows_of<T, NarrowKey>(v, x.ptr<T>(), flip, cost, f);
    for_rows_of<T, WideKey>(v, x.ptr<T>(), flip, cost, f);
  });
}

// Values and positions of the results, typed by the row that writes them.
struct Results {
  StagedOut value, index;
  Results(const Invocation& inv, DType dtype) : value(inv.outs[0], dtype), index(inv.outs[1], DType::Int64) {}
  template <class T, class K>
  void write(const Row<T, K>& row, int64_t i, int64_t to) const {
    value.ptr<T>()[to] = row.value(i);
    index.ptr<int64_t>()[to] = row.keys[i].at();
  }
  void commit() const {
    value.commit();
    index.commit();
  }
};

// _sort(input, dim, descending)
void sort_cpu(Invocation& inv) {
  const DimView v = view_of(inv, 1);
  const Tensor x = staged(inv.in(0), key_dtype(inv.in(0).dtype));
  const Results out(inv, x.dtype());
  keyed_rows(x, inv.in(0).dtype, v, inv.b(2), 8, [&](auto& row) {
    sort_keys(row.keys, row.spare, row.n);
    for (int64_t i = 0; i < row.n; ++i) out.write(row, i, row.at + i * row.step);
  });
  out.commit();
}

// The first k of n neighbouring elements in sorting order, k few of many: a sorted list of the best so far. Most blocks
// hold nothing better than its last, which is seen without making keys.
template <class K, class T>
void first_of_many(const T* x, int64_t n, int64_t k, bool flip, K* best) {
  constexpr int64_t kBlock = 16;
  for (int64_t i = 0; i < k; ++i) best[i] = K::make(x[i], i, flip);
  std::sort(best, best + k);
  for (int64_t i = k; i < n; i += kBlock) {
    T last = x[best[k - 1].at()];
    const int64_t m = std::min(kBlock, n - i);
    int better = m < kBlock;  // NaN counts as better: its key decides
    if (m == kBlock && flip)
      for (int64_t j = 0; j < kBlock; ++j) better |= !(x[i + j] <= last);
    else if (m == kBlock)
      for (int64_t j = 0; j < kBlock; ++j) better |= !(x[i + j] >= last);
    if (!better) continue;
    for (int64_t at = i; at < i + m; ++at) {
      if (flip ? x[at] <= last : x[at] >= last) continue;
      const K e = K::make(x[at], at, flip);
      int64_t j = k;
      for (; j > 0 && e < best[j - 1]; --j)
        if (j < k) best[j] = best[j - 1];
      if (j < k) best[j] = e;
      last = x[best[k - 1].at()];
    }
  }
}

template <class T>
void few_of_rows(const T* x, const DimView& v, int64_t k, bool flip, T* values, int64_t* places) {
  using K = std::conditional_t<sizeof(T) == 4, NarrowKey, WideKey>;
  parallel_for(0, v.outer, std::max<int64_t>(32768 / v.size, 1), [&](int64_t b, int64_t e) {
    K best[kFew];
    for (int64_t r = b; r < e; ++r) {
      first_of_many(x + r * v.size, v.size, k, flip, best);
      for (int64_t i = 0; i < k; ++i) {
        places[r * k + i] = best[i].at();
        values[r * k + i] = x[r * v.size + best[i].at()];
      }
    }
  });
}

// _topk(input, k, dim, largest, sorted). NaN counts as largest, so it leads when largest is asked.
void topk_cpu(Invocation& inv) {
  const DimView v = view_of(inv, 2);
  const int64_t k = inv.i(1);
  const bool flip = inv.b(3);
  const Tensor x = staged(inv.in(0), key_dtype(inv.in(0).dtype));
  const Results out(inv, x.dtype());
  if (k == 0) return;
  if (v.inner == 1 && few_of_many(k, v.size)) {
    dispatch_key(x.dtype(), [&](auto tag) {
      using T = decltype(tag);
      few_of_rows(x.ptr<T>(), v, k, flip, out.value.ptr<T>(), out.index.ptr<int64_t>());
    });
    return out.commit();
  }
  keyed_rows(x, inv.in(0).dtype, v, flip, 2, [&](auto& row) {
    select_keys(row.keys, row.n, k);
    const int64_t at = row.number / v.inner * k * v.inner + row.number % v.inner;
    for (int64_t i = 0; i < k; ++i) out.write(row, i, at + i * v.inner);
  });
  out.commit();
}

// pick(row) gives the place, among the row's keys, of the one result of each row.
template <class Pick>
void select_row(Invocation& inv, Pick pick) {
  const DimView v = view_of(inv, 1);
  const Tensor x = staged(inv.in(0), key_dtype(inv.in(0).dtype));
  const Results out(inv, x.dtype());
  keyed_rows(x, inv.in(0).dtype, v, false, 2, [&](auto& row) { out.write(row, pick(row), row.number); });
  out.commit();
}

// _kth(input, dim, keepdim, k): k-th smallest, counted from 1.
void kth_cpu(Invocation& inv) {
  const int64_t k = inv.i(3);
  select_row(inv, [k](auto& row) {
    std::nth_element(row.keys, row.keys + k - 1, row.keys + row.n);
    return k - 1;
  });
}

// _median(input, dim, keepdim): the lower median; the first NaN if there is one.
void median_cpu(Invocation& inv) {
  select_row(inv, [](auto& row) {
    for (int64_t i = 0; i < row.n; ++i)
      if (row.value(i) != row.value(i)) return i;
    const int64_t middle = (row.n - 1) / 2;
    std::nth_element(row.keys, row.keys + middle, row.keys + row.n);
    return middle;
  });
}

// _nanmedian(input, dim, keepdim): the lower median of what is not NaN; NaN only where there is nothing else. NaNs sort
// last, so they are out of reach.
void nanmedian_cpu(Invocation& inv) {
  select_row(inv, [](auto& row) {
    int64_t numbers = 0;
    for (int64_t i = 0; i < row.n; ++i) numbers += row.value(i) == row.value(i);
    const int64_t middle = numbers ? (numbers - 1) / 2 : 0;
    std::nth_element(row.keys, row.keys + middle, row.keys + row.n);
    return middle;
  });
}

// _mode(input, dim, keepdim): the most frequent value, the smallest of several; its last position. NaNs are all
// different.
void mode_cpu(Invocation& inv) {
  select_row(inv, [](auto& row) {
    sort_keys(row.keys, row.spare, row.n);
    int64_t best = 0, longest = 0;
    for (int64_t i = 0, start = 0; i < row.n; ++i) {
      if (i > 0 && !(row.value(i) == row.value(i - 1))) start = i;
      if (i - start + 1 > longest) longest = i - start + 1, best = i;
    }
    return best;
  });
}

template <class T>
bool less_key(T a, T b) {
  return (a < b) | ((b != b) & (a == a));
}  // NaN last

// Number of keys that belong before `value`: keys < value, or with `right` keys <= value; both as ordered_bits. Without
// branches: random values would miss every second prediction (5 x slower at 100 keys). The probes are those of
// std::lower_bound, so that unsorted keys give the usual answer.
template <bool right>
int64_t position_of(const uint64_t* keys, int64_t n, uint64_t value) {
  int64_t at = 0;
  for (int64_t left = n; left > 0;) {
    const int64_t half = left / 2;
    const int64_t up = right ? keys[at + half] <= value : keys[at + half] < value;
    at += up * (half + 1);
    left = half - up * (2 * half + 1 - left);
  }
  return at;
}

// The same by way of positions that sort the keys; a bad sorter gives a bad answer, not a crash.
template <class T>
int64_t position_in_order(const T* keys, const int64_t* order, int64_t n, T value, bool right) {
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2, k = std::clamp<int64_t>(order[middle], 0, n - 1);
    if (right ? !less_key(value, keys[k]) : less_key(keys[k], value))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// _searchsorted(sorted_sequence, input, sorter?, out_int32, right)
void searchsorted_cpu(Invocation& inv) {
  const DType dtype = key_dtype(inv.compute);
  const Tensor sequence = staged(inv.in(0), dtype), x = staged(inv.in(1), dtype);
  const Tensor sorter = inv.has(2) ? staged(inv.in(2), DType::Int64) : Tensor();
  const StagedOut out(inv.outs[0], DType::Int64);
  const bool right = inv.b(4), shared = sequence.dim() == 1;
  const int64_t n = sequence.size(-1), width = shared || x.dim() == 0 ? 0 : x.size(-1);
  dispatch_key(dtype, [&](auto tag) {
    using T = decltype(tag);
    const auto bits = std::make_unique_for_overwrite<uint64_t[]>(size_t(sequence.numel()));
    parallel_for(0, sequence.numel(), 16384, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) bits[size_t(i)] = ordered_bits(sequence.ptr<T>()[i]);
    });
    parallel_for(0, x.numel(), 2048, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        const int64_t row = width ? i / width * n : 0;
        const T value = x.ptr<T>()[i];
        int64_t& place = out.ptr<int64_t>()[i];
        if (sorter.defined())
          place = position_in_order(sequence.ptr<T>() + row, sorter.ptr<int64_t>() + row, n, value, right);
        else if (right)
          place = position_of<true>(bits.get() + row, n, ordered_bits(value));
        else
          place = position_of<false>(bits.get() + row, n, ordered_bits(value));
      }
    });
  });
  out.commit();
}

}  // namespace

MG_KERNEL("_sort", CPU, sort_cpu);
MG_KERNEL("_topk", CPU, topk_cpu);
MG_KERNEL("_kth", CPU, kth_cpu);
MG_KERNEL("_median", CPU, median_cpu);
MG_KERNEL("_nanmedian", CPU, nanmedian_cpu);
MG_KERNEL("_mode", CPU, mode_cpu);
MG_KERNEL("_searchsorted", CPU, searchsorted_cpu);

}  // namespace mg::cpu
