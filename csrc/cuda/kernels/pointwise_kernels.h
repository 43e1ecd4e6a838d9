// The dense and the strided kernel of a functor, its row, and the macros that make functors and rows of the lines of csrc/scalar.h.
#pragma once
#include "pointwise_elements.h"

namespace mg::cuda {
namespace pointwise {

// --- one element

template <class C>
__device__ C constant_of(const Source& s) {
  if constexpr (std::is_same_v<C, complex128>) return s.number;
  else if constexpr (std::is_same_v<C, int64_t>) return __builtin_bit_cast(int64_t, s.number.re);
  else return C(s.number.re);
}

template <class Op, class C, int N, bool mask>
__device__ auto apply(const C (&x)[N]) {
  using T = Number<C>;
  if constexpr (mask) {
    bool first;
    if constexpr (std::is_same_v<C, complex128>) first = x[0].re != 0;
    else first = x[0] != C(0);
    return Op::template apply<T>(first, T(x[1]), T(x[2]));
  } else if constexpr (N == 1) return Op::template apply<T>(T(x[0]));
  else if constexpr (N == 2) return Op::template apply<T>(T(x[0]), T(x[1]));
  else if constexpr (N == 3) return Op::template apply<T>(T(x[0]), T(x[1]), T(x[2]));
  else return Op::template apply<T>(T(x[0]), T(x[1]), T(x[2]), T(x[3]));
}
template <class R>
MG_DEVICE auto plain(R r) {
  if constexpr (std::is_same_v<R, scalar::Int<int64_t>>) return r.v;
  else if constexpr (std::is_same_v<R, int>) return r != 0;  // bool & bool
  else return r;
}

// --- kernels

template <int N>
struct Sources {
  Source in[N];
};

template <class Op, class C, int N, bool mask, bool divides, int unroll>
__global__ void dense_kernel(char* out, DType out_dtype, Sources<N> sources, int64_t n, FaultNote note) {
  using R = decltype(plain(apply<Op, C, N, mask>({})));
  const int64_t words = n / unroll;
  MG_GRID_LOOP(w, words + n % unroll) {
    C x[N][unroll];
    R y[unroll];
    const bool whole = w < words;
    const int64_t at = whole ? w * unroll : words * unroll + (w - words);  // the rest of n goes one by one
    const int count = whole ? unroll : 1;
    for (int k = 0; k < N; ++k) {
      const Source& s = sources.in[k];
      if (s.constant) {
        for (int j = 0; j < unroll; ++j) x[k][j] = constant_of<C>(s);
      } else if (mask && k == 0) {
        for (int j = 0; j < unroll; ++j) x[k][j] = C(j < count && reinterpret_cast<const uint8_t*>(s.data)[at + j] != 0);
      } else if (whole) {
        load_words(s, w, x[k]);
      } else {
        const C one = load<C>(s.data + at * bytes_of(s.dtype), s.dtype, s.dtype);
        for (int j = 0; j < unroll; ++j) x[k][j] = one;
      }
    }
    for (int j = 0; j < unroll; ++j) {
      C element[N];
      for (int k = 0; k < N; ++k) element[k] = x[k][j];
      if constexpr (divides && std::is_same_v<C, int64_t>)
        if (element[1] == 0) note_fault(note, kZeroDivisionFault, 0, 0);
      y[j] = plain(apply<Op, C, N, mask>(element));
    }
    if (whole) store_words(out, out_dtype, w, y);
    else store(out + at * bytes_of(out_dtype), out_dtype, out_dtype, y[0]);
  }
}

template <class Op, class C, int N, bool mask, bool divides>
__global__ void strided_kernel(char* out, DType out_dtype, DType compute, Sources<N> sources, Offsets<N + 1> offsets, FaultNote note) {
  MG_GRID_LOOP(i, offsets.count) {
    int64_t at[N + 1];
    offsets.get(i, at);
    C x[N];
    for (int k = 0; k < N; ++k) {
      const Source& s = sources.in[k];
      x[k] = s.constant ? constant_of<C>(s) : load<C>(s.data + at[k + 1], s.dtype, mask && k == 0 ? s.dtype : compute);
    }
    if constexpr (divides && std::is_same_v<C, int64_t>)
      if (x[1] == 0) note_fault(note, kZeroDivisionFault, 0, 0);
    store(out + at[0], out_dtype, compute, apply<Op, C, N, mask>(x));
  }
}

// --- rows

template <class Op, class C, int N, bool mask, bool divides, int unroll>
void run(const PointwiseCall& call) {
  Sources<N> sources;
  for (int k = 0; k < N; ++k) sources.in[k] = call.in[k];
  if constexpr (unroll > 0) {
    if (call.dense) {
      return launch_items(dense_kernel<Op, C, N, mask, divides, unroll>, call.n / unroll + call.n % unroll, call.out, call.out_dtype, sources, call.n, call.note);
    }
  }
  with_offsets<N + 1>(*call.plan, [&](const Offsets<N + 1>& offsets, char* const* base) {
    for (int k = 0; k < N; ++k) sources.in[k].data = base[k + 1];
    launch_items(strided_kernel<Op, C, N, mask, divides>, offsets.count, base[0], call.out_dtype, call.compute, sources, offsets, call.note);
  });
}

enum class Class { F, N, A, I };
enum class Form { Plain, Divides, Where };

// Class F is dear: fewer elements a thread.
template <class Op, int N, Class C, PointwiseResult R, Form F = Form::Plain>
constexpr PointwiseRow make_row(const char* name) {
  constexpr bool mask = F == Form::Where, divides = F == Form::Divides;
  constexpr int unroll = C == Class::F || N == 4 || divides ? 4 : 8;
  PointwiseRow row = {name, N, R, mask, divides, true, {}};
  if constexpr (C != Class::I) {
    row.run[kFloat] = run<Op, float, N, mask, false, unroll>;
    row.run[kDouble] = run<Op, double, N, mask, false, unroll / 2>;
  }
  if constexpr (C != Class::F) row.run[kInt] = run<Op, int64_t, N, mask, divides, unroll>;
  return row;
}

}  // namespace pointwise
}  // namespace mg::cuda

