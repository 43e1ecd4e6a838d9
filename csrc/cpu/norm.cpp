// layer_norm, rms_norm and batch_norm with their gradients, on contiguous (staged) operands. Loops over numbers:
// norm_isa.cpp.
//
// Parameter gradients sum over rows (or the batch): each fixed chunk of rows has its own partial sums, added in order
// afterwards.
#include <cmath>
#include <vector>

#include "../core/memory_format.h"
#include "../core/parallel.h"
#include "../core/reduce_dims.h"
#include "isa.h"
#include "norm_table.h"
#include "reduce.h"
#include "staged.h"

namespace mg::cpu {

namespace avx512 { extern const NormTable norm_table; }
namespace avx2 { extern const NormTable norm_table; }
namespace portable { extern const NormTable norm_table; }

static const NormTable& norm_table() {
  static const NormTable& table = MG_PICK(norm_table);
  return table;
}
template <>
const NormFns<float>& norm_fns<float>() {
  return norm_table().f32;
}
template <>
const NormFns<double>& norm_fns<double>() {
  return norm_table().f64;
}

namespace {

constexpr int64_t kGrain = 16384;

Tensor optional(const Invocation& inv, int k, DType dtype) { return inv.has(k) ? staged(inv.in(k), dtype) : Tensor(); }
template <class T>
T* data_of(const Tensor& t) {
  return t.defined() ? t.ptr<T>() : nullptr;
}

// Rows and row length of an input normalised over its last n dims.
struct Rows {
  int64_t count = 1, length = 1;
  Rows(const Dims& sizes, int n) {
    for (int d = 0; d < sizes.size(); ++d) (d < sizes.size() - n ? count : length) *= sizes[d];
  }
};

void row_norm(Invocation& inv, bool rms) {
  const int shape_arg = rms ? 2 : 3;
  const Rows rows(inv.in(0).sizes, inv.args[shape_arg].len);
  const double eps = inv.f(shape_arg + 1);
  const DType dtype = inv.compute;
  const Tensor x = staged(inv.in(0), dtype), w = optional(inv, 1, dtype), b = rms ? Tensor() : optional(inv, 2, dtype);
  const StagedOut out(inv.outs[0], dtype), rstd(inv.outs[rms ? 1 : 2], dtype), mean(inv.outs[1], dtype);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    const NormFns<T>& fns = norm_fns<T>();
    parallel_for(0, rows.count, std::max<int64_t>(kGrain / std::max<int64_t>(rows.length, 1), 1),
                 [&](int64_t begin, int64_t end) {
                   const int64_t n = rows.length;
                   for (int64_t r = begin; r < end; ++r) {
                     T m;
                     fns.row(out.ptr<T>() + r * n, x.ptr<T>() + r * n, data_of<T>(w), data_of<T>(b), n, eps, &m,
                             rstd.ptr<T>() + r, rms);
                     if (!rms) mean.ptr<T>()[r] = m;
                   }
                 });
  });
  out.commit();
  rstd.commit();
  if (!rms) mean.commit();
}

// out = sum of `parts` vectors of n, in order.
template <class T>
void add_partials(T* out, const T* parts, int64_t count, int64_t n) {
  parallel_for(0, n, 4096, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      double sum = 0;
      for (int64_t p = 0; p < count; ++p) sum += double(parts[p * n + i]);
      out[i] = T(sum);
    }
  });
}

