// Leaf kernels of reduce_table.h: sums, products, extremes over contiguous rows and columns.
#include "../simd/row_math.h"
#include "../simd/vecmath_more.h"
#include "reduce_table.h"

namespace mg::cpu::MG_ISA_NS {

using simd::MG_ISA_NS::Vec;
namespace sv = simd::MG_ISA_NS;

// A monoid: map an element, combine two partial results. Every function is generic over Vec<T>.
template <class T>
struct Zero {
  static constexpr T identity = T(0);
  template <class A>
  static MG_INL A combine(A a, A b) {
    return a + b;
  }
};
template <class T>
MG_INL Vec<T> one_if(typename Vec<T>::M m) {
  return select(m, Vec<T>(T(1)), Vec<T>(T(0)));
}

template <class T>
struct Sum : Zero<T> {
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return x; }
};
template <class T>
struct NanSum : Zero<T> {
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return select(x == x, x, Vec<T>(T(0))); }
};
template <class T>
struct AbsSum : Zero<T> {
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return sv::abs(x); }
};
template <class T>
struct SquareSum : Zero<T> {
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return x * x; }
};
template <class T>
struct CountNonzero : Zero<T> {
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return one_if<T>(x != Vec<T>(T(0))); }
};
template <class T>
struct SquareDiff : Zero<T> {
  static MG_INL Vec<T> map(Vec<T> x, Vec<T> m, T) { return (x - m) * (x - m); }
};
template <class T>
struct ExpDiff : Zero<T> {
  static MG_INL Vec<T> map(Vec<T> x, Vec<T> m, T) {
    if constexpr (std::is_same_v<T, int64_t>)
      return x;
    else
      return sv::exp(x - m);
  }
};
template <class T>
struct AbsPowSum : Zero<T> {
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T p) {
    if constexpr (std::is_same_v<T, int64_t>)
      return x;
    else
      return sv::pow(sv::abs(x), Vec<T>(p));
  }
};
template <class T>
struct Prod {
  static constexpr T identity = T(1);
  template <class A>
  static MG_INL A combine(A a, A b) {
    return a * b;
  }
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return x; }
};
template <class T>
constexpr T lowest() {
  if constexpr (std::is_same_v<T, int64_t>)
    return INT64_MIN;
  else
    return -T(__builtin_inf());
}
template <class T>
constexpr T highest() {
  if constexpr (std::is_same_v<T, int64_t>)
    return INT64_MAX;
  else
    return T(__builtin_inf());
}
template <class A>
MG_INL A larger(A a, A b) {
  return (a > b || a != a) ? a : b;
}
template <class A>
MG_INL A smaller(A a, A b) {
  return (a < b || a != a) ? a : b;
}
template <class T>
MG_INL Vec<T> larger(Vec<T> a, Vec<T> b) {
  return sv::maximum(a, b);
}
template <class T>
MG_INL Vec<T> smaller(Vec<T> a, Vec<T> b) {
  return sv::minimum(a, b);
}

template <class T>
struct Max {
  static constexpr T identity = lowest<T>();
  template <class A>
  static MG_INL A combine(A a, A b) {
    return larger(a, b);
  }
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return x; }
};
template <class T>
struct Min {
  static constexpr T identity = highest<T>();
  template <class A>
  static MG_INL A combine(A a, A b) {
    return smaller(a, b);
  }
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return x; }
};
template <class T>
struct AbsMax : Max<T> {
  static constexpr T identity = T(0);
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return sv::abs(x); }
};
template <class T>
struct AbsMin : Min<T> {
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return sv::abs(x); }
};
template <class T>
struct AnyNonzero : Max<T> {
  static constexpr T identity = T(0);
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return one_if<T>(x != Vec<T>(T(0))); }
};
template <class T>
struct AllNonzero : Min<T> {
  static constexpr T identity = T(1);
  static MG_INL Vec<T> map(Vec<T> x, Vec<T>, T) { return one_if<T>(x != Vec<T>(T(0))); }
};

// Partial results of integers wrap: combined as unsigned.
template <class R, class A>
MG_INL A merge(A a, A b) {
  if constexpr (std::is_same_v<A, int64_t> && (std::is_base_of_v<Zero<int64_t>, R> || std::is_same_v<R, Prod<int64_t>>))
    return A(R::combine(uint64_t(a), uint64_t(b)));
  else
    return R::combine(a, b);
}

template <class R, class T>
MG_INL Acc<T> fold_lanes(Vec<T> a) {
  return Acc<T>(sv::horizontal(a, [](Vec<T> x, Vec<T> y) { return R::combine(x, y); }));
}

