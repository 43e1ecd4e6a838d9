// The forward pass of attention. attention.h is the map.
#include "attention.h"

#include <cmath>
#include <limits>

#include "../core/parallel.h"
#include "staged.h"

namespace mg::cpu {

namespace {

// One block of queries against all keys it sees.
template <class T>
class ForwardBlock {
 public:
  ForwardBlock(const AttentionProblem& p, int64_t head, int64_t q0)
      : p_(p),
        head_(head),
        q0_(q0),
        nq_(std::min(kQueryBlock, p.queries - q0)),
        ld_(ceil_div(nq_, attention_fns<T>().lanes) * attention_fns<T>().lanes),
        room_(room(p)),
        mask_(p, head, room_) {
    q_T_ = room_.take(p.width * ld_);
    st_ = room_.take(kKeyBlock * ld_);
    out_ = room_.take(nq_ * p.values);
    copies_ = room_.take(kKeyBlock * std::max(p.width, p.values));
    top_ = room_.take(ld_);
    sum_ = room_.take(ld_);
    shrink_ = room_.take(ld_);
  }

  void run(T* logsumexp) {
    const char *k = p_.k.head(head_ / p_.group), *v = p_.v.head(head_ / p_.group);
    transposed_rows(p_.q, p_.q.head(head_), q0_, nq_, p_.width, q_T_, ld_);
    std::fill(top_, top_ + ld_, -std::numeric_limits<T>::infinity());
    std::fill(sum_, sum_ + ld_, T(0));
    const int64_t seen = p_.keys_seen(q0_, nq_);
    for (int64_t k0 = 0; k0 < seen; k0 += kKeyBlock)
      meet(BlockPair<T>(p_, q0_, nq_, ld_, k0, std::min(kKeyBlock, seen - k0)), k, v);
    finish(logsumexp);
  }

 private:
  static int64_t room(const AttentionProblem& p) {
    return (kQueryBlock + kKeyBlock) * (p.width + p.values) + kKeyBlock * kQueryBlock + 4 * kQueryBlock + 256 +
           BlockMask<T>::room(p);
  }

  void meet(const BlockPair<T>& b, const char* k, const char* v) {
    const AttentionFns<T>& fns = attention_fns<T>();
    if (!mask_.load(b)) return;
    block_scores(p_, b, rows_of(p_.k, k, b.k0, b.nk, p_.width, copies_), q_T_, st_);
    bool shrinks = false;
    b.columns([&](int64_t c, int64_t cols, int64_t nk) {
      const ScoreBlock<T> s{st_ + c,
                            ld_,
                            nk,
                            cols,
                            b.diagonal() + (b.triangle ? c : 0),
                            mask_.keep() == nullptr ? nullptr : mask_.keep() + c};
      if (!b.triangle) mask_.apply(s);
      shrinks |= fns.softmax(s, top_ + c, sum_ + c, shrink_ + c);
    });
    if (started_ && shrinks) fns.scale_rows(out_, p_.values, nq_, p_.values, shrink_);
    const RowBlock<T> values = rows_of(p_.v, v, b.k0, b.nk, p_.values, copies_);
    b.columns([&](int64_t c, int64_t cols, int64_t nk) {
      if (c < nq_)
        block_product(std::min(cols, nq_ - c), p_.values, nk, T(1), Strided<T>{st_ + c, 1, ld_}, values,
                      out_ + c * p_.values, p_.values, started_);
    });
    started_ = true;
  }

  // A query that sees no key gets `unseen` and a logsumexp of inf, which makes its weights 0 in the backward pass.
  void finish(T* logsumexp) {
    if (!started_) std::fill(out_, out_ + nq_ * p_.values, T(0));
    for (int64_t i = 0; i < nq_; ++i) {
      const bool none = sum_[i] == T(0);
      logsumexp[head_ * p_.queries + q0_ + i] =
          none ? std::numeric_limits<T>::infinity() : T(top_[i] + std::log(sum_[i]));
      shrink_[i] = none ? T(0) : T(1) / sum_[i];
    }
    attention_fns<T>().scale_rows(out_, p_.values, nq_, p_.values, shrink_);
    for (int64_t i = 0; p_.unseen != 0 && i < nq_; ++i)
      if (sum_[i] == T(0)) std::fill_n(out_ + i * p_.values, p_.values, T(p_.unseen));
    write_rows(p_.out, p_.out.head(head_), q0_, nq_, p_.values, out_, p_.values);
  }

  const AttentionProblem& p_;
  int64_t head_, q0_, nq_, ld_;
  Room<T> room_;
  BlockMask<T> mask_;
  T *q_T_, *st_, *out_, *copies_, *top_, *sum_, *shrink_;
  bool started_ = false;
};

template <class T>
void forward(const AttentionProblem& p, T* logsumexp) {
  if (attention_decode(p, logsumexp)) return;
  const int64_t blocks = p.query_blocks();
  const int64_t cost = std::max<int64_t>(std::min(p.queries, kQueryBlock) * p.keys * (p.width + p.values), 1);
  parallel_for(0, p.heads * blocks, std::max<int64_t>(kTaskFma / cost, 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)  // the longest rows of a causal head first
      ForwardBlock<T>(p, i / blocks, (blocks - 1 - i % blocks) * kQueryBlock).run(logsumexp);
  });
}

// _attention(query, key, value, attn_mask?, dropout_p, is_causal, scale, enable_gqa, generator, unseen) -> out, logsumexp, rng
void attention_cpu(Invocation& inv) {
  AttentionProblem p(inv, 0, inv.out(0), inv.b(7));
  p.dropout = inv.f(4);
  p.causal = inv.b(5);
  p.scale = inv.f(6);
  p.unseen = inv.f(9);
  if (p.dropout > 0) {
    p.range = (inv.has(8) ? *inv.args[8].generator : default_generator(inv.out().device)).reserve(p.random_numbers());
    const Tensor state = inv.outs[2];
    const int64_t words[2] = {int64_t(p.range.seed), int64_t(p.range.counter)};
    for (int i = 0; i < 2; ++i) state.ptr<int64_t>()[i * state.strides()[0]] = words[i];
  }
  if (inv.out(0).numel == 0) return;
  p.out = Operand(inv.out(0), p.lead);
  dispatch_float(float_compute(inv.compute), [&](auto tag) {
    using T = decltype(tag);
    const StagedOut logsumexp(inv.outs[1], dtype_of<T>());
    forward<T>(p, logsumexp.ptr<T>());
    logsumexp.commit();
  });
}

}  // namespace

MG_KERNEL("_attention", CPU, attention_cpu);

}  // namespace mg::cpu
