// Gradients of attention (FlashAttention-2, arXiv 2307.08691, section 3.1): weights are computed again block by block
// from the saved logsumexp. attention.h is the map.
//
//   P = exp(scale Q K^T + mask - logsumexp)        dV = P^T dO
//   dS = P (dO V^T - delta), delta = sum(dO O)     dQ = scale dS K      dK = scale dS^T Q
//
// An item of work is a share of the query blocks of one key head: it owns their dQ and sums dK and dV in memory of its
// own. A head is cut into several shares only when there are few heads; their sums are then added in order.
#include <limits>

#include "../core/parallel.h"
#include "attention.h"
#include "staged.h"

namespace mg::cpu {

namespace {

constexpr int64_t kShares = 16, kBlocksPerShare = 4;

struct BackwardProblem : AttentionProblem {
  Operand g, dq, dk, dv;
  const void* logsumexp;

  using AttentionProblem::AttentionProblem;
  int64_t blocks() const { return group * query_blocks(); }  // of one key head
  int64_t shares() const {
    return std::max<int64_t>(std::min(kShares / std::max<int64_t>(key_heads(), 1), blocks() / kBlocksPerShare), 1);
  }
};

template <class T>
class BackwardBlock {
 public:
  BackwardBlock(const BackwardProblem& p, int64_t head, int64_t q0, T* dk, T* dv)
      : p_(p),
        head_(head),
        q0_(q0),
        nq_(std::min(kQueryBlock, p.queries - q0)),
        ld_(ceil_div(nq_, attention_fns<T>().lanes) * attention_fns<T>().lanes),
        dk_(dk),
        dv_(dv),
        room_(room(p)),
        mask_(p, head, room_) {
    q_T_ = room_.take(p.width * ld_);
    g_T_ = room_.take(p.values * ld_);
    st_ = room_.take(kKeyBlock * ld_);
    dp_ = room_.take(kKeyBlock * ld_);
    dq_ = room_.take(nq_ * p.width);
    k_copy_ = room_.take(kKeyBlock * p.width);
    v_copy_ = room_.take(kKeyBlock * p.values);
    q_copy_ = room_.take(kQueryBlock * p.width);
    g_copy_ = room_.take(kQueryBlock * p.values);
    lse_ = room_.take(ld_);
    delta_ = room_.take(ld_);
  }

  void run() {
    const char *q = p_.q.head(head_), *g = p_.g.head(head_);
    const char *k = p_.k.head(head_ / p_.group), *v = p_.v.head(head_ / p_.group);
    transposed_rows(p_.q, q, q0_, nq_, p_.width, q_T_, ld_);
    transposed_rows(p_.g, g, q0_, nq_, p_.values, g_T_, ld_);
    q_ = rows_of(p_.q, q, q0_, nq_, p_.width, q_copy_);
    g_ = rows_of(p_.g, g, q0_, nq_, p_.values, g_copy_);
    statistics();
    const int64_t seen = p_.keys_seen(q0_, nq_);
    for (int64_t k0 = 0; k0 < seen; k0 += kKeyBlock)
      meet(BlockPair<T>(p_, q0_, nq_, ld_, k0, std::min(kKeyBlock, seen - k0)), k, v);
    if (!started_) std::fill(dq_, dq_ + nq_ * p_.width, T(0));
    write_rows(p_.dq, p_.dq.head(head_), q0_, nq_, p_.width, dq_, p_.width);
  }

 private:
  static int64_t room(const AttentionProblem& p) {
    return (3 * kQueryBlock + kKeyBlock) * (p.width + p.values) + 2 * kKeyBlock * kQueryBlock + 2 * kQueryBlock + 512 +
           BlockMask<T>::room(p);
  }

  // logsumexp and delta of the block; padding gets weights 0.
  void statistics() {
    const T* lse = static_cast<const T*>(p_.logsumexp) + head_ * p_.queries + q0_;
    const RowBlock<T> out = rows_of(p_.out, p_.out.head(head_), q0_, nq_, p_.values, v_copy_);
    attention_fns<T>().row_dots(out.data, out.ld, g_.data, g_.ld, nq_, p_.values, delta_);
    std::copy(lse, lse + nq_, lse_);
    std::fill(lse_ + nq_, lse_ + ld_, std::numeric_limits<T>::infinity());
    std::fill(delta_ + nq_, delta_ + ld_, T(0));
  }

  void meet(const BlockPair<T>& b, const char* k_head, const char* v_head) {
    if (!mask_.load(b)) return;
    const RowBlock<T> k = rows_of(p_.k, k_head, b.k0, b.nk, p_.width, k_copy_);
    const RowBlock<T> v = rows_of(p_.v, v_head, b.k0, b.nk, p_.values, v_copy_);
    block_scores(p_, b, k, q_T_, st_);
    b.columns([&](int64_t c, int64_t cols, int64_t nk) {
      block_product(nk, cols, p_.values, T(1), Strided<T>{v.data, v.ld, 1}, RowBlock<T>{g_T_ + c, ld_}, dp_ + c, ld_,
                    false);
      const ScoreBlock<T> s{st_ + c,
                            ld_,
                            nk,
                            cols,
                            b.diagonal() + (b.triangle ? c : 0),
                            mask_.keep() == nullptr ? nullptr : mask_.keep() + c};
      if (!b.triangle) mask_.apply(s);
      attention_fns<T>().gradient(s, dp_ + c, lse_ + c, delta_ + c);
    });
    add_products(b, k);
  }

