// Connectionist temporal classification (Graves et al., ICML 2006): forward and backward sums in log space, one sample
// per task.
//
// A target of S labels is walked as l = blank, t1, blank, t2, …, blank of length 2S + 1; alpha[t, s] is the log
// probability of all paths that end at (t, s). The gradient is PyTorch's: that of the loss by the logits of a
// log_softmax that made log_probs, exp(log_probs) - posterior. Meta: ../core/meta_ctc.cpp.
#include <cmath>
#include <limits>
#include <vector>

#include "../core/op.h"
#include "../core/parallel.h"
#include "staged.h"

namespace mg::cpu {

namespace {

template <class T>
constexpr T kNever = -std::numeric_limits<T>::infinity();

template <class T>
T log_add(T a, T b) {
  const T top = std::max(a, b);
  return top == kNever<T> ? top : top + std::log(std::exp(a - top) + std::exp(b - top));
}
template <class T>
T log_add(T a, T b, T c) {
  const T top = std::max({a, b, c});
  return top == kNever<T> ? top : top + std::log(std::exp(a - top) + std::exp(b - top) + std::exp(c - top));
}

struct Sequences {
  int64_t times, count, classes, blank, width;  // width: states of the longest target
  Tensor targets;
  std::vector<int64_t> input, target, start;  // lengths, and where each target begins

  // log_probs (T, N, C), targets (N, S) or concatenated, input_lengths (N), target_lengths (N): arguments k … k + 3.
  Sequences(const Invocation& inv, int k, int64_t blank_class) : blank(blank_class) {
    const TensorImpl& lp = inv.in(k);
    times = lp.sizes[0], count = lp.sizes[1], classes = lp.sizes[2], width = 1;
    targets = staged(inv.in(k + 1), DType::Int64);
    const Tensor in = staged(inv.in(k + 2), DType::Int64), out = staged(inv.in(k + 3), DType::Int64);
    const bool padded = targets.dim() == 2;
    int64_t at = 0;
    for (int64_t n = 0; n < count; ++n) {
      const int64_t frames = in.ptr<int64_t>()[n], labels = out.ptr<int64_t>()[n];
      MG_CHECK(frames >= 0 && frames <= times, Runtime, "ctc_loss: expected input_lengths between 0 and ", times,
               ": got ", frames, " at sample ", n, ".");
      const int64_t room = padded ? targets.size(1) : targets.numel() - at;
      MG_CHECK(labels >= 0 && labels <= room, Runtime, "ctc_loss: target_lengths do not fit targets of shape ",
               targets.sizes(), ": got ", labels, " at sample ", n, ".");
      input.push_back(frames);
      target.push_back(labels);
      start.push_back(padded ? n * targets.size(1) : at);
      at += labels;
      width = std::max(width, 2 * labels + 1);
    }
    MG_CHECK(padded || at == targets.numel(), Runtime,
             "ctc_loss: concatenated targets must be as long as target_lengths say: got ", targets.numel(),
             " labels, expected ", at, ".");
    check_labels();
  }
  void check_labels() const {
    for (int64_t n = 0; n < count; ++n)
      for (int64_t i = 0; i < target[size_t(n)]; ++i) {
        const int64_t c = targets.ptr<int64_t>()[start[size_t(n)] + i];
        MG_CHECK(c >= 0 && c < classes, Runtime, "ctc_loss: expected 0 <= target < ", classes, ": got ", c,
                 " at sample ", n, ".");
      }
  }
  // Class of state s of sample n.
  int64_t label(int64_t n, int64_t s) const {
    return s % 2 == 0 ? blank : targets.ptr<int64_t>()[start[size_t(n)] + s / 2];
  }
  bool skips(int64_t n, int64_t s) const { return s >= 2 && s % 2 == 1 && label(n, s) != label(n, s - 2); }
};

// _ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, longest) -> out (N), log_alpha (N, T, states)
void ctc_loss_cpu(Invocation& inv) {
  const Sequences q(inv, 0, inv.i(4));
  const DType dtype = inv.compute;
  const Tensor lp = staged(inv.in(0), dtype);
  const StagedOut out(inv.outs[0], dtype), alphas(inv.outs[1], dtype);
  const int64_t width = inv.outs[1].size(2);
  MG_CHECK(q.width <= width, Runtime, "ctc_loss: a target is longer than ", (width - 1) / 2, " labels.");
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    parallel_for(0, q.count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        T* alpha = alphas.ptr<T>() + n * q.times * width;
        std::fill_n(alpha, q.times * width, kNever<T>);
        const int64_t frames = q.input[size_t(n)], states = 2 * q.target[size_t(n)] + 1;
        const auto p = [&](int64_t t, int64_t c) { return lp.ptr<T>()[(t * q.count + n) * q.classes + c]; };
        if (frames == 0) {
          out.ptr<T>()[n] = states == 1 ? T(0) : -kNever<T>;
          continue;
        }
        alpha[0] = p(0, q.blank);
        if (states > 1) alpha[1] = p(0, q.label(n, 1));
        for (int64_t t = 1; t < frames; ++t) {
          const T* last = alpha;
          alpha += width;
          for (int64_t s = 0; s < states; ++s) {
            const T b = s >= 1 ? last[s - 1] : kNever<T>, c = q.skips(n, s) ? last[s - 2] : kNever<T>;
            alpha[s] = log_add(last[s], b, c) + p(t, q.label(n, s));
          }
        }
        out.ptr<T>()[n] = -log_add(alpha[states - 1], states > 1 ? alpha[states - 2] : kNever<T>);
      }
    });
  });
  out.commit();
  alphas.commit();
}

