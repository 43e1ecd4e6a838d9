// nll_loss, cross_entropy (softmax and loss in one pass over the logits) and mse_loss, with their gradients. Bytes: cross_entropy reads
// the logits once and writes a number per sample; its gradient reads and writes them once; mse_loss reads both operands once.
//
// Totals over samples are sums of fixed pieces, added in order, in double. A class index out of range is noted (faults.h), reads nothing,
// and makes the loss and the sample's gradient NaN.
#include <string_view>

#include "../../core/reduce_dims.h"
#include "faults.h"
#include "norm_sums.h"
#include "reduce.h"

namespace mg::cuda {
namespace {

constexpr int64_t kOutOfRange = -2, kIgnored = -1;
struct Targets {
  const int64_t* target;
  int64_t ignore, classes;
  FaultNote fault;
  __device__ int64_t class_of(int64_t i) const {
    const int64_t t = target[i];
    if (t == ignore) return kIgnored;
    if (t >= 0 && t < classes) return t;
    note_fault(fault, kIndexFault, t, classes);
    return kOutOfRange;
  }
};

// sums[b] = sum of terms [b * piece, (b + 1) * piece), by a block each.
__global__ void sum_pieces_kernel(Two* sums, const Two* terms, int64_t n, int64_t piece) {
  const int64_t first = blockIdx.x * piece, end = first + piece < n ? first + piece : n;
  Two sum{0, 0};
  for (int64_t i = first + threadIdx.x; i < end; i += blockDim.x) sum = AddTwo{}(sum, terms[i]);
  sum = block_reduce(sum, AddTwo{});
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}
__global__ void store_total_kernel(AnyOut out, AnyOut total, const Two* sum, bool mean) {
  out.write(0, mean ? sum->a / sum->b : sum->a);
  if (total.data != nullptr) total.write(0, sum->b);
}
__global__ void store_each_kernel(AnyOut out, const Two* terms, int64_t n) {
  MG_GRID_LOOP(i, n) out.write(i, terms[i].a);
}

// The one sum of n terms; `terms` is used up.
Parts total_of(const Parts& terms, int64_t n, Device device) {
  constexpr int64_t kPiece = 8192;
  const int64_t pieces = std::max<int64_t>((n + kPiece - 1) / kPiece, 1);
  const Parts sums = make_parts(pieces, 1, device);
  launch_blocks(sum_pieces_kernel, pieces, threads_for_row(std::min(n, kPiece) / 8), 0, sums.data, static_cast<const Two*>(terms.data), n, kPiece);
  return pieces == 1 ? sums : total_of(sums, pieces, device);
}

// Reduction 0: none, 1: mean by weight, 2: sum, of terms (loss, weight).
void store_loss(const Parts& terms, int64_t n, int64_t reduction, const Tensor& out, const Tensor* total_out) {
  const StagedOut result(out, out.dtype());
  const AnyOut to{result.ptr<char>(), out.dtype()};
  const Parts sum = total_of(terms, n, out.device());
  const AnyOut total{total_out ? (*total_out)->data() : nullptr, total_out ? total_out->dtype() : DType::Float32};
  if (reduction == 0) {
    launch_items(store_each_kernel, n, to, static_cast<const Two*>(terms.data), n);
    const Tensor unused = workspace(1, DType::Float64, out.device());
    if (total_out) launch_items(store_total_kernel, 1, AnyOut{unused.ptr<char>(), DType::Float64}, total, static_cast<const Two*>(sum.data), false);
  } else {
    launch_items(store_total_kernel, 1, to, total, static_cast<const Two*>(sum.data), reduction == 1);
  }
  result.commit();
}

struct Samples {
  Lines lines{1, 1, 1};  // along the class dim; line number = sample number
  Tensor x, target, weight;
  int64_t count = 0;
  Samples(const Invocation& inv, int first, int weight_arg, DType dtype, DType wide) {
    const TensorImpl& in = inv.in(first);
    const DimView v(in.sizes, in.dim() == 1 ? 0 : 1);
    lines = {v.outer, v.size, v.inner};
    x = staged(in, dtype);
    target = staged(inv.in(first + 1), DType::Int64);
    count = target.numel();
    if (inv.has(weight_arg)) weight = staged(inv.in(weight_arg), wide);
  }
  Targets targets(const Op& op, int64_t ignore) const { return {target.ptr<int64_t>(), ignore, lines.size, fault_note(op)}; }
};
DType sample_dtype(const TensorImpl& x, DType wide) { return common_float(x.dtype, x.dtype, wide); }

template <class T, class C>
__global__ void nll_kernel(Two* terms, const T* x, Targets targets, const C* weight, Lines lines, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const int64_t c = targets.class_of(i);
    if (c < 0) {
      terms[i] = {c == kIgnored ? 0.0 : double(NAN), 0};
      continue;
    }
    const double w = weight != nullptr ? double(weight[c]) : 1.0;
    terms[i] = {-w * double(convert<C>(x[(i / lines.inner * lines.size + c) * lines.inner + i % lines.inner])), w};
  }
}

// _nll_loss(input, target, weight?, ignore_index, reduction) -> out, total_weight
void nll_loss_cuda(Invocation& inv) {
  const DType dtype = sample_dtype(inv.in(0), inv.compute);
  const Samples s(inv, 0, 2, dtype, inv.compute);
  const Parts terms = make_parts(1, s.count, s.x.device());
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    launch_items(nll_kernel<T, C>, s.count, terms.data, s.x.ptr<T>(), s.targets(inv.op, inv.i(3)), optional_ptr<C>(s.weight), s.lines, s.count);
  });
  store_loss(terms, s.count, inv.i(4), inv.outs[0], &inv.outs[1]);
}