// (g, input, [mean], rstd, weight?, ndim) -> dinput, dweight, [dbias]
void row_norm_backward(Invocation& inv, bool rms) {
  const int rstd_arg = rms ? 2 : 3;
  const DType dtype = inv.compute;
  const Rows rows(inv.in(1).sizes, int(inv.i(rstd_arg + 2)));
  const Tensor g = staged(inv.in(0), dtype), x = staged(inv.in(1), dtype), rstd = staged(inv.in(rstd_arg), dtype);
  const Tensor mean = rms ? Tensor() : staged(inv.in(2), dtype), w = optional(inv, rstd_arg + 1, dtype);
  const StagedOut dx(inv.outs[0], dtype), dw(inv.outs[1], dtype), db(inv.outs[rms ? 1 : 2], dtype);
  // At most 64 chunks, so that the partial sums stay small beside the input.
  const int64_t n = rows.length, by_work = rows.count * n / (2 * kGrain) + 1;
  const int64_t chunks = std::max<int64_t>(std::min({by_work, rows.count, int64_t(64)}), 1),
                chunk = (rows.count + chunks - 1) / chunks;
  const int64_t sides = rms ? 1 : 2;
  const Tensor partials = empty({sides, chunks, n}, dtype);
  fill_zero(partials);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    const NormFns<T>& fns = norm_fns<T>();
    T *pw = partials.ptr<T>(), *pb = pw + chunks * n;
    parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin * chunk; r < std::min(end * chunk, rows.count); ++r) {
        const int64_t c = r / chunk * n;
        fns.backward_row(dx.ptr<T>() + r * n, g.ptr<T>() + r * n, x.ptr<T>() + r * n, data_of<T>(w), n,
                         rms ? T(0) : mean.ptr<T>()[r], rstd.ptr<T>()[r], pw + c, rms ? nullptr : pb + c, rms);
      }
    });
    add_partials(dw.ptr<T>(), pw, chunks, n);
    if (!rms) add_partials(db.ptr<T>(), pb, chunks, n);
  });
  dx.commit();
  dw.commit();
  if (!rms) db.commit();
}

// --- batch norm: (N, C, S), statistics per channel
// ----------------------------------------------------------------------------
// An input in channels_last is (N * S, C, 1), and so are the operands and results that go with it.
struct Channels {
  bool last;
  int64_t n, c, s = 1;
  explicit Channels(const TensorImpl& x) : last(is_channels_last(x)), n(x.sizes[0]), c(x.sizes[1]) {
    for (int d = 2; d < x.dim(); ++d) (last ? n : s) *= x.sizes[d];
  }
  Dims strides(const Dims& sizes) const { return last ? channels_last_strides(sizes) : contiguous_strides(sizes); }
  Tensor in(const TensorImpl& t, DType dtype) const {
    if (!last) return staged(t, dtype);
    const Tensor given(const_cast<TensorImpl*>(&t));
    if (t.dtype == dtype && t.strides == strides(t.sizes)) return given;
    const Tensor copy = empty_strided(t.sizes, strides(t.sizes), dtype);
    copy_into(copy, given);
    return copy;
  }
};

// A result in that layout: write to ptr<T>(), then commit().
class ChannelsOut {
 public:
  ChannelsOut(const Channels& v, const Tensor& out, DType dtype) : out_(out), work_(out) {
    const Dims strides = v.strides(out.sizes());
    const bool fits = v.last ? out->strides == strides : out->contiguous;
    if (!fits || out.dtype() != dtype) work_ = empty_strided(out.sizes(), strides, dtype);
  }
  template <class T>
  T* ptr() const {
    return work_.ptr<T>();
  }
  void commit() const {
    if (!work_.is(out_)) copy_into(out_, work_);
  }

 private:
  Tensor out_, work_;
};

// rows(offset, channel) for every (sample, channel), or with S == 1 samples(offset, number of samples of C values).
template <class Row, class Samples>
void for_channels(const Channels& v, Row row, Samples samples) {
  if (v.s == 1) {
    parallel_for(0, v.n, std::max<int64_t>(kGrain / std::max<int64_t>(v.c, 1), 1),
                 [&](int64_t b, int64_t e) { samples(b * v.c, e - b); });
    return;
  }
  parallel_for(0, v.n * v.c, std::max<int64_t>(kGrain / std::max<int64_t>(v.s, 1), 1), [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) row(i * v.s, i % v.c);
  });
}

