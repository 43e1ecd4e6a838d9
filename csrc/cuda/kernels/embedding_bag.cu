// embedding_bag: per bag the sum of the rows of a table that its indices pick, or the row that is largest per column. A thread for each
// element of the result walks its bag in order.
#include "slabs.h"

namespace mg::cuda {
namespace {

struct Bags {
  const int64_t *indices, *starts;
  int64_t count, rows, padding, width;
  FaultNote note;

  // f(position, row) for every index of bag b that counts.
  template <class F>
  __device__ void each_row(int64_t b, F f) const {
    const int64_t first = starts[b], last = starts[b + 1];
    if (first < 0 || last > count) return note_fault(note, kIndexFault, first < 0 ? first : last, count);
    for (int64_t i = first; i < last; ++i) {
      const int64_t row = indices[i];
      if (row == padding) continue;
      if (row < 0 || row >= rows) {
        note_fault(note, kIndexFault, row, rows);
        continue;
      }
      f(i, row);
    }
  }
};

template <class T>
__global__ void bag_sum_kernel(T* out, const T* weight, const T* scale, Bags bags, int64_t n) {
  MG_GRID_LOOP(i, n) {
    const int64_t b = i / bags.width, d = i - b * bags.width;
    T sum = 0;
    bags.each_row(b, [&](int64_t at, int64_t row) { sum += weight[row * bags.width + d] * (scale != nullptr ? scale[at] : T(1)); });
    out[i] = sum;
  }
}
template <class T>
__global__ void bag_argmax_kernel(int64_t* out, const T* weight, Bags bags, int64_t n) {
  MG_GRID_LOOP(i, n) {
    const int64_t b = i / bags.width, d = i - b * bags.width;
    int64_t best = -1;
    bags.each_row(b, [&](int64_t, int64_t row) {
      if (best < 0 || weight[row * bags.width + d] > weight[best * bags.width + d]) best = row;
    });
    out[i] = best;
  }
}

template <class F>
void on_float(DType d, F&& f) {
  if (d == DType::Float64) f(double{});
  else f(float{});
}

struct Call {
  DType compute;
  Tensor weight, indices, starts;
  Bags bags;
  Call(const Invocation& inv, int64_t padding)
      : compute(float_compute(inv.in(0).dtype)),
        weight(staged(inv.in(0), compute)),
        indices(staged(inv.in(1), DType::Int64)),
        starts(staged(inv.in(2), DType::Int64)),
        bags{indices.ptr<int64_t>(), starts.ptr<int64_t>(), indices.numel(), weight.size(0), padding, weight.size(1), fault_note(inv.op)} {}
};

// _bag_sum(weight, indices, starts, scale?, padding_idx)
void bag_sum_cuda(Invocation& inv) {
  const Call call(inv, inv.i(4));
  const Tensor scale = inv.args[3].is_tensor() ? staged(*inv.args[3].t, call.compute) : Tensor();
  const StagedOut out(inv.outs[0], call.compute);
  on_float(call.compute, [&](auto tag) {
    using T = decltype(tag);
    launch_items(bag_sum_kernel<T>, inv.out().numel, out.template ptr<T>(), static_cast<const T*>(call.weight.template ptr<T>()),
                 static_cast<const T*>(scale ? scale.template ptr<T>() : nullptr), call.bags, inv.out().numel);
  });
  out.commit();
}

// _bag_argmax(weight, indices, starts, padding_idx): -1 for an empty bag
void bag_argmax_cuda(Invocation& inv) {
  const Call call(inv, inv.i(3));
  const StagedOut out(inv.outs[0], DType::Int64);
  on_float(call.compute, [&](auto tag) {
    using T = decltype(tag);
    launch_items(bag_argmax_kernel<T>, inv.out().numel, out.template ptr<int64_t>(), static_cast<const T*>(call.weight.template ptr<T>()), call.bags,
                 inv.out().numel);
  });
  out.commit();
}

MG_CUDA_KERNEL("_bag_sum", bag_sum_cuda);
MG_CUDA_KERNEL("_bag_argmax", bag_argmax_cuda);

}  // namespace
}  // namespace mg::cuda
