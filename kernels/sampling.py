"""Sampling of the next token: temperature, top-k and top-p, and one draw a row, in one kernel and without a sort.

Sources: Fan et al., arXiv 1805.04833 (top-k); Holtzman et al., "The Curious Case of Neural Text Degeneration", arXiv 1904.09751
(top-p); search for the threshold by halving instead of sorting: FlashInfer, arXiv 2501.01005 (it draws and rejects; here the
set is exact).

Shapes: M rows (sequences), N columns (vocabulary).
  x_MN        logits: float32, float16, bfloat16; rows of any stride       u_M    float32 uniform numbers of [0, 1)
  token_M     int64
Kept are the k largest logits (more, if the k-th has equals), and of those the smallest set of largest ones whose
probabilities, exp(x / temperature) over their sum, reach p (again with equals of the last). Drawn is the first kept column
at which the running sum of probabilities exceeds u times their total.

Both thresholds are found on the bits: a float32 is mapped to an integer of the same order, and its 32 bits are settled from the
highest down, each by one pass that counts (k) or adds (p) what lies at or above a candidate. No approximate halving: 32 passes end.

Bytes: the row N s once from memory; the passes stay in registers (N <= 16384) or, for longer rows, in L2: 32 N s or 64 N s from there.
Flops: about 100 to 200 an element. Latency, not throughput, is what a decoding step waits for.
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, empty, launch, main, mg, next_power_of_2, op, rand, rows_of

MAX_ROW = 16384


@triton.jit
def ordered(x):
    """float32 to int32 of the same order (-0 below 0)."""
    bits = x.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def sample_row(x_MN, u_M, token_M, N, x_m, k, p, inverse_temperature, TOP_K: tl.constexpr, TOP_P: tl.constexpr, BLOCK: tl.constexpr):
    m = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, BLOCK)
    x = tl.load(x_MN + m * x_m + n, mask=n < N, other=float("-inf")).to(tl.float32)
    key = ordered(x)
    kept = n < N
    if TOP_K:  # the largest threshold that at least k reach
        bound = tl.full([], -0x80000000, tl.int64)
        for bit in range(31, -1, -1):
            candidate = bound + (tl.full([], 1, tl.int64) << bit)
            count = tl.sum((kept & (key.to(tl.int64) >= candidate)).to(tl.int32), 0)
            bound = tl.where(count >= k, candidate, bound)
        kept = kept & (key.to(tl.int64) >= bound)
    weights = tl.where(kept, tl.exp((x - tl.max(x, 0)) * inverse_temperature), 0.0)
    if TOP_P:  # the largest threshold at or above which lies probability p
        wanted = p * tl.sum(weights, 0)
        bound = tl.full([], -0x80000000, tl.int64)
        for bit in range(31, -1, -1):
            candidate = bound + (tl.full([], 1, tl.int64) << bit)
            mass = tl.sum(tl.where(key.to(tl.int64) >= candidate, weights, 0.0), 0)
            bound = tl.where(mass >= wanted, candidate, bound)
        weights = tl.where(key.to(tl.int64) >= bound, weights, 0.0)
    running = tl.cumsum(weights, 0)
    goal = tl.load(u_M + m) * tl.max(running, 0)
    last = tl.max(tl.where(weights > 0, n, 0), 0)
    token = tl.min(tl.where((running > goal) & (weights > 0), n, last), 0)
    tl.store(token_M + m, token.to(tl.int64))


@triton.jit
def mass_at_least(x_row, N, bound, inverse_temperature, top, least, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """COUNT: how many keys are >= bound; else the weight of those that are >= bound and >= least."""
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, N, BLOCK):
        n = start + tl.arange(0, BLOCK)
        x = tl.load(x_row + n, mask=n < N, other=float("-inf")).to(tl.float32)
        key = ordered(x).to(tl.int64)
        if COUNT:  # whole numbers below 2^24 a lane: exact in float32
            total += tl.where((n < N) & (key >= bound), 1.0, 0.0)
        else:
            total += tl.where((n < N) & (key >= bound) & (key >= least), tl.exp((x - top) * inverse_temperature), 0.0)
    return tl.sum(total, 0)


@triton.jit
def sample_long(x_MN, u_M, token_M, N, x_m, k, p, inverse_temperature, TOP_K: tl.constexpr, TOP_P: tl.constexpr, BLOCK: tl.constexpr):
    """sample_row for any N: the same steps, the row read again for each."""
    m = tl.program_id(0).to(tl.int64)
    x_row = x_MN + m * x_m
    highest = tl.full([BLOCK], float("-inf"), tl.float32)
    for start in range(0, N, BLOCK):
        n = start + tl.arange(0, BLOCK)
        highest = tl.maximum(highest, tl.load(x_row + n, mask=n < N, other=float("-inf")).to(tl.float32))
    top = tl.max(highest, 0)
    least = tl.full([], -0x80000000, tl.int64)
    if TOP_K:
        for bit in range(31, -1, -1):
            candidate = least + (tl.full([], 1, tl.int64) << bit)
            count = mass_at_least(x_row, N, candidate, inverse_temperature, top, least, True, BLOCK)
            least = tl.where(count >= k, candidate, least)
    total = mass_at_least(x_row, N, least, inverse_temperature, top, least, False, BLOCK)
    if TOP_P:
        bound = tl.full([], -0x80000000, tl.int64)
        wanted = p * total
        for bit in range(31, -1, -1):
            candidate = bound + (tl.full([], 1, tl.int64) << bit)
            mass = mass_at_least(x_row, N, candidate, inverse_temperature, top, least, False, BLOCK)
            bound = tl.where(mass >= wanted, candidate, bound)
        least = tl.maximum(least, bound)
        total = mass_at_least(x_row, N, least, inverse_temperature, top, least, False, BLOCK)
    goal = tl.load(u_M + m) * total
    carry = tl.full([], 0.0, tl.float32)
    token = tl.full([], 0x7FFFFFFF, tl.int32)
    last = tl.full([], 0, tl.int32)
    for start in range(0, N, BLOCK):
        n = start + tl.arange(0, BLOCK)
        x = tl.load(x_row + n, mask=n < N, other=float("-inf")).to(tl.float32)
        weights = tl.where((n < N) & (ordered(x).to(tl.int64) >= least), tl.exp((x - top) * inverse_temperature), 0.0)
        running = carry + tl.cumsum(weights, 0)
        token = tl.minimum(token, tl.min(tl.where((running > goal) & (weights > 0), n, 0x7FFFFFFF), 0))
        last = tl.maximum(last, tl.max(tl.where(weights > 0, n, 0), 0))
        carry = tl.max(running, 0)
    tl.store(token_M + m, tl.minimum(token, last).to(tl.int64))  # rounding may leave the goal above the last sum


def sample_reference(logits, u, k=None, p=None, temperature=1.0, version=None):
    weights = ((logits - logits.amax(-1, keepdim=True)) / temperature).exp()
    if k is not None and k < logits.shape[1]:
        weights = weights.masked_fill(logits < logits.topk(k, -1).values[:, -1:], 0.0)
    if p is not None:
        largest, order = weights.sort(-1, descending=True)
        before = largest.cumsum(-1) - largest
        threshold = largest.masked_fill(before >= p * largest.sum(-1, keepdim=True), float("inf")).amin(-1, keepdim=True)
        weights = weights.masked_fill(weights < threshold, 0.0)
    running = weights.cumsum(-1)
    return (running > u.to(running.dtype).unsqueeze(1) * running[:, -1:]).to(mg.int32).argmax(-1)


def _case(m, n, layout="contiguous", **more):
    return case(logits=rand(m, n, scale=3.0, layout=layout), u=rand(m, dtype="float32", positive=True), **more)


@op(
    "sample(logits, u, k, p, temperature, version) -> token",
    reference=sample_reference,
    cases=[
        _case(5, 257),
        _case(4, 1000, k=7, temperature=0.7),
        _case(4, 300, "padded", p=0.8),
        _case(3, 100, k=20, p=0.5),
        _case(2, 300, k=20, p=0.5, version=2),
        _case(2, 5000, p=0.9, version=2),
        _case(3, 1),
        _case(0, 7),
    ],
    aot=[_case(64, n, k=50, p=0.9, dtypes=("float32", "bfloat16")) for n in (8192, 131072)],
    bench=[_case(64, n, k=50, p=0.9, dtypes=("float32",)) for n in (8192, 131072)],
    bytes=lambda logits, **_: logits.numel() * logits.itemsize,
)
def sample(logits, u, k=None, p=None, temperature=1.0, version=None):
    """One token for each row of `logits` (M, N), drawn with the uniform numbers `u` (M) from the k likeliest and of those the set that
    reaches probability p. version: 1 holds the row in registers, 2 takes any N; chosen unless given."""
    x_MN, M, N = rows_of(logits)
    if temperature <= 0 or N == 0:
        raise ValueError(f"sample: got temperature {temperature} and {N} logits, expected both positive. Try argmax for temperature 0")
    token = empty((M,), mg.int64, logits.device)
    kernel = sample_row if (version or (1 if N <= MAX_ROW else 2)) == 1 else sample_long
    block = next_power_of_2(N) if kernel is sample_row else min(8192, next_power_of_2(N))
    numbers = (N, x_MN.stride(0), k or 0, 1.0 if p is None else float(p), 1.0 / temperature)
    flags = dict(TOP_K=k is not None and k < N, TOP_P=p is not None, BLOCK=block)
    launch(kernel, (M,), x_MN, u.contiguous(), token, *numbers, **flags, num_warps=max(1, min(16, block // 512)))
    return token


if __name__ == "__main__":
    main(sample)
