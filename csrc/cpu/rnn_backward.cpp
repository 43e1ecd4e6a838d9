// _rnn_layer_backward: the recurrence of _rnn_layer (rnn_forward.cpp) walked in the other direction. It gives the gradients of the gate
// sums and of the first state; those of the weights and the input are products over all steps at once (minigrad/ops/layers/rnn_layer.py).
//
// Per step: what reaches its h comes from above and, through the weights, from the step that followed; the arithmetic of the gates
// turns it into gradients of the sums. Legend as there.
#include <memory>

#include "../core/op.h"
#include "rnn.h"
#include "staged.h"

namespace mg::cpu {

namespace {

enum In { kGOutput, kGCells, kOutput, kCells, kGates, kHidden, kHx, kCx, kWhh, kWhr, kSizes, kKind, kReverse };

template <class T>
Strided<T> strided(const TensorImpl& t) {
  return {t.ptr<T>(), t.strides[0], t.strides[1]};
}

template <class T>
struct Backward {
  Steps steps;
  RnnKind kind;
  int64_t hidden, width, gates;
  std::vector<StagedOut> results;
  Tensor kept[8], work_dh, work_dc;  // contiguous operands; buffers of one step
  Matrix<const T> g_out, g_cell, out, cells, sums, raw, hx, cx;
  Matrix<T> dgates, dstate, dproj, dhx, dcx, dh, dc;  // dstate is dgates but for a gru, whose n sees the state's part through a gate
  PackedWeight<T> state;
  std::unique_ptr<PackedWeight<T>> projection;

  Matrix<const T> operand(Invocation& inv, int k, int64_t columns) {
    if (!inv.has(k) || inv.in(k).numel == 0) return {};
    kept[k] = staged(inv.in(k), dtype_of<T>());
    return {kept[k].ptr<T>(), columns};
  }

  explicit Backward(Invocation& inv)
      : steps(inv.in(kOutput), inv.has(kSizes) ? &inv.in(kSizes) : nullptr, inv.b(kReverse)), kind(rnn_kind(inv.args[kKind].str)),
        hidden(inv.in(kWhh).sizes[0] / rnn_gates(kind)), width(inv.in(kWhh).sizes[1]), gates(rnn_gates(kind)),
        state(strided<T>(inv.in(kWhh)), gates * hidden, 1, width) {
    g_out = operand(inv, kGOutput, width);
    g_cell = operand(inv, kGCells, hidden);
    out = operand(inv, kOutput, width);
    cells = operand(inv, kCells, hidden);
    sums = operand(inv, kGates, 4 * hidden);
    raw = operand(inv, kHidden, hidden);
    hx = operand(inv, kHx, width);
    cx = operand(inv, kCx, hidden);
    for (int k = 0; k < 4; ++k) results.emplace_back(inv.outs[k], dtype_of<T>());
    dgates = {results[0].ptr<T>(), gates * hidden};
    dhx = {results[1].ptr<T>(), width};
    if (kind == RnnKind::Lstm) dcx = {results[2].ptr<T>(), hidden};
    dstate = kind == RnnKind::Gru ? Matrix<T>{results[3].ptr<T>(), gates * hidden} : dgates;
    if (inv.has(kWhr)) {
      dproj = {results[3].ptr<T>(), width};
      projection = std::make_unique<PackedWeight<T>>(strided<T>(inv.in(kWhr)), width, 1, hidden);
    }
    work_dh = empty({steps.most, hidden}, dtype_of<T>());
    work_dc = empty({steps.most, hidden}, dtype_of<T>());
    fill_zero(work_dh);
    fill_zero(work_dc);
    dh = {work_dh.ptr<T>(), hidden};
    dc = {work_dc.ptr<T>(), hidden};
  }

  // What reaches the rows of step t, for block q of the width: from above, and from the `carried` rows of step s that went on from t.
  void incoming(int64_t t, int64_t s, int64_t carried, int64_t q, Matrix<T> target) const {
    const int64_t u = state.blocks.begin(q), end = state.blocks.end(q), rows = steps.rows(t);
    for (int64_t r = 0; r < rows; ++r) {
      const T* above = g_out.row(steps.start(t) + r);
      T* to = target.row(r);
      if (kind == RnnKind::Gru && r < carried)
        for (int64_t j = u; j < end; ++j) to[j] += above[j];
      else
        for (int64_t j = u; j < end; ++j) to[j] = above[j];
    }
    if (carried > 0) from_gates(steps.start(s), carried, q, target, true);
  }
  void from_gates(int64_t row, int64_t rows, int64_t q, Matrix<T> target, bool add) const {
    state.multiply(q, 0, rows, {dstate.row(row), dstate.stride}, {target.data + state.blocks.begin(q), target.stride}, add);
  }

