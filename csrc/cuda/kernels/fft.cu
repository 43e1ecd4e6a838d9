// Fourier transforms along one or several dims: _fft_c2c, _fft_r2c, _fft_c2r (arguments: ../../core/meta_fft.cpp).
//
// Dims are transformed one after the other on contiguous complex data seen as (outer, n, inner), by Stockham's passes: one kernel per factor
// of n, a thread per butterfly, results in natural order, no bit reversal. Lengths with a prime factor above kMostRadix go through a
// convolution of a power of two (Bluestein). Roots of unity come from a table that is exact to a unit in the last place of double.
// Real transforms are complex ones of which one half is dropped or mirrored. Sources: Stockham, AFIPS 1966; Bluestein, IEEE TAU 18, 1970.
#include "../../core/reduce_dims.h"
#include "../kernel.h"

namespace mg::cuda {
namespace {

constexpr int64_t kMostRadix = 31;

template <class C>
MG_DEVICE C times(C a, C b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class C>
MG_DEVICE C conjugate_if(C a, bool yes) {
  return {a.re, yes ? -a.im : a.im};
}

// exp(-2 pi i k / n), 0 <= k < n, the angle brought below an eighth of a turn in integers.
MG_DEVICE complex128 root_of_unity(int64_t k, int64_t n) {
  constexpr double pi = 3.14159265358979323846;
  const int64_t eighth = 8 * k / n;  // n < 2^60
  const int64_t quarter = (eighth + 1) / 2;
  const double angle = 2 * pi * (double(4 * k - quarter * n) / (4 * double(n)));
  const double c = cos(angle), s = sin(angle);
  switch (quarter % 4) {
    case 0: return {c, -s};
    case 1: return {-s, -c};
    case 2: return {-c, s};
    default: return {s, c};
  }
}

template <class C>
__global__ void roots_kernel(C* roots, int64_t n) {
  MG_GRID_LOOP(k, n) roots[k] = convert<C>(root_of_unity(k, n));
}
// exp(-pi i k^2 / n), k < n.
template <class C>
__global__ void chirp_kernel(C* chirp, int64_t n) {
  MG_GRID_LOOP(k, n) chirp[k] = convert<C>(root_of_unity(k * k % (2 * n), 2 * n));
}

// One pass: `p` is the product of the radices done before. R == 0: any radix.
template <class C, int R>
__global__ void pass_kernel(const C* x, C* y, const C* roots, int64_t n, int64_t inner, int64_t p, int64_t radix, bool forward, int64_t count) {
  using T = decltype(C::re);
  const int64_t r = R == 0 ? radix : R, steps = n / r, unit = n / (p * r);
  MG_GRID_LOOP(i, count) {
    const int64_t j = i % inner, q = i / inner, step = q % steps, outer = q / steps, k = step % p;
    const C* from = x + (outer * n + step) * inner + j;
    C* to = y + (outer * n + (step - k) * r + k) * inner + j;
    if constexpr (R == 0) {
      for (int64_t t = 0; t < r; ++t) {
        C sum{};
        for (int64_t s = 0; s < r; ++s) {
          const C w = conjugate_if(roots[s * (k + t * p) % (p * r) * unit], !forward), v = times(from[s * steps * inner], w);
          sum.re += v.re, sum.im += v.im;
        }
        to[t * p * inner] = sum;
      }
    } else {
      T re[R == 0 ? 1 : R], im[R == 0 ? 1 : R];
      for (int s = 0; s < R; ++s) {
        const C v = times(from[s * steps * inner], conjugate_if(roots[s * k * unit], !forward));
        re[s] = v.re, im[s] = v.im;
      }
      for (int t = 0; t < R; ++t) {
        T sum_re = re[0], sum_im = im[0];
        for (int s = 1; s < R; ++s) {
          const C w = conjugate_if(roots[s * t % R * steps], !forward);
          sum_re += re[s] * w.re - im[s] * w.im, sum_im += re[s] * w.im + im[s] * w.re;
        }
        to[t * p * inner] = C{sum_re, sum_im};
      }
    }
  }
}

// Bluestein: x times the chirp, padded to m; the chirp's conjugate as a periodic filter; products; the way back.
template <class C>
__global__ void pad_kernel(const C* x, const C* chirp, C* padded, int64_t n, int64_t m, int64_t inner, bool forward, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const int64_t j = i % inner, q = i / inner, k = q % m, outer = q / m;
    padded[i] = k < n ? times(x[(outer * n + k) * inner + j], conjugate_if(chirp[k], !forward)) : C{};
  }
}
template <class C>
__global__ void filter_kernel(const C* chirp, C* filter, int64_t n, int64_t m, bool forward) {
  MG_GRID_LOOP(k, m) {
    const int64_t at = k < m - k ? k : m - k;
    filter[k] = at < n ? conjugate_if(chirp[at], forward) : C{};
  }
}
template <class C>
__global__ void filter_product_kernel(C* x, const C* filter, int64_t m, int64_t inner, int64_t count) {
  MG_GRID_LOOP(i, count) x[i] = times(x[i], filter[i / inner % m]);
}
template <class C>
__global__ void unpad_kernel(const C* padded, const C* chirp, C* y, int64_t n, int64_t m, int64_t inner, bool forward, int64_t count) {
  using T = decltype(C::re);
  MG_GRID_LOOP(i, count) {
    const int64_t j = i % inner, q = i / inner, k = q % n, outer = q / n;
    const C v = times(padded[(outer * m + k) * inner + j], conjugate_if(chirp[k], !forward));
    y[i] = C{v.re / T(m), v.im / T(m)};
  }
}

// The half spectrum as a whole one: X_(n-k) = conj X_k. The imaginary parts of X_0 and, for even n, X_(n/2) do not count.
template <class C>
__global__ void mirror_kernel(const C* half, C* full, int64_t n, int64_t inner, int64_t count) {
  const int64_t kept = n / 2 + 1;
  MG_GRID_LOOP(i, count) {
    const int64_t j = i % inner, q = i / inner, k = q % n, outer = q / n;
    const bool mirrored = k >= kept;
    C v = conjugate_if(half[(outer * kept + (mirrored ? n - k : k)) * inner + j], mirrored);
    if (k == 0 || 2 * k == n) v.im = 0;
    full[i] = v;
  }
}
// The first `kept` of n elements of each line, scaled, as a real number or a complex one.
template <class C, class D>
__global__ void finish_kernel(const C* x, D* y, int64_t n, int64_t kept, int64_t inner, decltype(C::re) scale, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const int64_t j = i % inner, q = i / inner, k = q % kept, outer = q / kept;
    const C v = x[(outer * n + k) * inner + j];
    y[i] = convert<D>(C{v.re * scale, v.im * scale});
  }
}

template <class C>
struct Transform {
  DType dtype;
  Device device;
  Tensor room(int64_t count) const { return workspace(count, dtype, device); }
  Tensor table(int64_t n) const {
    const Tensor roots = room(n);
    launch_items(roots_kernel<C>, n, roots.ptr<C>(), n);
    return roots;
  }

