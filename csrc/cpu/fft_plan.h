// What a Fourier transform of length n needs, computed once and kept in a small cache: factors, twiddles, chirps (in
// double, rounded once). A plan transforms `lanes` signals at a time, forward and without scaling; the inverse
// exchanges re and im at both ends.
//
//   Direct     Stockham passes over a block of signals that fits the cache
//   Bluestein  lengths with a prime factor above kFftMaxRadix: a convolution with a chirp, of a smooth length
//              m >= 2n - 1, which costs two transforms and as many digits
//   Split      one long signal as an n1 x n2 matrix: columns, twiddles, rows (Bailey's four-step), each a batch of
//              Direct or Bluestein ones; so only the part of a length that needs it pays for the convolution
#pragma once
#include <memory>
#include <vector>

#include "fft_table.h"

namespace mg::cpu {

template <class T>
struct FftPlan {
  enum class Kind { Direct, Split, Bluestein };
  int64_t n = 1;
  Kind kind = Kind::Direct;
  std::vector<FftStage<T>> stages;
  std::vector<T>
      table;  // twiddles and roots of the stages; Bluestein: the chirp (split), then the transformed kernel (split)
  // Split: n = n1 * n2; exp(-2 pi i k / n) = high[k >> shift] * low[k & mask], and table holds its powers k l of a
  // tile. Bluestein: `first` is the convolution's plan.
  int64_t n1 = 1, n2 = 1;
  int shift = 0;
  std::vector<T> low, high;
  std::shared_ptr<const FftPlan> first, second;
};

template <class T>
struct FftBlock {
  T *re, *im;  // [n][lanes]
};

// `single`: for one signal at a time (Split where that pays); otherwise Direct, or Bluestein over a Direct one.
template <class T>
std::shared_ptr<const FftPlan<T>> fft_plan(int64_t n, bool single);

// Rows of the longest block that a batch of transforms of length n works in: n, or what Bluestein's convolution needs.
int64_t fft_rows(int64_t n);

// Transforms `x`; `work` is as large. Returns the one that holds the result. lanes must be 1 for plans made for `single` signals.
template <class T>
FftBlock<T> fft_transform(const FftPlan<T>& plan, FftBlock<T> x, FftBlock<T> work, int64_t lanes);

// exp(-2 pi i k / n) for k < count, as pairs; for the real transforms.
template <class T>
std::shared_ptr<const std::vector<T>> fft_roots(int64_t n, int64_t count);

}  // namespace mg::cpu
