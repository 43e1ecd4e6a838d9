// What forward and backward share: operands, blocks of rows, masks and scores of a pair of blocks. attention.h is the
// map.
#include <cmath>
#include <cstring>

#include "../core/layout.h"
#include "attention.h"
#include "isa.h"
#include "random_table.h"

namespace mg::cpu {

const AttentionTable& attention_table() {
  static const AttentionTable& table = MG_PICK(attention_table);
  return table;
}

// --- operands
// ---------------------------------------------------------------------------------------------------------
Operand::Operand(const TensorImpl& t, const Dims& lead) : data(t.data()), dtype(t.dtype), sizes(lead) {
  Dims shape = lead;
  const int n = t.dim();
  shape.push_back(n > 1 ? t.sizes[n - 2] : 1);
  shape.push_back(n > 0 ? t.sizes[n - 1] : 1);
  strides = broadcast_strides(t.sizes, t.strides, shape);
  col = strides.back();
  row = strides[strides.size() - 2];
  strides.resize_uninitialized(lead.size());
}

char* Operand::head(int64_t h) const {
  int64_t at = 0;
  for (int d = sizes.size() - 1; d >= 0; --d) {
    at += h % sizes[d] * strides[d];
    h /= sizes[d];
  }
  return data + at * itemsize(dtype);
}

AttentionProblem::AttentionProblem(const Invocation& inv, int first, const TensorImpl& like_out, bool enable_gqa) {
  const TensorImpl &tq = inv.in(first), &tk = inv.in(first + 1), &tv = inv.in(first + 2);
  const int n = like_out.dim() - 2;
  lead = Dims(std::span<const int64_t>(like_out.sizes.data(), size_t(n)));
  queries = tq.sizes[tq.dim() - 2];
  width = tq.sizes.back();
  keys = tk.sizes[tk.dim() - 2];
  values = tv.sizes.back();
  for (int64_t s : lead) heads *= s;
  Dims key_lead = lead;
  if (enable_gqa) {
    key_lead.back() = tk.sizes[tk.dim() - 3];
    group = key_lead.back() == 0 ? 1 : lead.back() / key_lead.back();
  }
  q = Operand(tq, lead);
  k = Operand(tk, key_lead);
  v = Operand(tv, key_lead);
  if (inv.has(first + 3)) {
    const TensorImpl& m = inv.in(first + 3);
    Dims shape = lead;  // a mask may also be broadcast along queries and keys
    shape.push_back(queries);
    shape.push_back(keys);
    mask = Operand(*alias(m, shape, broadcast_strides(m.sizes, m.strides, shape), m.offset), lead);
  }
}

// A row stride of a multiple of 2 KiB maps the rows of a block to a few sets of L1.
static bool reads_in_place(const Operand& o, DType dtype, int64_t width) {
  const int64_t bytes = o.row * itemsize(o.dtype);
  return o.dtype == dtype && (o.col == 1 || width == 1) && (bytes % 2048 != 0 || o.row <= width);
}

template <class T>
RowBlock<T> rows_of(const Operand& o, const char* head, int64_t first, int64_t n, int64_t width, T* room) {
  const int64_t item = itemsize(o.dtype);
  const char* src = head + first * o.row * item;
  if (reads_in_place(o, dtype_of<T>(), width)) return {reinterpret_cast<const T*>(src), o.row};
  const StageFn move = stage_fn(dtype_of<T>(), o.dtype);
  for (int64_t r = 0; r < n; ++r)
    move(reinterpret_cast<char*>(room + r * width), sizeof(T), src + r * o.row * item, o.col * item, width);
  return {room, width};
}

template <class T>
void transposed_rows(const Operand& o, const char* head, int64_t first, int64_t n, int64_t width, T* dst, int64_t ld) {
  const char* src = head + first * o.row * itemsize(o.dtype);
  MG_INTERNAL(ceil_div(n, attention_fns<T>().lanes) * attention_fns<T>().lanes == ld, "attention: padding of a block");
  if constexpr (sizeof(T) == 4) {
    if (o.dtype == DType::Float16)
      return attention_table().transpose_half(n, width, {reinterpret_cast<const half*>(src), o.row, o.col}, dst);
    if (o.dtype == DType::BFloat16)
      return attention_table().transpose_bfloat16(n, width, {reinterpret_cast<const bfloat16*>(src), o.row, o.col},
                                                  dst);
  }
  attention_fns<T>().transpose(n, width, {reinterpret_cast<const T*>(src), o.row, o.col}, dst);
}

template <class T>
void write_rows(const Operand& o, char* head, int64_t first, int64_t n, int64_t width, const T* src, int64_t ld) {
  const int64_t item = itemsize(o.dtype);
  const StageFn move = stage_fn(o.dtype, dtype_of<T>());
  for (int64_t r = 0; r < n; ++r)
    move(head + (first + r) * o.row * item, o.col * item, reinterpret_cast<const char*>(src + r * ld), sizeof(T),
         width);
}

// --- a pair of blocks
// -------------------------------------------------------------------------------------------------
template <class T>
BlockPair<T>::BlockPair(const AttentionProblem& p, int64_t q0, int64_t nq, int64_t ld, int64_t k0, int64_t nk)
    : q0(q0),
      nq(nq),
      ld(ld),
      k0(k0),
      nk(nk),
      strip(2 * attention_fns<T>().lanes),
      triangle(p.causal && k0 + nk > q0 + 1) {}

template <class T>
void block_scores(const AttentionProblem& p, const BlockPair<T>& b, const RowBlock<T>& k, const T* q_T, T* st) {
  b.columns([&](int64_t c, int64_t cols, int64_t seen) {
    block_product(seen, cols, p.width, T(p.scale), Strided<T>{k.data, k.ld, 1}, RowBlock<T>{q_T + c, b.ld}, st + c,
                  b.ld, false);
  });
}

template <class T>
BlockMask<T>::BlockMask(const AttentionProblem& p, int64_t head, Room<T>& room) : p_(p), head_(head) {
  if (p.mask.defined()) {
    mask_ = p.mask.head(head);
    rows_ = room.take(kQueryBlock * kKeyBlock);
    bias_ = room.take(kQueryBlock * kKeyBlock);
  }
  if (p.dropout > 0) keep_ = room.take(kQueryBlock * kKeyBlock);
}

// Which of n <= 64 bools are true.
static uint64_t pack_bools(const char* src, int64_t step, int64_t n) {
  uint64_t word = 0;
  int64_t i = 0;
  if (step == 1)
    for (; i + 8 <= n; i += 8) {
      uint64_t bytes;
      std::memcpy(&bytes, src + i, 8);
      bytes |= bytes >> 4;  // any nonzero byte is true
      bytes |= bytes >> 2;
      bytes = (bytes | bytes >> 1) & 0x0101010101010101u;
      word |= bytes * 0x0102040810204080u >> 56 << i;  // gathers the eight bits in the top byte
    }
  for (; i < n; ++i) word |= uint64_t(src[i * step] != 0) << i;
  return word;
}

// Transposes a 64 x 64 matrix of bits by exchanging ever smaller off-diagonal blocks.
static void transpose_bits(uint64_t (&rows)[64]) {
  uint64_t low = 0x00000000ffffffffu;
  for (int h = 32; h != 0; h /= 2, low ^= low << h)
    for (int i = 0; i < 64; i = ((i | h) + 1) & ~h) {
      const uint64_t swap = (rows[i] >> h ^ rows[i | h]) & low;
      rows[i] ^= swap << h;
      rows[i | h] ^= swap;
    }
}

template <class T>
bool BlockMask<T>::load_bits(const BlockPair<T>& b) {
  static_assert(kQueryBlock == 64 && kKeyBlock == 64);
  const uint64_t whole = ~uint64_t(0) >> (64 - b.nk);
  const char* src = mask_ + b.q0 * p_.mask.row + b.k0 * p_.mask.col;
  uint64_t some = 0, all = whole;
  std::fill(seen_, seen_ + 64, 0);
  for (int64_t i = 0; i < b.nq; ++i) {
    seen_[i] = p_.mask.row == 0 && i > 0 ? seen_[0] : pack_bools(src + i * p_.mask.row, p_.mask.col, b.nk);
    some |= seen_[i];
    all &= seen_[i];
  }
  kind_ = all == whole ? Kind::Nothing : Kind::Bits;
  if (some != 0 && kind_ == Kind::Bits) transpose_bits(seen_);
  return some != 0;
}

template <class T>
bool BlockMask<T>::load_bias(const BlockPair<T>& b) {
  const AttentionFns<T>& fns = attention_fns<T>();
  const Operand& m = p_.mask;
  const int64_t item = itemsize(m.dtype), rows = m.row == 0 ? 1 : b.nq;
  const char* src = mask_ + (b.q0 * m.row + b.k0 * m.col) * item;
  Strided<T> from{reinterpret_cast<const T*>(src), m.row, m.col};
  if (m.dtype != dtype_of<T>() || rows == 1) {
    for (int64_t i = 0; i < rows; ++i)
      stage_fn(dtype_of<T>(), m.dtype)(reinterpret_cast<char*>(rows_ + i * kKeyBlock), sizeof(T),
                                       src + i * m.row * item, m.col * item, b.nk);
    from = {rows_, kKeyBlock, 1};
  }
  int holds;
  if (m.row == 0) {
    holds = fns.bias_kinds(rows_, kKeyBlock, 1, b.nk);
  } else {
    fns.transpose(b.nq, b.nk, from, bias_);
    holds = fns.bias_kinds(bias_, b.ld, b.nk, b.nq);
  }
  kind_ = (holds & 2) == 0 ? Kind::Nothing : m.row == 0 ? Kind::PerKey : Kind::Full;
  return (holds & 1) != 0;
}

template <class T>
bool BlockMask<T>::load(const BlockPair<T>& b) {
  ld_ = b.ld;
  if (mask_ != nullptr && !(p_.mask.dtype == DType::Bool ? load_bits(b) : load_bias(b))) return false;
  if (keep_ != nullptr) load_keep(b);
  return true;
}

template <class T>
void BlockMask<T>::apply(const ScoreBlock<T>& s) const {
  const AttentionFns<T>& fns = attention_fns<T>();
  if (kind_ == Kind::Bits) fns.hide(s, seen_);
  if (kind_ == Kind::PerKey) fns.add_bias(s, rows_, 1, false);
  if (kind_ == Kind::Full) fns.add_bias(s, bias_, ld_, true);
}

// A weight is kept when its 32-bit number is below this.
static uint64_t keep_threshold(double dropout) { return uint64_t(std::llround((1 - dropout) * 0x1p32)); }

// Number ((head * S + key) * padded L + query) of the stream decides about a weight: any block can draw its part again.
template <class T>
void BlockMask<T>::load_keep(const BlockPair<T>& b) {
  alignas(64) uint32_t bits[kQueryBlock];
  const uint64_t threshold = keep_threshold(p_.dropout);
  const T factor = p_.dropout < 1 ? T(1 / (1 - p_.dropout)) : T(0);
  for (int64_t k = 0; k < b.nk; ++k) {
    random_table().bits32(bits, b.ld, p_.range, (head_ * p_.keys + b.k0 + k) * p_.padded_queries() + b.q0);
    attention_fns<T>().keep_factors(keep_ + k * b.ld, bits, b.ld, threshold, factor);
  }
}

// _attention_keep(rng, dropout_p, sizes) -> kept: the same decisions as a tensor (N…, L, S), for the differentiable
// formula.
static void attention_keep_cpu(Invocation& inv) {
  const Dims sizes = inv.ints(2);
  const int n = sizes.size();
  const int64_t queries = sizes[n - 2], keys = sizes[n - 1], padded = ceil_div(queries, kQueryBlock) * kQueryBlock;
  const PhiloxRange range{uint64_t(read_int(inv.in(0), 0)), uint64_t(read_int(inv.in(0), inv.in(0).strides[0]))};
  const uint64_t threshold = keep_threshold(inv.f(1));
  const Tensor dense = inv.out().contiguous ? inv.outs[0] : empty(sizes, DType::Bool);
  alignas(64) uint32_t bits[kQueryBlock];
  for (int64_t at = 0, heads = queries * keys == 0 ? 0 : dense.numel() / (queries * keys); at < heads * keys; ++at)
    for (int64_t q0 = 0; q0 < queries; q0 += kQueryBlock) {
      random_table().bits32(bits, kQueryBlock, range, at * padded + q0);
      bool* kept = dense.ptr<bool>() + at / keys * queries * keys + at % keys;
      for (int64_t i = q0; i < std::min(queries, q0 + kQueryBlock); ++i) kept[i * keys] = bits[i - q0] < threshold;
    }
  if (!dense.is(inv.outs[0])) copy_into(inv.outs[0], dense);
}
MG_KERNEL("_attention_keep", CPU, attention_keep_cpu);

#define MG_ATTENTION_BLOCKS(T)                                                                                \
  template RowBlock<T> rows_of(const Operand&, const char*, int64_t, int64_t, int64_t, T*);                   \
  template void transposed_rows(const Operand&, const char*, int64_t, int64_t, int64_t, T*, int64_t);         \
  template void write_rows(const Operand&, char*, int64_t, int64_t, int64_t, const T*, int64_t);              \
  template void block_scores(const AttentionProblem&, const BlockPair<T>&, const RowBlock<T>&, const T*, T*); \
  template struct BlockPair<T>;                                                                               \
  template class BlockMask<T>;
MG_ATTENTION_BLOCKS(float)
MG_ATTENTION_BLOCKS(double)

}  // namespace mg::cpu