// At most 8 vectors per accumulator between two merges into the wide accumulator.
template <class R, class T>
MG_INL Acc<T> fold_row(const T* x, int64_t n, Vec<T> m, T p, Acc<T> total = Acc<T>(R::identity)) {
  using V = Vec<T>;
  constexpr int W = V::size;
  const V start = R::identity;
  int64_t i = 0;
  while (i + 4 * W <= n) {
    V a = start, b = start, c = start, d = start;
    const int64_t end = n - i < 32 * W ? i + (n - i) / (4 * W) * (4 * W) : i + 32 * W;
    for (; i < end; i += 4 * W) {
      a = R::combine(a, R::map(V::load(x + i), m, p));
      b = R::combine(b, R::map(V::load(x + i + W), m, p));
      c = R::combine(c, R::map(V::load(x + i + 2 * W), m, p));
      d = R::combine(d, R::map(V::load(x + i + 3 * W), m, p));
    }
    total = merge<R>(total, fold_lanes<R>(R::combine(R::combine(a, b), R::combine(c, d))));
  }
  if (i < n) {
    V a = start;
    for (; i + W <= n; i += W) a = R::combine(a, R::map(V::load(x + i), m, p));
    if (i < n) {
      const int rest = int(n - i);
      a = R::combine(a, select(sv::first_lanes<T>(rest), R::map(V::load(x + i, rest), m, p), start));
    }
    total = merge<R>(total, fold_lanes<R>(a));
  }
  return total;
}

// Folds each group of N neighbouring lanes into its first lane.
template <class R, class T, int N, int S = N / 2>
MG_INL Vec<T> fold_groups(Vec<T> a) {
  if constexpr (S == 0) {
    return a;
  } else {
    typename Vec<T>::I::V swap;
    for (int i = 0; i < Vec<T>::size; ++i) swap[i] = sv::IntLane<T>(i ^ S);
    return fold_groups<R, T, N, S / 2>(R::combine(a, Vec<T>(__builtin_shuffle(a.v, swap))));
  }
}

// Rows of N elements without gaps: several in one vector. Returns how many rows were done.
template <class R, class T, int N>
MG_INL int64_t fold_dense_rows(Acc<T>* out, const T* x, int64_t nrows, T p) {
  constexpr int W = Vec<T>::size, kRows = W / N;
  int64_t r = 0;
  if constexpr (kRows > 1)
    for (; r + kRows <= nrows; r += kRows) {
      const Vec<T> a = fold_groups<R, T, N>(R::map(Vec<T>::load(x + r * N), Vec<T>(T(0)), p));
#pragma GCC unroll 8
      for (int k = 0; k < kRows; ++k) out[r + k] = Acc<T>(a[k * N]);
    }
  return r;
}

template <class R, class T>
void fold_rows(Acc<T>* out, const T* x, int64_t nrows, int64_t ld, int64_t n, const T* m, double p) {
  const T zero = T(0);
  if (n <= Vec<T>::size && n > 0) {  // short rows: one masked load each
    const auto mask = sv::first_lanes<T>(int(n));
    int64_t r = 0;
    if (ld == n && m == nullptr)
      r = n == 2   ? fold_dense_rows<R, T, 2>(out, x, nrows, T(p))
          : n == 4 ? fold_dense_rows<R, T, 4>(out, x, nrows, T(p))
          : n == 8 ? fold_dense_rows<R, T, 8>(out, x, nrows, T(p))
                   : 0;
    for (; r < nrows; ++r) {
      const Vec<T> v = R::map(Vec<T>::load(x + r * ld, int(n)), Vec<T>(m ? m[r] : zero), T(p));
      out[r] = fold_lanes<R>(select(mask, v, Vec<T>(R::identity)));
    }
    return;
  }
  for (int64_t r = 0; r < nrows; ++r) out[r] = fold_row<R, T>(x + r * ld, n, Vec<T>(m ? m[r] : zero), T(p));
}

template <class R, class T>
void fold_onto(Acc<T>* total, const T* x, int64_t nrows, int64_t n) {
  for (int64_t r = 0; r < nrows; ++r) *total = fold_row<R, T>(x + r * n, n, Vec<T>(T(0)), T(0), *total);
}

// tile[c] (combine)= four rows; vectors while they last, then a masked tail.
template <class R, class T, int Rows>
MG_INL void add_rows(T* tile, const T* x, int64_t ld, int64_t ncols, const T* m, T p) {
  using V = Vec<T>;
  constexpr int W = V::size;
  for (int64_t c = 0; c < ncols; c += W) {
    const int lanes = ncols - c < W ? int(ncols - c) : W;
    auto get = [&](const T* q) { return lanes == W ? V::load(q + c) : V::load(q + c, lanes); };
    const V mv = m ? get(m) : V(T(0));
    V a = V::load(tile + c);
    if constexpr (Rows == 4) {
      const V s = R::combine(R::map(get(x), mv, p), R::map(get(x + ld), mv, p));
      const V t = R::combine(R::map(get(x + 2 * ld), mv, p), R::map(get(x + 3 * ld), mv, p));
      a = R::combine(a, R::combine(s, t));
    } else {
      a = R::combine(a, R::map(get(x), mv, p));
    }
    a.store(tile + c);  // the tile is padded to whole vectors
  }
}

