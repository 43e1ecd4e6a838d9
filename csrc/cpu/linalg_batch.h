// Batches of matrices in any layout, and their way to LAPACK's column-major buffers and back.
//
// Legend: a tensor (*batch, rows, cols); vectors (*batch, n) and numbers (*batch) are matrices with cs, rs unused.
// A kernel makes one Batch per tensor, then for_each_matrix() over the output's batch; load() and store() copy one
// matrix.
#pragma once
#include <algorithm>
#include <complex>
#include <memory>
#include <vector>

#include "../core/layout.h"
#include "../core/op.h"
#include "../core/parallel.h"
#include "lapack.h"

namespace mg::cpu {

// Calls f(S{}) with the LAPACK type of the dtype; metas let no other dtype through.
template <class F>
void dispatch_linalg(DType d, F&& f) {
  switch (d) {
    case DType::Float32:
      return f(float{});
    case DType::Float64:
      return f(double{});
    case DType::Complex64:
      return f(std::complex<float>{});
    case DType::Complex128:
      return f(std::complex<double>{});
    default:
      MG_INTERNAL(false, "linalg kernel called with ", d);
  }
}

template <class S>
S conj_of(S x) {
  if constexpr (is_complex_scalar<S>) return std::conj(x);
  return x;
}
template <class S>
real_t<S> real_of(S x) {
  if constexpr (is_complex_scalar<S>)
    return x.real();
  else
    return x;
}

// The matrices of one tensor. `core` is the rank of one item: 2 matrices, 1 vectors, 0 numbers.
template <class S>
struct Batch {
  S* data;
  int64_t rows = 1, cols = 1, rs = 0, cs = 0;
  Dims sizes, strides;  // of the batch dims
  int64_t step = 0;     // elements from one item to the next, where all of them are evenly spaced
  bool even = true;

  Batch(const TensorImpl& t, int core) : data(t.ptr<S>()) {
    const int n = t.dim() - core;
    for (int d = 0; d < n; ++d) {
      sizes.push_back(t.sizes[d]);
      strides.push_back(t.strides[d]);
    }
    int64_t expected = step = n > 0 ? strides[n - 1] : 0;
    for (int d = n - 1; d >= 0; --d) {
      even = even && (sizes[d] == 1 || strides[d] == expected);
      expected *= sizes[d];
    }
    if (core >= 1) {
      rows = t.sizes[n];
      rs = t.strides[n];
    }
    if (core == 2) {
      cols = t.sizes[n + 1];
      cs = t.strides[n + 1];
    }
  }
  int64_t count() const {
    int64_t n = 1;
    for (int64_t s : sizes) n *= s;
    return n;
  }
  // Item `index` of a batch with sizes `over`, to which this one broadcasts.
  S* at(int64_t index, const Dims& over) const {
    S* p = data;
    const int missing = over.size() - sizes.size();
    if (even && missing == 0 && over == sizes) return data + index * step;
    for (int d = over.size() - 1; d >= missing; --d) {
      if (sizes[d - missing] != 1) p += index % over[d] * strides[d - missing];
      index /= over[d];
    }
    return p;
  }
  S* at(int64_t index) const { return even ? data + index * step : at(index, sizes); }
};

template <class S>
using Buffer = std::unique_ptr<S[]>;
template <class S>
Buffer<S> buffer(int64_t n) {
  return Buffer<S>(new S[size_t(std::max<int64_t>(n, 1))]);
}

enum class Part : uint8_t { All, Lower, Upper };

// LU of smaller matrices is worked out in double: getrf of 100 floats is only 1.4 x faster, and its rounding errors grow
// with the condition number.
constexpr int64_t kWideMatrix = 256;
template <class S>
using wide_t = std::conditional_t<is_complex_scalar<S>, std::complex<double>, double>;

// f(W{}) with the type that LU of n x n matrices of S is worked out in.
template <class S, class F>
void with_working_type(int64_t n, F&& f) {
  if (n <= kWideMatrix) return f(wide_t<S>{});
  f(S{});
}

// to[j * ld + i] = from(i, j), or its conjugate transpose: to is then cols x rows. W is S or wider.
template <class W, class S>
void load(W* to, int64_t ld, const Batch<S>& b, const S* from, bool adjoint = false) {
  constexpr int64_t kTile = 16;  // both sides stay in L1
  for (int64_t i0 = 0; i0 < b.rows; i0 += kTile)
    for (int64_t j0 = 0; j0 < b.cols; j0 += kTile)
      for (int64_t i = i0; i < std::min(i0 + kTile, b.rows); ++i)
        for (int64_t j = j0; j < std::min(j0 + kTile, b.cols); ++j) {
          const W x(from[i * b.rs + j * b.cs]);
          if (adjoint)
            to[i * ld + j] = conj_of(x);
          else
            to[j * ld + i] = x;
        }
}

// to(i, j) = from[j * ld + i] (adjoint: the conjugate of from[i * ld + j]); outside `part` zero.
template <class S, class W>
void store(const Batch<S>& b, S* to, const W* from, int64_t ld, Part part = Part::All, bool adjoint = false) {
  constexpr int64_t kTile = 16;
  for (int64_t i0 = 0; i0 < b.rows; i0 += kTile)
    for (int64_t j0 = 0; j0 < b.cols; j0 += kTile)
      for (int64_t i = i0; i < std::min(i0 + kTile, b.rows); ++i)
        for (int64_t j = j0; j < std::min(j0 + kTile, b.cols); ++j) {
          const bool outside = (part == Part::Lower && j > i) || (part == Part::Upper && j < i);
          to[i * b.rs + j * b.cs] = outside ? S(0) : S(adjoint ? conj_of(from[i * ld + j]) : from[j * ld + i]);
        }
}

template <class S>
void store_vector(const Batch<S>& b, S* to, const S* from) {
  for (int64_t i = 0; i < b.rows; ++i) to[i * b.rs] = from[i];
}

template <class S>
void fill_matrix(const Batch<S>& b, S* to, S value) {
  for (int64_t i = 0; i < b.rows; ++i)
    for (int64_t j = 0; j < b.cols; ++j) to[i * b.rs + j * b.cs] = value;
}

template <class S>
bool all_finite(const S* x, int64_t n) {
  real_t<S> sum = 0;  // x - x is NaN for infinities and NaN, else 0
  const auto* r = reinterpret_cast<const real_t<S>*>(x);
  for (int64_t i = 0; i < (is_complex_scalar<S> ? 2 * n : n); ++i) sum += r[i] - r[i];
  return sum == 0;
}

// f(begin, end) over pieces of the batch; `work` is the number of multiply-adds of one matrix. The pieces depend on
// the sizes alone, and so does every result.
template <class F>
void for_each_piece(int64_t count, int64_t work, F&& f) {
  constexpr int64_t kPiece = 200'000;  // ~50 us of small-matrix LAPACK
  parallel_for(0, count, std::max<int64_t>(1, kPiece / std::max<int64_t>(work, 1)), f);
}

inline int ld_of(int64_t rows) { return int(std::max<int64_t>(rows, 1)); }

// Size of the work array that a routine asked for in its query call.
template <class S>
int work_size(S query) {
  return std::max(1, int(double(real_of(query)) * (1 + 1e-6)) + 1);  // float rounds large sizes, perhaps down
}

}  // namespace mg::cpu
