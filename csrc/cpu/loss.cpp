// nll_loss, cross_entropy (softmax and loss in one pass over the logits) and mse_loss, with their gradients.
//
// Logits with the class dim in the middle, (N, C, *), are brought to (N, *, C) first, so that every sample is one
// contiguous row. Totals over samples are sums of fixed chunks added in order. A class index out of range raises
// IndexError, as PyTorch does.
#include <cmath>
#include <string_view>
#include <vector>

#include "../core/parallel.h"
#include "cross_entropy.h"

namespace mg::cpu {

namespace {

constexpr int64_t kChunk = 4096;

// A view with the class dim last.
Tensor classes_last(const TensorImpl& x) {
  Dims sizes = x.sizes, strides = x.strides;
  if (x.dim() >= 2) {
    const int64_t size = sizes[1], stride = strides[1];
    sizes.erase(1);
    strides.erase(1);
    sizes.push_back(size);
    strides.push_back(stride);
  }
  return alias(x, sizes, strides, x.offset);
}

struct Samples {
  int64_t count, classes;
  Tensor x, target, weight;
  Samples(const Invocation& inv, int first, int weight_arg, DType dtype) {
    const TensorImpl& in = inv.in(first);
    classes = in.sizes[in.dim() == 1 ? 0 : 1];
    x = staged(*classes_last(in), dtype);
    target = staged(inv.in(first + 1), DType::Int64);
    count = target.numel();
    if (inv.has(weight_arg)) weight = staged(inv.in(weight_arg), dtype);
  }
  int64_t class_of(int64_t i, int64_t ignore, const Op& op) const { return cpu::class_of(target.ptr<int64_t>(), i, classes, ignore, op); }
  template <class T>
  double weight_of(int64_t c) const {
    return weight.defined() ? double(weight.ptr<T>()[c]) : 1.0;
  }
};

// loss(i, class, class weight) of every counting sample, reduced; losses of the others are 0.
template <class T, class Loss>
void reduce_samples(const Invocation& inv, const Samples& s, int64_t ignore, int64_t reduction, const Tensor& out,
                    const Tensor& total_out, int64_t grain, Loss loss) {
  const int64_t chunk = std::min(grain, kChunk), chunks = (s.count + chunk - 1) / std::max<int64_t>(chunk, 1);
  std::vector<double> sums(size_t(chunks), 0.0), weights(size_t(chunks), 0.0);
  const StagedOut result(out, dtype_of<T>()), total(total_out, dtype_of<T>());
  parallel_chunks(chunks, [&](int64_t k) {
    double sum = 0, weight = 0;
    for (int64_t i = k * chunk; i < std::min((k + 1) * chunk, s.count); ++i) {
      const int64_t c = s.class_of(i, ignore, inv.op);
      const double w = c < 0 ? 0 : s.template weight_of<T>(c), value = loss(i, c, w);
      if (reduction == 0) result.ptr<T>()[i] = T(value);
      sum += value;
      weight += w;
    }
    sums[size_t(k)] = sum;
    weights[size_t(k)] = weight;
  });
  double sum = 0, weight = 0;
  for (size_t k = 0; k < sums.size(); ++k) sum += sums[k], weight += weights[k];
  if (reduction != 0) *result.ptr<T>() = T(reduction == 1 ? sum / weight : sum);
  *total.ptr<T>() = T(weight);
  result.commit();
  total.commit();
}

// _nll_loss(input, target, weight?, ignore_index, reduction) -> out, total_weight
void nll_loss_cpu(Invocation& inv) {
  const Samples s(inv, 0, 2, inv.compute);
  dispatch_float(inv.compute, [&](auto tag) {
    using T = decltype(tag);
    const T* x = s.x.ptr<T>();
    reduce_samples<T>(inv, s, inv.i(3), inv.i(4), inv.outs[0], inv.outs[1], kChunk,
                      [&](int64_t i, int64_t c, double w) { return c < 0 ? 0 : -w * double(x[i * s.classes + c]); });
  });
}

// _cross_entropy(input, target, weight?, ignore_index, reduction, label_smoothing) -> out, lse, total_weight
void cross_entropy_cpu(Invocation& inv) {
  const Samples s(inv, 0, 2, inv.compute);
  dispatch_float(inv.compute, [&](auto tag) {
    using T = decltype(tag);
    const CrossEntropyRow<T> of{s.weight.defined() ? s.weight.ptr<T>() : nullptr, s.classes, inv.f(5)};
    const StagedOut lse(inv.outs[1], dtype_of<T>());
    reduce_samples<T>(inv, s, inv.i(3), inv.i(4), inv.outs[0], inv.outs[2], cross_entropy_grain(s.classes), [&](int64_t i, int64_t c, double) {
      const T* row = s.x.ptr<T>() + i * s.classes;
      const double z = of.fns.logsumexp(row, s.classes);
      lse.ptr<T>()[i] = T(z);
      return of.loss(row, c, z);
    });
    lse.commit();
  });
}

// _cross_entropy_backward(g, input, target, weight?, lse, total_weight, ignore_index, reduction, label_smoothing) ->
// dinput
void cross_entropy_backward_cpu(Invocation& inv) {
  const DType dtype = inv.compute;
  const Samples s(inv, 1, 3, dtype);
  const int64_t ignore = inv.i(6), reduction = inv.i(7);
  const Tensor g = staged(inv.in(0), dtype), lse = staged(inv.in(4), dtype), total = staged(inv.in(5), dtype);
  const Tensor target_view = classes_last(inv.out());  // where dx goes, with the class dim last
  const StagedOut out(target_view, dtype);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    const CrossEntropyRow<T> of{s.weight.defined() ? s.weight.ptr<T>() : nullptr, s.classes, inv.f(8)};
    const double common = reduction == 1   ? double(*g.ptr<T>()) / double(*total.ptr<T>())
                          : reduction == 2 ? double(*g.ptr<T>())
                                           : 0;
    parallel_for(0, s.count, cross_entropy_grain(s.classes), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i * s.classes;
        of.gradient(out.ptr<T>() + at, s.x.ptr<T>() + at, s.class_of(i, ignore, inv.op), double(lse.ptr<T>()[i]),
                    reduction == 0 ? double(g.ptr<T>()[i]) : common);
      }
    });
  });
  out.commit();
}

