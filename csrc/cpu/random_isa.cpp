// See random_table.h. 16 Philox blocks side by side (one per vector lane) give 64 numbers; the distributions are plain
// loops over them.
#include "random_table.h"

#if defined(MG_ISA_avx512) || defined(MG_ISA_avx2)
// GCC 12 warns about the deliberately undefined operand inside its own AVX-512 intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#endif

namespace mg::cpu::MG_ISA_NS {

namespace {

constexpr int kBlocks = 16, kNumbers = 4 * kBlocks;

#if defined(MG_ISA_avx512)
using Wide = __m512i;  // 8 lanes of 64 bits, each holding a 32-bit word; the upper halves are scratch
constexpr int kLanes = 8;
inline Wide splat(uint64_t x) { return _mm512_set1_epi64(int64_t(x)); }
inline Wide mul32(Wide a, Wide b) { return _mm512_mul_epu32(a, b); }
inline Wide high(Wide a) { return _mm512_srli_epi64(a, 32); }
inline Wide low_or_high(Wide lo, Wide hi) { return _mm512_mask_blend_epi32(0xAAAA, lo, _mm512_slli_epi64(hi, 32)); }
inline Wide xor3(Wide a, Wide b, Wide c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
inline Wide add64(Wide a, Wide b) { return _mm512_add_epi64(a, b); }
inline Wide load(const uint64_t* p) { return _mm512_loadu_si512(p); }
// Pairs (x0, y0, x1, y1, …) of 64-bit lanes.
inline void store_pairs(uint32_t* out, Wide x, Wide y) {
  const Wide first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11),
             second = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
  _mm512_storeu_si512(out, _mm512_permutex2var_epi64(x, first, y));
  _mm512_storeu_si512(out + 16, _mm512_permutex2var_epi64(x, second, y));
}
#elif defined(MG_ISA_avx2)
using Wide = __m256i;
constexpr int kLanes = 4;
inline Wide splat(uint64_t x) { return _mm256_set1_epi64x(int64_t(x)); }
inline Wide mul32(Wide a, Wide b) { return _mm256_mul_epu32(a, b); }
inline Wide high(Wide a) { return _mm256_srli_epi64(a, 32); }
inline Wide low_or_high(Wide lo, Wide hi) { return _mm256_blend_epi32(lo, _mm256_slli_epi64(hi, 32), 0xAA); }
inline Wide xor3(Wide a, Wide b, Wide c) { return _mm256_xor_si256(_mm256_xor_si256(a, b), c); }
inline Wide add64(Wide a, Wide b) { return _mm256_add_epi64(a, b); }
inline Wide load(const uint64_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline void store_pairs(uint32_t* out, Wide x, Wide y) {
  const Wide even = _mm256_unpacklo_epi64(x, y), odd = _mm256_unpackhi_epi64(x, y);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute2x128_si256(even, odd, 0x20));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), _mm256_permute2x128_si256(even, odd, 0x31));
}
#endif

