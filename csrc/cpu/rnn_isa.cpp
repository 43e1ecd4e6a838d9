// The loops of rnn_table.h over simd::Vec. Formulas: minigrad/ops/layers/rnn.py, whose step loop is the oracle in the tests.
#include "../simd/row_math.h"
#include "../simd/vecmath_more.h"
#include "rnn_table.h"

namespace mg::cpu::MG_ISA_NS {

namespace sv = simd::MG_ISA_NS;
using namespace simd::MG_ISA_NS;

template <class T>
void lstm_forward(const GateArgs<T>& a) {
  const int64_t d = a.gate;
  for (int64_t r = 0; r < a.rows; ++r) {
    T *g = a.gates.row(r), *c = a.cell.row(r), *h = a.h.row(r);
    const T* before = a.previous.row(r);
    each<T>(a.units, [&](int64_t u, int k) MG_LAMBDA {
      const Vec<T> in = sv::sigmoid(get(g + u, k)), keep = sv::sigmoid(get(g + d + u, k)), fresh = sv::tanh(get(g + 2 * d + u, k)),
                   out = sv::sigmoid(get(g + 3 * d + u, k)), cell = keep * get(before + u, k) + in * fresh;
      put(g + u, in, k);
      put(g + d + u, keep, k);
      put(g + 2 * d + u, fresh, k);
      put(g + 3 * d + u, out, k);
      put(c + u, cell, k);
      put(h + u, out * sv::tanh(cell), k);
    });
  }
}

template <class T>
void lstm_backward(const GateGradArgs<T>& a) {
  const int64_t d = a.gate;
  const Vec<T> one = T(1);
  for (int64_t r = 0; r < a.rows; ++r) {
    const T *g = a.gates.row(r), *c = a.cell.row(r), *before = a.previous.row(r), *gc = a.g_cell.row(r);
    T *dh = a.dh.row(r), *dc = a.dc.row(r), *out = a.dgates.row(r);
    each<T>(a.units, [&](int64_t u, int k) MG_LAMBDA {
      const Vec<T> i = get(g + u, k), f = get(g + d + u, k), n = get(g + 2 * d + u, k), o = get(g + 3 * d + u, k);
      const Vec<T> top = sv::tanh(get(c + u, k)), up = get(dh + u, k);
      const Vec<T> cell = get(dc + u, k) + get(gc + u, k) + up * o * ((one - top) * (one + top));
      put(out + u, cell * n * (i * (one - i)), k);
      put(out + d + u, cell * get(before + u, k) * (f * (one - f)), k);
      put(out + 2 * d + u, cell * i * ((one - n) * (one + n)), k);
      put(out + 3 * d + u, up * top * (o * (one - o)), k);
      put(dc + u, cell * f, k);
    });
  }
}

template <class T>
void gru_forward(const GateArgs<T>& a) {
  const int64_t d = a.gate;
  for (int64_t r = 0; r < a.rows; ++r) {
    T *g = a.gates.row(r), *h = a.h.row(r);
    const T* before = a.previous.row(r);
    each<T>(a.units, [&](int64_t u, int k) MG_LAMBDA {
      const Vec<T> reset = sv::sigmoid(get(g + u, k)), keep = sv::sigmoid(get(g + d + u, k)),
                   fresh = sv::tanh(get(g + 2 * d + u, k) + reset * get(g + 3 * d + u, k));
      put(g + u, reset, k);
      put(g + d + u, keep, k);
      put(g + 2 * d + u, fresh, k);
      put(h + u, fresh + keep * (get(before + u, k) - fresh), k);
    });
  }
}

template <class T>
void gru_backward(const GateGradArgs<T>& a) {
  const int64_t d = a.gate;
  const Vec<T> one = T(1);
  for (int64_t r = 0; r < a.rows; ++r) {
    const T *g = a.gates.row(r), *before = a.previous.row(r);
    T *dh = a.dh.row(r), *dx = a.dgates.row(r), *ds = a.dstate.row(r);
    each<T>(a.units, [&](int64_t u, int k) MG_LAMBDA {
      const Vec<T> reset = get(g + u, k), keep = get(g + d + u, k), n = get(g + 2 * d + u, k), hn = get(g + 3 * d + u, k);
      const Vec<T> up = get(dh + u, k), dn = up * (one - keep) * ((one - n) * (one + n)), dr = dn * hn * (reset * (one - reset)),
                   dz = up * (get(before + u, k) - n) * (keep * (one - keep));
      put(dx + u, dr, k);
      put(dx + d + u, dz, k);
      put(dx + 2 * d + u, dn, k);
      put(ds + u, dr, k);
      put(ds + d + u, dz, k);
      put(ds + 2 * d + u, dn * reset, k);
      put(dh + u, up * keep, k);
    });
  }
}

template <class T, bool relu>
void rnn_forward(const GateArgs<T>& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    T* h = a.h.row(r);
    each<T>(a.units, [&](int64_t u, int k) MG_LAMBDA {
      const Vec<T> x = get(h + u, k);
      put(h + u, relu ? sv::maximum(x, Vec<T>(T(0))) : sv::tanh(x), k);
    });
  }
}

template <class T, bool relu>
void rnn_backward(const GateGradArgs<T>& a) {
  const Vec<T> one = T(1), zero = T(0);
  for (int64_t r = 0; r < a.rows; ++r) {
    const T *h = a.h.row(r), *dh = a.dh.row(r);
    T* out = a.dgates.row(r);
    each<T>(a.units, [&](int64_t u, int k) MG_LAMBDA {
      const Vec<T> y = get(h + u, k), up = get(dh + u, k);
      put(out + u, relu ? select(y <= zero, zero, up) : up * ((one - y) * (one + y)), k);
    });
  }
}

template <class T>
constexpr RnnFns<T> kFns = {{rnn_forward<T, false>, rnn_forward<T, true>, gru_forward<T>, lstm_forward<T>},
                            {rnn_backward<T, false>, rnn_backward<T, true>, gru_backward<T>, lstm_backward<T>}};

extern const RnnTable rnn_table;
constinit const RnnTable rnn_table = {kFns<float>, kFns<double>};

}  // namespace mg::cpu::MG_ISA_NS
