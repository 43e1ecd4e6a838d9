// See random_table.h. 16 Philox blocks side by side (one per vector lane) give 64 numbers; the distributions are plain
// loops over them.
#include "random_table.h"

namespace mg::cpu::MG_ISA_NS {

namespace {

constexpr int kBlocks = 16, kNumbers = 4 * kBlocks;

// Numbers [0, 64) from block `counter` on, in element order.
inline void philox_batch(uint64_t seed, uint64_t counter, uint32_t* __restrict out) {
  uint32_t a[kBlocks], b[kBlocks], c[kBlocks], d[kBlocks];
  for (int i = 0; i < kBlocks; ++i) {
    a[i] = uint32_t(counter + uint64_t(i));
    b[i] = uint32_t((counter + uint64_t(i)) >> 32);
    c[i] = d[i] = 0;
  }
  uint32_t key0 = uint32_t(seed), key1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < kBlocks; ++i) {
      const uint64_t p0 = uint64_t(0xD2511F53u) * a[i], p1 = uint64_t(0xCD9E8D57u) * c[i];
      const uint32_t b0 = b[i], d0 = d[i];
      a[i] = uint32_t(p1 >> 32) ^ b0 ^ key0;
      b[i] = uint32_t(p1);
      c[i] = uint32_t(p0 >> 32) ^ d0 ^ key1;
      d[i] = uint32_t(p0);
    }
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  for (int i = 0; i < kBlocks; ++i) {
    out[4 * i] = a[i];
    out[4 * i + 1] = b[i];
    out[4 * i + 2] = c[i];
    out[4 * i + 3] = d[i];
  }
}

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

inline uint64_t u64(const uint32_t* x, int64_t i) { return uint64_t(x[2 * i + 1]) << 32 | x[2 * i]; }

void uniform64(double* out, int64_t n, PhiloxRange range, int64_t first, double lo, double hi) {
  batches<2>(n, range, first, [&](const uint32_t* x, int64_t at, int64_t count) {
    for (int64_t i = 0; i < count; ++i) out[at + i] = uniform_between(uniform(u64(x, i)), lo, hi);
  });
}

void normal32(float* out, int64_t n, PhiloxRange range, int64_t first, float mean, float std) {
  batches<1>(n, range, first, [&](const uint32_t* x, int64_t at, int64_t count) {
    float z[kNumbers];
    for (int j = 0; j < kNumbers / 2; ++j) {
      const NormalPair<float> pair = normal_pair(x[2 * j], x[2 * j + 1]);
      z[2 * j] = pair.first;
      z[2 * j + 1] = pair.second;
    }
    for (int64_t i = 0; i < count; ++i) out[at + i] = random_fma(z[i], std, mean);
  });
}

void normal64(double* out, int64_t n, PhiloxRange range, int64_t first, double mean, double std) {
  batches<2>(n, range, first, [&](const uint32_t* x, int64_t at, int64_t count) {
    double z[kNumbers / 2];
    for (int j = 0; j < kNumbers / 4; ++j) {
      const NormalPair<double> pair = normal_pair(u64(x, 2 * j), u64(x, 2 * j + 1));
      z[2 * j] = pair.first;
      z[2 * j + 1] = pair.second;
    }
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
