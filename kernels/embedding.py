"""Embedding: rows of a table, and the gradient of the table, which is deterministic: no atomics.

Source of the method: as in PyTorch's embedding_dense_backward, sort the indices so that equal ones are neighbours; here each
run of equal indices has one program that adds its rows in the order in which they were looked up.

Shapes: T lookups, V rows of the table, D features.
  index_T          int64 or int32 in [0, V)          w_VD, y_TD, g_TD    float32, float16, bfloat16
  sorted_T, order_T    int64: the indices sorted (stably), and where each came from

Bytes (s = bytes an element): forward 2 T D s; backward T D s + V D s (dw is dense: its zeros are written) + the sort of T
integers. No flops to speak of: memory-bound, and each row is read and written in whole lines when D s >= 128.
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, ints, launch, main, next_power_of_2, op, rand, zeros


@triton.jit
def embedding_gather(index_T, w_VD, y_TD, V, D, w_v, BLOCK_D: tl.constexpr):
    t = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    row = tl.load(index_T + t).to(tl.int64)
    limit = tl.where((row >= 0) & (row < V), D, 0)  # an index out of range reads nothing and gives NaN
    w = tl.load(w_VD + row * w_v + d, mask=d < limit, other=float("nan"))
    tl.store(y_TD + t * D + d, w, mask=d < D)


@triton.jit
def embedding_backward_runs(g_TD, sorted_T, order_T, dw_VD, T, D, g_t, skip, BLOCK_D: tl.constexpr):
    """Program (t, c): if a run of equal indices starts at t, the sum of its rows of g; else nothing."""
    t = tl.program_id(0).to(tl.int64)
    row = tl.load(sorted_T + t)
    before = tl.load(sorted_T + t - 1, mask=t > 0, other=-1)
    if (row != before) & (row != skip):
        d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
        total = tl.zeros([BLOCK_D], tl.float32)
        same = row
        while same == row:
            at = tl.load(order_T + t)
            total += tl.load(g_TD + at * g_t + d, mask=d < D, other=0.0).to(tl.float32)
            t += 1
            same = tl.load(sorted_T + t, mask=t < T, other=-1)
        tl.store(dw_VD + row * D + d, total.to(dw_VD.dtype.element_ty), mask=d < D)


def _block(D):
    block = min(1024, next_power_of_2(D))
    return dict(BLOCK_D=block, num_warps=max(1, min(4, block // 128)))


def embedding_backward(g, index, weight, padding_idx):
    (V, D), T = weight.shape, index.numel()
    dw_VD = zeros((V, D), weight.dtype, weight.device)
    if T and D:
        sorted_T, order_T = index.reshape(-1).long().sort(stable=True)
        g_TD = g.reshape(T, D)
        g_TD = g_TD if g_TD.stride(-1) == 1 or D == 1 else g_TD.contiguous()
        shape = _block(D)
        arguments = (g_TD, sorted_T, order_T, dw_VD, T, D, g_TD.stride(0), -1 if padding_idx is None else padding_idx)
        launch(embedding_backward_runs, (T, cdiv(D, shape["BLOCK_D"])), *arguments, **shape)
    return dict(weight=dw_VD)


def embedding_reference(index, weight, padding_idx=None):
    kept = weight
    if padding_idx is not None:
        kept = weight.clone()
        kept[padding_idx] = weight[padding_idx].detach()
    return kept[index.long()]


@op(
    "embedding(index, weight, padding_idx) -> y",
    backward=embedding_backward,
    reference=embedding_reference,
    cases=[
        case(index=ints(3, 7, high=5), weight=rand(5, 33)),
        case(index=ints(20, high=40, dtype="int32"), weight=rand(40, 1030), padding_idx=3),
        case(index=ints(15, high=3), weight=rand(3, 8, layout="padded"), padding_idx=1),
        case(index=ints(9, high=4), weight=rand(4, 6, layout="transposed")),
        case(index=ints(0, high=4), weight=rand(4, 6)),
    ],
    aot=[case(index=ints(8192, high=50000), weight=rand(50000, 1024), dtypes=("float32", "bfloat16"))],
    bench=[case(index=ints(16384, high=50000), weight=rand(50000, 4096), dtypes=("float32", "bfloat16"))],
    bytes=lambda index, weight, **_: 2 * index.numel() * weight.shape[1] * weight.itemsize,
)
def embedding(index, weight, padding_idx=None):
    """weight[index] for integers `index` of any shape and `weight` (V, D); row `padding_idx` of it gets no gradient."""
    (V, D), T = weight.shape, index.numel()
    weight = weight if weight.stride(-1) == 1 or D == 1 else weight.contiguous()
    y, shape = empty((*index.shape, D), weight.dtype, weight.device), _block(D)
    launch(embedding_gather, (T, cdiv(D, shape["BLOCK_D"])), index.contiguous(), weight, y, V, D, weight.stride(0), **shape)
    return y


if __name__ == "__main__":
    main(embedding)