// Mean and biased variance of every channel, through the reduction driver.
template <class T>
void channel_statistics(const Channels& v, const Tensor& given, T* mean, T* var) {
  const Tensor x = v.last ? alias(*given, Dims{v.n, v.c}, Dims{v.c, 1}, given->offset) : given;
  const Tensor out = empty({x.size(1)}, dtype_of<T>());
  const uint64_t mask = reduce_mask("batch_norm", Value(), x.dim()) & ~uint64_t(2);
  const ReducePlan plan(*x, mask, *out);  // one kept dim: result number k is channel k
  const double n = double(plan.length);
  reduce<T>(plan, *x, *out, 0, [&](int64_t k0, int64_t count, auto&& fold, double* acc) {
    fold(Fold::Sum, nullptr, acc);
    for (int64_t i = 0; i < count; ++i) mean[k0 + i] = T(acc[i] / n);
    fold(Fold::SquareDiff, mean + k0, acc);
    for (int64_t i = 0; i < count; ++i) acc[i] /= n;
  });
  std::copy(out.ptr<T>(), out.ptr<T>() + x.size(1), var);
}

// _batch_norm(input, weight?, bias?, eps) -> out, mean, var
void batch_norm_cpu(Invocation& inv) {
  const DType dtype = inv.compute;
  const Channels v(inv.in(0));
  const Tensor x = v.in(inv.in(0), dtype), w = optional(inv, 1, dtype), b = optional(inv, 2, dtype);
  const ChannelsOut out(v, inv.outs[0], dtype);
  const StagedOut mean(inv.outs[1], dtype), var(inv.outs[2], dtype);
  const double eps = inv.f(3);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    const NormFns<T>& fns = norm_fns<T>();
    channel_statistics<T>(v, x, mean.ptr<T>(), var.ptr<T>());
    std::vector<T> a(size_t(v.c)), c(size_t(v.c));
    for (int64_t k = 0; k < v.c; ++k) {
      const double scale = (w.defined() ? double(w.ptr<T>()[k]) : 1.0) / std::sqrt(double(var.ptr<T>()[k]) + eps);
      a[size_t(k)] = T(scale);
      c[size_t(k)] = T((b.defined() ? double(b.ptr<T>()[k]) : 0.0) - double(mean.ptr<T>()[k]) * scale);
    }
    for_channels(
        v,
        [&](int64_t at, int64_t k) { fns.affine(out.ptr<T>() + at, x.ptr<T>() + at, v.s, a[size_t(k)], c[size_t(k)]); },
        [&](int64_t at, int64_t rows) {
          fns.affine_columns(out.ptr<T>() + at, x.ptr<T>() + at, rows, v.c, a.data(), c.data());
        });
  });
  out.commit();
  mean.commit();
  var.commit();
}

// Per channel: sum of g and of g (x - mean). Threads share channels, or where these lie together chunks of samples,
// whose sums are added in order.
template <class T>
void channel_dots(const Channels& v, const T* g, const T* x, const T* mean, double* sg, double* sgx) {
  const NormFns<T>& fns = norm_fns<T>();
  if (v.s == 1) {
    const int64_t chunks = std::clamp<int64_t>(v.n * v.c / (4 * kGrain), 1, 64), chunk = (v.n + chunks - 1) / chunks;
    std::vector<double> parts(size_t(2 * chunks * v.c));
    parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        double* sums = parts.data() + 2 * i * v.c;
        const int64_t at = i * chunk, rows = std::min(chunk, v.n - at);
        for (int64_t k = 0; rows > 0 && k < v.c; k += kDotColumns)
          fns.dot_columns(g + at * v.c + k, x + at * v.c + k, rows, v.c, std::min(kDotColumns, v.c - k), mean + k,
                          sums + k, sums + v.c + k);
      }
    });
    for (int64_t i = 0; i < chunks; ++i)
      for (int64_t k = 0; k < v.c; ++k) {
        sg[k] += parts[size_t(2 * i * v.c + k)];
        sgx[k] += parts[size_t((2 * i + 1) * v.c + k)];
      }
    return;
  }
  parallel_for(0, v.c, std::max<int64_t>(kGrain / std::max<int64_t>(v.n * v.s, 1), 1), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k)
      for (int64_t i = 0; i < v.n; ++i) {
        double a, b;
        const int64_t at = (i * v.c + k) * v.s;
        fns.dot(g + at, x + at, v.s, mean[k], &a, &b);
        sg[k] += a;
        sgx[k] += b;
      }
  });
}