template <class R, class T>
void fold_columns(Acc<T>* acc, const T* x, int64_t nrows, int64_t ld, int64_t ncols, const T* m, double p) {
  constexpr int64_t kBlock = 64;
  alignas(64) T tile[kFoldColumns + 16];
  for (int64_t c = 0; c < ncols; ++c) acc[c] = Acc<T>(R::identity);
  for (int64_t r = 0; r < nrows; r += kBlock) {
    for (int64_t c = 0; c < ncols + 16; ++c) tile[c] = R::identity;
    const int64_t end = nrows - r < kBlock ? nrows : r + kBlock;
    int64_t k = r;
    for (; k + 4 <= end; k += 4) add_rows<R, T, 4>(tile, x + k * ld, ld, ncols, m, T(p));
    for (; k < end; ++k) add_rows<R, T, 1>(tile, x + k * ld, ld, ncols, m, T(p));
    for (int64_t c = 0; c < ncols; ++c) acc[c] = merge<R>(acc[c], Acc<T>(tile[c]));
  }
}

template <bool Largest, class T>
MG_INL typename Vec<T>::M better(Vec<T> x, Vec<T> best) {
  const auto wins = Largest ? x > best : x < best;
  if constexpr (std::is_same_v<T, int64_t>)
    return wins;
  else
    return wins | ((x != x) & (best == best));
}

template <bool Largest, class T>
void arg_rows(T* value, int64_t* index, const T* x, int64_t nrows, int64_t ld, int64_t n) {
  using V = Vec<T>;
  using R = std::conditional_t<Largest, Max<T>, Min<T>>;
  for (int64_t r = 0; r < nrows; ++r, x += ld) {
    const T best = T(fold_row<R, T>(x, n, V(T(0)), T(0)));
    int64_t i = 0;
    const V want = best;
    if (best == best)
      while (i + V::size <= n && !sv::any(V::load(x + i) == want)) i += V::size;
    while (i < n - 1 && !(x[i] == best || x[i] != x[i])) ++i;
    value[r] = best;
    index[r] = i;
  }
}

template <bool Largest, class T>
void arg_columns(T* value, int64_t* index, const T* x, int64_t nrows, int64_t ld, int64_t ncols) {
  using V = Vec<T>;
  using I = typename V::I;
  constexpr int W = V::size;
  using Lane = sv::IntLane<T>;
  for (int64_t c = 0; c < ncols; c += W) {
    const int lanes = ncols - c < W ? int(ncols - c) : W;
    V best = V::load(x + c, lanes);
    I at = Lane(0);
    for (int64_t r = 1; r < nrows; ++r) {
      const V v = lanes == W ? V::load(x + r * ld + c) : V::load(x + r * ld + c, lanes);
      const auto wins = better<Largest>(v, best);
      best = select(wins, v, best);
      at = select(wins, I(Lane(r)), at);
    }
    best.store(value + c, lanes);
    for (int k = 0; k < lanes; ++k) index[c + k] = int64_t(at[k]);
  }
}

#define MG_FOLD(name, T) {fold_rows<name<T>, T>, fold_columns<name<T>, T>, fold_onto<name<T>, T>}
#define MG_FOLDS(T)                                                                              \
  {MG_FOLD(Sum, T),    MG_FOLD(NanSum, T),     MG_FOLD(Prod, T),       MG_FOLD(Max, T),          \
   MG_FOLD(Min, T),    MG_FOLD(AnyNonzero, T), MG_FOLD(AllNonzero, T), MG_FOLD(CountNonzero, T), \
   MG_FOLD(AbsSum, T), MG_FOLD(SquareSum, T),  MG_FOLD(AbsPowSum, T),  MG_FOLD(AbsMax, T),       \
   MG_FOLD(AbsMin, T), MG_FOLD(SquareDiff, T), MG_FOLD(ExpDiff, T)}
#define MG_ARGS(T)                                                                           \
  {                                                                                          \
    {arg_rows<true, T>, arg_columns<true, T>}, { arg_rows<false, T>, arg_columns<false, T> } \
  }
extern const ReduceTable reduce_table;
constinit const ReduceTable reduce_table = {MG_FOLDS(float), MG_FOLDS(double), MG_FOLDS(int64_t),
                                            MG_ARGS(float),  MG_ARGS(double),  MG_ARGS(int64_t)};

}  // namespace mg::cpu::MG_ISA_NS
