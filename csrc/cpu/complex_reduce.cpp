// Reductions and scans of complex tensors.
//
// What is linear over the reals (sum, mean, cumsum) or a sum over both parts (variance) runs the real kernel on the
// parts; truth and norms run it on a real tensor made first; products, logsumexp and their scans have plain loops here,
// over lines of the reduced elements.
#include <cmath>

#include "../core/complex_parts.h"
#include "../core/parallel.h"
#include "../core/reduce_dims.h"
#include "complex_math.h"
#include "staged.h"

namespace mg::cpu {

namespace {

// var(z) = var(re) + var(im): the same sums over a line of pairs, with each part's own mean.
template <bool root>
void spread(Invocation& inv) {
  const auto [re, im] = variances_of_parts(inv);
  dispatch_float(re.dtype(), [&, re = re, im = im](auto tag) {
    using T = decltype(tag);
    T *a = re.ptr<T>(), *b = im.ptr<T>();
    for (int64_t i = 0; i < re.numel(); ++i) a[i] = root ? std::sqrt(a[i] + b[i]) : a[i] + b[i];
  });
  copy_into(inv.outs[0], re);
}

Tensor moduli(const TensorImpl& t, DType dtype) {
  const Tensor x = to_contiguous(t, dtype), out = empty(t.sizes, to_real(dtype));
  dispatch_complex(dtype, [&](auto tag) {
    using C = decltype(tag);
    const C* from = x.ptr<C>();
    auto* to = out.ptr<decltype(C::re)>();
    parallel_for(0, x.numel(), 8192, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = modulus(from[i]);
    });
  });
  return out;
}

void norm(Invocation& inv) { norm_of_magnitudes(inv, moduli(inv.in(0), inv.compute)); }

// The input with the reduced dims last, contiguous: lines of `length` elements, in the order of the output.
struct Lines {
  Tensor data;
  int64_t count = 1, length = 1;

  Lines(const TensorImpl& x, uint64_t mask, DType dtype) {
    Dims sizes, strides;
    for (int pass = 0; pass < 2; ++pass)
      for (int d = 0; d < x.dim(); ++d) {
        if (int(mask >> d & 1) != pass) continue;
        sizes.push_back(x.sizes[d]);
        strides.push_back(x.strides[d]);
        (pass ? length : count) *= x.sizes[d];
      }
    const Tensor view = alias(x, sizes, strides, x.offset);
    data = staged(*view, dtype);
  }

  // f(line, k) for every line.
  template <class C, class F>
  void each(F&& f) const {
    const int64_t grain = std::max<int64_t>(16384 / std::max<int64_t>(length, 1), 1);
    parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) f(data.ptr<C>() + k * length, k);
    });
  }
};

template <class T>
Complex<T> product(const Complex<T>* x, int64_t n) {
  Complex<T> r[4] = {{1, 0}, {1, 0}, {1, 0}, {1, 0}};  // independent, so that multiplications overlap
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int k = 0; k < 4; ++k) r[k] = r[k] * x[i + k];
  for (; i < n; ++i) r[0] = r[0] * x[i];
  return (r[0] * r[1]) * (r[2] * r[3]);
}

// log(sum(exp(z))), shifted by the largest real part so that nothing overflows.
template <class T>
Complex<T> log_sum_exp(const Complex<T>* x, int64_t n) {
  T top = -INFINITY;
  for (int64_t i = 0; i < n; ++i) top = std::max(top, x[i].re);
  if (!std::isfinite(top)) top = 0;
  std::complex<T> sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(wide(x[i]) - top);
  return narrow(std::log(sum) + top);
}

template <class F>
void fold_lines(Invocation& inv, F&& f) {
  const Lines lines(inv.in(0), reduce_mask(inv), inv.compute);
  const StagedOut out(inv.outs[0], inv.compute);
  dispatch_complex(inv.compute, [&](auto tag) {
    using C = decltype(tag);
    lines.each<C>([&](const C* line, int64_t k) { out.ptr<C>()[k] = f(line, lines.length); });
  });
  out.commit();
}

void prod(Invocation& inv) {
  fold_lines(inv, [](const auto* x, int64_t n) { return product(x, n); });
}
void logsumexp(Invocation& inv) {
  fold_lines(inv, [](const auto* x, int64_t n) { return log_sum_exp(x, n); });
}

// cumsum, cumprod, logcumsumexp (input, dim, …): step(running, element) from `start`.
template <class Step>
void scan(Invocation& inv, complex128 start, Step step) {
  const TensorImpl& x = inv.in(0);
  const int d = x.dim() ? int(wrap_dim(inv.i(1), x.dim(), public_name(inv.op))) : 0;
  const Tensor in = staged(x, inv.compute);
  const StagedOut out(inv.outs[0], inv.compute);
  const DimView v(x.sizes, d);
  dispatch_complex(inv.compute, [&](auto tag) {
    using C = decltype(tag);
    parallel_for(0, v.outer * v.inner, std::max<int64_t>(16384 / std::max<int64_t>(v.size, 1), 1), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t at = k / v.inner * v.size * v.inner + k % v.inner;
        C running{decltype(C::re)(start.re), decltype(C::re)(start.im)};
        for (int64_t i = 0; i < v.size; ++i) {
          running = step(running, in.ptr<C>()[at + i * v.inner]);
          out.ptr<C>()[at + i * v.inner] = running;
        }
      }
    });
  });
  out.commit();
}
void cumsum(Invocation& inv) {
  scan(inv, {0, 0}, [](auto a, auto b) { return a + b; });
}
void cumprod(Invocation& inv) {
  scan(inv, {1, 0}, [](auto a, auto b) { return a * b; });
}
void logcumsumexp(Invocation& inv) {
  scan(inv, {-INFINITY, 0}, [](auto a, auto b) { return logaddexp(a, b); });
}

}  // namespace

MG_KERNEL_COMPLEX("sum", CPU, complex_sum);
MG_KERNEL_COMPLEX("mean", CPU, complex_sum);
MG_KERNEL_COMPLEX("_var", CPU, spread<false>);
MG_KERNEL_COMPLEX("_std", CPU, spread<true>);
MG_KERNEL_COMPLEX("any", CPU, complex_truth);
MG_KERNEL_COMPLEX("all", CPU, complex_truth);
MG_KERNEL_COMPLEX("count_nonzero", CPU, complex_truth);
MG_KERNEL_COMPLEX("_nonzero", CPU, complex_truth);
MG_KERNEL_COMPLEX("_vector_norm", CPU, norm);
MG_KERNEL_COMPLEX("prod", CPU, prod);
MG_KERNEL_COMPLEX("logsumexp", CPU, logsumexp);
MG_KERNEL_COMPLEX("cumsum", CPU, cumsum);
MG_KERNEL_COMPLEX("cumprod", CPU, cumprod);
MG_KERNEL_COMPLEX("logcumsumexp", CPU, logcumsumexp);

}  // namespace mg::cpu
