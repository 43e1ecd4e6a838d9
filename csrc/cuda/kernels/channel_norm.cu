// batch_norm and group_norm of (N, C, S) with their gradients. Statistics are one pass over the input (any strides for batch_norm), the
// result a second one that reads it again: 3 n elements forwards, 5 n backwards (g and x for the sums, g, x and dx for the result).
#include "../../core/reduce_dims.h"
#include "moments.h"
#include "norm_sums.h"

namespace mg::cuda {
namespace {

struct Channels {
  int64_t n, c, s = 1;
  explicit Channels(const Dims& sizes) : n(sizes[0]), c(sizes[1]) {
    for (int d = 2; d < sizes.size(); ++d) s *= sizes[d];
  }
  int64_t numel() const { return n * c * s; }
};

// Channels side by side in memory (channels_last, dense): batch_norm then sees (N * S, C, 1) and copies nothing.
bool channels_lie_last(const TensorImpl& t) {
  if (t.dim() < 3 || t.contiguous || t.numel == 0) return false;
  int64_t expected = t.sizes[1];
  for (int d = t.dim() - 1; d >= 0; --d) {
    if (d == 1) continue;
    if (t.strides[d] != expected && t.sizes[d] != 1) return false;
    expected *= t.sizes[d];
  }
  return t.strides[1] == 1 || t.sizes[1] == 1;
}
Tensor as_rows_of_channels(const TensorImpl& t) {
  const Dims sizes{t.numel / t.sizes[1], t.sizes[1]};
  return alias(t, sizes, contiguous_strides(sizes), t.offset);
}

// --- batch norm: statistics per channel -------------------------------------------------------------------------------------------

template <class C>
__global__ void batch_coefficients_kernel(Blend<C>* out, const C* mean, const C* var, const C* w, const C* b, double eps, int64_t channels) {
  MG_GRID_LOOP(k, channels) {
    const double scale = (w != nullptr ? double(w[k]) : 1.0) / sqrt(double(var[k]) + eps);
    out[k] = {C(0), C(scale), b != nullptr ? b[k] : C(0), mean[k]};
  }
}

// Room for `count` coefficient sets.
template <class C>
struct Coefficients {
  Tensor room;
  Blend<C>* data;
  Coefficients(int64_t count, Device device)
      : room(workspace(count * int64_t(sizeof(Blend<C>)), DType::UInt8, device)), data(reinterpret_cast<Blend<C>*>(room.ptr<char>())) {}
};

// _batch_norm(input, weight?, bias?, eps) -> out, mean, var
void batch_norm_cuda(Invocation& inv) {
  const DType wide = inv.compute, dtype = common_float(inv.in(0).dtype, inv.out().dtype, wide);
  const bool last = channels_lie_last(inv.in(0)) && channels_lie_last(inv.out());
  const Tensor x = staged(last ? *as_rows_of_channels(inv.in(0)) : inv.in(0), dtype);
  const Tensor w = optional_staged(inv, 1, wide), b = optional_staged(inv, 2, wide);
  const StagedOut out(last ? as_rows_of_channels(inv.out()) : inv.outs[0], dtype), mean(inv.outs[1], wide), var(inv.outs[2], wide);
  const Channels v(x.sizes());
  const ReducePlan plan(*x, reduce_mask("batch_norm", Value(), x.dim()) & ~uint64_t(2), Dims{v.c});
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    reduce<C, T>(*x, plan, StatisticsRule<C>{{}, mean.template ptr<C>(), var.template ptr<C>(), false, 0});
    const Coefficients<C> k(v.c, x.device());
    launch_items(batch_coefficients_kernel<C>, v.c, k.data, static_cast<const C*>(mean.template ptr<C>()),
                 static_cast<const C*>(var.template ptr<C>()), optional_ptr<C>(w), optional_ptr<C>(b), inv.f(3), v.c);
    blend<T, C>(out.template ptr<T>(), nullptr, x.ptr<T>(), k.data, v.numel(), v.s, v.c);
  });
  out.commit();
  mean.commit();
  var.commit();
}

template <class C>
struct CentredTerms {  // sums of g (x - mean) and of g; the mean is that of line `line / per % period`
  const C* mean;
  int64_t per, period;
  bool by_column;
  __device__ Two operator()(int64_t line, int64_t at, C g, C x) const {
    return {double(g * (x - mean[by_column ? at : line / per % period])), double(g)};
  }
};

