// layer_norm and rms_norm over the last dims, with their gradients. Forward: a row is read once, kept in registers for mean, squares and
// result, and written once (2 n elements); rows of more than 8192 elements are read three times. Backward: 3 n for the input's gradient,
// 2 n for those of weight and bias, which sum over the rows.
#include "copy.h"
#include "norm_sums.h"

namespace mg::cuda {
namespace {

template <class T, class S, class C>
__global__ void row_norm_kernel(T* y, const T* x, const C* w, const C* b, C* mean_out, C* rstd_out, Lines lines, double eps, bool rms) {
  const typename S::G group(lines);
  const Line<T, S::V, S::held> line(group, lines, x);
  const auto add = [](C p, C q) { return p + q; };
  C mean = 0, squares = 0;
  if (!rms) {
    line.each([&](C v, int64_t) { mean += v; });
    mean = group.reduce(mean, add) / C(lines.size);
  }
  line.each([&](C v, int64_t) { squares += (v - mean) * (v - mean); });
  squares = group.reduce(squares, add);
  if (group.line >= group.count) return;
  const C rstd = C(1 / sqrt(double(squares) / double(lines.size) + eps));
  if (group.lane == 0) {
    if (!rms) mean_out[group.line] = mean;
    rstd_out[group.line] = rstd;
  }
  line.write(y + (line.x - x), [&](C v, int64_t at) {
    C r = (v - mean) * rstd;
    if (w != nullptr) r *= w[at];
    if (b != nullptr) r += b[at];
    return r;
  });
}

// h = g w: dx = rstd (h - mean(h) - xhat mean(h xhat)); without mean(h) for rms_norm.
template <class T, class S, class C>
__global__ void row_norm_backward_kernel(T* dx, const T* g, const T* x, const C* w, const C* means, const C* rstds, Lines lines, bool rms) {
  const typename S::G group(lines);
  const Line<T, S::V, S::held> gradient(group, lines, g), input(group, lines, x);
  const bool active = group.line < group.count;
  const C mean = active && !rms ? means[group.line] : C(0), rstd = active ? rstds[group.line] : C(0);
  // Packs of both lines, side by side.
  auto pairs = [&](auto f) {
    [[maybe_unused]] int k = 0;
    gradient.each([&](C gv, int64_t at) {
      C xv;
      if constexpr (S::held) xv = input.kept[k++];
      else xv = convert<C>(input.x[at]);
      f(w != nullptr ? gv * w[at] : gv, (xv - mean) * rstd);
    });
  };
  Pack<C, 2> sums{{0, 0}};
  pairs([&](C h, C hat) {
    sums.v[0] += h;
    sums.v[1] += h * hat;
  });
  sums = group.reduce(sums, [](Pack<C, 2> p, Pack<C, 2> q) { return Pack<C, 2>{{p.v[0] + q.v[0], p.v[1] + q.v[1]}}; });
  const C a = rms ? C(0) : sums.v[0] / C(lines.size), c = sums.v[1] / C(lines.size);
  [[maybe_unused]] int k = 0;
  gradient.write(dx + (gradient.x - g), [&](C gv, int64_t at) {
    C xv;
    if constexpr (S::held) xv = input.kept[k++];
    else xv = convert<C>(input.x[at]);
    const C h = w != nullptr ? gv * w[at] : gv;
    return (h - a - (xv - mean) * rstd * c) * rstd;
  });
}

template <class C>
struct ParameterTerms {  // of weight and bias
  const C *mean, *rstd;
  __device__ Two operator()(int64_t row, int64_t, C g, C x) const {
    return {double(g * ((x - (mean != nullptr ? mean[row] : C(0))) * rstd[row])), double(g)};
  }
};

template <class C>
__global__ void add_parts_kernel(C* dw, C* db, const Two* parts, int64_t count, int64_t n) {
  MG_GRID_LOOP(i, n) {
    Two sum{0, 0};
    for (int64_t p = 0; p < count; ++p) sum = AddTwo{}(sum, parts[p * n + i]);
    dw[i] = C(sum.a);
    if (db != nullptr) db[i] = C(sum.b);
  }
}

Lines rows_of(const Dims& sizes, int n) {
  Lines l{1, 1, 1};
  for (int d = 0; d < sizes.size(); ++d) (d < sizes.size() - n ? l.outer : l.size) *= sizes[d];
  return l;
}

void row_norm(Invocation& inv, bool rms) {
  const int shape_arg = rms ? 2 : 3;
  const Lines lines = rows_of(inv.in(0).sizes, inv.args[shape_arg].len);
  const double eps = inv.f(shape_arg + 1);
  const DType dtype = common_float(inv.in(0).dtype, inv.out().dtype, inv.compute);
  const Tensor x = staged(inv.in(0), dtype), w = optional_staged(inv, 1, inv.compute), b = rms ? Tensor() : optional_staged(inv, 2, inv.compute);
  const StagedOut out(inv.outs[0], dtype), rstd(inv.outs[rms ? 1 : 2], inv.compute), mean(inv.outs[1], inv.compute);
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    for_lines<T>(lines, aligned16(x.ptr<T>()) && aligned16(out.template ptr<T>()), [&](auto shape, int64_t blocks, dim3 block) {
      launch(row_norm_kernel<T, decltype(shape), C>, dim3(unsigned(blocks)), block, 0, current_stream(), out.template ptr<T>(), x.ptr<T>(),
             optional_ptr<C>(w), optional_ptr<C>(b), mean.template ptr<C>(), rstd.template ptr<C>(), lines, eps, rms);
    });
  });
  out.commit();
  rstd.commit();
  if (!rms) mean.commit();
  if (lines.size == 0)  // rows of nothing have no mean
    for (int k = 1; k < inv.op.n_outputs(); ++k) fill(inv.out(k), Value(std::numeric_limits<double>::quiet_NaN()));
}

