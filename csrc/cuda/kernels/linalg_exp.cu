// matrix_exp by scaling and squaring: exp(A) = exp(A / 2^s)^(2^s), the inner one Pade's approximant of degree 13, good to half an ulp of double
// up to a 1-norm of 5.37 (N. Higham, SIAM J. Matrix Anal. Appl. 26, 2005). Made of matrix products and one LU solution, all in double; every
// matrix of a batch has its own s. Meta: ../../core/meta_linalg.cpp.
#include "linalg.h"
#include "matmul.h"
#include "warp.h"

namespace mg::cuda {
namespace {

constexpr double kLargestNorm = 5.371920351148152;
constexpr double kPade[] = {64764752532480000., 32382376266240000., 7771770303897600., 1187353796428800., 129060195264000., 10559470521600.,
                            670442572800.,      33522128640.,       1323241920.,       40840800.,         960960.,          16380.,
                            182.,               1.};

struct Largest {
  MG_DEVICE double operator()(double a, double b) const { return fmax(a, b); }
};

// A / 2^s with the least s that brings the 1-norm down; all NaN if A is not finite.
template <class W>
__global__ void scale_down_kernel(W* matrices, int32_t* squarings, int64_t n) {
  W* a = matrices + blockIdx.x * n * n;
  double norm = 0;
  for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += modulus_of(a[i * n + j]);
    norm = fmax(norm, is_finite_number(sum) ? sum : std::numeric_limits<double>::infinity());
  }
  norm = block_reduce(norm, Largest{});
  const bool finite = is_finite_number(norm);
  const int s = finite && norm > kLargestNorm ? int(ceil(log2(norm / kLargestNorm))) : 0;
  const double factor = finite ? scalbn(1.0, -s) : std::numeric_limits<double>::quiet_NaN();
  __syncthreads();
  for (int64_t e = threadIdx.x; e < n * n; e += blockDim.x) a[e] = scaled(factor, a[e]);
  if (threadIdx.x == 0) squarings[blockIdx.x] = s;
}

template <class W>
struct Powers {
  const W *a2, *a4, *a6;
};
struct Coefficients {
  double one, a2, a4, a6;
};
// out (+)= c.one I + c.a2 A^2 + c.a4 A^4 + c.a6 A^6
template <class W>
__global__ void combine_kernel(W* out, Powers<W> p, Coefficients c, bool adds, int64_t n, int64_t count) {
  MG_GRID_LOOP(e, count) {
    const int64_t within = e % (n * n);
    W sum = sum_of(sum_of(scaled(c.a6, p.a6[e]), scaled(c.a4, p.a4[e])), scaled(c.a2, p.a2[e]));
    if (within / n == within % n) sum = sum_of(sum, convert<W>(c.one));
    out[e] = adds ? sum_of(out[e], sum) : sum;
  }
}

// (u, v) -> (v + u, v - u)
template <class W>
__global__ void sum_and_difference_kernel(W* u, W* v, int64_t count) {
  MG_GRID_LOOP(e, count) {
    const W x = u[e], y = v[e];
    u[e] = sum_of(y, x);
    v[e] = sum_of(y, scaled(-1.0, x));
  }
}

// x <- squared, in those matrices that have more than `done` squarings.
template <class W>
__global__ void take_square_kernel(W* x, const W* squared, const int32_t* squarings, int32_t done, int64_t each, int64_t count) {
  MG_GRID_LOOP(e, count) if (squarings[e / each] > done) x[e] = squared[e];
}
__global__ void most_kernel(const int32_t* values, int32_t* most, int64_t count) {
  double largest = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) largest = fmax(largest, double(values[i]));
  largest = block_reduce(largest, Largest{});
  if (threadIdx.x == 0) *most = int32_t(largest);
}

// The numerator and denominator V + U and V - U of the approximant, U odd and V even in a.
template <class W>
std::pair<Tensor, Tensor> pade_parts(const Tensor& a) {
  const int64_t n = a.size(-1), count = a.numel();
  const auto make = [&] { return empty(a.sizes(), a.dtype(), a.device()); };
  const auto times = [&](const Tensor& x, const Tensor& y) {
    const Tensor product = make();
    matrix_product(*x, *y, product);
    return product;
  };
  const Tensor a2 = times(a, a), a4 = times(a2, a2), a6 = times(a4, a2);
  const auto combine = [&](const Tensor& out, Coefficients c, bool adds) {
    const Powers<W> powers{a2.ptr<W>(), a4.ptr<W>(), a6.ptr<W>()};
    launch_items(combine_kernel<W>, count, out.ptr<W>(), powers, c, adds, n, count);
  };
  const double* b = kPade;
  const auto part = [&](int odd) {  // b0 + b2 A^2 + … + b12 A^12 (odd 0), b1 + b3 A^2 + … + b13 A^12 (odd 1)
    const Tensor high = make();
    combine(high, {0, b[8 + odd], b[10 + odd], b[12 + odd]}, false);
    const Tensor sum = times(a6, high);
    combine(sum, {b[odd], b[2 + odd], b[4 + odd], b[6 + odd]}, true);
    return sum;
  };
  const Tensor u = times(a, part(1)), v = part(0);
  launch_items(sum_and_difference_kernel<W>, count, u.ptr<W>(), v.ptr<W>(), count);
  return {u, v};
}

// _matrix_exp(input) -> out
void matrix_exp_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  if (in.numel == 0) return;
  const int64_t n = in.sizes.back();
  const Tensor a = working_copy(in), squarings = empty(batch_dims(in.sizes), DType::Int32, in.device), most = empty({1}, DType::Int32, in.device);
  dispatch_working(in.dtype, [&](auto tag) {
    using W = decltype(tag);
    launch_blocks(scale_down_kernel<W>, squarings.numel(), threads_for_row(n), 0, a.ptr<W>(), squarings.ptr<int32_t>(), n);
    launch_blocks(most_kernel, 1, threads_for_row(squarings.numel()), 0, static_cast<const int32_t*>(squarings.ptr<int32_t>()),
                  most.ptr<int32_t>(), squarings.numel());
    const std::pair<Tensor, Tensor> parts = pade_parts<W>(a);
    const Tensor& x = parts.first;
    const LuFactors f = lu_factors(*parts.second);
    lu_substitute(*f.lu, f.pivots.ptr<int32_t>(), in.sizes, x, true, false);
    const int64_t rounds = read_int(*most);  // waits
    for (int64_t done = 0; done < rounds; ++done) {
      matrix_product(*x, *x, a);
      launch_items(take_square_kernel<W>, x.numel(), x.ptr<W>(), static_cast<const W*>(a.ptr<W>()),
                   static_cast<const int32_t*>(squarings.ptr<int32_t>()), int32_t(done), n * n, x.numel());
    }
    copy_into(inv.outs[0], x);
  });
}

}  // namespace

MG_CUDA_KERNEL("_matrix_exp", matrix_exp_cuda);
MG_CUDA_KERNEL_COMPLEX("_matrix_exp", matrix_exp_cuda);

}  // namespace mg::cuda