template <class C>
struct MixedSums {  // sum(w), sum(w x) over the classes
  C weight, mixed;
};
template <class T, class S, class C>
__global__ void cross_entropy_kernel(Two* terms, C* lse, const T* x, Targets targets, const C* weight, Lines lines, double smoothing) {
  const typename S::G group(lines);
  const Line<T, S::V, S::held> line(group, lines, x);
  C top = -std::numeric_limits<C>::infinity(), sum = 0;
  line.each([&](C v, int64_t) { top = top > v || top != top ? top : v; });
  top = group.reduce(top, [](C a, C b) { return a > b || a != a ? a : b; });
  line.each([&](C v, int64_t) { sum += exp(v - top); });
  sum = group.reduce(sum, [](C a, C b) { return a + b; });
  MixedSums<C> all{0, 0};
  if (smoothing != 0) {
    line.each([&](C v, int64_t at) {
      const C w = weight != nullptr ? weight[at] : C(1);
      all.weight += w;
      all.mixed += w * v;
    });
    all = group.reduce(all, [](MixedSums<C> a, MixedSums<C> b) { return MixedSums<C>{a.weight + b.weight, a.mixed + b.mixed}; });
  }
  if (group.lane != 0 || group.line >= group.count) return;
  const double z = top - top != C(0) ? double(top - top) : double(top) + log(double(sum));  // inf, -inf and NaN: NaN, as log_softmax has it
  lse[group.line] = C(z);
  const int64_t c = targets.class_of(group.line);
  if (c < 0) {
    terms[group.line] = {c == kIgnored ? 0.0 : double(NAN), 0};
    return;
  }
  const double w = weight != nullptr ? double(weight[c]) : 1.0, hard = w * (z - double(convert<C>(line.x[c * line.step])));
  const double loss = smoothing == 0 ? hard : (1 - smoothing) * hard + smoothing / double(lines.size) * (double(all.weight) * z - double(all.mixed));
  terms[group.line] = {loss, w};
}

