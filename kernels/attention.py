"""Flash attention: softmax(scale q k^T + bias) v, forward and backward, without the L x S matrix of weights.

Sources: Dao et al., "FlashAttention", arXiv 2205.14135 (tiles, online softmax, weights computed again in the backward pass);
Dao, "FlashAttention-2", arXiv 2307.08691 (loop order, one rescale); Ainslie et al., "GQA", arXiv 2305.13245; Press et al.,
"ALiBi", arXiv 2108.12409; Beltagy et al., "Longformer", arXiv 2004.05150 (windows).

Shapes: B batch, H heads, G heads of k and v (H / G query heads share one), L queries, S keys, D width, T tokens when packed.
  q_BHLD, k_BGSD, v_BGSD    float32, float16, bfloat16; any strides but the last, which is 1
  lse_BHL                   float32 base-2 logsumexp of each row, saved; +inf for a row that may see no key
  bias_BHLS                 added to the scores, or bool: whether i sees j; any dim may be 1 (stride 0)
  slope_H                   ALiBi: slope (j - i - offset) is added
  starts_B+1                int32: sequence b is rows starts[b] … starts[b + 1] of a packed tensor (T, H, D)
Query i sees key j if j <= i + offset (causal), j > i + offset - window (window).

Flops: forward 4 B H L S D, backward 14 (7 products instead of 5: the two passes below each compute the scores, and so need no
atomics: the same bits on every run); half of it when causal. Bytes: (L + S) D, so compute-bound from about 300 keys on.

Forward: a program has BLOCK_M queries and walks over the keys. Tiles that the mask cuts are apart from those it leaves whole:

    keys ->   0 . . . . . .          . not looked at
    queries   x 0 . . . . .          0 diagonal: masked
              x x 0 . . . .          x whole: no comparison at all
              e x x 0 . . .          e edge of the window: masked
"""

from minigrad.kernels._attention_backward import attention_backward_keys, attention_backward_queries, attention_delta
from minigrad.kernels._attention_forward import attention_forward
from minigrad.kernels._harness import case, cdiv, empty, full, ints, launch, main, mg, next_power_of_2, op, rand, target
from minigrad.kernels._rows import scratch


def _tiles(D, itemsize, arch, kernel, bias, dropout):
    """Tiles whose sums, scores and operands fit registers and shared memory, for kernel "forward", "keys" or "queries"."""
    wide = next_power_of_2(max(D, 16))
    if itemsize == 4:  # FFMA
        m, n, warps, stages = 16 if wide > 128 else 32 if wide > 64 or kernel == "keys" else 64, 32, 8, 1
    elif wide > 128:
        m, n, warps, stages = (64, 64, 8, 2 if arch >= 90 else 1) if kernel == "forward" else (64, 32, 8, 1)
        m = 128 if kernel == "queries" and arch >= 90 else m
    elif kernel == "forward":
        m, n, warps, stages = (128, 128 if arch >= 90 and not bias else 64, 8, 2) if wide > 64 else (128, 64, 4 if arch >= 90 else 8, 3)
    elif kernel == "keys":  # two sums of BLOCK_N rows and two scores of BLOCK_N x BLOCK_M
        m, n, warps, stages = (64, 128, 8, 2) if wide <= 64 and arch >= 90 else (32, 128, 8, 2) if arch >= 90 else (32, 64, 4, 2)
    else:
        m, n, warps, stages = (128, 64, 8, 2)
    if dropout and itemsize < 4 and wide <= 128 and arch >= 90:  # the random numbers' registers
        m, n, warps, stages = dict(forward=(128, 64, 8, 2), keys=(32, 128 if wide <= 64 else 64, 8, 2), queries=(128, 64, 8, 2))[kernel]
    return dict(BLOCK_M=m, BLOCK_N=n, BLOCK_D=wide, num_warps=warps, num_stages=stages)


def _last_contiguous(*tensors):
    return [t if t.stride(-1) == 1 or t.shape[-1] <= 1 else t.contiguous() for t in tensors]


