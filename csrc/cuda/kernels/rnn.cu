// _rnn_layer: one direction of one recurrent layer over whole (packed) sequences; _rnn_previous.
//
// The input's part of all gates is one product; then every step adds the state's part (a product) and does the gate arithmetic (a kernel).
// Legend: B rows of all steps, N sequences, I input, H hidden width, P width of the output (H without projection). Order of gates: i f g o
// (lstm), r z n hn (gru: hn is the state's part of n), one (rnn). On entry gates hold sums, on exit what backward reads: activations.
// Meta: ../../core/meta_rnn.cpp. Read next: rnn_backward.cu.
#include "rnn.h"

namespace mg::cuda {
namespace {

enum In { kInput, kHx, kCx, kWih, kWhh, kBih, kBhh, kWhr, kSizes, kKind, kReverse };

// b_ih + b_hh; the last `inside` of b_hh are left out (they belong inside a gru's product).
template <class T>
__global__ void bias_kernel(const T* b_ih, const T* b_hh, T* bias, int64_t n, int64_t inside) {
  MG_GRID_LOOP(j, n) bias[j] = b_ih[j] + (j < n - inside ? b_hh[j] : T(0));
}

template <class T>
MG_DEVICE T sigmoid_of(T x) {
  return T(1) / (T(1) + exp(-x));
}

// One thread per row and unit. `before`: lstm: c of the step before; gru: h.
template <class T>
__global__ void lstm_gates(T* gates, const T* before, T* cell, T* h, int64_t hidden, int64_t count) {
  MG_GRID_LOOP(i, count) {
    T* g = gates + i / hidden * 4 * hidden + i % hidden;
    const T in = sigmoid_of(g[0]), keep = sigmoid_of(g[hidden]), fresh = tanh(g[2 * hidden]), out = sigmoid_of(g[3 * hidden]);
    const T c = keep * before[i] + in * fresh;
    g[0] = in, g[hidden] = keep, g[2 * hidden] = fresh, g[3 * hidden] = out;
    cell[i] = c;
    h[i] = out * tanh(c);
  }
}
template <class T>
__global__ void gru_gates(T* gates, const T* before, T* h, int64_t hidden, int64_t count) {
  MG_GRID_LOOP(i, count) {
    T* g = gates + i / hidden * 4 * hidden + i % hidden;
    const T reset = sigmoid_of(g[0]), keep = sigmoid_of(g[hidden]), fresh = tanh(g[2 * hidden] + reset * g[3 * hidden]);
    g[0] = reset, g[hidden] = keep, g[2 * hidden] = fresh;
    h[i] = fresh + keep * (before[i] - fresh);
  }
}
template <class T>
__global__ void simple_gate(T* h, bool relu, int64_t count) {
  MG_GRID_LOOP(i, count) h[i] = relu ? (h[i] < T(0) ? T(0) : h[i]) : tanh(h[i]);
}

template <class T>
struct Forward {
  Steps steps;
  RnnKind kind;
  int64_t hidden, width, gates;
  std::vector<RnnResult> results;
  Tensor out, cells, sums, raw, hx, cx, state_bias, w_state;

  explicit Forward(Invocation& inv)
      : steps(inv.in(kInput), inv.has(kSizes) ? &inv.in(kSizes) : nullptr, inv.b(kReverse)), kind(rnn_kind(inv.args[kKind].str)),
        hidden(inv.in(kWhh).sizes[0] / rnn_gates(kind)), width(inv.in(kWhh).sizes[1]), gates(rnn_gates(kind)),
        hx(staged(inv.in(kHx), dtype_of<T>())), w_state(transposed(inv.in(kWhh))) {
    if (inv.has(kCx)) cx = staged(inv.in(kCx), dtype_of<T>());
    for (int k = 0; k < 4; ++k) results.emplace_back(inv.outs[k]);
    out = as_matrix(results[0].work, width);
    if (kind == RnnKind::Lstm) cells = as_matrix(results[1].work, hidden);
    sums = gates == 1 ? out : as_matrix(results[2].work, 4 * hidden);
    raw = inv.has(kWhr) ? as_matrix(results[3].work, hidden) : out;
    input_part(inv);
  }