// _cross_entropy(input, target, weight?, ignore_index, reduction, label_smoothing) -> out, lse, total_weight
void cross_entropy_cuda(Invocation& inv) {
  const DType dtype = sample_dtype(inv.in(0), inv.compute);
  const Samples s(inv, 0, 2, dtype, inv.compute);
  const StagedOut lse(inv.outs[1], inv.compute);
  const Parts terms = make_parts(1, s.count, s.x.device());
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    for_lines<T>(s.lines, aligned16(s.x.ptr<T>()), [&](auto shape, int64_t blocks, dim3 block) {
      launch(cross_entropy_kernel<T, decltype(shape), C>, dim3(unsigned(blocks)), block, 0, current_stream(), terms.data, lse.template ptr<C>(),
             s.x.ptr<T>(), s.targets(inv.op, inv.i(3)), optional_ptr<C>(s.weight), s.lines, inv.f(5));
    });
  });
  lse.commit();
  store_loss(terms, s.count, inv.i(4), inv.outs[0], &inv.outs[2]);
}

template <class C>
struct LossGradient {
  const C *g, *total, *lse, *weight;
  int64_t reduction;
  double smoothing;
};

// With q the target distribution times the class weights: dx = scale * (sum(q) softmax(x) - q).
template <class T, class S, class C>
__global__ void cross_entropy_backward_kernel(T* dx, const T* x, Targets targets, LossGradient<C> k, Lines lines) {
  const typename S::G group(lines);
  const Line<T, S::V, S::held> line(group, lines, x);
  C all = C(lines.size);
  if (k.smoothing != 0 && k.weight != nullptr) {
    all = 0;
    line.each([&](C, int64_t at) { all += k.weight[at]; });
    all = group.reduce(all, [](C a, C b) { return a + b; });
  }
  if (group.line >= group.count) return;
  T* to = dx + (line.x - x);
  const int64_t c = targets.class_of(group.line);
  if (c < 0) {
    const C nothing = c == kIgnored ? C(0) : C(NAN);
    line.write(to, [&](C, int64_t) { return nothing; });
    return;
  }
  const double scale = double(k.g[k.reduction == 0 ? group.line : 0]) / (k.reduction == 1 ? double(*k.total) : 1.0);
  const double hard = scale * (1 - k.smoothing) * (k.weight != nullptr ? double(k.weight[c]) : 1.0);
  const C soft = C(scale * k.smoothing / double(lines.size)), a = C(hard + double(soft) * double(all)), z = k.lse[group.line], own = C(hard);
  line.write(to, [&](C v, int64_t at) {
    const C q = (k.weight != nullptr ? soft * k.weight[at] : soft) + (at == c ? own : C(0));
    return exp(v - z) * a - q;
  });
}

// _cross_entropy_backward(g, input, target, weight?, lse, total_weight, ignore_index, reduction, label_smoothing) -> dinput
void cross_entropy_backward_cuda(Invocation& inv) {
  const DType wide = inv.compute, dtype = sample_dtype(inv.in(1), wide);
  const Samples s(inv, 1, 3, dtype, wide);
  const Tensor g = staged(inv.in(0), wide), lse = staged(inv.in(4), wide), total = staged(inv.in(5), wide);
  const StagedOut out(inv.outs[0], dtype);
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const LossGradient<C> k{g.ptr<C>(), total.ptr<C>(), lse.ptr<C>(), optional_ptr<C>(s.weight), inv.i(7), inv.f(8)};
    for_lines<T>(s.lines, aligned16(s.x.ptr<T>()) && aligned16(out.template ptr<T>()), [&](auto shape, int64_t blocks, dim3 block) {
      launch(cross_entropy_backward_kernel<T, decltype(shape), C>, dim3(unsigned(blocks)), block, 0, current_stream(), out.template ptr<T>(),
             s.x.ptr<T>(), s.targets(inv.op, inv.i(6)), k, s.lines);
    });
  });
  out.commit();
}

// --- mean squared error -----------------------------------------------------------------------------------------------------------

