"""Cross entropy of x @ w^T without the logits: the last layer of a language model, whose M x N logits are its largest tensor.

Sources: Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", arXiv 2411.09009 (logits tile by tile, never
stored); Hsu et al., "Liger Kernel", arXiv 2410.10989 (chunks). The backward pass differs from both: chunks over the
*vocabulary*, so that dw is written once, chunk by chunk, and nothing is added atomically: the same bits on every run.

Shapes: M tokens, K features, N classes, S splits of the classes, C classes in a chunk of the backward pass.
  x_MK, w_NK           float32, float16, bfloat16        t_M    integer targets, or `ignore_index`
  top_SM, sum_SM       float32: maximum and sum of exp(logit - top) over one split; then of the row (top_M, sum_M)
  picked_M             float32: the target's logit
  d_MC                 gradient of one chunk of logits, in the type of x: the only thing of that kind that ever exists

Flops: forward 2 M N K; backward 6 M N K (the logits again, dx, dw): 8 instead of 6, for M N numbers less of memory.
Bytes beside inputs and results: M C s + 4 M K (dx in float32) with C = N / 16 or less, instead of 2 M N s: 32 times less.
The logits are not rounded to the type of x in between: more exact than the unfused form in half precision.
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, empty_like, ints, launch, main, mg, op, rand, target, zeros
from minigrad.kernels._rows import scratch
from minigrad.kernels.matmul import product


@triton.jit
def logits_tile(x_MK, w_NK, m, n, M, N, K, x_m, w_n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    """float32 x @ w^T of rows m and classes n; whatever lies outside is 0."""
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    x_at = x_MK + m.to(tl.int64)[:, None] * x_m
    w_at = w_NK + n.to(tl.int64)[None, :] * w_n
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        x = tl.load(x_at + k[None, :], mask=(m < M)[:, None] & (k < K)[None, :], other=0.0)
        w = tl.load(w_at + k[:, None], mask=(k < K)[:, None] & (n < N)[None, :], other=0.0)
        total = tl.dot(x, w, total, input_precision="ieee")
    return total


@triton.jit
def linear_cross_entropy_forward(x_MK, w_NK, t_M, top_SM, sum_SM, picked_M, M, N, K, x_m, w_n, BLOCK_M: tl.constexpr,
                                 BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    """Program (rows, split): the tiles n = split, split + S, …: running maximum and sum, and the target's logit in passing."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    wanted = tl.load(t_M + m, mask=m < M, other=-1)
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    for start in range(tl.program_id(1) * BLOCK_N, N, tl.num_programs(1) * BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        logits = logits_tile(x_MK, w_NK, m, n, M, N, K, x_m, w_n, BLOCK_M, BLOCK_N, BLOCK_K)
        here = (wanted >= start) & (wanted < start + BLOCK_N) & (wanted < N)
        picked = tl.sum(tl.where(n[None, :] == wanted[:, None], logits, 0.0), 1)
        tl.store(picked_M + m, picked, mask=here & (m < M))  # one program has the target of a row: no race
        logits = tl.where((n < N)[None, :], logits, float("-inf"))
        new = tl.maximum(top, tl.max(logits, 1))
        total = total * tl.exp(top - new) + tl.sum(tl.exp(logits - new[:, None]), 1)
        top = new
    at = tl.program_id(1).to(tl.int64) * M + m
    tl.store(top_SM + at, top, mask=m < M)
    tl.store(sum_SM + at, total, mask=m < M)


@triton.jit
def merge_splits(top_SM, sum_SM, picked_M, t_M, loss_M, top_M, sum_M, M, N, S, ignore_index, BLOCK_M: tl.constexpr):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    for split in range(S):
        other = tl.load(top_SM + split * M + m, mask=m < M, other=0.0)
        new = tl.maximum(top, other)
        total = total * tl.exp(top - new) + tl.load(sum_SM + split * M + m, mask=m < M, other=1.0) * tl.exp(other - new)
        top = new
    wanted = tl.load(t_M + m, mask=m < M, other=0)
    used = (wanted >= 0) & (wanted < N)
    loss = tl.log(total) + (top - tl.load(picked_M + m, mask=(m < M) & used, other=0.0))
    tl.store(loss_M + m, tl.where(wanted == ignore_index, 0.0, tl.where(used, loss, float("nan"))), mask=m < M)
    tl.store(top_M + m, top, mask=m < M)
    tl.store(sum_M + m, total, mask=m < M)


@triton.jit
def logits_gradient(x_MK, w_NK, t_M, top_M, sum_M, g_M, d_MC, M, first, C, K, x_m, w_n, g_m, ignore_index, BLOCK_M: tl.constexpr,
                    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    """d = (softmax - one_hot) g of the classes first … first + C; w_NK points at class `first`."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    logits = logits_tile(x_MK, w_NK, m, c, M, C, K, x_m, w_n, BLOCK_M, BLOCK_N, BLOCK_K)
    wanted = tl.load(t_M + m, mask=m < M, other=0)
    g = tl.load(g_M + m * g_m, mask=m < M, other=0.0).to(tl.float32)
    g = tl.where(wanted == ignore_index, 0.0, g)
    scale = g / tl.load(sum_M + m, mask=m < M, other=1.0)
    d = tl.exp(logits - tl.load(top_M + m, mask=m < M, other=0.0)[:, None]) * scale[:, None]
    d -= tl.where((c + first)[None, :] == wanted[:, None], g[:, None], 0.0)
    at = m.to(tl.int64)[:, None] * C + c[None, :]
    tl.store(d_MC + at, d.to(d_MC.dtype.element_ty), mask=(m < M)[:, None] & (c < C)[None, :])


def _tile(itemsize):
    if itemsize == 4:
        return dict(BLOCK_M=64, BLOCK_N=64, BLOCK_K=32, num_warps=4, num_stages=3)
    return dict(BLOCK_M=128, BLOCK_N=128, BLOCK_K=64, num_warps=8, num_stages=3)


def forward(x, weight, target_M, ignore_index):
    (M, K), N = x.shape, weight.shape[0]
    tile = _tile(x.itemsize)
    rows = cdiv(M, tile["BLOCK_M"])
    S = max(1, min(cdiv(N, tile["BLOCK_N"]), cdiv(2 * target(x.device).multiprocessors, max(rows, 1)), 64))
    top_SM, sum_SM = scratch(x, S, M), scratch(x, S, M)
    loss_M, top_M, sum_M, picked_M = (scratch(x, M) for _ in range(4))
    arguments = (x, weight, target_M, top_SM, sum_SM, picked_M, M, N, K, x.stride(0), weight.stride(0))
    launch(linear_cross_entropy_forward, (rows, S), *arguments, **tile)
    launch(merge_splits, (cdiv(M, 128),), top_SM, sum_SM, picked_M, target_M, loss_M, top_M, sum_M, M, N, S, ignore_index, BLOCK_M=128)
    return loss_M, top_M, sum_M


def _rows(x):
    """With columns one apart, as the kernels take it."""
    return x if x.stride(-1) == 1 else x.contiguous()


def backward(g, x, weight, target, top, total, ignore_index, chunk):
    x, weight = _rows(x), _rows(weight)
    (M, K), N = x.shape, weight.shape[0]
    dweight = empty((N, K), weight.dtype, x.device)
    if not M:
        return dict(x=empty_like(x), weight=dweight.zero_())
    tile = _tile(x.itemsize)
    chunk = chunk or max(tile["BLOCK_N"], cdiv(N, 16 * 128) * 128)
    dx_MK, d = zeros((M, K), mg.float32, x.device), empty((M * min(chunk, N),), x.dtype, x.device)
    for first in range(0, N, chunk):
        C = min(chunk, N - first)
        d_MC, w_CK = d[: M * C].view(M, C), weight[first : first + C]
        arguments = (x, w_CK, target.contiguous(), top, total, g, d_MC, M, first, C, K, x.stride(0), weight.stride(0), g.stride(0))
        launch(logits_gradient, (cdiv(M, tile["BLOCK_M"]), cdiv(C, tile["BLOCK_N"])), *arguments, ignore_index, **tile)
        product(d_MC, w_CK, out=dx_MK, add=True)
        product(d_MC.mT, x, out=dweight[first : first + C])
    return dict(x=dx_MK.to(x.dtype), weight=dweight)


def reference(x, weight, target, ignore_index=-100, chunk=None):
    logits = x @ weight.mT
    shifted = logits - logits.amax(-1, keepdim=True)
    used = target != ignore_index
    picked = shifted.gather(1, target.where(used, 0).unsqueeze(1)).squeeze(1)
    return (shifted.exp().sum(-1).log() - picked).where(used, 0.0)


def _aot(m, k, n):
    return case(x=rand(m, k), weight=rand(n, k), target=ints(m, high=n), dtypes=("bfloat16",))


@op(
    "linear_cross_entropy(x, weight, target, ignore_index, chunk) -> loss, _top, _total",
    backward=backward,
    reference=reference,
    cases=[
        case(x=rand(70, 40), weight=rand(150, 40), target=ints(70, high=150), ignore_index=3),
        case(x=rand(9, 33, layout="padded"), weight=rand(257, 33, layout="padded"), target=ints(9, high=257), chunk=100),
        case(x=rand(33, 8, layout="transposed"), weight=rand(5, 8, layout="transposed"), target=ints(33, high=5, dtype="int32")),
        case(x=rand(0, 7), weight=rand(5, 7), target=ints(0, high=5)),
    ],
    aot=[_aot(8192, 4096, 131072)],
    bench=[_aot(8192, 4096, 131072)],
    flops=lambda x, weight, **_: 2 * x.numel() * weight.shape[0],
    bytes=lambda x, weight, **_: (x.numel() + weight.numel()) * x.itemsize,
    tensor_cores=True,
)
def linear_cross_entropy(x, weight, target, ignore_index=-100, chunk=None):
    """The float32 loss of each token: cross entropy of x (M, K) @ weight (N, K)^T and class `target` (M).

    `chunk`: classes whose logits' gradient exists at a time in the backward pass, else a sixteenth of them."""
    return forward(_rows(x), _rows(weight), target.contiguous(), ignore_index)


if __name__ == "__main__":
    main(linear_cross_entropy)
