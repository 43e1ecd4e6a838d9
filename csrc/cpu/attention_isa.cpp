// Passes over transposed blocks of scores and the decode kernels, for one instruction set. attention_table.h is the
// map.
#include "../simd/row_math.h"
#include "../simd/vecmath.h"
#include "attention_tile.h"
#include "gemm_pack.h"

namespace mg::cpu::MG_ISA_NS {

namespace sv = simd::MG_ISA_NS;
using namespace simd::MG_ISA_NS;

template <class T>
constexpr T kLowest = -T(__builtin_inf());

// e^x for x <= 0, -inf or NaN.
template <class T>
MG_INL Vec<T> exp_negative(Vec<T> x) {
  return exp_bounded(at_least(x, Vec<T>(Constants<T>::exp_min)));
}

// Lane numbers 0, 1, 2 … compared with a bound: which columns from c on see key k?
template <class T>
MG_INL typename Vec<T>::M sees(int64_t k, int64_t diagonal, int64_t c) {
  using I = typename Vec<T>::I;
  const int64_t first = k - diagonal - c;  // the first lane that does
  if constexpr (sizeof(T) == 8)
    return I::load(kIota8) >= I(first);
  else
    return I::load(kIota4) >= I(int32_t(first));
}

// Hides from the W columns at c the keys they may not see: rows from `diagonal + c + 1` on.
template <class T>
MG_INL void hide_keys(const ScoreBlock<T>& b, int64_t c) {
  int64_t k = b.diagonal + c + 1;
  for (k = k < 0 ? 0 : k; k < b.nk; ++k) {
    T* p = b.st + k * b.ld + c;
    const bool some = k < b.diagonal + c + Vec<T>::size;
    (some ? select(sees<T>(k, b.diagonal, c), Vec<T>::load(p), Vec<T>(kLowest<T>)) : Vec<T>(kLowest<T>)).store(p);
  }
}

template <class T>
MG_INL typename Vec<T>::I lane_bits() {
  constexpr int64_t wide[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  constexpr int32_t narrow[16] = {1,      2,      4,       8,       1 << 4,  1 << 5,  1 << 6,  1 << 7,
                                  1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
  if constexpr (sizeof(T) == 8)
    return Vec<T>::I::load(wide);
  else
    return Vec<T>::I::load(narrow);
}

template <class T>
void hide(const ScoreBlock<T>& b, const uint64_t* seen) {
  using I = typename Vec<T>::I;
  const I lanes = lane_bits<T>();
  for (int64_t k = 0; k < b.nk; ++k)
    for (int64_t c = 0; c < b.cols; c += Vec<T>::size) {
      T* p = b.st + k * b.ld + c;
      const I word = I(IntLane<T>(uint32_t(seen[k] >> c)));
      select((word & lanes) != I(0), Vec<T>::load(p), Vec<T>(kLowest<T>)).store(p);
    }
}

template <class T>
int bias_kinds(const T* bias, int64_t ld, int64_t nk, int64_t n) {
  Vec<T> open = T(0), other = T(0);
  const Vec<T> one = T(1), zero = T(0);
  for (int64_t k = 0; k < nk; ++k)
    each<T>(n, [&](int64_t i, int lanes) MG_LAMBDA {
      const Vec<T> x = get(bias + k * ld + i, lanes);
      open = open + keep(select(x != Vec<T>(kLowest<T>), one, zero), lanes, T(0));
      other = other + select(x != zero, one, zero);
    });
  return int(hsum(open) > 0) | int(hsum(other) > 0) << 1;
}

template <class T>
void add_bias(const ScoreBlock<T>& b, const T* bias, int64_t rs, bool per_column) {
  for (int64_t k = 0; k < b.nk; ++k, bias += rs) {
    T* row = b.st + k * b.ld;
    for (int64_t c = 0; c < b.cols; c += Vec<T>::size)
      (Vec<T>::load(row + c) + (per_column ? Vec<T>::load(bias + c) : Vec<T>(*bias))).store(row + c);
  }
}

// Largest of a column of vectors and of `start`.
template <class T>
MG_INL Vec<T> column_max(const T* p, int64_t ld, int64_t n, Vec<T> start) {
  Vec<T> a = start, b = start;
  int64_t k = 0;
  for (; k + 2 <= n; k += 2) {
    a = at_least(Vec<T>::load(p + k * ld), a);
    b = at_least(Vec<T>::load(p + (k + 1) * ld), b);
  }
  if (k < n) a = at_least(Vec<T>::load(p + k * ld), a);
  return at_least(a, b);
}

// A NaN among the scores may or may not reach the maximum; it reaches its own exponential and so the sum.
template <class T>
bool softmax_step(const ScoreBlock<T>& b, T* top, T* sum, T* shrink) {
  constexpr int W = Vec<T>::size;
  bool shrinks = false;
  for (int64_t c = 0; c < b.cols; c += W) {
    T* p = b.st + c;
    if (b.diagonal + c + 1 < b.nk) hide_keys(b, c);
    const Vec<T> before = Vec<T>::load(top + c), now = column_max(p, b.ld, b.nk, before);
    const Vec<T> shift = select(now == Vec<T>(kLowest<T>), Vec<T>(T(0)), now);
    Vec<T> s0 = T(0), s1 = T(0);
    int64_t k = 0;
    for (; k + 2 <= b.nk; k += 2, p += 2 * b.ld) {
      const Vec<T> x = exp_negative(Vec<T>::load(p) - shift), y = exp_negative(Vec<T>::load(p + b.ld) - shift);
      x.store(p);
      y.store(p + b.ld);
      s0 = s0 + x;
      s1 = s1 + y;
    }
    if (k < b.nk) {
      const Vec<T> x = exp_negative(Vec<T>::load(p) - shift);
      x.store(p);
      s0 = s0 + x;
    }
    const Vec<T> less = exp_negative(before - shift);
    now.store(top + c);
    less.store(shrink + c);
    fma(Vec<T>::load(sum + c), less, s0 + s1).store(sum + c);
    shrinks |= any(before != now);
  }
  if (b.keep != nullptr)
    for (int64_t k = 0; k < b.nk; ++k)
      for (int64_t c = 0; c < b.cols; c += W) {
        T* p = b.st + k * b.ld + c;
        (Vec<T>::load(p) * Vec<T>::load(b.keep + k * b.ld + c)).store(p);
      }
  return shrinks;
}

template <class T>
void gradient_step(const ScoreBlock<T>& b, T* dp, const T* lse, const T* delta) {
  constexpr int W = Vec<T>::size;
  for (int64_t c = 0; c < b.cols; c += W) {
    if (b.diagonal + c + 1 < b.nk) hide_keys(b, c);
    const Vec<T> shift = Vec<T>::load(lse + c), d = Vec<T>::load(delta + c);
    for (int64_t k = 0; k < b.nk; ++k) {
      const int64_t at = k * b.ld + c;
      // The scores are those of the forward pass, so score - lse <= 0 but for rounding.
      const Vec<T> p = exp_negative(at_most(Vec<T>::load(b.st + at) - shift, Vec<T>(T(1))));
      if (b.keep == nullptr) {
        p.store(b.st + at);
        (p * (Vec<T>::load(dp + at) - d)).store(dp + at);
      } else {
        const Vec<T> kept = Vec<T>::load(b.keep + at);
        (p * kept).store(b.st + at);
        (p * (Vec<T>::load(dp + at) * kept - d)).store(dp + at);
      }
    }
  }
}

template <class T>
void keep_factors(T* keep, const uint32_t* bits, int64_t n, uint64_t threshold, T factor) {
  for (int64_t i = 0; i < n; ++i) keep[i] = bits[i] < threshold ? factor : T(0);
}

template <class T>
void scale_rows(T* x, int64_t ld, int64_t rows, int64_t n, const T* factor) {
  for (int64_t r = 0; r < rows; ++r, x += ld) {
    if (factor[r] == T(1)) continue;
    const Vec<T> f = factor[r];
    each<T>(n, [&](int64_t i, int lanes) MG_LAMBDA { put(x + i, get(x + i, lanes) * f, lanes); });
  }
}

template <class T>
void row_dots(const T* a, int64_t lda, const T* b, int64_t ldb, int64_t rows, int64_t n, T* out) {
  for (int64_t r = 0; r < rows; ++r, a += lda, b += ldb) {
    Vec<T> s = T(0);
    each<T>(n, [&](int64_t i, int lanes) MG_LAMBDA { s = fma(get(a + i, lanes), get(b + i, lanes), s); });
    out[r] = hsum(s);
  }
}

template <class T>
void add_to(T* sum, const T* x, int64_t n) {
  each<T>(n, [&](int64_t i, int lanes) MG_LAMBDA { put(sum + i, get(sum + i, lanes) + get(x + i, lanes), lanes); });
}

// --- decoding
// --------------------------------------------------------------------------------------------------------- A vector of
// what S holds, widened.
// Written out, because the compiler takes a vector of bytes apart.
MG_INL Vec<float> widened_bytes(const int8_t* p) {
  using V = Vec<float>;
#if defined(__AVX512F__)
  const __m512i wide = _mm512_maskz_cvtepi8_epi32(__mmask16(-1), _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return V(typename V::V(_mm512_maskz_cvtepi32_ps(__mmask16(-1), wide)));
#elif defined(__AVX2__)
  const __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return V(typename V::V(_mm256_cvtepi32_ps(wide)));
#else
  V r = 0.0f;
  for (int i = 0; i < V::size; ++i) r.set(i, float(p[i]));
  return r;
#endif
}

template <class S>
MG_INL auto wide_number(S x) {
  if constexpr (sizeof(S) == 1)
    return float(x);
  else
    return widen_element(x);
}
template <class T, class S>
MG_INL Vec<T> widened(const S* p) {
  if constexpr (sizeof(S) == sizeof(T)) {
    return Vec<T>::load(reinterpret_cast<const T*>(p));
  } else if constexpr (sizeof(S) == 1) {
    return widened_bytes(p);
  } else {
    alignas(64) T wide[Vec<T>::size];
    for (int i = 0; i < Vec<T>::size; ++i) wide[i] = wide_number(p[i]);
    return Vec<T>::load(wide);
  }
}
template <class T, class S>
MG_INL Vec<T> widened(const S* p, int lanes) {
  if constexpr (sizeof(S) == sizeof(T)) {
    return Vec<T>::load(reinterpret_cast<const T*>(p), lanes);
  } else {
    alignas(64) T wide[Vec<T>::size] = {};
    for (int i = 0; i < lanes; ++i) wide[i] = wide_number(p[i]);
    return Vec<T>::load(wide);
  }
}

// Scores of W keys at once: one sum per key along the width, then all W of them are transposed and added.
template <class T, class S>
MG_INL Vec<T> scores_of(const DecodeRow<T>& d, const S* k) {
  constexpr int W = Vec<T>::size;
  Vec<T> acc[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) acc[i] = Vec<T>(T(0));
  int64_t e = 0;
  for (; e + W <= d.width; e += W) {
    const Vec<T> q = Vec<T>::load(d.q + e);
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) acc[i] = fma(q, widened<T>(k + i * d.ldk + e), acc[i]);
  }
  if (e < d.width) {
    const Vec<T> q = Vec<T>::load(d.q + e);
    for (int i = 0; i < W; ++i) acc[i] = fma(q, widened<T>(k + i * d.ldk + e, int(d.width - e)), acc[i]);
  }
  typename Lanes<T, W>::type r[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) std::memcpy(&r[i], &acc[i].v, sizeof r[i]);
  transpose<W>(r);
#pragma GCC unroll 16
  for (int h = W / 2; h > 0; h /= 2)
    for (int i = 0; i < h; ++i) r[i] = r[i] + r[i + h];
  Vec<T> sum;
  std::memcpy(&sum.v, &r[0], sizeof r[0]);
  return sum;
}

template <class T, class S>
MG_INL T score_of(const DecodeRow<T>& d, const S* k) {
  Vec<T> acc = T(0);
  for (int64_t e = 0; e < d.width; e += Vec<T>::size) {
    const int64_t left = d.width - e;
    acc = fma(Vec<T>::load(d.q + e), left >= Vec<T>::size ? widened<T>(k + e) : widened<T>(k + e, int(left)), acc);
  }
  return hsum(acc);
}

// out[j …] += p V for NV vectors of the values; even and odd keys apart, to hide the latency.
template <class T, class S, int NV>
MG_INL void add_values(const DecodeRow<T>& d, const S* v, T* out, Vec<T> shrink) {
  constexpr int W = Vec<T>::size;
  Vec<T> a[NV], b[NV];
#pragma GCC unroll 4
  for (int j = 0; j < NV; ++j) {
    a[j] = Vec<T>::load(out + j * W) * shrink;
    b[j] = Vec<T>(T(0));
  }
  int64_t k = 0;
  for (; k + 2 <= d.n; k += 2, v += 2 * d.ldv) {
    const Vec<T> p0 = d.scores[k], p1 = d.scores[k + 1];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) {
      a[j] = fma(p0, widened<T>(v + j * W), a[j]);
      b[j] = fma(p1, widened<T>(v + d.ldv + j * W), b[j]);
    }
  }
  if (k < d.n)
    for (int j = 0; j < NV; ++j) a[j] = fma(Vec<T>(d.scores[k]), widened<T>(v + j * W), a[j]);
#pragma GCC unroll 4
  for (int j = 0; j < NV; ++j) (a[j] + b[j]).store(out + j * W);
}

template <class T, class S>
MG_INL void add_all_values(const DecodeRow<T>& d, Vec<T> shrink) {
  constexpr int W = Vec<T>::size;
  const S* v = static_cast<const S*>(d.v);
  int64_t j = 0;
  for (; j + 4 * W <= d.values; j += 4 * W) add_values<T, S, 4>(d, v + j, d.out + j, shrink);
  for (; j + W <= d.values; j += W) add_values<T, S, 1>(d, v + j, d.out + j, shrink);
  if (j == d.values) return;
  const int rest = int(d.values - j);
  Vec<T> a = Vec<T>::load(d.out + j, rest) * shrink;
  for (int64_t k = 0; k < d.n; ++k) a = fma(Vec<T>(d.scores[k]), widened<T>(v + k * d.ldv + j, rest), a);
  a.store(d.out + j, rest);
}

template <class T, class S>
void decode(const DecodeRow<T>& d) {
  constexpr int W = Vec<T>::size;
  constexpr bool scaled = sizeof(S) == 1;
  const S* keys = static_cast<const S*>(d.k);
  Vec<T> most = kLowest<T>;
  int64_t k = 0;
  for (; k + W <= d.n; k += W) {
    Vec<T> s = scores_of<T, S>(d, keys + k * d.ldk);
    if constexpr (scaled) s = s * Vec<T>::load(d.k_scale + k);
    if (d.bias != nullptr) s = s + Vec<T>::load(d.bias + k);
    s.store(d.scores + k);
    most = at_least(s, most);
  }
  T top = hmax(at_least(most, Vec<T>(*d.top)));
  for (; k < d.n; ++k) {
    const T factor = scaled ? d.k_scale[k] : T(1);
    const T s = score_of<T, S>(d, keys + k * d.ldk) * factor + (d.bias == nullptr ? T(0) : d.bias[k]);
    d.scores[k] = s;
    top = s > top ? s : top;
  }
  const Vec<T> shift = top == kLowest<T> ? T(0) : top;
  Vec<T> sum = T(0);
  each<T>(d.n, [&](int64_t i, int lanes) MG_LAMBDA {
    const Vec<T> e = keep(exp_negative(get(d.scores + i, lanes) - shift), lanes, T(0));
    put(d.scores + i, scaled ? e * get(d.v_scale + i, lanes) : e, lanes);
    sum = sum + e;
  });
  const Vec<T> shrink = exp_negative(Vec<T>(*d.top) - shift);
  *d.sum = *d.sum * shrink[0] + hsum(sum);
  *d.top = top;
  add_all_values<T, S>(d, shrink);
}

template <class T, class S>
void transpose_rows(int64_t n, int64_t width, Strided<S> rows, T* dst) {
  pack_b(width, n, rows.mT(), dst);
}

template <class T>
static constexpr AttentionFns<T> fns() {
  return {Vec<T>::size, block_product<T>, transpose_rows<T, T>, hide<T>,         bias_kinds<T>,
          add_bias<T>,  softmax_step<T>,  gradient_step<T>,     keep_factors<T>, scale_rows<T>,
          row_dots<T>,  add_to<T>,        decode<T, T>};
}

extern constinit const AttentionTable attention_table = {
    fns<float>(),        fns<double>(),           transpose_rows<float, half>, transpose_rows<float, bfloat16>,
    decode<float, half>, decode<float, bfloat16>, decode<float, int8_t>};

}  // namespace mg::cpu::MG_ISA_NS