  static bool small_factors(int64_t n) {
    for (int64_t f = 2; f <= kMostRadix; ++f)
      while (n % f == 0) n /= f;
    return n == 1;
  }

  // x (outer, n, inner) -> its transform, in memory of its own; x may be overwritten.
  Tensor passes(Tensor x, const Tensor& roots, int64_t outer, int64_t n, int64_t inner, bool forward) const {
    Tensor y = room(outer * n * inner);
    int64_t p = 1;
    for (int64_t rest = n; rest > 1;) {
      int64_t r = rest % 4 == 0 ? 4 : 2;
      while (rest % r != 0) ++r;
      rest /= r;
      const int64_t count = outer * (n / r) * inner;
      const auto go = [&](auto kernel) {
        launch_items(kernel, count, static_cast<const C*>(x.ptr<C>()), y.ptr<C>(), static_cast<const C*>(roots.ptr<C>()), n, inner, p, r, forward,
                     count);
      };
      if (r == 2) go(pass_kernel<C, 2>);
      else if (r == 3) go(pass_kernel<C, 3>);
      else if (r == 4) go(pass_kernel<C, 4>);
      else if (r == 5) go(pass_kernel<C, 5>);
      else if (r == 7) go(pass_kernel<C, 7>);
      else go(pass_kernel<C, 0>);
      p *= r;
      std::swap(x, y);
    }
    return x;
  }

  Tensor bluestein(const Tensor& x, int64_t outer, int64_t n, int64_t inner, bool forward) const {
    int64_t m = 1;
    while (m < 2 * n - 1) m *= 2;
    const Tensor chirp = room(n), roots = table(m);
    Tensor filter = room(m), padded = room(outer * m * inner);
    launch_items(chirp_kernel<C>, n, chirp.ptr<C>(), n);
    const C* const w = chirp.ptr<C>();
    launch_items(filter_kernel<C>, m, w, filter.ptr<C>(), n, m, forward);
    launch_items(pad_kernel<C>, outer * m * inner, static_cast<const C*>(x.ptr<C>()), w, padded.ptr<C>(), n, m, inner, forward, outer * m * inner);
    filter = passes(filter, roots, 1, m, 1, true);
    padded = passes(padded, roots, outer, m, inner, true);
    launch_items(filter_product_kernel<C>, outer * m * inner, padded.ptr<C>(), static_cast<const C*>(filter.ptr<C>()), m, inner, outer * m * inner);
    padded = passes(padded, roots, outer, m, inner, false);
    const Tensor y = room(outer * n * inner);
    launch_items(unpad_kernel<C>, outer * n * inner, static_cast<const C*>(padded.ptr<C>()), w, y.ptr<C>(), n, m, inner, forward, outer * n * inner);
    return y;
  }