// Numbers [0, 64) from block `counter` on, in element order.
#if defined(MG_ISA_avx512) || defined(MG_ISA_avx2)
inline void philox_batch(uint64_t seed, uint64_t counter, uint32_t* out) {
  constexpr uint64_t kIota[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  constexpr int kParts = kBlocks / kLanes;  // independent chains, to hide the latency of the multiplications
  const Wide m0 = splat(0xD2511F53u), m1 = splat(0xCD9E8D57u);
  Wide a[kParts], b[kParts], c[kParts], d[kParts];
  for (int p = 0; p < kParts; ++p) {
    a[p] = add64(splat(counter + uint64_t(p) * kLanes), load(kIota));
    b[p] = high(a[p]);
    c[p] = d[p] = splat(0);
  }
  uint32_t key0 = uint32_t(seed), key1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const Wide k0 = splat(key0), k1 = splat(key1);
    for (int p = 0; p < kParts; ++p) {
      const Wide p0 = mul32(m0, a[p]), p1 = mul32(m1, c[p]);  // reads the low halves only
      a[p] = xor3(high(p1), b[p], k0);
      b[p] = p1;
      c[p] = xor3(high(p0), d[p], k1);
      d[p] = p0;
    }
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  for (int p = 0; p < kParts; ++p) store_pairs(out + p * 4 * kLanes, low_or_high(a[p], b[p]), low_or_high(c[p], d[p]));
}
#else
inline void philox_batch(uint64_t seed, uint64_t counter, uint32_t* out) {
  for (int i = 0; i < kBlocks; ++i) {
    const Philox4 block = philox(seed, counter + uint64_t(i));
    for (int k = 0; k < 4; ++k) out[4 * i + k] = block.v[k];
  }
}
#endif

// f(numbers, at, count): `count` elements of `numbers_each` 32-bit numbers each, starting at out[at]
template <int numbers_each, class F>
inline void batches(int64_t n, PhiloxRange range, int64_t first, F&& f) {
  constexpr int64_t kEach = kNumbers / numbers_each;
  alignas(64) uint32_t numbers[kNumbers];
  const uint64_t start = range.counter + uint64_t(first) * numbers_each / 4;
  for (int64_t at = 0; at < n; at += kEach) {
    philox_batch(range.seed, start + uint64_t(at / kEach) * kBlocks, numbers);
    f(numbers, at, n - at < kEach ? n - at : kEach);
  }
}

inline uint64_t u64(const uint32_t* x, int64_t i) { return uint64_t(x[2 * i + 1]) << 32 | x[2 * i]; }

void bits32(uint32_t* out, int64_t n, PhiloxRange range, int64_t first) {
  batches<1>(n, range, first, [&](const uint32_t* x, int64_t at, int64_t count) {
    for (int64_t i = 0; i < count; ++i) out[at + i] = x[i];
  });
}

void uniform32(float* out, int64_t n, PhiloxRange range, int64_t first, float lo, float hi, int digits) {
  batches<1>(n, range, first, [&](const uint32_t* x, int64_t at, int64_t count) {
    if (digits == 24 && lo == 0 && hi == 1)
      for (int64_t i = 0; i < count; ++i) out[at + i] = uniform(x[i]);
    else
      for (int64_t i = 0; i < count; ++i) out[at + i] = uniform_between(uniform_bits(x[i], digits), lo, hi);
  });
}

void uniform64(double* out, int64_t n, PhiloxRange range, int64_t first, double lo, double hi) {
  batches<2>(n, range, first, [&](const uint32_t* x, int64_t at, int64_t count) {
    for (int64_t i = 0; i < count; ++i) out[at + i] = uniform_between(uniform(u64(x, i)), lo, hi);
  });
}

template <class U>
inline U number(const uint32_t* x, int i) {
  if constexpr (sizeof(U) == 8)
    return u64(x, i);
  else
    return x[i];
}

// The Box-Muller pairs of one batch. Split from the interleaving, so that the maths is one plain vector loop.
template <class T, class U>
inline void normal_batch(const uint32_t* x, T* __restrict z) {
  constexpr int kPairs = int(kNumbers * 4 / sizeof(T) / 2);
  alignas(64) U u[kPairs], v[kPairs];
  alignas(64) T first[kPairs], second[kPairs];
  for (int j = 0; j < kPairs; ++j) {
    u[j] = number<U>(x, 2 * j);
    v[j] = number<U>(x, 2 * j + 1);
  }
  for (int j = 0; j < kPairs; ++j) {
    const NormalPair<T> pair = normal_pair(u[j], v[j]);
    first[j] = pair.first;
    second[j] = pair.second;
  }
  for (int j = 0; j < kPairs; ++j) {
    z[2 * j] = first[j];
    z[2 * j + 1] = second[j];
  }
}

void normal32(float* out, int64_t n, PhiloxRange range, int64_t first, float mean, float std) {
  batches<1>(n, range, first, [&](const uint32_t* x, int64_t at, int64_t count) {
    alignas(64) float z[kNumbers];
    normal_batch<float, uint32_t>(x, z);
    for (int64_t i = 0; i < count; ++i) out[at + i] = random_fma(z[i], std, mean);
  });
}

void normal64(double* out, int64_t n, PhiloxRange range, int64_t first, double mean, double std) {
  batches<2>(n, range, first, [&](const uint32_t* x, int64_t at, int64_t count) {
    alignas(64) double z[kNumbers / 2];
    normal_batch<double, uint64_t>(x, z);
    for (int64_t i = 0; i < count; ++i) out[at + i] = random_fma(z[i], std, mean);
  });
}

void exponential32(float* out, int64_t n, PhiloxRange range, int64_t first, float rate) {
  batches<1>(n, range, first, [&](const uint32_t* x, int64_t at, int64_t count) {
    for (int64_t i = 0; i < count; ++i) out[at + i] = exponential(x[i]) / rate;
  });
}

void exponential64(double* out, int64_t n, PhiloxRange range, int64_t first, double rate) {
  batches<2>(n, range, first, [&](const uint32_t* x, int64_t at, int64_t count) {
    for (int64_t i = 0; i < count; ++i) out[at + i] = exponential(u64(x, i)) / rate;
  });
}

}  // namespace

extern const RandomTable random_functions;
constinit const RandomTable random_functions = {bits32,   uniform32,     uniform64,    normal32,
                                                normal64, exponential32, exponential64};

}  // namespace mg::cpu::MG_ISA_NS
