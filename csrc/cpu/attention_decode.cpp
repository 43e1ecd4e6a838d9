// Attention of a few queries over many keys, as in decoding with a cache of keys and values: limited by reading that
// cache once. attention.h is the map.
//
// Keys are cut into fixed parts when there are few heads; the parts of a row are joined in order by their maxima and
// sums, so the result depends on shapes alone.
#include <cmath>
#include <limits>

#include "../core/parallel.h"
#include "attention.h"
#include "staged.h"

namespace mg::cpu {

namespace {

constexpr int64_t kMostQueries = 3;   // from here on the tiles win
constexpr int64_t kDecodeKeys = 128;  // scores of one step: stay in L1 with their keys for the next query of the group
constexpr int64_t kPartKeys = 1024, kParts = 16;

template <class T>
using DecodeFn = void (*)(const DecodeRow<T>& row);

template <class T>
DecodeFn<T> decode_fn(DType cache) {
  if (cache == dtype_of<T>()) return attention_fns<T>().decode;
  if constexpr (sizeof(T) == 4) {
    if (cache == DType::Float16) return attention_table().decode_half;
    if (cache == DType::BFloat16) return attention_table().decode_bfloat16;
  }
  return nullptr;
}

// What a part of the keys leaves behind for one row: maximum, sum, then `values` running numbers.
int64_t part_size(const AttentionProblem& p) { return 2 + p.values; }

// Keys [k0, k1) of a key head for all its queries (group * L of them, one after the other).
template <class T>
void decode_part(const AttentionProblem& p, DecodeFn<T> decode, int64_t key_head, int64_t k0, int64_t k1, T* parts,
                 int64_t row_step) {
  const int64_t rows = p.group * p.queries, padded = ceil_div(p.width, 16) * 16;
  Room<T> room(rows * padded + 2 * (kDecodeKeys + 16));
  T *q = room.take(rows * padded), *scores = room.take(kDecodeKeys), *bias = room.take(kDecodeKeys);
  const int64_t item = itemsize(p.q.dtype), mask_item = itemsize(p.mask.dtype);
  for (int64_t r = 0; r < rows; ++r) {
    T *row = q + r * padded, *part = parts + r * row_step;
    stage_fn(dtype_of<T>(), p.q.dtype)(reinterpret_cast<char*>(row), sizeof(T),
                                       p.q.head(key_head * p.group + r / p.queries) + r % p.queries * p.q.row * item,
                                       p.q.col * item, p.width);
    for (int64_t e = 0; e < p.width; ++e) row[e] *= T(p.scale);
    std::fill(row + p.width, row + padded, T(0));
    part[0] = -std::numeric_limits<T>::infinity();
    std::fill(part + 1, part + 2 + p.values, T(0));
  }
  const char *k = p.k.head(key_head), *v = p.v.head(key_head);
  for (int64_t at = k0; at < k1; at += kDecodeKeys)
    for (int64_t r = 0; r < rows; ++r) {
      T* part = parts + r * row_step;
      const int64_t end = std::min(std::min(k1, at + kDecodeKeys), p.keys_seen(r % p.queries, 1));
      if (end <= at) continue;
      DecodeRow<T> d{q + r * padded,
                     nullptr,
                     k + at * p.k.row * item,
                     v + at * p.v.row * item,
                     p.k.row,
                     p.v.row,
                     end - at,
                     p.width,
                     p.values,
                     scores,
                     part,
                     part + 1,
                     part + 2};
      if (p.mask.defined()) {
        const char* m = p.mask.head(key_head * p.group + r / p.queries) +
                        (r % p.queries * p.mask.row + at * p.mask.col) * mask_item;
        if (p.mask.dtype == DType::Bool)
          for (int64_t i = 0; i < d.n; ++i) bias[i] = m[i * p.mask.col] ? T(0) : -std::numeric_limits<T>::infinity();
        else
          stage_fn(dtype_of<T>(), p.mask.dtype)(reinterpret_cast<char*>(bias), sizeof(T), m, p.mask.col * mask_item,
                                                d.n);
        d.bias = bias;
      }
      decode(d);
    }
}

// Joins the parts of one row in order, then divides.
template <class T>
T join_parts(const AttentionProblem& p, T* parts, int64_t count) {
  const int64_t size = part_size(p);
  T top = parts[0];
  for (int64_t i = 1; i < count; ++i) top = std::max(top, parts[i * size]);
  const T shift = top == -std::numeric_limits<T>::infinity() ? T(0) : top;
  T sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    T* part = parts + i * size;
    const T weight = count == 1 ? T(1) : std::exp(part[0] - shift);
    sum += part[1] * weight;
    for (int64_t j = 0; j < p.values; ++j) {
      const T x = part[2 + j] * weight;
      parts[2 + j] = i == 0 ? x : parts[2 + j] + x;
    }
  }
  const bool none = sum == T(0);
  const T factor = none ? T(0) : T(1) / sum;
  for (int64_t j = 0; j < p.values; ++j) parts[2 + j] *= factor;
  return none ? std::numeric_limits<T>::infinity() : top + std::log(sum);
}

}  // namespace

template <class T>
bool attention_decode(const AttentionProblem& p, T* logsumexp) {
  const DecodeFn<T> decode = decode_fn<T>(p.k.dtype);
  const bool streams = (p.k.col == 1 || p.width == 1) && (p.v.col == 1 || p.values == 1) && p.v.dtype == p.k.dtype;
  if (p.queries > kMostQueries || p.dropout > 0 || decode == nullptr || !streams) return false;
  const int64_t heads = p.key_heads(), rows = p.group * p.queries, size = part_size(p);
  const int64_t wanted = std::max<int64_t>(kParts / std::max<int64_t>(heads, 1), 1);
  const int64_t parts = std::clamp<int64_t>(p.keys / kPartKeys, 1, wanted);
  const int64_t part_keys = ceil_div(ceil_div(p.keys, parts), kDecodeKeys) * kDecodeKeys;
  const Tensor memory = empty({heads * rows * parts * size}, dtype_of<T>());
  T* all = memory.ptr<T>();
  const int64_t cost = std::max<int64_t>(part_keys * (p.width + p.values) * rows, 1);
  parallel_for(0, heads * parts, std::max<int64_t>(kTaskFma / 4 / cost, 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / parts, part = i % parts, k0 = part * part_keys;
      decode_part(p, decode, head, k0, std::min(p.keys, k0 + part_keys), all + (head * rows * parts + part) * size,
                  parts * size);
    }
  });
  for (int64_t r = 0; r < heads * rows; ++r) {
    T* row = all + r * parts * size;
    const int64_t head = r / p.queries, query = r % p.queries;
    logsumexp[r] = join_parts(p, row, parts);
    write_rows(p.out, p.out.head(head), query, 1, p.values, row + 2, p.values);
  }
  return true;
}

template bool attention_decode(const AttentionProblem&, float*);
template bool attention_decode(const AttentionProblem&, double*);

}  // namespace mg::cpu
