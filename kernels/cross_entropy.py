"""Cross entropy of logits and class indices, loss and gradient in one visit of the logits.

loss_m = logsumexp(x_m) - (1 - a) x_m[t_m] - a / N sum_n x_mn      (a: label smoothing; 0 for rows whose target is ignored)
dloss_m / dx_mn = softmax(x_m)_n - (1 - a) [n = t_m] - a / N

Sources: online logsumexp: Milakov, Gimelshein, "Online normalizer calculation for softmax", arXiv 1805.02867; a loss
and its gradient without saved probabilities: Hsu et al., "Liger Kernel", arXiv 2410.10989. (There it overwrites the logits, behind
autograd's back. Here the backward pass has memory of its own; linear_cross_entropy.py shows how to need no logits at all.)

Shapes: M rows (tokens), N columns (classes).
  x_MN          logits: float32, float16, bfloat16; any strides
  t_M           int64 or int32 targets in [0, N), or `ignore_index`; any other gives a loss of NaN
  loss_M        float32, not reduced
  top_M, sum_M  float32, saved: a row's maximum and its sum of exp(x - top); logsumexp = top + log(sum) as one number
                would lose the bits below its own size, and softmax with them
  g_M           gradient of each row's loss (of stride 0 where a sum or mean follows)

Bytes (s = bytes an element): forward M N s; backward 2 M N s. Unfused (log_softmax, nll, their gradients) 7 M N s.
Flops: about 4 and 4 an element: memory-bound.

Versions, simplest first:
  cross_entropy_row       the whole row in registers, like a softmax
  cross_entropy_online    blocks of a row: running maximum and sum, rescaled when the maximum grows; any N
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty_like, ints, launch, main, next_power_of_2, op, rand
from minigrad.kernels._rows import scratch

MAX_ROW = 8192
BLOCK = 4096


@triton.jit
def cross_entropy_row(x_MN, t_M, loss_M, top_M, sum_M, N, x_m, x_n, ignore_index, smoothing, BLOCK_N: tl.constexpr):
    m = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, BLOCK_N)
    target = tl.load(t_M + m)
    row = x_MN + m * x_m
    x = tl.load(row + n.to(tl.int64) * x_n, mask=n < N, other=float("-inf")).to(tl.float32)
    top = tl.max(x, 0)
    total = tl.sum(tl.exp(x - top), 0)
    used = (target >= 0) & (target < N)
    picked = tl.load(row + tl.where(used, target, 0).to(tl.int64) * x_n).to(tl.float32)
    loss = tl.log(total) + (top - picked)
    if smoothing != 0.0:
        loss += smoothing * (picked - tl.sum(tl.where(n < N, x, 0.0), 0) / N)
    tl.store(loss_M + m, tl.where(target == ignore_index, 0.0, tl.where(used, loss, float("nan"))))
    tl.store(top_M + m, top)
    tl.store(sum_M + m, total)


@triton.jit
def cross_entropy_online(x_MN, t_M, loss_M, top_M, sum_M, N, x_m, x_n, ignore_index, smoothing, BLOCK_N: tl.constexpr):
    m = tl.program_id(0).to(tl.int64)
    target = tl.load(t_M + m)
    row = x_MN + m * x_m
    # Every lane keeps its own maximum and sum, so that the loop has no reduction in it.
    lane_top = tl.full([BLOCK_N], float("-inf"), tl.float32)
    lane_sum = tl.zeros([BLOCK_N], tl.float32)
    plain = tl.zeros([BLOCK_N], tl.float32)
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        x = tl.load(row + n.to(tl.int64) * x_n, mask=n < N, other=float("-inf")).to(tl.float32)
        new = tl.maximum(lane_top, x)
        safe = tl.where(new == float("-inf"), 0.0, new)  # nothing but -inf so far: exp(-inf - 0) = 0, not NaN
        lane_sum = lane_sum * tl.exp(lane_top - safe) + tl.exp(x - safe)
        lane_top = new
        if smoothing != 0.0:
            plain += tl.where(n < N, x, 0.0)
    top = tl.max(lane_top, 0)
    total = tl.sum(lane_sum * tl.exp(lane_top - top), 0)
    used = (target >= 0) & (target < N)
    picked = tl.load(row + tl.where(used, target, 0).to(tl.int64) * x_n).to(tl.float32)
    loss = tl.log(total) + (top - picked)
    if smoothing != 0.0:
        loss += smoothing * (picked - tl.sum(plain, 0) / N)
    tl.store(loss_M + m, tl.where(target == ignore_index, 0.0, tl.where(used, loss, float("nan"))))
    tl.store(top_M + m, top)
    tl.store(sum_M + m, total)


@triton.jit
def cross_entropy_backward(x_MN, t_M, top_M, sum_M, g_M, dx_MN, N, x_m, x_n, g_m, ignore_index, smoothing, BLOCK_N: tl.constexpr):
    """Program (m, c): BLOCK_N columns of row m; with maximum and sum known, no reduction is left."""
    m = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    target = tl.load(t_M + m)
    g = tl.load(g_M + m * g_m).to(tl.float32)
    x = tl.load(x_MN + m * x_m + n.to(tl.int64) * x_n, mask=n < N, other=float("-inf")).to(tl.float32)
    dx = tl.exp(x - tl.load(top_M + m)) / tl.load(sum_M + m) - tl.where(n == target, 1 - smoothing, 0.0) - smoothing / N
    dx = tl.where(target == ignore_index, 0.0, dx * g)
    tl.store(dx_MN + m * N + n, dx.to(dx_MN.dtype.element_ty), mask=n < N)


def cross_entropy_forward(logits, target, ignore_index, label_smoothing):
    M, N = logits.shape
    loss_M, top_M, sum_M = (scratch(logits, M) for _ in range(3))
    arguments = (logits, target.contiguous(), loss_M, top_M, sum_M, N, *logits.stride(), ignore_index, float(label_smoothing))
    if N <= MAX_ROW:
        block = next_power_of_2(N)
        launch(cross_entropy_row, (M,), *arguments, BLOCK_N=block, num_warps=max(1, min(8, block // 512)))
    else:
        launch(cross_entropy_online, (M,), *arguments, BLOCK_N=BLOCK, num_warps=8)
    return loss_M, top_M, sum_M


def cross_entropy_gradient(g, logits, target, top, total, ignore_index, label_smoothing):
    M, N = logits.shape
    dx_MN, block = empty_like(logits), min(BLOCK, next_power_of_2(N))
    launch(
        cross_entropy_backward, (M, cdiv(N, block)), logits, target.contiguous(), top, total, g, dx_MN, N, *logits.stride(), g.stride(0),
        ignore_index, float(label_smoothing), BLOCK_N=block, num_warps=max(1, min(8, block // 512)),
    )  # fmt: skip
    return dict(logits=dx_MN)


def cross_entropy_reference(logits, target, ignore_index=-100, label_smoothing=0.0):
    shifted = logits - logits.amax(-1, keepdim=True)
    log_p = shifted - shifted.exp().sum(-1, keepdim=True).log()
    used = target != ignore_index
    picked = log_p.gather(1, target.where(used, 0).unsqueeze(1)).squeeze(1)
    loss = -(1 - label_smoothing) * picked - label_smoothing * log_p.mean(-1)
    return loss.where(used, 0.0)


@op(
    "cross_entropy(logits, target, ignore_index, label_smoothing) -> loss, _top, _total",
    backward=cross_entropy_gradient,
    reference=cross_entropy_reference,
    cases=[
        case(logits=rand(7, 257, scale=4.0), target=ints(7, high=257)),
        case(logits=rand(9, 30, layout="padded"), target=ints(9, high=30, dtype="int32"), ignore_index=3, label_smoothing=0.1),
        case(logits=rand(33, 4, layout="transposed"), target=ints(33, high=4)),
        case(logits=rand(2, 1), target=ints(2, high=1)),
        case(logits=rand(0, 7), target=ints(0, high=7)),
        case(logits=rand(3, 9001, scale=3.0), target=ints(3, high=9001), label_smoothing=0.2),
    ],
    aot=[case(logits=rand(4096, n), target=ints(4096, high=n), dtypes=("float32", "bfloat16")) for n in (1000, 131072)],
    bench=[case(logits=rand(8192, n), target=ints(8192, high=n), dtypes=("float32", "bfloat16")) for n in (8192, 32768, 131072)],
    flops=lambda logits, **_: 4 * logits.numel(),
    bytes=lambda logits, **_: logits.numel() * logits.itemsize,
)
def cross_entropy(logits, target, ignore_index=-100, label_smoothing=0.0):
    """The float32 loss of each row of `logits` (M, N) for class `target` (M); reduce it as you like."""
    return cross_entropy_forward(logits, target, ignore_index, label_smoothing)


if __name__ == "__main__":
    main(cross_entropy)