class Problem:
    """Sizes, strides and switches of one attention, whether its sequences lie in rows of a batch or packed one behind the other.

    q (B, H, L, D), k and v (B, G, S, D) are views; packed ones have B = 1 in memory and `batch` sequences between `starts`."""

    def __init__(self, q, k, v, bias, slope, causal, offset, window, scale, starts=(None, None), batch=None, longest=(None, None),
                 dropout=0.0, rng=None):  # fmt: skip
        self.q, self.k, self.v = _last_contiguous(q, k, v)
        (memory_batch, H, L, D), (G, S) = q.shape, k.shape[1:3]
        if H % G or v.shape != k.shape or k.shape[-1] != D:
            raise RuntimeError(f"attention: got q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}, expected (B, H, L, D), twice "
                               "(B, G, S, D) with H a multiple of G")  # fmt: skip
        if window and not causal:
            raise ValueError(f"attention: window={window} without causal=True: got no upper limit. Try causal=True")
        self.packed = batch is not None
        self.batch = batch if self.packed else memory_batch
        self.H, self.G, self.L, self.S, self.D = H, G, longest[0] or L, longest[1] or S, D
        self.bias, self.slope, self.starts = bias if bias is None or bias.dtype != mg.bool else bias.view(mg.uint8), slope, starts
        self.scale = D**-0.5 if scale is None else scale
        self.offset, self.window = offset, window or 0
        self.flags = dict(PACKED=self.packed, CAUSAL=causal, WINDOW=bool(window), BIAS=bias is not None, ALIBI=slope is not None)
        self.flags["DROPOUT"] = dropout > 0
        self.rng, self.dropout = (rng, dropout) if dropout > 0 else (None, 0.0)
        self.bias_strides = (0, 0, 0, 0) if bias is None else tuple(0 if n == 1 else s for n, s in zip(bias.shape, bias.stride()))
        self.rows = (0 if self.packed else H * L, L)  # strides of lse, (H, T) or (B, H, L)
        self.lse_shape = (memory_batch, H, L)

    def strides(self, *tensors):
        return [s for t in tensors for s in (0 if self.packed else t.stride(0), *t.stride()[1:3])]

    def sizes(self):
        return self.H, self.G, self.L, self.S, self.D

    def numbers(self):
        threshold, keep_scale = round((1 - self.dropout) * 2**32), 1 / (1 - self.dropout) if self.dropout < 1 else 0.0
        return *self.rows, *self.bias_strides, self.scale, self.offset, self.window, threshold, keep_scale

    def tile(self, kernel):
        tile = _tiles(self.D, self.q.itemsize, target(self.q.device).arch, kernel, self.bias is not None, self.dropout > 0)
        return dict(tile, EVEN_D=tile["BLOCK_D"] == self.D)

    def forward(self, o):
        lse, tile = scratch(self.q, *self.lse_shape), self.tile("forward")
        tensors = (self.q, self.k, self.v, o, lse, self.bias, self.slope, *self.starts, self.rng)
        strides = self.strides(self.q, self.k, self.v, o)
        grid = (cdiv(self.L, tile["BLOCK_M"]), self.H, self.batch)
        launch(attention_forward, grid, *tensors, *self.sizes(), *strides, *self.numbers(), **self.flags, **tile)
        return o, lse

    def backward(self, g, o, lse, dq, dk, dv, dbias=None):
        (g,), delta = _last_contiguous(g), scratch(self.q, *self.lse_shape)
        memory_batch, H, L = self.lse_shape
        rows, tile = dict(BLOCK_M=64, BLOCK_D=next_power_of_2(max(self.D, 16))), self.tile("keys")
        even, strides = dict(EVEN_D=rows["BLOCK_D"] == self.D), self.strides(g, o)
        launch(attention_delta, (cdiv(L, 64), H, memory_batch), g, o, delta, L, self.D, *strides, *self.rows, **even, **rows, num_warps=4)
        tensors = (self.q, self.k, self.v, g, dk, dv, lse, delta, self.bias, self.slope, *self.starts, self.rng)
        strides = self.strides(self.q, self.k, self.v, g, dk)
        grid = (cdiv(self.S, tile["BLOCK_N"]), self.G, self.batch)
        launch(attention_backward_keys, grid, *tensors, *self.sizes(), *strides, *self.numbers(), **self.flags, **tile)
        tile = self.tile("queries")
        tensors = (self.q, self.k, self.v, g, dq, lse, delta, self.bias, self.slope, *self.starts, dbias, self.rng)
        strides = self.strides(self.q, self.k, self.v, g, dq)
        grid, flags = (cdiv(self.L, tile["BLOCK_M"]), H, self.batch), dict(self.flags, DBIAS=dbias is not None)
        launch(attention_backward_queries, grid, *tensors, *self.sizes(), *strides, *self.numbers(), **flags, **tile)


