// _rnn_layer: one direction of one recurrent layer over whole (packed) sequences.
//
// The input's part of all gates is one product; then every step adds the state's part and does the gate arithmetic (rnn.h). Legend:
// B rows of all steps, N sequences, I input, H hidden width, P width of the output (H without projection), G gates.
// Meta: ../core/meta_rnn.cpp. Read next: rnn_backward.cpp.
#include <cstring>
#include <memory>

#include "../core/op.h"
#include "isa.h"
#include "rnn.h"
#include "staged.h"

namespace mg::cpu {

namespace portable {
extern const RnnTable rnn_table;
}
namespace avx2 {
extern const RnnTable rnn_table;
}
namespace avx512 {
extern const RnnTable rnn_table;
}

const RnnTable& rnn_table() {
  return MG_PICK(rnn_table);
}

namespace {

enum In { kInput, kHx, kCx, kWih, kWhh, kBih, kBhh, kWhr, kSizes, kKind, kReverse };

template <class T>
Strided<T> strided(const TensorImpl& t) {
  return {t.ptr<T>(), t.strides[0], t.strides[1]};
}

template <class T>
struct Forward {
  Steps steps;
  RnnKind kind;
  int64_t hidden, width, gates;  // H, P, G
  Matrix<T> out, cells, sums, raw;  // (B, P), (B, H), (B, gates), (B, H) before projection
  std::vector<StagedOut> results;
  Tensor hx, cx, state_bias;
  PackedWeight<T> state;
  std::unique_ptr<PackedWeight<T>> projection;

  explicit Forward(Invocation& inv)
      : steps(inv.in(kInput), inv.has(kSizes) ? &inv.in(kSizes) : nullptr, inv.b(kReverse)), kind(rnn_kind(inv.args[kKind].str)),
        hidden(inv.in(kWhh).sizes[0] / rnn_gates(kind)), width(inv.in(kWhh).sizes[1]), gates(rnn_gates(kind)),
        hx(staged(inv.in(kHx), dtype_of<T>())), state(strided<T>(inv.in(kWhh)).mT(), width, gates, hidden) {
    if (inv.has(kCx)) cx = staged(inv.in(kCx), dtype_of<T>());
    for (int k = 0; k < 4; ++k) results.emplace_back(inv.outs[k], dtype_of<T>());
    out = {results[0].ptr<T>(), width};
    if (kind == RnnKind::Lstm) cells = {results[1].ptr<T>(), hidden};
    const bool simple = gates == 1;
    sums = simple ? out : Matrix<T>{results[2].ptr<T>(), 4 * hidden};
    raw = out;
    if (inv.has(kWhr)) {
      raw = {results[3].ptr<T>(), hidden};
      projection = std::make_unique<PackedWeight<T>>(strided<T>(inv.in(kWhr)).mT(), hidden, 1, width);
    }
    input_part(inv);
  }

  // sums = input @ w_ih.T + every bias that is simply added; the state's bias of a gru's n is inside a product.
  void input_part(Invocation& inv) {
    const int64_t n = gates * hidden, inside = kind == RnnKind::Gru ? hidden : 0;
    const Tensor x = staged(inv.in(kInput), dtype_of<T>()), bias = empty({n}, dtype_of<T>());
    const TensorImpl& w = inv.in(kWih);
    Epilogue<T> e;
    if (inv.has(kBih)) {
      const Tensor b_ih = staged(inv.in(kBih), dtype_of<T>());
      state_bias = staged(inv.in(kBhh), dtype_of<T>());
      for (int64_t j = 0; j < n; ++j) bias.ptr<T>()[j] = b_ih.ptr<T>()[j] + (j < n - inside ? state_bias.ptr<T>()[j] : T(0));
      e.add = bias.ptr<T>();
    }
    gemm<T, T>(steps.total, n, w.sizes[1], {x.ptr<T>(), w.sizes[1], 1}, strided<T>(w).mT(), sums.data, sums.stride, e);
  }

