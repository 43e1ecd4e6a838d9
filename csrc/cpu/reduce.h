// The reduction driver: any axes, any strides, any dtype, by staging into the leaf kernels of reduce_table.h.
//
// A ReducePlan splits the input's dims into kept and reduced ones, each sorted by stride and merged. If the fastest dim
// is reduced, the leaves fold rows; otherwise they fold columns (up to kFoldColumns outputs side by side). Elements of
// another dtype or stride pass through an L1-sized buffer. Work is shared over tiles of outputs or, when there are few
// outputs, over fixed pieces of the reduced range whose partial results are combined in order: the result depends on
// shape and strides, never on the number of threads.
#pragma once
#include "../core/parallel.h"
#include "copy.h"
#include "reduce_table.h"

namespace mg::cpu {

struct ReducePlan {
  int nk = 0, nr = 0;  // after the constructor both are at least 1
  int64_t outputs = 1, length = 1;
  int64_t ksize[kMaxDims + 1], kin[kMaxDims + 1], kout[kMaxDims + 1];  // strides in bytes
  int64_t rsize[kMaxDims + 1], rin[kMaxDims + 1];
  ReducePlan(const TensorImpl& x, uint64_t mask, const TensorImpl& out);
  bool by_rows() const { return rin[nr - 1] <= kin[nk - 1] || kin[nk - 1] == 0 || ksize[nk - 1] == 1; }
  int64_t input_offset(int64_t k) const;  // of output number k, with all reduced indices 0
  int64_t output_offset(int64_t k) const;
  int64_t reduced_offset(int64_t q) const;  // q counts the reduced dims but the last
};

double merge_partials(Fold f, double a, double b);
int64_t merge_partials(Fold f, int64_t a, int64_t b);
template <class T>
const FoldFns<T>& fold_fns(Fold f);

// Folds outputs [k0, k1) over the reduced range [r0, r1).
template <class T>
class Folder {
 public:
  Folder(const ReducePlan& plan, const TensorImpl& x, double power);
  void tile(Fold f, int64_t k0, int64_t k1, int64_t r0, int64_t r1, const T* m, Acc<T>* acc) const;
  const ReducePlan& plan;
  double power;

 private:
  void rows(Fold f, int64_t k0, int64_t k1, int64_t r0, int64_t r1, const T* m, Acc<T>* acc) const;
  Acc<T> one_row(Fold f, const char* base, int64_t r0, int64_t r1, const T* m) const;
  void columns(Fold f, const char* base, int64_t n, int64_t r0, int64_t r1, const T* m, Acc<T>* acc) const;
  void column_block(Fold f, const char* p, int64_t nrows, int64_t n, const T* m, Acc<T>* acc) const;
  const char* data;
  RowFn stage;  // null: the elements are T already
};

constexpr int64_t kReduceTile = 512, kReduceGrain = 32768;

// Writes converted results to outputs [k0, k1).
void store_results(const ReducePlan& plan, const TensorImpl& out, int64_t k0, int64_t k1, const double* v);
void store_results(const ReducePlan& plan, const TensorImpl& out, int64_t k0, int64_t k1, const int64_t* v);

// body(k0, n, fold, acc): computes results k0 … k0 + n (n <= kReduceTile) into acc; it may call fold(Fold, m, acc)
// several times (mean, then squares).
template <class T, class Body>
void reduce(const ReducePlan& plan, const TensorImpl& x, const TensorImpl& out, double power, Body&& body) {
  if (plan.outputs == 0) return;
  const Folder<T> folder(plan, x, power);
  const int64_t length = std::max<int64_t>(plan.length, 1);
  int64_t tile = kReduceTile;
  if (plan.by_rows()) tile = std::clamp<int64_t>(kReduceGrain / length, 1, kReduceTile);
  const int64_t tiles = (plan.outputs - 1) / tile + 1;
  const bool split = tiles < 8 && length >= 128 && plan.outputs * length >= 4 * kReduceGrain;
  if (!split) {
    parallel_for(0, tiles, std::max<int64_t>(kReduceGrain / (tile * length), 1), [&](int64_t begin, int64_t end) {
      Acc<T> acc[kReduceTile];
      for (int64_t t = begin; t < end; ++t) {
        const int64_t k0 = t * tile, k1 = std::min(k0 + tile, plan.outputs);
        body(k0, k1 - k0, [&](Fold f, const T* m, Acc<T>* a) { folder.tile(f, k0, k1, 0, plan.length, m, a); }, acc);
        store_results(plan, out, k0, k1, acc);
      }
    });
    return;
  }
  const int64_t n = std::min(tile, plan.outputs);
  const int64_t pieces = std::clamp<int64_t>(n * length / kReduceGrain, 2, 64), piece = (length - 1) / pieces + 1;
  const Tensor partials = empty({pieces, n}, sizeof(Acc<T>) == 8 ? DType::Float64 : DType::Int64);
  Acc<T> acc[kReduceTile];
  for (int64_t k0 = 0; k0 < plan.outputs; k0 += n) {
    const int64_t k1 = std::min(k0 + n, plan.outputs), count = k1 - k0;
    body(
        k0, count,
        [&](Fold f, const T* m, Acc<T>* a) {
          Acc<T>* part = partials.ptr<Acc<T>>();
          parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
            for (int64_t c = begin; c < end; ++c)
              folder.tile(f, k0, k1, std::min(c * piece, length), std::min((c + 1) * piece, length), m,
                          part + c * count);
          });
          std::copy(part, part + count, a);
          for (int64_t c = 1; c < pieces; ++c)
            for (int64_t k = 0; k < count; ++k) a[k] = merge_partials(f, a[k], part[c * count + k]);
        },
        acc);
    store_results(plan, out, k0, k1, acc);
  }
}

// Calls f(T{}) with the type that `d` is accumulated in: float, double or int64_t.
template <class F>
void dispatch_accumulate(DType d, F&& f) {
  if (d == DType::Float64) return f(double{});
  if (is_floating(d)) return f(float{});
  return f(int64_t{});
}

}  // namespace mg::cpu
