// Distances between the rows of two matrices in the p-norm, their gradient, and the best row of each bag of an
// embedding_bag. Meta: ../core/meta_distance.cpp.
#include <cmath>

#include "../core/op.h"
#include "../core/parallel.h"
#include "staged.h"

namespace mg::cpu {

namespace {

// The norms, as f(norm) with: add(sum, |difference|), finish(sum), and slope(difference, distance): the derivative of
// the distance by the difference. A distance of 0 has slope 0 (PyTorch's choice).
template <class T>
struct Norm0 {
  static T add(T sum, T d) { return sum + T(d != 0); }
  static T finish(T sum) { return sum; }
  static T slope(T, T) { return 0; }
};
template <class T>
struct Norm1 {
  static T add(T sum, T d) { return sum + d; }
  static T finish(T sum) { return sum; }
  static T slope(T d, T) { return T(d > 0) - T(d < 0); }
};
template <class T>
struct Norm2 {
  static T add(T sum, T d) { return sum + d * d; }
  static T finish(T sum) { return std::sqrt(sum); }
  static T slope(T d, T distance) { return distance == 0 ? T(0) : d / distance; }
};
template <class T>
struct NormMax {
  static T add(T sum, T d) { return d > sum || d != d ? d : sum; }
  static T finish(T sum) { return sum; }
  static T slope(T d, T distance) { return std::abs(d) == distance ? T(d > 0) - T(d < 0) : T(0); }
};
template <class T>
struct NormP {
  T p;
  T add(T sum, T d) const { return sum + std::pow(d, p); }
  T finish(T sum) const { return std::pow(sum, 1 / p); }
  T slope(T d, T distance) const {
    if (distance == 0 || (d == 0 && p < 1)) return 0;
    const T s = std::pow(std::abs(d) / distance, p - 1);
    return d > 0 ? s : d < 0 ? -s : T(0);
  }
};

template <class T, class F>
void with_norm(double p, F&& f) {
  if (p == 0) return f(Norm0<T>{});
  if (p == 1) return f(Norm1<T>{});
  if (p == 2) return f(Norm2<T>{});
  if (std::isinf(p)) return f(NormMax<T>{});
  f(NormP<T>{T(p)});
}

constexpr int64_t kBlock = 1024;

struct Rows {
  int64_t batch = 1, p, r, m;
  Rows(const TensorImpl& a, const TensorImpl& b) {
    const int n = a.dim();
    for (int d = 0; d < n - 2; ++d) batch *= a.sizes[d];
    p = a.sizes[n - 2], r = b.sizes[n - 2], m = a.sizes[n - 1];
  }
  int64_t grain() const { return std::max<int64_t>(32768 / std::max<int64_t>(r * m, 1), 1); }
};

// _cdist(x1, x2, p): (…, P, M), (…, R, M) -> (…, P, R)
void cdist_cpu(Invocation& inv) {
  const Rows rows(inv.in(0), inv.in(1));
  const DType dtype = inv.compute;
  const Tensor x1 = staged(inv.in(0), dtype);
  // x2 with its last two dims exchanged, so that the inner loop runs over neighbouring sums.
  const TensorImpl& x2 = inv.in(1);
  Dims sizes = x2.sizes, strides = x2.strides;
  std::swap(sizes[x2.dim() - 1], sizes[x2.dim() - 2]);
  std::swap(strides[x2.dim() - 1], strides[x2.dim() - 2]);
  const Tensor columns = staged(*alias(x2, sizes, strides, x2.offset), dtype);
  const StagedOut out(inv.outs[0], dtype);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    with_norm<T>(inv.f(2), [&](auto norm) {
      parallel_for(0, rows.batch * rows.p, rows.grain(), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const T *a = x1.ptr<T>() + i * rows.m, *b = columns.ptr<T>() + i / rows.p * rows.r * rows.m;
          T* sums = out.ptr<T>() + i * rows.r;
          std::fill_n(sums, rows.r, T(0));
          for (int64_t j0 = 0; j0 < rows.r; j0 += kBlock) {  // the sums of one block stay in L1
            const int64_t j1 = std::min(j0 + kBlock, rows.r);
            for (int64_t k = 0; k < rows.m; ++k) {
              const T ak = a[k], *bk = b + k * rows.r;
              for (int64_t j = j0; j < j1; ++j) sums[j] = norm.add(sums[j], std::abs(ak - bk[j]));
            }
            for (int64_t j = j0; j < j1; ++j) sums[j] = norm.finish(sums[j]);
          }
        }
      });
    });
  });
  out.commit();
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
        for (int64_t i = begin; i < end; ++i) {
          const T *a = x1.ptr<T>() + i * rows.m, *b = x2.ptr<T>() + i / rows.p * rows.r * rows.m;
          T* dx = out.ptr<T>() + i * rows.m;
          std::fill_n(dx, rows.m, T(0));
          for (int64_t j = 0; j < rows.r; ++j, b += rows.m) {
            const T gj = g.ptr<T>()[i * rows.r + j], dj = distance.ptr<T>()[i * rows.r + j];
            for (int64_t k = 0; k < rows.m; ++k) dx[k] += gj * norm.slope(a[k] - b[k], dj);
          }
        }
      });
    });
  });
  out.commit();
}

// _bag_argmax(weight, indices, starts, padding_idx): for every bag and column the row of weight that is largest among
// indices[starts[b], starts[b + 1]), -1 for an empty bag.
void bag_argmax_cpu(Invocation& inv) {
  const Tensor weight = staged(inv.in(0), float_compute(inv.in(0).dtype)), indices = staged(inv.in(1), DType::Int64),
               starts = staged(inv.in(2), DType::Int64);
  const int64_t padding = inv.i(3), rows = weight.size(0), width = weight.size(1), count = indices.numel();
  const StagedOut out(inv.outs[0], DType::Int64);
  dispatch_float(weight.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const T* w = weight.ptr<T>();
    parallel_for(0, inv.out().sizes[0], 64, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        int64_t* best = out.ptr<int64_t>() + b * width;
        std::fill_n(best, width, int64_t(-1));
        const int64_t first = starts.ptr<int64_t>()[b], last = starts.ptr<int64_t>()[b + 1];
        MG_CHECK(first >= 0 && last <= count, Runtime, "embedding_bag: offsets must lie in the input: got ", first,
                 " and ", last, " for ", count, " indices.");
        for (int64_t i = first; i < last; ++i) {
          const int64_t row = indices.ptr<int64_t>()[i];
          if (row == padding) continue;
          MG_CHECK(row >= 0 && row < rows, Index, "embedding_bag: index out of range: got ", row, " for ", rows,
                   " rows.");
          for (int64_t d = 0; d < width; ++d)
            if (best[d] < 0 || w[row * width + d] > w[best[d] * width + d]) best[d] = row;
        }
      }
    });
  });
  out.commit();
}

}  // namespace

MG_KERNEL("_cdist", CPU, cdist_cpu);
MG_KERNEL("_cdist_backward", CPU, cdist_backward_cpu);
MG_KERNEL("_bag_argmax", CPU, bag_argmax_cpu);

}  // namespace mg::cpu