  // dQ, dK and dV from P (st_) and dS (dp_).
  void add_products(const BlockPair<T>& b, const RowBlock<T>& k) {
    const T scale = T(p_.scale);
    const int64_t width = p_.width, values = p_.values;
    b.columns([&](int64_t c, int64_t cols, int64_t nk) {
      if (c < nq_)
        block_product(std::min(cols, nq_ - c), width, nk, scale, Strided<T>{dp_ + c, 1, ld_}, k, dq_ + c * width, width,
                      started_);
    });
    started_ = true;
    b.rows([&](int64_t r, int64_t n, int64_t c) {
      const RowBlock<T> g{g_.data + c * g_.ld, g_.ld}, q{q_.data + c * q_.ld, q_.ld};
      const int64_t key = b.k0 + r, at = r * ld_ + c;
      block_product(n, values, nq_ - c, T(1), Strided<T>{st_ + at, ld_, 1}, g, dv_ + key * values, values, true);
      block_product(n, width, nq_ - c, scale, Strided<T>{dp_ + at, ld_, 1}, q, dk_ + key * width, width, true);
    });
  }

  const BackwardProblem& p_;
  int64_t head_, q0_, nq_, ld_;
  T *dk_, *dv_;
  Room<T> room_;
  BlockMask<T> mask_;
  RowBlock<T> q_{}, g_{};
  T *q_T_, *g_T_, *st_, *dp_, *dq_, *k_copy_, *v_copy_, *q_copy_, *g_copy_, *lse_, *delta_;
  bool started_ = false;
};

// Share `s` of key head `h`: sums has room for keys * (width + values) numbers.
template <class T>
void run_share(const BackwardProblem& p, int64_t h, int64_t s, T* sums) {
  std::fill(sums, sums + p.keys * (p.width + p.values), T(0));
  const int64_t blocks = p.blocks(), shares = p.shares();
  for (int64_t i = s * blocks / shares; i < (s + 1) * blocks / shares; ++i)
    BackwardBlock<T>(p, h * p.group + i / p.query_blocks(), i % p.query_blocks() * kQueryBlock, sums,
                     sums + p.keys * p.width)
        .run();
}

template <class T>
void write_key_head(const BackwardProblem& p, int64_t h, const T* sums) {
  write_rows(p.dk, p.dk.head(h), 0, p.keys, p.width, sums, p.width);
  write_rows(p.dv, p.dv.head(h), 0, p.keys, p.values, sums + p.keys * p.width, p.values);
}

template <class T>
void backward(const BackwardProblem& p) {
  const int64_t shares = p.shares(), heads = p.key_heads(), size = p.keys * (p.width + p.values);
  const int64_t cost = std::max<int64_t>(p.queries * p.group * p.keys * (p.width + p.values) * 5 / 2, 1);
  const int64_t grain = std::max<int64_t>(kTaskFma / cost, 1);
  if (shares == 1) {
    parallel_for(0, heads, grain, [&](int64_t begin, int64_t end) {
      const Tensor sums = empty({size}, dtype_of<T>());
      for (int64_t h = begin; h < end; ++h) {
        run_share(p, h, 0, sums.ptr<T>());
        write_key_head(p, h, sums.ptr<T>());
      }
    });
    return;
  }
  const Tensor sums = empty({heads, shares, size}, dtype_of<T>());
  parallel_for(0, heads * shares, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) run_share(p, i / shares, i % shares, sums.ptr<T>() + i * size);
  });
  parallel_for(0, heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      T* first = sums.ptr<T>() + h * shares * size;
      for (int64_t s = 1; s < shares; ++s) attention_fns<T>().add_to(first, first + s * size, size);
      write_key_head(p, h, first);
    }
  });
}

// _attention_backward(g, query, key, value, attn_mask?, out, logsumexp, rng, dropout_p, is_causal, scale, enable_gqa)
//   -> dquery, dkey, dvalue
void attention_backward_cpu(Invocation& inv) {
  BackwardProblem p(inv, 1, inv.in(5), inv.b(11));
  p.dropout = inv.f(8);
  p.causal = inv.b(9);
  p.scale = inv.f(10);
  if (p.dropout > 0) p.range = {uint64_t(read_int(inv.in(7), 0)), uint64_t(read_int(inv.in(7), inv.in(7).strides[0]))};
  if (p.queries == 0 || p.heads == 0) {  // nobody asked the keys anything
    fill_zero(inv.outs[1]);
    fill_zero(inv.outs[2]);
    return;
  }
  p.g = Operand(inv.in(0), p.lead);
  p.out = Operand(inv.in(5), p.lead);
  p.dq = Operand(inv.out(0), p.lead);
  p.dk = Operand(inv.out(1), p.k.sizes);
  p.dv = Operand(inv.out(2), p.v.sizes);
  dispatch_float(float_compute(inv.compute), [&](auto tag) {
    using T = decltype(tag);
    const Tensor logsumexp = staged(inv.in(6), dtype_of<T>());
    p.logsumexp = logsumexp.ptr<T>();
    backward<T>(p);
  });
}

}  // namespace

MG_KERNEL("_attention_backward", CPU, attention_backward_cpu);

}  // namespace mg::cpu