// dx = w rstd (g - mean(g) - xhat mean(g xhat))
template <class C>
__global__ void batch_backward_coefficients_kernel(Blend<C>* out, C* dw, C* db, const Two* parts, int64_t count, const C* mean, const C* var,
                                                   const C* w, double eps, double n, int64_t channels) {
  MG_GRID_LOOP(k, channels) {
    Two sum{0, 0};
    for (int64_t p = 0; p < count; ++p) sum = AddTwo{}(sum, parts[p * channels + k]);
    const double rstd = 1 / sqrt(double(var[k]) + eps), scale = rstd * (w != nullptr ? double(w[k]) : 1.0);
    dw[k] = C(sum.a * rstd);
    db[k] = C(sum.b);
    out[k] = {C(scale), C(-scale * rstd * rstd * sum.a / n), C(-scale * sum.b / n), mean[k]};
  }
}

// _batch_norm_backward(g, input, mean, var, weight?, eps) -> dinput, dweight, dbias
void batch_norm_backward_cuda(Invocation& inv) {
  const bool same = inv.in(0).dtype == inv.in(1).dtype;
  const DType wide = inv.compute, dtype = same ? common_float(inv.in(0).dtype, inv.out().dtype, wide) : wide;
  const bool last = channels_lie_last(inv.in(0)) && channels_lie_last(inv.in(1)) && channels_lie_last(inv.out());
  const auto as_it_lies = [&](const TensorImpl& t) { return staged(last ? *as_rows_of_channels(t) : t, dtype); };
  const Tensor g = as_it_lies(inv.in(0)), x = as_it_lies(inv.in(1));
  const Tensor mean = staged(inv.in(2), wide), var = staged(inv.in(3), wide), w = optional_staged(inv, 4, wide);
  const StagedOut dx(last ? as_rows_of_channels(inv.out()) : inv.outs[0], dtype), dw(inv.outs[1], wide), db(inv.outs[2], wide);
  const Channels v(x.sizes());
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const CentredTerms<C> terms{mean.ptr<C>(), 1, v.c, v.s == 1};
    Parts parts = v.s == 1 ? column_sums<T>(g.ptr<T>(), x.ptr<T>(), v.n, v.c, x.device(), terms)
                           : line_sums<T>(g.ptr<T>(), x.ptr<T>(), v.n * v.c, v.s, x.device(), terms);
    if (v.s != 1) parts.count = v.n;
    const Coefficients<C> k(v.c, x.device());
    launch_items(batch_backward_coefficients_kernel<C>, v.c, k.data, dw.template ptr<C>(), db.template ptr<C>(),
                 static_cast<const Two*>(parts.data), v.numel() == 0 ? 0 : parts.count, static_cast<const C*>(mean.ptr<C>()),
                 static_cast<const C*>(var.ptr<C>()), optional_ptr<C>(w), inv.f(5), double(v.n * v.s), v.c);
    blend<T, C>(dx.template ptr<T>(), g.ptr<T>(), x.ptr<T>(), k.data, v.numel(), v.s, v.c);
  });
  dx.commit();
  dw.commit();
  db.commit();
}

// --- group norm: statistics per sample and group of channels -------------------------------------------------------------------------

template <class C>
__global__ void group_coefficients_kernel(Blend<C>* out, const C* mean, const C* rstd, const C* w, const C* b, int64_t lines, int64_t channels,
                                          int64_t width) {
  MG_GRID_LOOP(i, lines) {
    const int64_t k = i % channels, group = i / width;
    out[i] = {C(0), w != nullptr ? rstd[group] * w[k] : rstd[group], b != nullptr ? b[k] : C(0), mean[group]};
  }
}

// _group_norm(input, weight?, bias?, groups, eps) -> out, mean, rstd
void group_norm_cuda(Invocation& inv) {
  const int64_t groups = inv.i(3);
  const DType wide = inv.compute, dtype = common_float(inv.in(0).dtype, inv.out().dtype, wide);
  const Tensor x = staged(inv.in(0), dtype), w = optional_staged(inv, 1, wide), b = optional_staged(inv, 2, wide);
  const StagedOut out(inv.outs[0], dtype), mean(inv.outs[1], wide), rstd(inv.outs[2], wide);
  const Channels v(x.sizes());
  const Dims as_rows{v.n * groups, v.c / groups * v.s};
  const Tensor rows = alias(*x, as_rows, contiguous_strides(as_rows), x->offset);
  const ReducePlan plan(*rows, 2, Dims{as_rows[0]});
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    reduce<C, T>(*rows, plan, StatisticsRule<C>{{}, mean.template ptr<C>(), rstd.template ptr<C>(), true, inv.f(4)});
    const Coefficients<C> k(v.n * v.c, x.device());
    launch_items(group_coefficients_kernel<C>, v.n * v.c, k.data, static_cast<const C*>(mean.template ptr<C>()),
                 static_cast<const C*>(rstd.template ptr<C>()), optional_ptr<C>(w), optional_ptr<C>(b), v.n * v.c, v.c, v.c / groups);
    blend<T, C>(out.template ptr<T>(), nullptr, x.ptr<T>(), k.data, v.numel(), v.s, v.n * v.c);
  });
  out.commit();
  mean.commit();
  rstd.commit();
}