def attention_backward(g, q, k, v, bias, slopes, causal, offset, window, scale, dropout, rng, o, lse):
    problem = Problem(q, k, v, bias, slopes, causal, offset, window, scale, dropout=dropout, rng=rng)
    dq, dk, dv = (empty(t.shape, t.dtype, t.device) for t in (q, k, v))
    dbias = None
    if bias is not None and bias.is_floating_point():
        dbias = empty((*q.shape[:3], k.shape[2]), mg.float32, q.device)
    problem.backward(g, o, lse, dq, dk, dv, dbias)
    if dbias is not None:
        shared = [n for n in range(4) if bias.shape[n] == 1]
        dbias = (dbias.sum(shared, keepdim=True) if shared else dbias).to(bias.dtype)
    return dict(q=dq, k=dk, v=dv, bias=dbias)


def attention_reference(q, k, v, bias=None, slopes=None, causal=False, offset=0, window=None, scale=None, dropout=0.0, rng=None):
    share, L, S = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    k, v = (x.repeat_interleave(share, 1) for x in (k, v))
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    distance = mg.arange(S).unsqueeze(0) - mg.arange(L).unsqueeze(1) - offset
    if slopes is not None:
        scores = scores + slopes.to(scores.dtype).view(-1, 1, 1) * distance.to(scores.dtype)
    if bias is not None:
        scores = scores.masked_fill(~bias, float("-inf")) if bias.dtype == mg.bool else scores + bias
    if causal:
        unseen = distance > 0
        unseen = unseen if window is None else unseen | (distance <= -window)
        scores = scores.masked_fill(unseen, float("-inf"))
    top = scores.detach().amax(-1, keepdim=True)
    weights = (scores - top.masked_fill(top == float("-inf"), 0.0)).exp()
    total = weights.sum(-1, keepdim=True)
    weights = weights / total.masked_fill(total == 0, 1.0)
    if dropout > 0:
        weights = weights * mg.op.functions["_attention_keep"](rng, dropout, tuple(weights.shape)).to(weights.dtype) / (1 - dropout)
    return weights @ v


def _qkv(B, H, G, L, S, D, layout="contiguous"):
    return dict(q=rand(B, H, L, D, layout=layout), k=rand(B, G, S, D, layout=layout), v=rand(B, G, S, D, layout=layout))


@op(
    "attention(q, k, v, bias, slopes, causal, offset, window, scale, dropout, rng) -> o, _lse",
    backward=attention_backward,
    reference=attention_reference,
    cases=[
        case(**_qkv(1, 2, 2, 70, 130, 16)),
        case(**_qkv(1, 1, 1, 150, 150, 40), causal=True),
        case(**_qkv(1, 4, 2, 33, 65, 32, "padded"), causal=True, offset=32, scale=0.3),
        case(**_qkv(1, 1, 1, 200, 200, 16), causal=True, window=45),
        case(**_qkv(2, 2, 1, 20, 37, 24), slopes=rand(2, dtype="float32", positive=True), causal=True, offset=17),
        case(**_qkv(2, 2, 2, 20, 37, 16), bias=rand(1, 2, 20, 37)),
        case(**_qkv(2, 2, 1, 20, 37, 16), bias=ints(2, 1, 20, 37, low=0, high=2, dtype="bool"), dtypes=("float32", "bfloat16")),
        case(**_qkv(2, 2, 1, 70, 37, 16), dropout=0.3, rng=ints(2, high=2**40)),
        case(**_qkv(1, 1, 1, 20, 33, 16), causal=True, dropout=0.5, rng=ints(2, high=2**40), dtypes=("float32", "bfloat16")),
        case(**_qkv(1, 1, 1, 33, 20, 16), causal=True, offset=-9),
        case(**_qkv(1, 1, 1, 0, 3, 8)),
    ],
    aot=[
        case(**_qkv(4, 32, 8, 4096, 4096, d), causal=causal, dtypes=("bfloat16",))
        for d, causal in ((64, True), (128, True), (128, False))
    ]
    + [
        case(**_qkv(4, 32, 8, 4096, 4096, 128), causal=True, dtypes=("float16",)),
        *(case(**_qkv(8, 16, 16, 1024, 1024, d), causal=True, dropout=0.1, rng=ints(2, high=9), dtypes=("bfloat16",)) for d in (64, 128)),
        case(**_qkv(4, 16, 16, 1024, 1024, 256), causal=True, dtypes=("bfloat16",)),
        case(**_qkv(4, 32, 8, 4096, 4096, 128), bias=rand(1, 1, 4096, 4096), dtypes=("bfloat16",)),
        case(**_qkv(4, 32, 8, 4096, 4096, 128), bias=ints(1, 1, 4096, 4096, high=2, dtype="bool"), dtypes=("bfloat16",)),
        *(case(**_qkv(4, 16, 16, 1024, 1024, d), causal=True, dtypes=("float32",)) for d in (64, 128, 256)),
    ],
    bench=[
        case(**_qkv(b, 16, 16, n, n, 128), causal=causal, dtypes=("bfloat16",))
        for b, n, causal in ((8, 2048, True), (1, 16384, False), (1, 16384, True))
    ],
    flops=lambda q, k, causal=False, **_: 4 * q.numel() * k.shape[2] // (2 if causal else 1),
    bytes=lambda q, k, **_: 2 * (q.numel() + k.numel()) * q.itemsize,
    tensor_cores=True,
)
def attention(q, k, v, bias=None, slopes=None, causal=False, offset=0, window=None, scale=None, dropout=0.0, rng=None):
    """softmax(scale q k^T + bias) v of q (B, H, L, D) and k, v (B, G, S, D), H a multiple of G.

    causal: query i sees keys up to i + offset (a cache of S - L older keys: offset=S - L), and with `window` only the last so many.
    bias: (B, H, L, S), each may be 1: added to the scores, with a gradient; or bool, whether a query sees a key.
    slopes: (H,), ALiBi's. scale: 1 / sqrt(D) unless given.
    dropout: share of the weights that is dropped, by the numbers that seed and position in `rng` (2,) int64 name: minigrad's own.
    A row that may see nothing gives zeros."""
    problem = Problem(q, k, v, bias, slopes, causal, offset, window, scale, dropout=dropout, rng=rng)
    return problem.forward(empty(q.shape, q.dtype, q.device))


