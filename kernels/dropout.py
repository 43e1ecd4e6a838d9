"""Dropout, also with the residual addition behind it, and uniform numbers: the same random bits as on every other device.

Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011 (Philox4x32-10); the definition of a
random tensor is that of csrc/core/philox.h: element i takes lane i % 4 of philox(seed, start + i / 4), so the numbers do not depend on
the order of anything, and the backward pass makes them again instead of reading a mask.

Shapes: n elements, numbered as in a contiguous tensor.
  x_n, r_n (residual, or None), y_n, g_n    float32, float16, bfloat16
Kept: bits < (1 - p) 2^32; a kept element is multiplied by 1 / (1 - p).

Bytes (s = bytes an element): 2 n s, with residual 3 n s; backward 2 n s. A stored mask would cost n bytes more each way.
Flops: 10 rounds of 4 integer multiplications for 4 elements: below the time of their bytes.
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, empty_like, launch, main, mg, op, rand


@triton.jit
def philox(low, high, counter):
    """Four blocks of uint32 of the 128-bit `counter` (int64 block; its upper half is 0) under the 64-bit key (low, high)."""
    a = (counter & 0xFFFFFFFF).to(tl.uint32)
    b = (counter >> 32).to(tl.uint32)
    c = tl.zeros_like(a)
    d = tl.zeros_like(a)
    key0 = tl.zeros_like(a) + low.to(tl.uint32)
    key1 = tl.zeros_like(a) + high.to(tl.uint32)
    for _ in tl.static_range(10):
        p0, p1 = a, c
        a = tl.umulhi(p1, tl.full(a.shape, 0xCD9E8D57, tl.uint32)) ^ b ^ key0
        b = p1 * tl.full(a.shape, 0xCD9E8D57, tl.uint32)
        c = tl.umulhi(p0, tl.full(a.shape, 0xD2511F53, tl.uint32)) ^ d ^ key1
        d = p0 * tl.full(a.shape, 0xD2511F53, tl.uint32)
        key0 += tl.full(a.shape, 0x9E3779B9, tl.uint32)
        key1 += tl.full(a.shape, 0xBB67AE85, tl.uint32)
    return a, b, c, d


@triton.jit
def random_bits(key_4, first, BLOCK: tl.constexpr):
    """The uint32 of elements first … first + BLOCK; first is a multiple of 4. key_4: seed low, high, start low, high (int64 each)."""
    counter = first // 4 + tl.arange(0, BLOCK // 4).to(tl.int64) + (tl.load(key_4 + 2) | (tl.load(key_4 + 3) << 32))
    a, b, c, d = philox(tl.load(key_4), tl.load(key_4 + 1), counter)
    return tl.join(tl.join(a, c), tl.join(b, d)).reshape(BLOCK)  # join puts its pair last: a, b, c, d of one counter are neighbours


@triton.jit
def dropout_kernel(x_n, r_n, y_n, key_4, threshold, scale, n, HAS_R: tl.constexpr, ALL: tl.constexpr, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    i = first + tl.arange(0, BLOCK)
    x = tl.load(x_n + i, mask=i < n, other=0.0).to(tl.float32)
    y = x * scale
    if not ALL:  # threshold 2^32 keeps all and is no uint32
        y = tl.where(random_bits(key_4, first, BLOCK).to(tl.int64) < threshold, y, 0.0)
    if HAS_R:
        y += tl.load(r_n + i, mask=i < n, other=0.0).to(tl.float32)
    tl.store(y_n + i, y.to(y_n.dtype.element_ty), mask=i < n)


@triton.jit
def uniform_kernel(y_n, key_4, n, DIGITS: tl.constexpr, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    i = first + tl.arange(0, BLOCK)
    top = random_bits(key_4, first, BLOCK) >> (32 - DIGITS)
    tl.store(y_n + i, (top.to(tl.int32).to(tl.float32) * (1.0 / (1 << DIGITS))).to(y_n.dtype.element_ty), mask=i < n)


def key_of(seed, start, device):
    """Seed and start in device memory: a captured graph can be given new ones, and no kernel is compiled for a seed."""
    halves = [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, start & 0xFFFFFFFF, start >> 32]
    key_4 = empty((4,), mg.int64, device)
    key_4.copy_(mg.tensor(halves, dtype=mg.int64))
    return key_4


def _dropout(x, residual, p, seed, start):
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is {p}, expected 0 <= p <= 1")
    x_n, y_n, n = x.contiguous(), empty_like(x), x.numel()
    r_n = None if residual is None else residual.contiguous()
    threshold, scale = round((1 - p) * 2**32), 1 / (1 - p) if p < 1 else 0.0
    flags = dict(HAS_R=residual is not None, ALL=p == 0, BLOCK=1024, num_warps=4)
    launch(dropout_kernel, (cdiv(n, 1024),), x_n, r_n, y_n, key_of(seed, start, x.device), threshold, scale, n, **flags)
    return y_n


def kept(shape, p, seed, start):
    """What minigrad's own generator keeps."""
    generator = mg.Generator()
    generator.manual_seed(seed)
    if start:
        mg.empty(4 * start).uniform_(generator=generator)
    return mg.empty(shape).bernoulli_(1 - p, generator=generator)