// mse_loss(input, target, reduction)
void mse_loss_cpu(Invocation& inv) {
  Dims shape = inv.in(0).sizes;
  broadcast_into(shape, inv.in(1).sizes);
  const DType dtype = float_compute(inv.compute);
  auto operand = [&](int k) {
    const TensorImpl& t = inv.in(k);
    if (t.sizes == shape) return staged(t, dtype);
    return to_contiguous(*alias(t, shape, broadcast_strides(t.sizes, t.strides, shape), t.offset), dtype);
  };
  const Tensor a = operand(0), b = operand(1);
  const StagedOut out(inv.outs[0], dtype);
  const std::string_view reduction = inv.args[2].str;
  const int64_t n = a.numel(), chunks = (n + kChunk - 1) / kChunk;
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    const T *x = a.ptr<T>(), *t = b.ptr<T>();
    T* y = out.ptr<T>();
    if (reduction == "none") {
      parallel_for(0, n, 32768, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) y[i] = (x[i] - t[i]) * (x[i] - t[i]);
      });
      return;
    }
    auto square_sum = [&](int64_t begin, int64_t end) {
      constexpr int kLanes = 16, kTerms = 32;  // terms that a lane adds up in T
      double sum = 0;
      int64_t i = begin;
      for (; i + kLanes * kTerms <= end; i += kLanes * kTerms) {
        T lanes[kLanes] = {};
        for (int n = 0; n < kLanes * kTerms; n += kLanes)
          for (int k = 0; k < kLanes; ++k) lanes[k] += (x[i + n + k] - t[i + n + k]) * (x[i + n + k] - t[i + n + k]);
        for (T lane : lanes) sum += double(lane);
      }
      for (; i < end; ++i) sum += double((x[i] - t[i]) * (x[i] - t[i]));
      return sum;
    };
    double sum = 0;
    if (chunks <= 1) {
      sum = square_sum(0, n);
    } else {
      std::vector<double> sums(size_t(chunks), 0.0);
      parallel_for(0, chunks, 8, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) sums[size_t(c)] = square_sum(c * kChunk, std::min((c + 1) * kChunk, n));
      });
      for (double s : sums) sum += s;
    }
    *y = T(reduction == "mean" ? sum / double(n) : sum);
  });
  out.commit();
}

// _mse_loss_backward(g, input, target, scale) -> g * scale * (input - target), g 0-d or of the input's shape
void mse_loss_backward_cpu(Invocation& inv) {
  const DType dtype = float_compute(inv.compute);
  const Tensor gradient = staged(inv.in(0), dtype), a = staged(inv.in(1), dtype), b = staged(inv.in(2), dtype);
  const StagedOut out(inv.outs[0], dtype);
  const double scale = inv.f(3);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    const T *g = gradient.ptr<T>(), *x = a.ptr<T>(), *t = b.ptr<T>();
    T* y = out.ptr<T>();
    const bool single = gradient.numel() == 1;
    const T factor = T(scale * (single ? double(*g) : 1.0));
    parallel_for(0, a.numel(), 32768, [&](int64_t begin, int64_t end) {
      if (single)
        for (int64_t i = begin; i < end; ++i) y[i] = factor * (x[i] - t[i]);
      else
        for (int64_t i = begin; i < end; ++i) y[i] = g[i] * factor * (x[i] - t[i]);
    });
  });
  out.commit();
}

}  // namespace

MG_KERNEL("_nll_loss", CPU, nll_loss_cpu);
MG_KERNEL("_cross_entropy", CPU, cross_entropy_cpu);
MG_KERNEL("_cross_entropy_backward", CPU, cross_entropy_backward_cpu);
MG_KERNEL("mse_loss", CPU, mse_loss_cpu);
MG_KERNEL("_mse_loss_backward", CPU, mse_loss_backward_cpu);

}  // namespace mg::cpu
