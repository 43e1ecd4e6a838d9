// group_norm and its gradients on (N, C, S): one pass over each group, whose second reading comes from cache. Loops
// over numbers: norm_isa.cpp. A group is D = C / G channels of S elements side by side.
//
// Parameter gradients: every (sample, channel) keeps its two sums, added over the samples in order.
#include <cmath>
#include <vector>

#include "../core/op.h"
#include "../core/parallel.h"
#include "norm_table.h"
#include "staged.h"

namespace mg::cpu {

namespace {

constexpr int64_t kGrain = 16384;

struct Groups {
  int64_t n, c, s = 1, groups, width;  // width: channels of a group
  Groups(const Dims& sizes, int64_t g) : n(sizes[0]), c(sizes[1]), groups(g), width(c / g) {
    for (int d = 2; d < sizes.size(); ++d) s *= sizes[d];
  }
  int64_t length() const { return width * s; }
  // f(group number of n * groups, first channel, offset of its elements)
  template <class F>
  void each(F f) const {
    parallel_for(0, n * groups, std::max<int64_t>(kGrain / std::max<int64_t>(length(), 1), 1),
                 [&](int64_t b, int64_t e) {
                   for (int64_t i = b; i < e; ++i) f(i, i % groups * width, i * length());
                 });
  }
};

Tensor optional(const Invocation& inv, int k, DType dtype) { return inv.has(k) ? staged(inv.in(k), dtype) : Tensor(); }
template <class T>
const T* data_of(const Tensor& t) {
  return t.defined() ? t.ptr<T>() : nullptr;
}

// _group_norm(input, weight?, bias?, groups, eps) -> out, mean, rstd
void group_norm_cpu(Invocation& inv) {
  const Groups v(inv.in(0).sizes, inv.i(3));
  const double eps = inv.f(4);
  const DType dtype = inv.compute;
  const Tensor input = staged(inv.in(0), dtype), weight = optional(inv, 1, dtype), bias = optional(inv, 2, dtype);
  const StagedOut out(inv.outs[0], dtype), means(inv.outs[1], dtype), rstds(inv.outs[2], dtype);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    const NormFns<T>& fns = norm_fns<T>();
    const T *x = input.ptr<T>(), *w = data_of<T>(weight), *b = data_of<T>(bias);
    T *y = out.ptr<T>(), *mean = means.ptr<T>(), *rstd = rstds.ptr<T>();
    v.each([&](int64_t i, int64_t k0, int64_t at) {
      if (v.s == 1)
        return fns.row(y + at, x + at, w ? w + k0 : w, b ? b + k0 : b, v.width, eps, mean + i, rstd + i, false);
      fns.moments(x + at, v.length(), eps, mean + i, rstd + i);
      if (!w && !b) return fns.normalise(y + at, x + at, v.length(), mean[i], rstd[i], T(1), T(0));
      for (int64_t k = 0; k < v.width; ++k)
        fns.normalise(y + at + k * v.s, x + at + k * v.s, v.s, mean[i], rstd[i], w ? w[k0 + k] : T(1),
                      b ? b[k0 + k] : T(0));
    });
  });
  out.commit();
  means.commit();
  rstds.commit();
}

// _group_norm_backward(g, input, mean, rstd, weight?, groups) -> dinput, dweight, dbias. With xhat = (x - mean) rstd
// and h = g w: dx = rstd (h - mean(h) - xhat mean(h xhat)), means over the group.
void group_norm_backward_cpu(Invocation& inv) {
  const Groups v(inv.in(1).sizes, inv.i(5));
  const DType dtype = inv.compute;
  const Tensor gradient = staged(inv.in(0), dtype), input = staged(inv.in(1), dtype), means = staged(inv.in(2), dtype),
               rstds = staged(inv.in(3), dtype), weight = optional(inv, 4, dtype);
  const StagedOut out(inv.outs[0], dtype), dweight(inv.outs[1], dtype), dbias(inv.outs[2], dtype);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    const NormFns<T>& fns = norm_fns<T>();
    const T *g = gradient.ptr<T>(), *x = input.ptr<T>(), *mean = means.ptr<T>(), *rstd = rstds.ptr<T>(),
            *w = data_of<T>(weight);
    T* dx = out.ptr<T>();
    std::vector<double> sums(size_t(2 * v.n * v.c));  // of g, and of g xhat, per (sample, channel)
    double *sg = sums.data(), *sgx = sg + v.n * v.c;
    const double count = double(v.length());
    v.each([&](int64_t i, int64_t k0, int64_t at) {
      const int64_t first = i / v.groups * v.c + k0;
      const double r = double(rstd[i]);
      double a = 0, b = 0;
      for (int64_t k = 0; k < v.width; ++k) {
        fns.dot(g + at + k * v.s, x + at + k * v.s, v.s, mean[i], sg + first + k, sgx + first + k);
        sgx[first + k] *= r;
        const double wk = w ? double(w[k0 + k]) : 1.0;
        a += wk * sg[first + k];
        b += wk * sgx[first + k];
      }
      const T slope = T(-r * r * b / count), shift = T(-r * a / count);
      for (int64_t k = 0; k < v.width; ++k)
        fns.blend_centred(dx + at + k * v.s, g + at + k * v.s, x + at + k * v.s, v.s,
                          T(r * (w ? double(w[k0 + k]) : 1.0)), slope, mean[i], shift);
    });
    for (int64_t k = 0; k < v.c; ++k) {
      double b = 0, a = 0;
      for (int64_t n = 0; n < v.n; ++n) b += sg[n * v.c + k], a += sgx[n * v.c + k];
      dweight.ptr<T>()[k] = T(a);
      dbias.ptr<T>()[k] = T(b);
    }
  });
  out.commit();
  dweight.commit();
  dbias.commit();
}

}  // namespace

MG_KERNEL("_group_norm", CPU, group_norm_cpu);
MG_KERNEL("_group_norm_backward", CPU, group_norm_backward_cpu);

}  // namespace mg::cpu
