// What gemm() (gemm.h) multiplies and where its sums go: operands and results as functors of (row, column).
//
// An Operand has `using element`, `begin(batch index, byte offset)` -> a view called with (row, column), and `rows_adjacent`, which says
// that neighbours along rows lie closer in memory than neighbours along columns (the order in which threads load).
#pragma once
#include "../kernel.h"

namespace mg::cuda {

struct GemmShape {
  int64_t m, n, k, batch, slices, slice_k;
};

// Integers are summed modulo 2^32 or 2^64, 16-bit floats in float.
template <class T>
using gemm_sum_t = std::conditional_t<std::is_integral_v<T>, std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>, compute_t<T>>;

template <class Acc, class S>
MG_DEVICE Acc gemm_load(S v) {
  return convert<Acc>(v);
}
template <class T>
MG_DEVICE void multiply_add(T& sum, T a, T b) {
  if constexpr (is_complex_element<T>) {
    sum.re += a.re * b.re, sum.re -= a.im * b.im;
    sum.im += a.re * b.im, sum.im += a.im * b.re;
  } else {
    sum += a * b;
  }
}
template <class T>
MG_DEVICE T plus(T a, T b) {
  if constexpr (is_complex_element<T>) return T{a.re + b.re, a.im + b.im};
  else return a + b;
}

// What shared memory holds for a T: without constructors.
template <class T>
struct Bare { using type = T; };
template <class R>
struct Bare<Complex<R>> {
  struct type {
    R re, im;
    MG_DEVICE operator Complex<R>() const { return {re, im}; }
    MG_DEVICE type& operator=(Complex<R> v) {
      re = v.re, im = v.im;
      return *this;
    }
  };
};

// Batches that need no offsets: the operands know by the index where they lie.
struct PlainBatches {
  MG_DEVICE void get(int64_t, int64_t (&at)[4]) const { at[0] = at[1] = at[2] = at[3] = 0; }
};

// `x`, of which the compiler does not know that it is the same each time: what is made of it in a loop stays there. Without it the places of
// the operands are worked out before the loop over k, and those of the results before the batch's, and take the registers of the sums.
template <class I>
MG_DEVICE I not_hoisted(I x) {
#ifdef __CUDA_ARCH__
  if constexpr (sizeof(I) == 8) asm volatile("" : "+l"(x));
  else asm volatile("" : "+r"(x));
#endif
  return x;
}

template <class S>
struct StridedOperand {
  using element = S;
  struct View {
    const S* p;
    int64_t rs, cs;
    MG_DEVICE S operator()(int64_t row, int64_t column) const { return p[not_hoisted(row) * rs + not_hoisted(column) * cs]; }
  };
  const S* base;
  int64_t rs, cs;  // elements
  bool rows_adjacent;
  MG_DEVICE View begin(int64_t, int64_t bytes) const { return {byte_at(base, bytes), rs, cs}; }
};

// What becomes of a finished sum.
template <class T, class Acc>
struct StridedResult {
  T* out;
  int64_t rs, cs;
  const T* add;  // may be null
  int64_t ars, acs;
  Acc alpha, beta;
  struct View {
    T* out;
    const T* add;
  };
  MG_DEVICE View begin(int64_t, int64_t out_bytes, int64_t add_bytes) const {
    return {byte_at(out, out_bytes), add == nullptr ? nullptr : byte_at(add, add_bytes)};
  }
  MG_DEVICE void operator()(const View& to, int64_t row, int64_t column, Acc sum) const {
    Acc v{};
    multiply_add(v, alpha, sum);
    if (to.add != nullptr) multiply_add(v, beta, gemm_load<Acc>(to.add[row * ars + column * acs]));
    to.out[row * rs + column * cs] = convert<T>(v);
  }
};

}  // namespace mg::cuda
