// embedding_bag: per bag the sum of the rows of a table that its indices pick, or the row that is largest per column.
// Bags are shared out among threads; each writes its own row of the result. Meta: ../core/meta_embedding_bag.cpp.
#include "../core/op.h"
#include "../core/parallel.h"
#include "staged.h"

namespace mg::cpu {

namespace {

// Bag b holds indices[starts[b], starts[b + 1]), without `padding`.
struct Bags {
  Tensor indices, starts;
  int64_t rows, padding;
  Bags(const TensorImpl& i, const TensorImpl& s, int64_t table_rows, int64_t padding_idx)
      : indices(staged(i, DType::Int64)), starts(staged(s, DType::Int64)), rows(table_rows), padding(padding_idx) {}

  // f(position in indices, row of the table)
  template <class F>
  void each_row(int64_t b, F&& f) const {
    const int64_t first = starts.ptr<int64_t>()[b], last = starts.ptr<int64_t>()[b + 1], count = indices.numel();
    MG_CHECK(first >= 0 && last <= count, Runtime, "embedding_bag: offsets must lie in the input: got ", first, " and ",
             last, " for ", count, " indices.");
    for (int64_t i = first; i < last; ++i) {
      const int64_t row = indices.ptr<int64_t>()[i];
      if (row == padding) continue;
      MG_CHECK(row >= 0 && row < rows, Index, "embedding_bag: index out of range: got ", row, " for ", rows, " rows.");
      f(i, row);
    }
  }
  // The row that the index after position i picks, -1 if it is none.
  int64_t row_after(int64_t i) const {
    const int64_t row = i + 1 < indices.numel() ? indices.ptr<int64_t>()[i + 1] : -1;
    return row < rows ? row : -1;
  }
};

// Rows are picked at random: no prefetcher foresees the next one.
template <class T>
void fetch_row(const T* row, int64_t width) {
  const char* p = reinterpret_cast<const char*>(row);
  const int64_t bytes = std::min<int64_t>(width * int64_t(sizeof(T)), 4096);  // the rest follows by itself
  for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(p + b);
}

// _bag_sum(weight, indices, starts, scale?, padding_idx)
void bag_sum_cpu(Invocation& inv) {
  const DType compute = float_compute(inv.in(0).dtype);
  const Tensor weight = staged(inv.in(0), compute);
  const Tensor scale = inv.args[3].is_tensor() ? staged(*inv.args[3].t, compute) : Tensor();
  const Bags bags(inv.in(1), inv.in(2), weight.size(0), inv.i(4));
  const int64_t width = weight.size(1);
  const StagedOut out(inv.outs[0], compute);
  dispatch_float(compute, [&](auto tag) {
    using T = decltype(tag);
    const T* w = weight.ptr<T>();
    const T* s = scale ? scale.ptr<T>() : nullptr;
    parallel_for(0, inv.out().sizes[0], 64, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        T* __restrict y = out.ptr<T>() + b * width;
        bool first = true;
        bags.each_row(b, [&](int64_t i, int64_t row) {
          const T* __restrict x = w + row * width;
          const T factor = s ? s[i] : T(1);
          if (const int64_t next = bags.row_after(i); next >= 0) fetch_row(w + next * width, width);
          if (first)
            for (int64_t d = 0; d < width; ++d) y[d] = x[d] * factor;
          else if (s)
            for (int64_t d = 0; d < width; ++d) y[d] += x[d] * factor;
          else
            for (int64_t d = 0; d < width; ++d) y[d] += x[d];
          first = false;
        });
        if (first) std::fill_n(y, width, T(0));
      }
    });
  });
  out.commit();
}

// _bag_argmax(weight, indices, starts, padding_idx): for every bag and column the row of weight that is largest among
// indices[starts[b], starts[b + 1]), -1 for an empty bag.
void bag_argmax_cpu(Invocation& inv) {
  const Tensor weight = staged(inv.in(0), float_compute(inv.in(0).dtype));
  const Bags bags(inv.in(1), inv.in(2), weight.size(0), inv.i(3));
  const int64_t width = weight.size(1);
  const StagedOut out(inv.outs[0], DType::Int64);
  dispatch_float(weight.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const T* w = weight.ptr<T>();
    parallel_for(0, inv.out().sizes[0], 64, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        int64_t* best = out.ptr<int64_t>() + b * width;
        std::fill_n(best, width, int64_t(-1));
        bags.each_row(b, [&](int64_t, int64_t row) {
          for (int64_t d = 0; d < width; ++d)
            if (best[d] < 0 || w[row * width + d] > w[best[d] * width + d]) best[d] = row;
        });
      }
    });
  });
  out.commit();
}

}  // namespace

MG_KERNEL("_bag_sum", CPU, bag_sum_cpu);
MG_KERNEL("_bag_argmax", CPU, bag_argmax_cpu);

}  // namespace mg::cpu
