// _rnn_layer_backward: the recurrence of _rnn_layer (rnn.cu) walked in the other direction. It gives the gradients of the gate sums and of
// the first state; those of the weights and the input are products over all steps at once (minigrad/ops/layers/rnn_layer.py).
//
// Per step: what reaches its h comes from above and, through the weights, from the step that followed; the arithmetic of the gates turns
// it into gradients of the sums. Legend as there.
#include "rnn.h"

namespace mg::cuda {
namespace {

enum In { kGOutput, kGCells, kOutput, kCells, kGates, kHidden, kHx, kCx, kWhh, kWhr, kSizes, kKind, kReverse };

// What reaches the rows of a step from above; a gru's first `kept` rows have a part that came without passing a matrix.
template <class T>
__global__ void incoming_kernel(T* target, const T* above, int64_t kept, int64_t width, int64_t count) {
  MG_GRID_LOOP(i, count) target[i] = i < kept * width ? target[i] + above[i] : above[i];
}

// One thread per row and unit. dh holds what reaches the step's h; for lstm dc what reaches its c, replaced by what goes on to the step
// before; for gru dh is replaced by the part that goes on without passing a matrix.
template <class T>
__global__ void lstm_gradients(const T* gates, const T* before, const T* cell, const T* g_cell, const T* dh, T* dc, T* dgates, int64_t hidden,
                               int64_t count) {
  MG_GRID_LOOP(at, count) {
    const int64_t d = hidden, first = at / d * 4 * d + at % d;
    const T *g = gates + first, one = 1;
    const T i = g[0], f = g[d], n = g[2 * d], o = g[3 * d], top = tanh(cell[at]), up = dh[at];
    const T c = dc[at] + g_cell[at] + up * o * ((one - top) * (one + top));
    T* out = dgates + first;
    out[0] = c * n * (i * (one - i));
    out[d] = c * before[at] * (f * (one - f));
    out[2 * d] = c * i * ((one - n) * (one + n));
    out[3 * d] = up * top * (o * (one - o));
    dc[at] = c * f;
  }
}
template <class T>
__global__ void gru_gradients(const T* gates, const T* before, T* dh, T* dgates, T* dstate, int64_t hidden, int64_t count) {
  MG_GRID_LOOP(at, count) {
    const int64_t d = hidden, row = at / d, u = at % d;
    const T *g = gates + row * 4 * d + u, one = 1;
    const T reset = g[0], keep = g[d], n = g[2 * d], hn = g[3 * d], up = dh[at];
    const T dn = up * (one - keep) * ((one - n) * (one + n)), dr = dn * hn * (reset * (one - reset)),
            dz = up * (before[at] - n) * (keep * (one - keep));
    T *dx = dgates + row * 3 * d + u, *ds = dstate + row * 3 * d + u;
    dx[0] = dr, dx[d] = dz, dx[2 * d] = dn;
    ds[0] = dr, ds[d] = dz, ds[2 * d] = dn * reset;
    dh[at] = up * keep;
  }
}
template <class T>
__global__ void simple_gradient(const T* h, const T* dh, T* dgates, bool relu, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const T y = h[i];
    dgates[i] = relu ? (y <= T(0) ? T(0) : dh[i]) : dh[i] * ((T(1) - y) * (T(1) + y));
  }
}

template <class T>
struct Backward {
  Steps steps;
  RnnKind kind;
  int64_t hidden, width, gates;
  bool projected;
  std::vector<RnnResult> results;
  Tensor g_out, g_cell, out, cells, sums, raw, hx, cx, w_hh, w_hr;
  Tensor dgates, dstate, dproj, dhx, dcx, dh, dc;  // dstate is dgates but for a gru, whose n sees the state's part through a gate

  Tensor operand(Invocation& inv, int k, int64_t columns) {
    if (!inv.has(k) || inv.in(k).numel == 0) return Tensor();
    return as_matrix(staged(inv.in(k), dtype_of<T>()), columns);
  }

  explicit Backward(Invocation& inv)
      : steps(inv.in(kOutput), inv.has(kSizes) ? &inv.in(kSizes) : nullptr, inv.b(kReverse)), kind(rnn_kind(inv.args[kKind].str)),
        hidden(inv.in(kWhh).sizes[0] / rnn_gates(kind)), width(inv.in(kWhh).sizes[1]), gates(rnn_gates(kind)), projected(inv.has(kWhr)),
        w_hh(inv.tensor(kWhh)) {
    const Device device = inv.in(kOutput).device;
    g_out = operand(inv, kGOutput, width), g_cell = operand(inv, kGCells, hidden), out = operand(inv, kOutput, width);
    cells = operand(inv, kCells, hidden), sums = operand(inv, kGates, 4 * hidden), raw = projected ? operand(inv, kHidden, hidden) : out;
    hx = operand(inv, kHx, width), cx = operand(inv, kCx, hidden);
    for (int k = 0; k < 4; ++k) results.emplace_back(inv.outs[k]);
    dgates = as_matrix(results[0].work, gates * hidden);
    dhx = as_matrix(results[1].work, width);
    if (kind == RnnKind::Lstm) dcx = as_matrix(results[2].work, hidden);
    dstate = kind == RnnKind::Gru ? as_matrix(results[3].work, gates * hidden) : dgates;
    if (projected) w_hr = inv.tensor(kWhr), dproj = as_matrix(results[3].work, width);
    dh = empty({steps.most, hidden}, dtype_of<T>(), device);
    dc = empty({steps.most, hidden}, dtype_of<T>(), device);
    fill_zero(dh);
    fill_zero(dc);
  }

