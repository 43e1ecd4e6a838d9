// Distances between the rows of two matrices in the p-norm, and their gradient. Meta: ../core/meta_distance.cpp.
#include <memory>

#include "../core/op.h"
#include "../core/parallel.h"
#include "distance_norms.h"
#include "isa.h"
#include "staged.h"

#define MG_EXTERN_DISTANCE(ns)                   \
  namespace mg::cpu::ns {                        \
  extern const DistanceTable distance_functions; \
  }
MG_EXTERN_DISTANCE(portable)
MG_EXTERN_DISTANCE(avx2)
MG_EXTERN_DISTANCE(avx512)

namespace mg::cpu {

namespace {

using portable::with_norm;

const DistanceTable& distance_table() {
  static const DistanceTable& table = MG_PICK(distance_functions);
  return table;
}

constexpr int64_t kTerms = 16;  // added up by themselves before they join their sum: a long chain rounds worse

struct Rows {
  int64_t batch = 1, p, r, m;
  Rows(const TensorImpl& a, const TensorImpl& b) {
    const int n = a.dim();
    for (int d = 0; d < n - 2; ++d) batch *= a.sizes[d];
    p = a.sizes[n - 2], r = b.sizes[n - 2], m = a.sizes[n - 1];
  }
  int64_t grain() const { return std::max<int64_t>(32768 / std::max<int64_t>(r * m, 1), 1); }
};

// The rows of x with their last two dims exchanged, so that inner loops run over neighbouring results.
Tensor columns_of(const TensorImpl& x, DType dtype) {
  Dims sizes = x.sizes, strides = x.strides;
  std::swap(sizes[x.dim() - 1], sizes[x.dim() - 2]);
  std::swap(strides[x.dim() - 1], strides[x.dim() - 2]);
  return staged(*alias(x, sizes, strides, x.offset), dtype);
}

// _cdist(x1, x2, p): (…, P, M), (…, R, M) -> (…, P, R). Vectors run along R, or along P where R is short.
void cdist_cpu(Invocation& inv) {
  const bool swapped = inv.in(1).sizes[inv.in(1).dim() - 2] < 16 && inv.in(0).sizes[inv.in(0).dim() - 2] >= 16;
  const TensorImpl &x1 = inv.in(swapped ? 1 : 0), &x2 = inv.in(swapped ? 0 : 1);
  const Rows rows(x1, x2);
  const DType dtype = inv.compute;
  const Tensor left = staged(x1, dtype), columns = columns_of(x2, dtype);
  const TensorImpl& out = inv.out();
  Dims sizes = out.sizes;
  if (swapped) std::swap(sizes[out.dim() - 1], sizes[out.dim() - 2]);
  const Tensor result = empty(sizes, dtype);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    parallel_for(0, rows.batch * rows.p, rows.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T *a = left.ptr<T>() + i * rows.m, *b = columns.ptr<T>() + i / rows.p * rows.r * rows.m;
        T* sums = result.ptr<T>() + i * rows.r;
        if constexpr (sizeof(T) == 4)
          distance_table().row32(inv.f(2), a, b, sums, rows.r, rows.m);
        else
          distance_table().row64(inv.f(2), a, b, sums, rows.r, rows.m);
      }
    });
  });
  copy_into(inv.outs[0], swapped ? columns_of(*result, dtype) : result);
}

// _cdist_backward(g, x1, x2, distance, p) -> gradient of x1
void cdist_backward_cpu(Invocation& inv) {
  const Rows rows(inv.in(1), inv.in(2));
  const DType dtype = inv.compute;
  const Tensor g = staged(inv.in(0), dtype), x1 = staged(inv.in(1), dtype), x2 = staged(inv.in(2), dtype),
               distance = staged(inv.in(3), dtype);
  const StagedOut out(inv.outs[0], dtype);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    with_norm<T>(inv.f(4), [&](auto norm) {
      parallel_for(0, rows.batch * rows.p, rows.grain(), [&](int64_t begin, int64_t end) {
        const auto part = std::make_unique_for_overwrite<T[]>(size_t(rows.m));
        for (int64_t i = begin; i < end; ++i) {
          const T *a = x1.ptr<T>() + i * rows.m, *b = x2.ptr<T>() + i / rows.p * rows.r * rows.m;
          T* dx = out.ptr<T>() + i * rows.m;
          std::fill_n(dx, rows.m, T(0));
          for (int64_t j0 = 0; j0 < rows.r; j0 += kTerms) {
            std::fill_n(part.get(), rows.m, T(0));
            for (int64_t j = j0; j < std::min(j0 + kTerms, rows.r); ++j, b += rows.m) {
              const T gj = g.ptr<T>()[i * rows.r + j], dj = distance.ptr<T>()[i * rows.r + j];
              for (int64_t k = 0; k < rows.m; ++k) part[size_t(k)] += gj * norm.slope(a[k] - b[k], dj);
            }
            for (int64_t k = 0; k < rows.m; ++k) dx[k] += part[size_t(k)];
          }
        }
      });
    });
  });
  out.commit();
}

}  // namespace

MG_KERNEL("_cdist", CPU, cdist_cpu);
MG_KERNEL("_cdist_backward", CPU, cdist_backward_cpu);

}  // namespace mg::cpu