def _packed(q, k, v, starts, longest, causal, window, scale):
    marks = starts
    if not isinstance(starts, mg.Tensor):
        marks = full((len(starts),), 0, mg.int32, q.device)
        marks.copy_(mg.tensor(starts, dtype=mg.int32))
    views = (x.movedim(0, 1).unsqueeze(0) for x in (q, k, v))
    sizes = (longest, longest)
    return Problem(*views, None, None, causal, 0, window, scale, (marks, marks), marks.shape[0] - 1, sizes)


def packed_backward(g, q, k, v, starts, longest, causal, window, scale, o, lse):
    dq, dk, dv = (empty(t.shape, t.dtype, t.device) for t in (q, k, v))
    first = [x.movedim(0, 1).unsqueeze(0) for x in (g, o, dq, dk, dv)]
    _packed(q, k, v, starts, longest, causal, window, scale).backward(first[0], first[1], lse, *first[2:])
    return dict(q=dq, k=dk, v=dv)


def packed_reference(q, k, v, starts, longest, causal=False, window=None, scale=None):
    parts = []
    for a, b in zip(starts[:-1], starts[1:]):
        one = (x[a:b].movedim(0, 1).unsqueeze(0) for x in (q, k, v))
        if a < b:
            parts.append(attention_reference(*one, causal=causal, window=window, scale=scale).squeeze(0).movedim(0, 1))
    return mg.cat(parts)


PACKED = case(q=rand(8192, 32, 128), k=rand(8192, 8, 128), v=rand(8192, 8, 128), starts=[0, 4096, 8192], longest=4096, causal=True,
              dtypes=("bfloat16",))  # fmt: skip


@op(
    "attention_packed(q, k, v, starts, longest, causal, window, scale) -> o, _lse",
    backward=packed_backward,
    reference=packed_reference,
    cases=[
        case(q=rand(90, 2, 16), k=rand(90, 1, 16), v=rand(90, 1, 16), starts=[0, 7, 7, 90], longest=83, causal=True),
        case(q=rand(40, 1, 24), k=rand(40, 1, 24), v=rand(40, 1, 24), starts=[0, 33, 40], longest=33),
    ],
    aot=[PACKED],
    bench=[PACKED],
    flops=lambda q, starts, **_: sum(2 * q.shape[1] * q.shape[2] * (b - a) ** 2 for a, b in zip(starts[:-1], starts[1:])),
    bytes=lambda q, k, **_: 2 * (q.numel() + k.numel()) * q.itemsize,
    tensor_cores=True,
)
def attention_packed(q, k, v, starts, longest, causal=False, window=None, scale=None):
    """Attention within each of several sequences of different lengths, packed without padding: q (T, H, D), k and v (T, G, D).

    starts: the first row of each sequence and, last, T: int32 on the device, or numbers. longest: the length of the longest."""
    o = empty(q.shape, q.dtype, q.device)
    _, lse = _packed(q, k, v, starts, longest, causal, window, scale).forward(o.movedim(0, 1).unsqueeze(0))
    return o, lse


if __name__ == "__main__":
    main(attention, attention_packed)