// _ctc_loss_backward(g, log_probs, targets, input_lengths, target_lengths, out, log_alpha, blank, zero_infinity)
void ctc_loss_backward_cpu(Invocation& inv) {
  const Sequences q(inv, 1, inv.i(7));
  const bool zero_infinity = inv.b(8);
  const DType dtype = inv.compute;
  const Tensor g = staged(inv.in(0), dtype), lp = staged(inv.in(1), dtype), nll = staged(inv.in(5), dtype),
               alphas = staged(inv.in(6), dtype);
  const StagedOut out(inv.outs[0], dtype);
  const int64_t width = alphas.size(2), row = q.count * q.classes;
  MG_CHECK(width >= q.width, Runtime, "ctc_loss: log_alpha has ", width, " states, the longest target needs ", q.width);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    parallel_for(0, q.count, 1, [&](int64_t begin, int64_t end) {
      std::vector<T> beta(size_t(width) + 2), next(size_t(width) + 2), sums(size_t(q.classes));
      for (int64_t n = begin; n < end; ++n) {
        const int64_t frames = q.input[size_t(n)], states = 2 * q.target[size_t(n)] + 1;
        const T loss = nll.ptr<T>()[n], gn = g.ptr<T>()[n];
        const bool dead = zero_infinity && loss == -kNever<T>;
        for (int64_t t = dead ? 0 : frames; t < q.times; ++t)
          std::fill_n(out.ptr<T>() + t * row + n * q.classes, q.classes, T(0));
        if (dead) continue;
        std::fill(beta.begin(), beta.end(), kNever<T>);
        for (int64_t t = frames - 1; t >= 0; --t) {
          const T* p = lp.ptr<T>() + t * row + n * q.classes;
          const T* alpha = alphas.ptr<T>() + (n * q.times + t) * width;
          std::fill(sums.begin(), sums.end(), kNever<T>);
          std::fill(next.begin(), next.end(), kNever<T>);
          for (int64_t s = states - 1; s >= 0; --s) {
            const int64_t c = q.label(n, s);
            T b;  // log probability of all ways to go on from (t, s), its own frame included
            if (t == frames - 1)
              b = s >= states - 2 ? p[c] : kNever<T>;
            else
              b = log_add(beta[size_t(s)], beta[size_t(s) + 1],
                          s + 2 < states && q.skips(n, s + 2) ? beta[size_t(s) + 2] : kNever<T>) +
                  p[c];
            next[size_t(s)] = b;
            sums[size_t(c)] = log_add(sums[size_t(c)], alpha[s] + b);
          }
          beta.swap(next);
          T* dx = out.ptr<T>() + t * row + n * q.classes;
          for (int64_t c = 0; c < q.classes; ++c)
            dx[c] = (std::exp(p[c]) - std::exp(sums[size_t(c)] + loss - p[c])) * gn;
        }
      }
    });
  });
  out.commit();
}

}  // namespace

MG_KERNEL("_ctc_loss", CPU, ctc_loss_cpu);
MG_KERNEL("_ctc_loss_backward", CPU, ctc_loss_backward_cpu);

}  // namespace mg::cpu
