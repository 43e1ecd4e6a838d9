// Sort keys: elements as unsigned integers in sorting order, packed with their positions, so that sorting compares
// integers only.
//
// Order (PyTorch's): NaN above every number and equal to itself, -0 equal to 0; "flip" reverses it. Positions break
// ties upwards, which makes every algorithm below stable. Keys of up to 32 bits share one uint64 with the position;
// 64-bit keys take two words.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

namespace mg::cpu {

inline uint64_t ordered_bits(float x) {
  if (x != x) return 0xffffffffu;
  const uint32_t b = std::bit_cast<uint32_t>(x + 0.0f);
  return b & 0x80000000u ? ~b & 0xffffffffu : b | 0x80000000u;
}
inline uint64_t ordered_bits(double x) {
  if (x != x) return ~uint64_t(0);
  const uint64_t b = std::bit_cast<uint64_t>(x + 0.0);
  return b >> 63 ? ~b : b | uint64_t(1) << 63;
}
inline uint64_t ordered_bits(int64_t x) { return uint64_t(x) ^ uint64_t(1) << 63; }

// Rows of up to 2^32 elements whose keys fit 32 bits.
struct NarrowKey {
  uint64_t word;
  static constexpr int kBytes = 4;
  template <class T>
  static NarrowKey make(T x, int64_t at, bool flip) {
    uint64_t bits;
    if constexpr (std::is_same_v<T, int64_t>)
      bits = uint64_t(x + (int64_t(1) << 31));
    else
      bits = ordered_bits(x);
    return {(flip ? ~bits & 0xffffffffu : bits) << 32 | uint64_t(at)};
  }
  int64_t at() const { return int64_t(word & 0xffffffffu); }
  uint64_t key() const { return word >> 32; }
  bool operator<(NarrowKey o) const { return word < o.word; }
};

struct WideKey {
  uint64_t bits;
  int64_t position;
  static constexpr int kBytes = 8;
  template <class T>
  static WideKey make(T x, int64_t at, bool flip) {
    const uint64_t bits = ordered_bits(x);
    return {flip ? ~bits : bits, at};
  }
  int64_t at() const { return position; }
  uint64_t key() const { return bits; }
  bool operator<(WideKey o) const { return bits != o.bits ? bits < o.bits : position < o.position; }
};

// Sorts n keys that stand in order of position; `spare` has room for n more. Least significant byte first, constant
// bytes skipped.
template <class K>
void sort_keys(K* keys, K* spare, int64_t n) {
  if (n < 256) return std::sort(keys, keys + n);
  K *from = keys, *to = spare;
  for (int byte = 0; byte < K::kBytes; ++byte) {
    int64_t count[257] = {};
    for (int64_t i = 0; i < n; ++i) ++count[(from[i].key() >> 8 * byte & 255) + 1];
    if (count[(from[0].key() >> 8 * byte & 255) + 1] == n) continue;
    for (int b = 0; b < 256; ++b) count[b + 1] += count[b];
    for (int64_t i = 0; i < n; ++i) to[count[from[i].key() >> 8 * byte & 255]++] = from[i];
    std::swap(from, to);
  }
  if (from != keys) std::copy(from, from + n, keys);
}

// Few enough of many that a list of the best so far, which most elements do not enter, beats partitioning them all.
constexpr int64_t kFew = 64;
constexpr bool few_of_many(int64_t k, int64_t n) { return k <= kFew && k * 8 < n; }

// The first k of the sorted order, in order, in keys[0 .. k).
template <class K>
void select_keys(K* keys, int64_t n, int64_t k) {
  if (k == 0) return;
  if (few_of_many(k, n)) {
    std::sort(keys, keys + k);
    for (int64_t i = k; i < n; ++i) {
      if (!(keys[i] < keys[k - 1])) continue;
      const K e = keys[i];
      int64_t j = k - 1;
      for (; j > 0 && e < keys[j - 1]; --j) keys[j] = keys[j - 1];
      keys[j] = e;
    }
    return;
  }
  if (k < n) std::nth_element(keys, keys + k - 1, keys + n);
  std::sort(keys, keys + k);
}

}  // namespace mg::cpu