// (g, input, [mean], rstd, weight?, ndim) -> dinput, dweight, [dbias]
void row_norm_backward(Invocation& inv, bool rms) {
  const int rstd_arg = rms ? 2 : 3;
  const Lines lines = rows_of(inv.in(1).sizes, int(inv.i(rstd_arg + 2)));
  const bool same = inv.in(0).dtype == inv.in(1).dtype;
  const DType wide = inv.compute, dtype = same ? common_float(inv.in(0).dtype, inv.out().dtype, wide) : wide;
  const Tensor g = staged(inv.in(0), dtype), x = staged(inv.in(1), dtype), rstd = staged(inv.in(rstd_arg), wide);
  const Tensor mean = rms ? Tensor() : staged(inv.in(2), wide), w = optional_staged(inv, rstd_arg + 1, wide);
  const StagedOut dx(inv.outs[0], dtype), dw(inv.outs[1], wide), db(inv.outs[rms ? 1 : 2], wide);
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const bool aligned = aligned16(g.ptr<T>()) && aligned16(x.ptr<T>()) && aligned16(dx.template ptr<T>());
    for_lines<T>(lines, aligned, [&](auto shape, int64_t blocks, dim3 block) {
      launch(row_norm_backward_kernel<T, decltype(shape), C>, dim3(unsigned(blocks)), block, 0, current_stream(), dx.template ptr<T>(),
             g.ptr<T>(), x.ptr<T>(), optional_ptr<C>(w), optional_ptr<C>(mean), static_cast<const C*>(rstd.ptr<C>()), lines, rms);
    });
    const Parts parts = column_sums<T>(g.ptr<T>(), x.ptr<T>(), lines.outer, lines.size, g.device(),
                                       ParameterTerms<C>{optional_ptr<C>(mean), rstd.ptr<C>()});
    launch_items(add_parts_kernel<C>, lines.size, dw.template ptr<C>(), rms ? nullptr : db.template ptr<C>(),
                 static_cast<const Two*>(parts.data), parts.count, lines.size);
  });
  dx.commit();
  dw.commit();
  if (!rms) db.commit();
}

void layer_norm_cuda(Invocation& inv) { row_norm(inv, false); }
void rms_norm_cuda(Invocation& inv) { row_norm(inv, true); }
void layer_norm_backward_cuda(Invocation& inv) { row_norm_backward(inv, false); }
void rms_norm_backward_cuda(Invocation& inv) { row_norm_backward(inv, true); }

MG_CUDA_KERNEL("_layer_norm", layer_norm_cuda);
MG_CUDA_KERNEL("_rms_norm", rms_norm_cuda);
MG_CUDA_KERNEL("_layer_norm_backward", layer_norm_backward_cuda);
MG_CUDA_KERNEL("_rms_norm_backward", rms_norm_backward_cuda);

}  // namespace
}  // namespace mg::cuda