  // Along `dim` of contiguous memory of `sizes`.
  Tensor along(const Tensor& x, const Dims& sizes, int64_t dim, bool forward) const {
    const DimView v(sizes, dim);
    if (v.size == 1) return x;
    if (!small_factors(v.size)) return bluestein(x, v.outer, v.size, v.inner, forward);
    return passes(x, table(v.size), v.outer, v.size, v.inner, forward);
  }

  template <class D>
  void finish(const Tensor& x, const Dims& sizes, int64_t dim, const Tensor& to, double scale) const {
    const StagedOut out(to, to.dtype());
    const DimView from(sizes, dim), kept(to.sizes(), dim);
    launch_items(finish_kernel<C, D>, to.numel(), static_cast<const C*>(x.ptr<C>()), out.template ptr<D>(), from.size, kept.size, from.inner,
                 decltype(C::re)(scale), to.numel());
    out.commit();
  }
};

// A contiguous complex copy that the passes may overwrite.
Tensor complex_copy(const TensorImpl& t, DType dtype) {
  const Tensor copy = empty(t.sizes, dtype, t.device);
  copy_into(copy, Tensor(const_cast<TensorImpl*>(&t)));
  return copy;
}

template <class F>
void with_transform(const Invocation& inv, DType dtype, F&& f) {
  if (inv.out().numel == 0) return;
  const Device device = inv.out().device;
  if (dtype == DType::Complex128) return f(Transform<complex128>{dtype, device}, complex128{});
  f(Transform<complex64>{dtype, device}, complex64{});
}

// (input, dims, scale, forward)
void c2c_cuda(Invocation& inv) {
  with_transform(inv, inv.out().dtype, [&](const auto& transform, auto tag) {
    using C = decltype(tag);
    const Dims dims = inv.ints(1), &sizes = inv.in(0).sizes;
    Tensor x = complex_copy(inv.in(0), inv.out().dtype);
    for (int i = dims.size() - 1; i >= 0; --i) x = transform.along(x, sizes, dims[i], inv.b(3));
    transform.template finish<C>(x, sizes, dims[0], inv.outs[0], inv.f(2));
  });
}

// (input, dims, scale, onesided): the last of dims is halved when onesided.
void r2c_cuda(Invocation& inv) {
  with_transform(inv, inv.out().dtype, [&](const auto& transform, auto tag) {
    using C = decltype(tag);
    const Dims dims = inv.ints(1), &sizes = inv.in(0).sizes;
    Tensor x = complex_copy(inv.in(0), inv.out().dtype);
    for (int i = dims.size() - 1; i >= 0; --i) x = transform.along(x, sizes, dims[i], true);
    transform.template finish<C>(x, sizes, dims.back(), inv.outs[0], inv.f(2));
  });
}

// (input, dims, scale, last_dim_size)
void c2r_cuda(Invocation& inv) {
  with_transform(inv, inv.in(0).dtype, [&](const auto& transform, auto tag) {
    using C = decltype(tag);
    const Dims dims = inv.ints(1), &sizes = inv.in(0).sizes, &full = inv.out().sizes;
    Tensor x = complex_copy(inv.in(0), inv.in(0).dtype);
    for (int i = 0; i + 1 < dims.size(); ++i) x = transform.along(x, sizes, dims[i], false);
    const Tensor whole = transform.room(inv.out().numel);
    const DimView v(full, dims.back());
    launch_items(mirror_kernel<C>, inv.out().numel, static_cast<const C*>(x.template ptr<C>()), whole.ptr<C>(), v.size, v.inner, inv.out().numel);
    transform.template finish<decltype(C::re)>(transform.along(whole, full, dims.back(), false), full, dims.back(), inv.outs[0], inv.f(2));
  });
}

MG_CUDA_KERNEL("_fft_c2c", c2c_cuda);  // never reached with real dtypes: meta refuses them
MG_CUDA_KERNEL("_fft_r2c", r2c_cuda);
MG_CUDA_KERNEL("_fft_c2r", c2r_cuda);
MG_CUDA_KERNEL_COMPLEX("_fft_c2c", c2c_cuda);
MG_CUDA_KERNEL_COMPLEX("_fft_r2c", r2c_cuda);
MG_CUDA_KERNEL_COMPLEX("_fft_c2r", c2r_cuda);

}  // namespace
}  // namespace mg::cuda
