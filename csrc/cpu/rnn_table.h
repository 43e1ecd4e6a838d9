// Gate arithmetic of the recurrent layers, one block of hidden units of some rows at a time (rnn_isa.cpp, per instruction set).
//
// Legend: a step has rows (sequences) and H hidden units; `gates` points at the first unit of the block in the first gate and
// `gate` is the distance to the same unit in the next gate. Order of gates: i f g o (lstm), r z n hn (gru: hn is the state's part
// of n), one (rnn). On entry gates hold sums, on exit what backward reads: activations. Every matrix has unit column stride.
#pragma once
#include <cstdint>

#include "../core/rnn_steps.h"

namespace mg::cpu {

template <class T>
struct Matrix {  // rows of a row-major matrix
  T* data = nullptr;
  int64_t stride = 0;
  T* row(int64_t r) const { return data + r * stride; }
};

template <class T>
struct GateArgs {
  int64_t rows, units, gate;
  Matrix<T> gates;           // in: sums, out: activations (rnn: unused, `h` holds them)
  Matrix<const T> previous;  // lstm: c of the step before; gru: h
  Matrix<T> cell, h;         // results; rnn: h holds the sums on entry
};
// Backward: dh holds what reaches the step's h; for lstm dc what reaches its c, replaced by what goes on to the step before; for
// gru dh is replaced by the part that goes on without passing a matrix.
template <class T>
struct GateGradArgs {
  int64_t rows, units, gate;
  Matrix<const T> gates, previous, cell, h, g_cell;
  Matrix<T> dh, dc;
  Matrix<T> dgates, dstate;  // gradients of the sums; gru: of the input's part and of the state's part
};

template <class T>
struct RnnFns {
  void (*forward[4])(const GateArgs<T>&);  // by RnnKind
  void (*backward[4])(const GateGradArgs<T>&);
};
struct RnnTable {
  RnnFns<float> f32;
  RnnFns<double> f64;
};
const RnnTable& rnn_table();
template <class T>
const RnnFns<T>& rnn_fns() {
  if constexpr (sizeof(T) == 4) return rnn_table().f32;
  else return rnn_table().f64;
}

}  // namespace mg::cpu