def dropout_reference(x, residual=None, p=0.5, seed=0, start=0):
    y = x * kept(x.shape, p, seed, start).to(x.dtype) * (1 / (1 - p) if p < 1 else 0.0)
    return y if residual is None else residual + y


def dropout_backward(g, residual, p, seed, start):
    return dict(x=_dropout(g, None, p, seed, start), residual=None if residual is None else g)


@op(
    "dropout(x, residual, p, seed, start) -> y",
    backward=dropout_backward,
    reference=dropout_reference,
    cases=[
        case(x=rand(5, 257), p=0.3, seed=1234567890123, start=5),
        case(x=rand(33, 70, layout="transposed"), residual=rand(33, 70), p=0.5, seed=7),
        case(x=rand(3, 11, layout="padded"), residual=rand(3, 11, layout="padded"), p=0.9, seed=2**63 + 5, start=3),
        case(x=rand(7), p=0.0, seed=1),
        case(x=rand(7), p=1.0, seed=1),
        case(x=rand(0, 7), p=0.5, seed=1),
    ],
    aot=[case(x=rand(4096, 4096), residual=r, p=0.1, seed=1, dtypes=("float32", "bfloat16")) for r in (None, rand(4096, 4096))],
    bench=[case(x=rand(8192, 4096), residual=rand(8192, 4096), p=0.1, seed=1, dtypes=("float32", "bfloat16"))],
    flops=lambda x, **_: 2 * x.numel(),
    bytes=lambda x, residual=None, **_: (2 if residual is None else 3) * x.numel() * x.itemsize,
)
def dropout(x, residual=None, p=0.5, seed=0, start=0):
    """residual + (x with probability 1 - p, else 0) / (1 - p); the random stream is block `start` onwards of `seed`'s."""
    return _dropout(x, residual, p, seed, start)


def uniform_reference(like, seed=0, start=0):
    generator = mg.Generator()
    generator.manual_seed(seed)
    if start:
        mg.empty(4 * start).uniform_(generator=generator)
    return mg.empty(like.shape, dtype=like.dtype).uniform_(generator=generator)


@op(
    "uniform(like, seed, start) -> y",
    reference=uniform_reference,
    cases=[case(like=rand(3, 700), seed=99, start=2), case(like=rand(5), seed=2**64 - 1), case(like=rand(0), seed=1)],
    aot=[case(like=rand(4096, 4096), seed=1, dtypes=("float32", "bfloat16"))],
    bench=[case(like=rand(8192, 4096), seed=1, dtypes=("float32", "bfloat16"))],
    bytes=lambda like, **_: like.numel() * like.itemsize,
    exact=True,
)
def uniform(like, seed=0, start=0):
    """Uniform numbers of [0, 1) of the shape, dtype and device of `like`: bit for bit those of Tensor.uniform_."""
    y, n = empty_like(like), like.numel()
    digits = {mg.float32: 24, mg.float16: 11, mg.bfloat16: 8}[like.dtype]
    launch(uniform_kernel, (cdiv(n, 1024),), y, key_of(seed, start, like.device), n, DIGITS=digits, BLOCK=1024, num_warps=4)
    return y


if __name__ == "__main__":
    main(dropout, uniform)