  // Gradients of the gates of rows [r, end) of step t, units [u, u + units); `h` and `c` are the states they started from.
  void gate_part(int64_t t, int64_t u, int64_t units, int64_t r, int64_t end, Matrix<const T> h, Matrix<const T> c) const {
    if (r == end) return;
    const int64_t row = steps.start(t) + r;
    const auto at = [&](auto m, int64_t i) {
      if (m.data != nullptr) m.data += i * m.stride + u;
      return m;
    };
    const Matrix<const T> previous = kind == RnnKind::Lstm ? c : h;
    rnn_fns<T>().backward[int(kind)]({end - r, units, hidden, at(sums, row), at(previous, 0), at(cells, row),
                                      at(projection ? raw : out, row), at(g_cell, row), at(dh, r), at(dc, r), at(dgates, row), at(dstate, row)});
  }
  void gate_block(int64_t t, int64_t u, int64_t units) const {
    const int64_t carried = steps.carried(t), from = carried == 0 ? 0 : steps.start(steps.before(t));
    const auto later = [&](Matrix<const T> m) { return m.data == nullptr ? m : Matrix<const T>{m.row(carried), m.stride}; };
    gate_part(t, u, units, 0, carried, {out.row(from), out.stride}, {cells.data == nullptr ? nullptr : cells.row(from), cells.stride});
    gate_part(t, u, units, carried, steps.rows(t), later(hx), later(cx));
  }

  // Rows of step t that began with the first state pass their gradients on to it.
  void first_state(int64_t t) const {
    const int64_t carried = steps.carried(t), rows = steps.rows(t) - carried;
    if (rows == 0) return;
    const Matrix<T> target{dhx.row(carried), width};
    for (int64_t r = 0; r < rows; ++r) {
      if (kind == RnnKind::Gru) std::copy_n(dh.row(carried + r), hidden, target.row(r));
      if (dcx.data != nullptr) std::copy_n(dc.row(carried + r), hidden, dcx.row(carried + r));
    }
    state.blocks.each(state.work(rows), [&](int64_t q) { from_gates(steps.start(t) + carried, rows, q, target, kind == RnnKind::Gru); });
  }

  void run() const {
    for (int64_t i = steps.count - 1; i >= 0; --i) {
      const int64_t t = steps.at(i), s = i + 1 < steps.count ? steps.at(i + 1) : t;
      const int64_t carried = s == t ? 0 : steps.carried(s), rows = steps.rows(t);
      if (projection == nullptr) {
        state.blocks.each(state.work(rows), [&](int64_t q) {
          incoming(t, s, carried, q, dh);
          gate_block(t, state.blocks.begin(q), state.blocks.end(q) - state.blocks.begin(q));
        });
      } else {
        const Matrix<T> projected{dproj.row(steps.start(t)), width};
        state.blocks.each(state.work(rows), [&](int64_t q) { incoming(t, s, carried, q, projected); });
        projection->blocks.each(projection->work(rows), [&](int64_t q) {
          const int64_t u = projection->blocks.begin(q);
          projection->multiply(q, 0, rows, {projected.data, width}, {dh.data + u, hidden}, false);
          gate_block(t, u, projection->blocks.end(q) - u);
        });
      }
      first_state(t);
    }
    for (const StagedOut& result : results) result.commit();
  }
};

void rnn_layer_backward_cpu(Invocation& inv) {
  for (int k = 0; k < 4; ++k)
    if (inv.in(kOutput).numel == 0) fill_zero(inv.outs[k]);
  if (inv.in(kOutput).numel == 0) return;
  dispatch_float(inv.compute, [&](auto tag) { Backward<decltype(tag)>(inv).run(); });
}

}  // namespace

MG_KERNEL("_rnn_layer_backward", CPU, rnn_layer_backward_cpu);

}  // namespace mg::cpu
