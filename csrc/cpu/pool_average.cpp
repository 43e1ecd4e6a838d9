// Average pooling over the last 1 to 3 dims, its adaptive form, and their adjoints. pool_axes.h has the windows,
// pool_rows.h the vector loops. Meta: ../core/meta_pool.cpp.
#include "pool_last.h"

namespace mg::cpu {

namespace {

// What a window's sum is divided by: PyTorch counts padding (but not what ceil_mode adds beyond it) unless told
// otherwise.
struct Divisor {
  bool count_padding = false;
  int64_t fixed = 0;
  int64_t operator()(const Axes& a, int64_t od, int64_t oh, int64_t ow) const {
    if (fixed != 0) return fixed;
    if (count_padding) return a.d.span[od] * a.h.span[oh] * a.w.span[ow];
    return (a.d.last[od] - a.d.first[od]) * (a.h.last[oh] - a.h.first[oh]) * (a.w.last[ow] - a.w.first[ow]);
  }
};

// f(first element of a run of the window, its length) for every row of window (od, oh, ow).
template <class F>
void for_window_rows(const Axes& a, int64_t od, int64_t oh, int64_t ow, F&& f) {
  for (int64_t d = a.d.first[od]; d < a.d.last[od]; ++d)
    for (int64_t h = a.h.first[oh]; h < a.h.last[oh]; ++h)
      f((d * a.h.size + h) * a.w.size + a.w.first[ow], a.w.last[ow] - a.w.first[ow]);
}

// Integers wrap.
template <class W>
W plus(W a, W b) {
  if constexpr (std::is_integral_v<W>)
    return W(uint64_t(a) + uint64_t(b));
  else
    return a + b;
}

// sum / n; an integer divides as C does.
template <class T>
T quotient(Wide<T> sum, int64_t n) {
  if constexpr (std::is_integral_v<T>)
    return n == -1 ? T(plus(~sum, Wide<T>(1))) : T(sum / n);  // the least integer has no negative: it wraps
  else
    return T(sum / Wide<T>(n));
}

template <class T>
void average_row(const Axes& a, const Divisor& divisor, int64_t od, int64_t oh, int64_t begin, int64_t end, const T* x,
                 T* y) {
  for (int64_t ow = begin; ow < end; ++ow) {
    Wide<T> sum = 0;
    for_window_rows(a, od, oh, ow, [&](int64_t from, int64_t n) {
      for (int64_t i = 0; i < n; ++i) sum = plus(sum, Wide<T>(x[from + i]));
    });
    y[ow] = quotient<T>(sum, divisor(a, od, oh, ow));
  }
}

template <class T>
void average_plane(const Axes& a, const Divisor& divisor, const T* x, T* y) {
  RowStarts starts(a);
  for (int64_t od = 0; od < a.d.out(); ++od)
    for (int64_t oh = 0; oh < a.h.out(); ++oh, y += a.w.out()) {
      int64_t inner = 0, inner_end = 0;
      if constexpr (std::is_floating_point_v<T>)
        if (starts.find(a, od, oh)) {
          inner = a.w.inner, inner_end = a.w.inner_end;
          pool_rows<T>().average(x, starts.run(a), T(divisor(a, od, oh, inner)), y + inner);
        }
      average_row(a, divisor, od, oh, 0, inner, x, y);
      average_row(a, divisor, od, oh, inner_end, a.w.out(), x, y);
    }
}

// The adjoint: every output's gradient is spread evenly over its window. `dx` starts at zero; `share` has a row's room.
template <class T>
void spread_plane(const Axes& a, const Divisor& divisor, const T* g, Wide<T>* dx, Wide<T>* share) {
  const int64_t outputs = a.w.out(), inner = a.w.inner, count = a.w.inner_end - inner, taps = a.w.taps;
  for (int64_t od = 0; od < a.d.out(); ++od)
    for (int64_t oh = 0; oh < a.h.out(); ++oh, g += outputs) {
      for (int64_t ow = 0; ow < outputs; ++ow) share[ow] = Wide<T>(g[ow]) / Wide<T>(divisor(a, od, oh, ow));
      const auto spread_one = [&](int64_t ow) {
        for_window_rows(a, od, oh, ow, [&](int64_t from, int64_t n) {
          for (int64_t i = 0; i < n; ++i) dx[from + i] += share[ow];
        });
      };
      for (int64_t ow = 0; ow < (count > 0 ? inner : outputs); ++ow) spread_one(ow);
      if (count == 0) continue;
      const Wide<T>* s = share + inner;
      for_window_rows(a, od, oh, inner, [&](int64_t from, int64_t) {
        Wide<T>* d = dx + from;
        for (int64_t k = 0; k < taps; ++k) {
          if (a.w.stride == 1)
            for (int64_t i = 0; i < count; ++i) d[i + k] += s[i];
          else
            for (int64_t i = 0; i < count; ++i) d[i * a.w.stride + k] += s[i];
        }
      });
      for (int64_t ow = a.w.inner_end; ow < outputs; ++ow) spread_one(ow);
    }
}

void average(Invocation& inv, const Axes& a, const Divisor& divisor) {
  if (inv.out().numel == 0 || average_last(inv.in(0), inv.outs[0], a, divisor)) return;
  const Target out(inv.outs[0]);
  const Tensor x = contiguous(inv.tensor(0));
  const auto run = [&]<class T>(T) {
    over_planes(out.out.numel() / a.out(), a.cost(),
                [&](int64_t p) { average_plane(a, divisor, x.ptr<T>() + p * a.in(), out.out.ptr<T>() + p * a.out()); });
  };
  if (x.dtype() == DType::Int64)
    run(int64_t{});
  else
    dispatch_floating(x.dtype(), run);
  out.finish();
}

void spread(Invocation& inv, const Axes& a, const Divisor& divisor) {
  if (spread_last(inv.in(0), inv.outs[0], a, divisor)) return;
  const Target out(inv.outs[0]);
  const Tensor g = contiguous(inv.tensor(0));
  dispatch_floating(g.dtype(), [&]<class T>(T) {
    sum_planes<T>(out.out, a.in(), a.cost(), [&](int64_t p, Wide<T>* sums) {
      Wide<T>* share = scratch<Wide<T>>(ScratchSlot::Tile, a.w.out());
      spread_plane(a, divisor, g.ptr<T>() + p * a.out(), sums, share);
    });
  });
  out.finish();
}

Divisor divisor_of(const Invocation& inv, int count_padding) {
  return {inv.b(count_padding), inv.has(count_padding + 1) ? inv.i(count_padding + 1) : 0};
}
void avg_pool_cpu(Invocation& inv) {
  average(inv, windows(inv.in(0), inv.out(), dims_of(inv, 1), inv.ints(1), inv.ints(2), inv.ints(3), Dims{1}),
          divisor_of(inv, 5));
}
void avg_pool_backward_cpu(Invocation& inv) {
  spread(inv, windows(inv.out(), inv.in(0), dims_of(inv, 1), inv.ints(2), inv.ints(3), inv.ints(4), Dims{1}),
         divisor_of(inv, 6));
}
void adaptive_avg_pool_cpu(Invocation& inv) { average(inv, adaptive(inv.in(0), inv.out(), dims_of(inv, 1)), {}); }
void adaptive_avg_pool_backward_cpu(Invocation& inv) {
  spread(inv, adaptive(inv.out(), inv.in(0), dims_of(inv, 1)), {});
}

}  // namespace

MG_KERNEL("_avg_pool", CPU, avg_pool_cpu);
MG_KERNEL("_avg_pool_backward", CPU, avg_pool_backward_cpu);
MG_KERNEL("_adaptive_avg_pool", CPU, adaptive_avg_pool_cpu);
MG_KERNEL("_adaptive_avg_pool_backward", CPU, adaptive_avg_pool_backward_cpu);

}  // namespace mg::cpu
