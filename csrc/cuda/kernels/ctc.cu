// Connectionist temporal classification (Graves et al., ICML 2006), as csrc/cpu/ctc.cpp: a block per sample walks the frames, a thread per
// state of the target's blank, t1, blank, t2, …, blank. Lengths and targets are read by the host, which checks them as the CPU kernel
// does (N + labels numbers: small beside T * N * C log probabilities).
#include <vector>

#include "groups.h"

namespace mg::cuda {
namespace {

template <class T>
__device__ T never() {
  return -std::numeric_limits<T>::infinity();
}
template <class T>
__device__ T log_add(T a, T b) {
  const T top = a > b ? a : b;
  return top == never<T>() ? top : top + log(exp(a - top) + exp(b - top));
}
template <class T>
__device__ T log_add(T a, T b, T c) {
  T top = a > b ? a : b;
  top = top > c ? top : c;
  return top == never<T>() ? top : top + log(exp(a - top) + exp(b - top) + exp(c - top));
}

// One sample of the table that goes to the device.
struct Sample {
  int64_t frames, labels, start;  // where its target begins
};

struct Sequences {  // as the device sees them
  const Sample* samples;
  const int64_t* targets;
  int64_t times, count, classes, blank, width;  // width: states of a row of alpha
  __device__ int64_t label(const Sample& q, int64_t s) const { return s % 2 == 0 ? blank : targets[q.start + s / 2]; }
  __device__ bool skips(const Sample& q, int64_t s) const { return s >= 2 && s % 2 == 1 && label(q, s) != label(q, s - 2); }
};

Tensor on_host(const TensorImpl& t) { return staged(t, DType::Int64, Device{}); }

struct Batch {
  Tensor targets, table;
  Sequences q;
  // log_probs (T, N, C), targets (N, S) or concatenated, input_lengths (N), target_lengths (N): arguments k … k + 3.
  Batch(const Invocation& inv, int k, int64_t blank, int64_t width) {
    const TensorImpl& lp = inv.in(k);
    const int64_t times = lp.sizes[0], count = lp.sizes[1], classes = lp.sizes[2];
    const Tensor labels_of_all = on_host(inv.in(k + 1)), in = on_host(inv.in(k + 2)), out = on_host(inv.in(k + 3));
    const bool padded = labels_of_all.dim() == 2;
    const Tensor host = empty(Dims{count, 3}, DType::Int64);
    int64_t at = 0;
    for (int64_t n = 0; n < count; ++n) {
      const int64_t frames = in.ptr<int64_t>()[n], labels = out.ptr<int64_t>()[n];
      MG_CHECK(frames >= 0 && frames <= times, Runtime, "ctc_loss: expected input_lengths between 0 and ", times, ": got ", frames,
               " at sample ", n, ".");
      const int64_t room = padded ? labels_of_all.size(1) : labels_of_all.numel() - at;
      MG_CHECK(labels >= 0 && labels <= room, Runtime, "ctc_loss: target_lengths do not fit targets of shape ", labels_of_all.sizes(), ": got ",
               labels, " at sample ", n, ".");
      MG_CHECK(2 * labels + 1 <= width, Runtime, "ctc_loss: a target is longer than ", (width - 1) / 2, " labels.");
      const int64_t start = padded ? n * labels_of_all.size(1) : at;
      for (int64_t i = 0; i < labels; ++i) {
        const int64_t c = labels_of_all.ptr<int64_t>()[start + i];
        MG_CHECK(c >= 0 && c < classes, Runtime, "ctc_loss: expected 0 <= target < ", classes, ": got ", c, " at sample ", n, ".");
      }
      int64_t* row = host.ptr<int64_t>() + 3 * n;
      row[0] = frames, row[1] = labels, row[2] = start;
      at += labels;
    }
    MG_CHECK(padded || at == labels_of_all.numel(), Runtime, "ctc_loss: concatenated targets must be as long as target_lengths say: got ",
             labels_of_all.numel(), " labels, expected ", at, ".");
    targets = staged(inv.in(k + 1), DType::Int64, lp.device);
    table = staged(*host, DType::Int64, lp.device);
    q = {reinterpret_cast<const Sample*>(table.ptr<int64_t>()), targets.ptr<int64_t>(), times, count, classes, blank, width};
  }
};

template <class T>
__global__ void ctc_kernel(T* out, T* alphas, const T* log_probs, Sequences q) {
  const int64_t n = blockIdx.x;
  const Sample sample = q.samples[n];
  const int64_t states = 2 * sample.labels + 1;
  T* alpha = alphas + n * q.times * q.width;
  for (int64_t i = threadIdx.x; i < q.times * q.width; i += blockDim.x) alpha[i] = never<T>();
  __syncthreads();
  if (sample.frames == 0) {
    if (threadIdx.x == 0) out[n] = states == 1 ? T(0) : -never<T>();
    return;
  }
  for (int64_t s = threadIdx.x; s < 2 && s < states; s += blockDim.x) alpha[s] = log_probs[n * q.classes + q.label(sample, s)];
  for (int64_t t = 1; t < sample.frames; ++t) {
    __syncthreads();
    const T *last = alpha, *p = log_probs + (t * q.count + n) * q.classes;
    alpha += q.width;
    for (int64_t s = threadIdx.x; s < states; s += blockDim.x) {
      const T b = s >= 1 ? last[s - 1] : never<T>(), c = q.skips(sample, s) ? last[s - 2] : never<T>();
      alpha[s] = log_add(last[s], b, c) + p[q.label(sample, s)];
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) out[n] = -log_add(alpha[states - 1], states > 1 ? alpha[states - 2] : never<T>());
}

template <class T>
struct Backward {
  T* dx;
  T* room;  // per sample: beta and the next beta (width + 2 each), log sums per class
  const T *g, *log_probs, *losses, *alphas;
  bool zero_infinity;
};

template <class T>
__global__ void ctc_backward_kernel(Backward<T> k, Sequences q) {
  const int64_t n = blockIdx.x, row = q.count * q.classes, lane = threadIdx.x, width = blockDim.x;
  const Sample sample = q.samples[n];
  const int64_t states = 2 * sample.labels + 1;
  const T loss = k.losses[n], gn = k.g[n];
  const bool dead = k.zero_infinity && loss == -never<T>();
  for (int64_t t = dead ? 0 : sample.frames; t < q.times; ++t)
    for (int64_t c = lane; c < q.classes; c += width) k.dx[t * row + n * q.classes + c] = T(0);
  if (dead) return;
  T* beta = k.room + n * (2 * (q.width + 2) + q.classes);
  T *next = beta + q.width + 2, *sums = next + q.width + 2;
  for (int64_t i = lane; i < 2 * (q.width + 2); i += width) beta[i] = never<T>();
  for (int64_t t = sample.frames - 1; t >= 0; --t) {
    const T *p = k.log_probs + t * row + n * q.classes, *alpha = k.alphas + (n * q.times + t) * q.width;
    __syncthreads();
    for (int64_t c = lane; c < q.classes; c += width) sums[c] = never<T>();
    T of_blank = never<T>();
    for (int64_t s = lane; s < states; s += width) {
      const int64_t c = q.label(sample, s);
      T b;  // log probability of all ways to go on from (t, s), its own frame included
      if (t == sample.frames - 1) b = s >= states - 2 ? p[c] : never<T>();
      else b = log_add(beta[s], beta[s + 1], s + 2 < states && q.skips(sample, s + 2) ? beta[s + 2] : never<T>()) + p[c];
      next[s] = b;
      if (c == q.blank) of_blank = log_add(of_blank, alpha[s] + b);
    }
    of_blank = block_reduce(of_blank, [](T a, T b) { return log_add(a, b); });  // also: everybody's `next` and `sums` are there
    __syncthreads();
    if (lane == 0) sums[q.blank] = of_blank;
    for (int64_t s = 1 + 2 * lane; s < states; s += 2 * width) {  // each class by its last label, in order
      const int64_t c = q.label(sample, s);
      bool last = c != q.blank;
      for (int64_t o = s + 2; last && o < states; o += 2) last = q.label(sample, o) != c;
      if (!last) continue;
      T sum = never<T>();
      for (int64_t o = s; o > 0; o -= 2)
        if (q.label(sample, o) == c) sum = log_add(sum, alpha[o] + next[o]);
      sums[c] = sum;
    }
    __syncthreads();
    T* dx = k.dx + t * row + n * q.classes;
    for (int64_t c = lane; c < q.classes; c += width) dx[c] = (exp(p[c]) - exp(sums[c] + loss - p[c])) * gn;
    T* const swap = beta;
    beta = next, next = swap;
  }
}

// _ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, longest) -> out (N), log_alpha (N, T, states)
void ctc_loss_cuda(Invocation& inv) {
  const DType dtype = inv.compute;
  const Batch batch(inv, 0, inv.i(4), inv.outs[1].size(2));
  const Tensor lp = staged(inv.in(0), dtype);
  const StagedOut out(inv.outs[0], dtype), alphas(inv.outs[1], dtype);
  auto go = [&]<class T>(T) {
    launch_blocks(ctc_kernel<T>, batch.q.count, threads_for_row(batch.q.width), 0, out.template ptr<T>(), alphas.template ptr<T>(),
                  static_cast<const T*>(lp.ptr<T>()), batch.q);
  };
  dtype == DType::Float64 ? go(double{}) : go(float{});
  out.commit();
  alphas.commit();
}

// _ctc_loss_backward(g, log_probs, targets, input_lengths, target_lengths, out, log_alpha, blank, zero_infinity)
void ctc_loss_backward_cuda(Invocation& inv) {
  const DType dtype = inv.compute;
  const Batch batch(inv, 1, inv.i(7), inv.in(6).sizes[2]);
  const Tensor g = staged(inv.in(0), dtype), lp = staged(inv.in(1), dtype), losses = staged(inv.in(5), dtype), alphas = staged(inv.in(6), dtype);
  const StagedOut out(inv.outs[0], dtype);
  const Sequences& q = batch.q;
  const Tensor room = workspace(q.count * (2 * (q.width + 2) + q.classes), dtype, lp.device());
  auto go = [&]<class T>(T) {
    const Backward<T> k{out.template ptr<T>(), room.ptr<T>(), g.ptr<T>(), lp.ptr<T>(), losses.ptr<T>(), alphas.ptr<T>(), inv.b(8)};
    launch_blocks(ctc_backward_kernel<T>, q.count, threads_for_row(std::max(q.width, q.classes)), 0, k, q);
  };
  dtype == DType::Float64 ? go(double{}) : go(float{});
  out.commit();
}

MG_CUDA_KERNEL("_ctc_loss", ctc_loss_cuda);
MG_CUDA_KERNEL("_ctc_loss_backward", ctc_loss_backward_cuda);

}  // namespace
}  // namespace mg::cuda