template <class T>
__global__ void square_sums_kernel(Two* sums, const T* x, const T* t, int64_t n, int64_t piece) {
  using C = compute_t<T>;
  const int64_t first = blockIdx.x * piece, end = first + piece < n ? first + piece : n;
  double sum = 0;
#pragma unroll 4
  for (int64_t i = first + threadIdx.x; i < end; i += blockDim.x) {
    const C d = convert<C>(x[i]) - convert<C>(t[i]);
    sum += double(d * d);
  }
  sum = block_reduce(sum, [](double a, double b) { return a + b; });
  if (threadIdx.x == 0) sums[blockIdx.x] = {sum, double(end - first)};
}
template <class T>
__global__ void square_kernel(T* y, const T* x, const T* t, int64_t n) {
  using C = compute_t<T>;
  MG_GRID_LOOP(i, n) {
    const C d = convert<C>(x[i]) - convert<C>(t[i]);
    y[i] = convert<T>(d * d);
  }
}
template <class T>
__global__ void mse_backward_kernel(T* y, const T* g, const T* x, const T* t, double scale, bool single, int64_t n) {
  using C = compute_t<T>;
  MG_GRID_LOOP(i, n) y[i] = convert<T>(C(scale * double(convert<C>(g[single ? 0 : i]))) * (convert<C>(x[i]) - convert<C>(t[i])));
}

Tensor broadcast_staged(const TensorImpl& t, const Dims& shape, DType dtype) {
  if (t.sizes == shape) return staged(t, dtype);
  return to_contiguous(*alias(t, shape, broadcast_strides(t.sizes, t.strides, shape), t.offset), dtype);
}

// mse_loss(input, target, reduction)
void mse_loss_cuda(Invocation& inv) {
  Dims shape = inv.in(0).sizes;
  broadcast_into(shape, inv.in(1).sizes);
  const bool same = inv.in(0).dtype == inv.in(1).dtype;
  const DType dtype = same ? common_float(inv.in(0).dtype, inv.out().dtype, inv.compute) : float_compute(inv.compute);
  const Tensor a = broadcast_staged(inv.in(0), shape, dtype), b = broadcast_staged(inv.in(1), shape, dtype);
  const std::string_view reduction = inv.args[2].str;
  const int64_t n = a.numel(), piece = 16384, pieces = std::max<int64_t>((n + piece - 1) / piece, 1);
  const StagedOut out(inv.outs[0], reduction == "none" ? dtype : inv.out().dtype);
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    if (reduction == "none") return launch_items(square_kernel<T>, n, out.template ptr<T>(), a.ptr<T>(), b.ptr<T>(), n);
    const Parts sums = make_parts(pieces, 1, a.device());
    launch_blocks(square_sums_kernel<T>, pieces, threads_for_row(std::min(n, piece) / 8), 0, sums.data, a.ptr<T>(), b.ptr<T>(), n, piece);
    store_loss(sums, pieces, reduction == "mean" ? 1 : 2, inv.outs[0], nullptr);
  });
  if (reduction == "none") out.commit();
}

// _mse_loss_backward(g, input, target, scale) -> g * scale * (input - target), g 0-d or of the input's shape
void mse_loss_backward_cuda(Invocation& inv) {
  const bool same = inv.in(0).dtype == inv.in(1).dtype && inv.in(1).dtype == inv.in(2).dtype;
  const DType dtype = same ? common_float(inv.in(0).dtype, inv.out().dtype, inv.compute) : float_compute(inv.compute);
  const Tensor g = staged(inv.in(0), dtype, inv.out().device), a = staged(inv.in(1), dtype), b = staged(inv.in(2), dtype);
  const StagedOut out(inv.outs[0], dtype);
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    launch_items(mse_backward_kernel<T>, a.numel(), out.template ptr<T>(), g.ptr<T>(), a.ptr<T>(), b.ptr<T>(), inv.f(3), g.numel() == 1,
                 a.numel());
  });
  out.commit();
}

MG_CUDA_KERNEL("_nll_loss", nll_loss_cuda);
MG_CUDA_KERNEL("_cross_entropy", cross_entropy_cuda);
MG_CUDA_KERNEL("_cross_entropy_backward", cross_entropy_backward_cuda);
MG_CUDA_KERNEL("mse_loss", mse_loss_cuda);
MG_CUDA_KERNEL("_mse_loss_backward", mse_loss_backward_cuda);

}  // namespace
}  // namespace mg::cuda
