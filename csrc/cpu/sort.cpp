// sort, topk, order statistics, mode and binary search along one dim. Rows are gathered into (key, position) pairs, worked on, scattered.
//
// Order (PyTorch's): NaN is above every number. Sorting is always stable; ascending and descending keep equal elements in input order.
#include <algorithm>
#include <memory>

#include "../core/parallel.h"
#include "../core/reduce_dims.h"
#include "staged.h"

namespace mg::cpu {

namespace {

template <class T>
struct Item {
  T key;
  int64_t at;
};
template <class T> bool less_key(T a, T b) { return a < b || (b != b && a == a); }  // NaN last
template <class T> bool up(const Item<T>& a, const Item<T>& b) { return less_key(a.key, b.key); }
template <class T> bool down(const Item<T>& a, const Item<T>& b) { return less_key(b.key, a.key); }
// Strict total orders, so that selection is as deterministic as sorting.
template <class T> bool up_total(const Item<T>& a, const Item<T>& b) { return up(a, b) || (!up(b, a) && a.at < b.at); }
template <class T> bool down_total(const Item<T>& a, const Item<T>& b) { return down(a, b) || (!down(b, a) && a.at < b.at); }

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

// f(items, offset of the row in x, row number) for every row of (outer, size, inner), items holding its keys in order.
template <class T, class F>
void for_items(const DimView& v, const T* x, int64_t cost, F f) {
  const int64_t rows = v.outer * v.inner;
  parallel_for(0, rows, std::max<int64_t>(8192 / std::max<int64_t>(v.size * cost, 1), 1), [&](int64_t b, int64_t e) {
    const auto items = std::make_unique_for_overwrite<Item<T>[]>(size_t(v.size));
    for (int64_t r = b; r < e; ++r) {
      const int64_t at = r / v.inner * v.size * v.inner + r % v.inner;
      for (int64_t i = 0; i < v.size; ++i) items[size_t(i)] = {x[at + i * v.inner], i};
      f(items.get(), at, r);
    }
  });
}

// _sort(input, dim, descending)
void sort_cpu(Invocation& inv) {
  const DimView v = view_of(inv, 1);
  const DType dtype = key_dtype(inv.in(0).dtype);
  const bool descending = inv.b(2);
  const Tensor x = staged(inv.in(0), dtype);
  const StagedOut value(inv.outs[0], dtype), index(inv.outs[1], DType::Int64);
  dispatch_key(dtype, [&](auto tag) {
    using T = decltype(tag);
    T* out = value.ptr<T>();
    int64_t* where = index.ptr<int64_t>();
    for_items(v, x.ptr<T>(), 8, [&](Item<T>* items, int64_t at, int64_t) {
      std::stable_sort(items, items + v.size, descending ? down<T> : up<T>);
      for (int64_t i = 0; i < v.size; ++i) {
        out[at + i * v.inner] = items[i].key;
        where[at + i * v.inner] = items[i].at;
      }
    });
  });
  value.commit();
  index.commit();
}

// _topk(input, k, dim, largest, sorted)
void topk_cpu(Invocation& inv) {
  const DimView v = view_of(inv, 2);
  const int64_t k = inv.i(1);
  const bool largest = inv.b(3);
  const DType dtype = key_dtype(inv.in(0).dtype);
  const Tensor x = staged(inv.in(0), dtype);
  const StagedOut value(inv.outs[0], dtype), index(inv.outs[1], DType::Int64);
  if (k == 0) return;
  dispatch_key(dtype, [&](auto tag) {
    using T = decltype(tag);
    T* out = value.ptr<T>();
    int64_t* where = index.ptr<int64_t>();
    for_items(v, x.ptr<T>(), 2, [&](Item<T>* items, int64_t, int64_t row) {
      const auto before = largest ? down_total<T> : up_total<T>;
      if (k < v.size) std::nth_element(items, items + k - 1, items + v.size, before);
      std::sort(items, items + k, before);
      const int64_t at = row / v.inner * k * v.inner + row % v.inner;
      for (int64_t i = 0; i < k; ++i) {
        out[at + i * v.inner] = items[i].key;
        where[at + i * v.inner] = items[i].at;
      }
    });
  });
  value.commit();
  index.commit();
}

// pick(items) gives the chosen item of a row.
template <class Pick>
void select_row(Invocation& inv, Pick pick) {
  const DimView v = view_of(inv, 1);
  const DType dtype = key_dtype(inv.in(0).dtype);
  const Tensor x = staged(inv.in(0), dtype);
  const StagedOut value(inv.outs[0], dtype), index(inv.outs[1], DType::Int64);
  dispatch_key(dtype, [&](auto tag) {
    using T = decltype(tag);
    for_items(v, x.ptr<T>(), 2, [&](Item<T>* items, int64_t, int64_t row) {
      const Item<T> chosen = pick(items, v.size);
      value.ptr<T>()[row] = chosen.key;
      index.ptr<int64_t>()[row] = chosen.at;
    });
  });
  value.commit();
  index.commit();
}

// _kth(input, dim, keepdim, k): k-th smallest, counted from 1.
void kth_cpu(Invocation& inv) {
  const int64_t k = inv.i(3);
  select_row(inv, [k](auto* items, int64_t n) {
    using T = decltype(items->key);
    std::nth_element(items, items + k - 1, items + n, up_total<T>);
    return items[k - 1];
  });
}

// _median(input, dim, keepdim): the lower median; the first NaN if there is one.
void median_cpu(Invocation& inv) {
  select_row(inv, [](auto* items, int64_t n) {
    using T = decltype(items->key);
    for (int64_t i = 0; i < n; ++i)
      if (items[i].key != items[i].key) return items[i];
    std::nth_element(items, items + (n - 1) / 2, items + n, up_total<T>);
    return items[(n - 1) / 2];
  });
}

// _mode(input, dim, keepdim): the most frequent value, the smallest of several; its last position.
void mode_cpu(Invocation& inv) {
  select_row(inv, [](auto* items, int64_t n) {
    using T = decltype(items->key);
    std::sort(items, items + n, up_total<T>);
    int64_t best = 0, longest = 0;
    for (int64_t i = 0, start = 0; i < n; ++i) {
      if (i > 0 && !(items[i].key == items[i - 1].key)) start = i;
      if (i - start + 1 > longest) longest = i - start + 1, best = i;
    }
    return items[best];
  });
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
    parallel_for(0, x.numel(), 2048, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        const int64_t row = width ? i / width * n : 0;
        const T* keys = sequence.ptr<T>() + row;
        const int64_t* order = sorter.defined() ? sorter.ptr<int64_t>() + row : nullptr;
        const T value = x.ptr<T>()[i];
        int64_t low = 0, high = n;
        while (low < high) {
          const int64_t middle = low + (high - low) / 2;
          int64_t k = middle;
          if (order != nullptr) k = std::clamp<int64_t>(order[middle], 0, n - 1);  // a bad sorter gives a bad answer, not a crash
          if (right ? !less_key(value, keys[k]) : less_key(keys[k], value)) low = middle + 1;
          else high = middle;
        }
        out.ptr<int64_t>()[i] = low;
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
MG_KERNEL("_mode", CPU, mode_cpu);
MG_KERNEL("_searchsorted", CPU, searchsorted_cpu);

}  // namespace mg::cpu