  // Rows [r, end) of step t for the units of block q, from the state (h, c).
  void block(int64_t t, int64_t q, int64_t r, int64_t end, Matrix<const T> h, Matrix<const T> c) const {
    if (r == end) return;
    const int64_t u = state.blocks.begin(q), row = steps.start(t) + r, rows = end - r, units = state.blocks.end(q) - u;
    const Matrix<T> gate{sums.row(row) + u, sums.stride};
    for (int64_t g = 0; g < gates; ++g) {
      const bool fresh = kind == RnnKind::Gru && g == 2;  // kept apart from the input's part: the reset gate multiplies it
      const Matrix<T> target{gate.data + (fresh ? 3 : g) * hidden, gate.stride};
      state.multiply(q, g, rows, h, target, !fresh, fresh && state_bias.defined() ? state_bias.ptr<T>() + 2 * hidden + u : nullptr);
    }
    const Matrix<const T> previous = kind == RnnKind::Lstm ? c : h;
    GateArgs<T> a{rows, units, hidden, gate, {previous.data + u, previous.stride}, {}, {raw.row(row) + u, raw.stride}};
    if (cells.data != nullptr) a.cell = {cells.row(row) + u, cells.stride};
    rnn_fns<T>().forward[int(kind)](a);
  }

  void run() const {
    for (int64_t i = 0; i < steps.count; ++i) {
      const int64_t t = steps.at(i), rows = steps.rows(t), carried = steps.carried(t);
      const int64_t from = carried == 0 ? 0 : steps.start(steps.before(t));
      state.blocks.each(state.work(rows), [&](int64_t q) {
        block(t, q, 0, carried, {out.row(from), width}, {cells.row(from), hidden});
        block(t, q, carried, rows, {hx.ptr<T>() + carried * width, width},
              {cx.defined() ? cx.ptr<T>() + carried * hidden : nullptr, hidden});
      });
      if (projection == nullptr) continue;
      projection->blocks.each(projection->work(rows), [&](int64_t q) {
        const Matrix<T> target{out.row(steps.start(t)) + projection->blocks.begin(q), width};
        projection->multiply(q, 0, rows, {raw.row(steps.start(t)), hidden}, target, false);
      });
    }
    for (const StagedOut& result : results) result.commit();
  }
};

void rnn_layer_cpu(Invocation& inv) {
  if (inv.out().numel == 0) return;
  dispatch_float(inv.compute, [&](auto tag) { Forward<decltype(tag)>(inv).run(); });
}

// _rnn_previous(output, hx, batch_sizes?, reverse): the state that every row of every step started from.
void rnn_previous_cpu(Invocation& inv) {
  const Steps steps(inv.in(0), inv.has(2) ? &inv.in(2) : nullptr, inv.b(3));
  const DType dtype = inv.in(0).dtype;
  const Tensor out = staged(inv.in(0), dtype), hx = staged(inv.in(1), dtype);
  const int64_t bytes = hx.size(1) * itemsize(dtype);
  const char *from_out = static_cast<char*>(out->data()), *from_hx = static_cast<char*>(hx->data());
  const StagedOut result(inv.outs[0], dtype);
  char* to = result.ptr<char>();
  for (int64_t t = 0; t < steps.count; ++t) {
    const int64_t carried = steps.carried(t), rows = steps.rows(t);
    if (carried > 0) std::memcpy(to + steps.start(t) * bytes, from_out + steps.start(steps.before(t)) * bytes, size_t(carried * bytes));
    if (carried < rows)
      std::memcpy(to + (steps.start(t) + carried) * bytes, from_hx + carried * bytes, size_t((rows - carried) * bytes));
  }
  result.commit();
}

}  // namespace

MG_KERNEL("_rnn_layer", CPU, rnn_layer_cpu);
MG_KERNEL("_rnn_previous", CPU, rnn_previous_cpu);

}  // namespace mg::cpu