#define MG_FUNCTOR1(name, cls, res, a, ...)          \
  struct op_##name {                                 \
    template <class T>                               \
    static MG_HD auto apply([[maybe_unused]] T a) {  \
      return __VA_ARGS__;                            \
    }                                                \
  };
#define MG_FUNCTOR2(name, cls, res, a, b, ...)                            \
  struct op_##name {                                                      \
    template <class T>                                                    \
    static MG_HD auto apply([[maybe_unused]] T a, [[maybe_unused]] T b) { \
      return __VA_ARGS__;                                                 \
    }                                                                     \
  };
#define MG_FUNCTOR3(name, cls, res, a, b, c, ...) \
  struct op_##name {                              \
    template <class T>                            \
    static MG_HD auto apply(T a, T b, T c) {      \
      return __VA_ARGS__;                         \
    }                                             \
  };
#define MG_FUNCTOR4(name, cls, res, a, b, c, d, ...) \
  struct op_##name {                                 \
    template <class T>                               \
    static MG_HD auto apply(T a, T b, T c, T d) {    \
      return __VA_ARGS__;                            \
    }                                                \
  };
#define MG_FUNCTOR_WHERE(name, cls, res, m, a, b, ...) \
  struct op_##name {                                   \
    template <class T>                                 \
    static MG_HD auto apply(bool m, T a, T b) {        \
      return __VA_ARGS__;                              \
    }                                                  \
  };
#define MG_ROW(arity, name, cls, res, form) make_row<op_##name, arity, Class::cls, PointwiseResult::res, Form::form>(#name),
// The rows of class F and the others stand in different files: nvcc's time.
#define MG_IF_FLOAT_F(...) __VA_ARGS__
#define MG_IF_FLOAT_N(...)
#define MG_IF_FLOAT_A(...)
#define MG_IF_FLOAT_I(...)
#define MG_IF_OTHER_F(...)
#define MG_IF_OTHER_N(...) __VA_ARGS__
#define MG_IF_OTHER_A(...) __VA_ARGS__
#define MG_IF_OTHER_I(...) __VA_ARGS__