// With xhat = (x - mean) rstd and h = g w: dx = rstd (h - mean(h) - xhat mean(h xhat)), means over the group. A thread per group.
template <class C>
__global__ void group_backward_coefficients_kernel(Blend<C>* out, const Two* sums, const C* mean, const C* rstd, const C* w, int64_t groups,
                                                   int64_t per_sample, int64_t width, double count) {
  MG_GRID_LOOP(i, groups) {
    const int64_t first = i * width, k0 = i % per_sample * width;
    const double r = double(rstd[i]);
    double hat = 0, plain = 0;
    for (int64_t k = 0; k < width; ++k) {
      const double wk = w != nullptr ? double(w[k0 + k]) : 1.0;
      hat += wk * sums[first + k].a * r;
      plain += wk * sums[first + k].b;
    }
    for (int64_t k = 0; k < width; ++k)
      out[first + k] = {C(r * (w != nullptr ? double(w[k0 + k]) : 1.0)), C(-r * r * hat / count), C(-r * plain / count), mean[i]};
  }
}
template <class C>
__global__ void group_parameters_kernel(C* dw, C* db, const Two* sums, const C* rstd, int64_t samples, int64_t channels, int64_t width) {
  MG_GRID_LOOP(k, channels) {
    Two total{0, 0};
    for (int64_t n = 0; n < samples; ++n) {
      const Two s = sums[n * channels + k];
      total = AddTwo{}(total, {s.a * double(rstd[(n * channels + k) / width]), s.b});
    }
    dw[k] = C(total.a);
    db[k] = C(total.b);
  }
}

// _group_norm_backward(g, input, mean, rstd, weight?, groups) -> dinput, dweight, dbias
void group_norm_backward_cuda(Invocation& inv) {
  const int64_t groups = inv.i(5);
  const bool same = inv.in(0).dtype == inv.in(1).dtype;
  const DType wide = inv.compute, dtype = same ? common_float(inv.in(0).dtype, inv.out().dtype, wide) : wide;
  const Tensor g = staged(inv.in(0), dtype), x = staged(inv.in(1), dtype), mean = staged(inv.in(2), wide), rstd = staged(inv.in(3), wide),
               w = optional_staged(inv, 4, wide);
  const StagedOut dx(inv.outs[0], dtype), dw(inv.outs[1], wide), db(inv.outs[2], wide);
  const Channels v(x.sizes());
  const int64_t width = v.c / groups;
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const CentredTerms<C> terms{mean.ptr<C>(), width, v.n * groups, false};
    const Parts sums = line_sums<T>(g.ptr<T>(), x.ptr<T>(), v.n * v.c, v.s, x.device(), terms);
    const Coefficients<C> k(v.n * v.c, x.device());
    if (v.numel() > 0)
      launch_items(group_backward_coefficients_kernel<C>, v.n * groups, k.data, static_cast<const Two*>(sums.data),
                   static_cast<const C*>(mean.ptr<C>()), static_cast<const C*>(rstd.ptr<C>()), optional_ptr<C>(w), v.n * groups, groups, width,
                   double(width * v.s));
    launch_items(group_parameters_kernel<C>, v.c, dw.template ptr<C>(), db.template ptr<C>(), static_cast<const Two*>(sums.data),
                 static_cast<const C*>(rstd.ptr<C>()), v.s == 0 ? 0 : v.n, v.c, width);
    blend<T, C>(dx.template ptr<T>(), g.ptr<T>(), x.ptr<T>(), k.data, v.numel(), v.s, v.n * v.c);
  });
  dx.commit();
  dw.commit();
  db.commit();
}

MG_CUDA_KERNEL("_batch_norm", batch_norm_cuda);
MG_CUDA_KERNEL("_batch_norm_backward", batch_norm_backward_cuda);
MG_CUDA_KERNEL("_group_norm", group_norm_cuda);
MG_CUDA_KERNEL("_group_norm_backward", group_norm_backward_cuda);

}  // namespace
}  // namespace mg::cuda
