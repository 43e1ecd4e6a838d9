// Distances between the rows of two matrices in the p-norm, and their gradient. Blocks of 16 x 16 results share tiles of both matrices in
// shared memory: each element is read rows / 16 times.
#include "groups.h"

namespace mg::cuda {
namespace {

// A distance of 0 has slope 0 (PyTorch's choice).
template <class T>
struct Norm0 {
  MG_DEVICE T add(T sum, T d) const { return sum + T(d != 0); }
  MG_DEVICE T finish(T sum) const { return sum; }
  MG_DEVICE T slope(T, T) const { return 0; }
};
template <class T>
struct Norm1 {
  MG_DEVICE T add(T sum, T d) const { return sum + d; }
  MG_DEVICE T finish(T sum) const { return sum; }
  MG_DEVICE T slope(T d, T) const { return T(d > 0) - T(d < 0); }
};
template <class T>
struct Norm2 {
  MG_DEVICE T add(T sum, T d) const { return sum + d * d; }
  MG_DEVICE T finish(T sum) const { return sqrt(sum); }
  MG_DEVICE T slope(T d, T distance) const { return distance == 0 ? T(0) : d / distance; }
};
template <class T>
struct NormMax {
  MG_DEVICE T add(T sum, T d) const { return d > sum || d != d ? d : sum; }
  MG_DEVICE T finish(T sum) const { return sum; }
  MG_DEVICE T slope(T d, T distance) const { return fabs(d) == distance ? T(d > 0) - T(d < 0) : T(0); }
};
template <class T>
struct NormP {
  T p;
  MG_DEVICE T add(T sum, T d) const { return sum + pow(d, p); }
  MG_DEVICE T finish(T sum) const { return pow(sum, 1 / p); }
  MG_DEVICE T slope(T d, T distance) const {
    if (distance == 0 || (d == 0 && p < 1)) return 0;
    const T s = pow(T(fabs(d)) / distance, p - 1);
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

struct Rows {
  int64_t batch = 1, p, r, m;
  Rows(const TensorImpl& a, const TensorImpl& b) {
    const int n = a.dim();
    for (int d = 0; d < n - 2; ++d) batch *= a.sizes[d];
    p = a.sizes[n - 2], r = b.sizes[n - 2], m = a.sizes[n - 1];
  }
};

constexpr int kSide = 16;

// Grid: x tiles of R, y tiles of P, z batch (looped).
template <class T, class Norm>
__global__ void cdist_kernel(T* out, const T* x1, const T* x2, Rows n, Norm norm) {
  MG_SHARED(T, left, [kSide][kSide + 1]);
  MG_SHARED(T, right, [kSide][kSide + 1]);
  const int tx = int(threadIdx.x), ty = int(threadIdx.y);
  const int64_t j = int64_t(blockIdx.x) * kSide + tx, i0 = int64_t(blockIdx.y) * kSide, i = i0 + ty, j0 = int64_t(blockIdx.x) * kSide;
  for (int64_t b = blockIdx.z; b < n.batch; b += gridDim.z) {
    const T *a = x1 + b * n.p * n.m, *c = x2 + b * n.r * n.m;
    T sum = 0;
    for (int64_t k0 = 0; k0 < n.m; k0 += kSide) {
      __syncthreads();
      left[ty][tx] = i < n.p && k0 + tx < n.m ? a[i * n.m + k0 + tx] : T(0);
      right[ty][tx] = j0 + ty < n.r && k0 + tx < n.m ? c[(j0 + ty) * n.m + k0 + tx] : T(0);
      __syncthreads();
      const int count = n.m - k0 < kSide ? int(n.m - k0) : kSide;
      for (int k = 0; k < count; ++k) sum = norm.add(sum, T(fabs(left[ty][k] - right[tx][k])));
    }
    if (i < n.p && j < n.r) out[(b * n.p + i) * n.r + j] = norm.finish(sum);
  }
}

// _cdist(x1, x2, p): (…, P, M), (…, R, M) -> (…, P, R)
void cdist_cuda(Invocation& inv) {
  const Rows n(inv.in(0), inv.in(1));
  const Tensor a = staged(inv.in(0), inv.compute), b = staged(inv.in(1), inv.compute);
  const StagedOut out(inv.outs[0], inv.compute);
  const dim3 grid(unsigned((n.r + kSide - 1) / kSide), unsigned((n.p + kSide - 1) / kSide), unsigned(std::min<int64_t>(n.batch, 65535)));
  auto go = [&]<class T>(T) {
    with_norm<T>(inv.f(2), [&](auto norm) {
      launch(cdist_kernel<T, decltype(norm)>, grid, dim3(kSide, kSide), 0, current_stream(), out.template ptr<T>(),
             static_cast<const T*>(a.ptr<T>()), static_cast<const T*>(b.ptr<T>()), n, norm);
    });
  };
  MG_CHECK(n.p <= 65535 * kSide, Runtime, "cdist: too many rows for the cuda kernel: got ", n.p, ", expected at most ", 65535 * kSide,
           ". Try it in parts.");
  if (inv.out().numel > 0) inv.compute == DType::Float64 ? go(double{}) : go(float{});
  out.commit();
}

// A thread per element of x1: neighbours read neighbouring elements of the rows of x2.
template <class T, class Norm>
__global__ void cdist_backward_kernel(T* out, const T* g, const T* x1, const T* x2, const T* distance, Rows n, Norm norm) {
  MG_GRID_LOOP(e, n.batch * n.p * n.m) {
    const int64_t i = e / n.m, k = e - i * n.m;
    const T a = x1[e];
    const T* b = x2 + i / n.p * n.r * n.m + k;
    T sum = 0;
    for (int64_t j = 0; j < n.r; ++j) sum += g[i * n.r + j] * norm.slope(a - b[j * n.m], distance[i * n.r + j]);
    out[e] = sum;
  }
}

// _cdist_backward(g, x1, x2, distance, p) -> gradient of x1
void cdist_backward_cuda(Invocation& inv) {
  const Rows n(inv.in(1), inv.in(2));
  const DType dtype = inv.compute;
  const Tensor g = staged(inv.in(0), dtype), x1 = staged(inv.in(1), dtype), x2 = staged(inv.in(2), dtype), distance = staged(inv.in(3), dtype);
  const StagedOut out(inv.outs[0], dtype);
  auto go = [&]<class T>(T) {
    with_norm<T>(inv.f(4), [&](auto norm) {
      launch_items(cdist_backward_kernel<T, decltype(norm)>, n.batch * n.p * n.m, out.template ptr<T>(), static_cast<const T*>(g.ptr<T>()),
                   static_cast<const T*>(x1.ptr<T>()), static_cast<const T*>(x2.ptr<T>()), static_cast<const T*>(distance.ptr<T>()), n, norm);
    });
  };
  dtype == DType::Float64 ? go(double{}) : go(float{});
  out.commit();
}

MG_CUDA_KERNEL("_cdist", cdist_cuda);
MG_CUDA_KERNEL("_cdist_backward", cdist_backward_cuda);

}  // namespace
}  // namespace mg::cuda