  void input_part(Invocation& inv) {
    const int64_t n = gates * hidden;
    const Tensor x = as_matrix(staged(inv.in(kInput), dtype_of<T>()), inv.in(kWih).sizes[1]);
    const Tensor to = part_of(sums, 0, steps.total, 0, n);
    Tensor bias;
    Addend addend;
    if (inv.has(kBih)) {
      bias = workspace(n, dtype_of<T>(), hx.device());
      const Tensor b_ih = staged(inv.in(kBih), dtype_of<T>());
      state_bias = staged(inv.in(kBhh), dtype_of<T>());
      launch_items(bias_kernel<T>, n, static_cast<const T*>(b_ih.ptr<T>()), static_cast<const T*>(state_bias.ptr<T>()), bias.ptr<T>(), n,
                   kind == RnnKind::Gru ? hidden : 0);
      addend.t = bias.get();
    }
    if (inv.in(kWih).sizes[1] == 0) {  // no input to multiply: x has no rows as a matrix
      const Tensor nothing = empty({steps.total, 0}, dtype_of<T>(), hx.device());
      return matrix_product(*nothing, *transposed(inv.in(kWih)), to, addend);
    }
    matrix_product(*x, *transposed(inv.in(kWih)), to, addend);
  }

  // Rows [r, end) of step t, from the states h and c of these rows.
  void part(int64_t t, int64_t r, int64_t end, const Tensor& h, const Tensor& c) const {
    if (r == end) return;
    const int64_t row = steps.start(t) + r, rows = end - r, count = rows * hidden;
    if (kind == RnnKind::Gru) {  // the state's part of n is kept apart from the input's: the reset gate multiplies it
      multiply(h, part_of(w_state, 0, width, 0, 2 * hidden), part_of(sums, row, rows, 0, 2 * hidden), true);
      Tensor bias;
      Addend addend;
      if (state_bias.defined()) {
        bias = alias(*state_bias, {hidden}, {1}, state_bias->offset + 2 * hidden);
        addend.t = bias.get();
      }
      matrix_product(*h, *part_of(w_state, 0, width, 2 * hidden, hidden), part_of(sums, row, rows, 3 * hidden, hidden), addend);
    } else {
      multiply(h, w_state, part_of(sums, row, rows, 0, gates * hidden), true);
    }
    T *const to = raw.ptr<T>() + row * hidden, *const gate = sums.ptr<T>() + row * 4 * hidden;
    if (kind == RnnKind::Lstm)
      launch_items(lstm_gates<T>, count, gate, static_cast<const T*>(c.ptr<T>()), cells.ptr<T>() + row * hidden, to, hidden, count);
    else if (kind == RnnKind::Gru)
      launch_items(gru_gates<T>, count, gate, static_cast<const T*>(h.ptr<T>()), to, hidden, count);
    else
      launch_items(simple_gate<T>, count, to, kind == RnnKind::Relu, count);
  }

  void run(Invocation& inv) const {
    for (int64_t i = 0; i < steps.count; ++i) {
      const int64_t t = steps.at(i), rows = steps.rows(t), carried = steps.carried(t);
      if (carried > 0) {
        const int64_t from = steps.start(steps.before(t));
        part(t, 0, carried, part_of(out, from, carried, 0, width), cells.defined() ? part_of(cells, from, carried, 0, hidden) : Tensor());
      }
      if (carried < rows)
        part(t, carried, rows, part_of(hx, carried, rows - carried, 0, width),
             cx.defined() ? part_of(cx, carried, rows - carried, 0, hidden) : Tensor());
      if (inv.has(kWhr))
        multiply(part_of(raw, steps.start(t), rows, 0, hidden), transposed(inv.in(kWhr)), part_of(out, steps.start(t), rows, 0, width), false);
    }
    for (const RnnResult& result : results) result.commit();
  }
};

void rnn_layer_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  dispatch_rnn(inv.compute, [&](auto tag) { Forward<decltype(tag)>(inv).run(inv); });
}

// _rnn_previous(output, hx, batch_sizes?, reverse): the state that every row of every step started from.
void rnn_previous_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Steps steps(inv.in(0), inv.has(2) ? &inv.in(2) : nullptr, inv.b(3));
  const int64_t width = inv.out().sizes[1];
  const Tensor out = as_matrix(contiguous(inv.tensor(0)), width), hx = contiguous(inv.tensor(1));
  const auto move = [&](const Tensor& from, int64_t row, int64_t to, int64_t rows) {
    if (rows > 0) copy_into(part_of(inv.outs[0], to, rows, 0, width), part_of(from, row, rows, 0, width));
  };
  for (int64_t t = 0; t < steps.count; ++t) {
    const int64_t carried = steps.carried(t);
    if (carried > 0) move(out, steps.start(steps.before(t)), steps.start(t), carried);
    move(hx, carried, steps.start(t) + carried, steps.rows(t) - carried);
  }
}

MG_CUDA_KERNEL("_rnn_layer", rnn_layer_cuda);
MG_CUDA_KERNEL("_rnn_previous", rnn_previous_cuda);

}  // namespace
}  // namespace mg::cuda