  // target = what reaches step t from above and from the `carried` rows of step s that went on from t.
  void incoming(int64_t t, int64_t s, int64_t carried, const Tensor& target) const {
    const int64_t rows = steps.rows(t), count = rows * width;
    launch_items(incoming_kernel<T>, count, target.ptr<T>(), static_cast<const T*>(g_out.ptr<T>()) + steps.start(t) * width,
                 kind == RnnKind::Gru ? carried : int64_t(0), width, count);
    if (carried > 0) from_gates(steps.start(s), carried, part_of(target, 0, carried, 0, width), true);
  }
  void from_gates(int64_t row, int64_t rows, const Tensor& target, bool add) const {
    multiply(part_of(dstate, row, rows, 0, gates * hidden), w_hh, target, add);
  }

  // Gradients of the gates of rows [r, end) of step t; `before` is the state they started from.
  void gate_part(int64_t t, int64_t r, int64_t end, const T* before) const {
    if (r == end) return;
    const int64_t row = steps.start(t) + r, count = (end - r) * hidden;
    T *const up = dh.ptr<T>() + r * hidden, *const to = dgates.ptr<T>() + row * gates * hidden;
    const auto at = [&](const Tensor& m, int64_t columns) { return static_cast<const T*>(m.ptr<T>()) + row * columns; };
    if (kind == RnnKind::Lstm)
      launch_items(lstm_gradients<T>, count, at(sums, 4 * hidden), before, at(cells, hidden), at(g_cell, hidden), static_cast<const T*>(up),
                   dc.ptr<T>() + r * hidden, to, hidden, count);
    else if (kind == RnnKind::Gru)
      launch_items(gru_gradients<T>, count, at(sums, 4 * hidden), before, up, to, dstate.ptr<T>() + row * gates * hidden, hidden, count);
    else
      launch_items(simple_gradient<T>, count, at(out, hidden), static_cast<const T*>(up), to, kind == RnnKind::Relu, count);
  }
  void gate_step(int64_t t) const {
    const int64_t carried = steps.carried(t), from = carried == 0 ? 0 : steps.start(steps.before(t));
    const Tensor &kept = kind == RnnKind::Lstm ? cells : out, &first = kind == RnnKind::Lstm ? cx : hx;
    gate_part(t, 0, carried, kept.ptr<T>() + from * hidden);
    gate_part(t, carried, steps.rows(t), first.ptr<T>() + carried * hidden);
  }

  // Rows of step t that began with the first state pass their gradients on to it.
  void first_state(int64_t t) const {
    const int64_t carried = steps.carried(t), rows = steps.rows(t) - carried;
    if (rows == 0) return;
    const Tensor target = part_of(dhx, carried, rows, 0, width);
    if (kind == RnnKind::Gru) copy_into(target, part_of(dh, carried, rows, 0, hidden));
    if (dcx.defined()) copy_into(part_of(dcx, carried, rows, 0, hidden), part_of(dc, carried, rows, 0, hidden));
    from_gates(steps.start(t) + carried, rows, target, kind == RnnKind::Gru);
  }

  void run() const {
    for (int64_t i = steps.count - 1; i >= 0; --i) {
      const int64_t t = steps.at(i), s = i + 1 < steps.count ? steps.at(i + 1) : t;
      const int64_t carried = s == t ? 0 : steps.carried(s), rows = steps.rows(t);
      if (projected) {
        const Tensor target = part_of(dproj, steps.start(t), rows, 0, width);
        incoming(t, s, carried, target);
        multiply(target, w_hr, part_of(dh, 0, rows, 0, hidden), false);
      } else {
        incoming(t, s, carried, dh);
      }
      gate_step(t);
      first_state(t);
    }
    for (const RnnResult& result : results) result.commit();
  }
};

void rnn_layer_backward_cuda(Invocation& inv) {
  if (inv.in(kOutput).numel == 0) {
    for (int k = 0; k < 4; ++k) fill_zero(inv.outs[k]);
    return;
  }
  dispatch_rnn(inv.compute, [&](auto tag) { Backward<decltype(tag)>(inv).run(); });
}

MG_CUDA_KERNEL("_rnn_layer_backward", rnn_layer_backward_cuda);

}  // namespace
}  // namespace mg::cuda