// _batch_norm_backward(g, input, mean, var, weight?, eps) -> dinput, dweight, dbias;  dx = w rstd (g - mean(g) - xhat
// mean(g xhat))
void batch_norm_backward_cpu(Invocation& inv) {
  const DType dtype = inv.compute;
  const Channels v(inv.in(1));
  const Tensor g = v.in(inv.in(0), dtype), x = v.in(inv.in(1), dtype), mean = staged(inv.in(2), dtype),
               var = staged(inv.in(3), dtype);
  const Tensor w = optional(inv, 4, dtype);
  const ChannelsOut dx(v, inv.outs[0], dtype);
  const StagedOut dw(inv.outs[1], dtype), db(inv.outs[2], dtype);
  const double eps = inv.f(5), n = double(v.n * v.s);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    const NormFns<T>& fns = norm_fns<T>();
    std::vector<double> sg(size_t(v.c)), sgx(size_t(v.c));
    channel_dots(v, g.ptr<T>(), x.ptr<T>(), mean.ptr<T>(), sg.data(), sgx.data());
    std::vector<T> a(size_t(v.c)), b(size_t(v.c)), c(size_t(v.c));
    for (size_t k = 0; k < size_t(v.c); ++k) {
      const double m = double(mean.ptr<T>()[k]), rstd = 1 / std::sqrt(double(var.ptr<T>()[k]) + eps);
      const double scale = rstd * (w.defined() ? double(w.ptr<T>()[k]) : 1.0), slope = scale * rstd * rstd * sgx[k] / n;
      dw.ptr<T>()[k] = T(sgx[k] * rstd);
      db.ptr<T>()[k] = T(sg[k]);
      a[k] = T(scale);
      b[k] = T(-slope);
      c[k] = T(slope * m - scale * sg[k] / n);
    }
    for_channels(
        v,
        [&](int64_t at, int64_t k) {
          const size_t i = size_t(k);
          fns.blend(dx.ptr<T>() + at, g.ptr<T>() + at, x.ptr<T>() + at, v.s, a[i], b[i], c[i]);
        },
        [&](int64_t at, int64_t rows) {
          fns.blend_columns(dx.ptr<T>() + at, g.ptr<T>() + at, x.ptr<T>() + at, rows, v.c, a.data(), b.data(), c.data());
        });
  });
  dx.commit();
  dw.commit();
  db.commit();
}

void layer_norm_cpu(Invocation& inv) { row_norm(inv, false); }
void rms_norm_cpu(Invocation& inv) { row_norm(inv, true); }
void layer_norm_backward_cpu(Invocation& inv) { row_norm_backward(inv, false); }
void rms_norm_backward_cpu(Invocation& inv) { row_norm_backward(inv, true); }

}  // namespace

MG_KERNEL("_layer_norm", CPU, layer_norm_cpu);
MG_KERNEL("_rms_norm", CPU, rms_norm_cpu);
MG_KERNEL("_layer_norm_backward", CPU, layer_norm_backward_cpu);
MG_KERNEL("_rms_norm_backward", CPU, rms_norm_backward_cpu);
MG_KERNEL("_batch_norm", CPU, batch_norm_cpu);
MG_KERNEL("_batch_norm_backward", CPU, batch_norm_backward_cpu);

}  // namespace mg::cpu
