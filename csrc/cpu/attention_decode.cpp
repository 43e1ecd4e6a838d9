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
    if (cache == DType::Int8) return attention_table().decode_int8;
  }
  return nullptr;
}

// A call of this file: int8 keys and values come with a factor each.
template <class T>
struct DecodeCall {
  const AttentionProblem& p;
  DecodeFn<T> decode;
  Operand k_scale, v_scale;  // (N…, H, S, 1) of T, rows next to each other

  explicit DecodeCall(const AttentionProblem& problem) : p(problem), decode(decode_fn<T>(problem.k.dtype)) {}
  bool streams() const {
    return decode != nullptr && (p.k.col == 1 || p.width == 1) && (p.v.col == 1 || p.values == 1) &&
           p.v.dtype == p.k.dtype;
  }
};

const float* factors(const Operand& scale, int64_t head, int64_t at, float) {
  return scale.defined() ? reinterpret_cast<const float*>(scale.head(head)) + at : nullptr;
}
const double* factors(const Operand&, int64_t, int64_t, double) { return nullptr; }

// What a part of the keys leaves behind for one row: maximum, sum, then `values` running numbers.
int64_t part_size(const AttentionProblem& p) { return 2 + p.values; }

// Keys [k0, k1) of a key head for all its queries (group * L of them, one after the other).
template <class T>
void decode_part(const DecodeCall<T>& call, int64_t key_head, int64_t k0, int64_t k1, T* parts, int64_t row_step) {
  const AttentionProblem& p = call.p;
  const int64_t rows = p.group * p.queries, padded = ceil_div(p.width, 16) * 16;
  Room<T> room(rows * padded + 2 * (kDecodeKeys + 16));
  T *q = room.take(rows * padded), *scores = room.take(kDecodeKeys), *bias = room.take(kDecodeKeys);
  const int64_t item = itemsize(p.q.dtype), kept = itemsize(p.k.dtype), mask_item = itemsize(p.mask.dtype);
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
                     factors(call.k_scale, key_head, at, T()),
                     factors(call.v_scale, key_head, at, T()),
                     k + at * p.k.row * kept,
                     v + at * p.v.row * kept,
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
      call.decode(d);
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
  for (int64_t j = 0; j < p.values; ++j) parts[2 + j] = none ? T(p.unseen) : parts[2 + j] * factor;
  return none ? std::numeric_limits<T>::infinity() : top + std::log(sum);
}

template <class T>
void decode_all(const DecodeCall<T>& call, T* logsumexp) {
  const AttentionProblem& p = call.p;
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
      decode_part(call, head, k0, std::min(p.keys, k0 + part_keys), all + (head * rows * parts + part) * size,
                  parts * size);
    }
  });
  for (int64_t r = 0; r < heads * rows; ++r) {
    T* row = all + r * parts * size;
    const int64_t head = r / p.queries, query = r % p.queries;
    const T lse = join_parts(p, row, parts);
    if (logsumexp != nullptr) logsumexp[r] = lse;
    write_rows(p.out, p.out.head(head), query, 1, p.values, row + 2, p.values);
  }
}

// Scales (N…, H, S) as an operand with one column.
Operand scales(const Tensor& t, const Dims& lead) {
  Dims sizes = t.sizes(), strides = t.strides();
  sizes.push_back(1);
  strides.push_back(1);
  return Operand(*alias(*t, sizes, strides, t->offset), lead);
}

// _attention_int8(query, key, value, attn_mask?, key_scale, value_scale, scale, enable_gqa) -> out
void attention_int8_cpu(Invocation& inv) {
  AttentionProblem p(inv, 0, inv.out(), inv.b(7));
  p.causal = false;
  p.scale = inv.f(6);
  if (inv.out().numel == 0) return;
  p.out = Operand(inv.out(), p.lead);
  const Tensor keys = p.k.col == 1 ? inv.tensor(1) : contiguous(inv.tensor(1));
  const Tensor values = p.v.col == 1 ? inv.tensor(2) : contiguous(inv.tensor(2));
  p.k = Operand(*keys, p.k.sizes);
  p.v = Operand(*values, p.v.sizes);
  const Tensor ks = staged(inv.in(4), DType::Float32), vs = staged(inv.in(5), DType::Float32);
  DecodeCall<float> call(p);
  call.k_scale = scales(ks, p.k.sizes);
  call.v_scale = scales(vs, p.v.sizes);
  decode_all<float>(call, nullptr);
}

}  // namespace

MG_KERNEL("_attention_int8", CPU, attention_int8_cpu);

template <class T>
bool attention_decode(const AttentionProblem& p, T* logsumexp) {
  const DecodeCall<T> call(p);
  if (p.queries > kMostQueries || p.dropout > 0 || !call.streams()) return false;
  decode_all(call, logsumexp);
  return true;
}

template bool attention_decode(const AttentionProblem&, float*);
template bool attention_decode(const AttentionProblem&, double*);

}  // namespace mg::cpu
