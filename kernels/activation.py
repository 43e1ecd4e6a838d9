"""Activations fused with what stands around them: the bias before (relu, gelu, silu) or the gate beside (swiglu, geglu).

Sources: Hendrycks, Gimpel, "Gaussian Error Linear Units", arXiv 1606.08415; Shazeer, "GLU Variants Improve Transformer",
arXiv 2002.05202. `activated` and `slope` are used by the epilogues of matmul.py too.

Shapes: M rows, N columns, P programs along the rows in the backward pass.
  x_MN, gate_MN, up_MN, y_MN, g_MN    float32, float16, bfloat16; rows of any stride (gate and up may be halves of one tensor)
  b_N                                 bias, or None          db_PN    float32 partial sums

Bytes (s = bytes an element): bias_activation 2 M N s, backward 3 M N s; gated 3 M N s, backward 5 M N s. The unfused
chain pays 2 M N s more for each intermediate. Flops: about 10 to 20 an element (exp and erf): memory-bound.
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty_like, launch, main, next_power_of_2, op, rand, rows_of, zeros
from minigrad.kernels._rows import column_sum, scratch

ACTIVATIONS = ("none", "relu", "silu", "gelu", "gelu_tanh")


@triton.jit
def activated(x, ACT: tl.constexpr):
    """act(x) of a float32 block."""
    if ACT == "relu":
        x = tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)
    elif ACT == "silu":
        x = x * tl.sigmoid(x)
    elif ACT == "gelu":
        x = 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
    elif ACT == "gelu_tanh":
        x = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))  # (1 + tanh u) / 2 = sigmoid(2 u)
    return x


@triton.jit
def slope(x, ACT: tl.constexpr):
    """act'(x) of a float32 block; 0 at relu's kink."""
    if ACT == "relu":
        d = tl.where(x > 0, 1.0, 0.0)
    elif ACT == "silu":
        d = tl.sigmoid(x) * (1 + x * tl.sigmoid(-x))  # sigmoid(-x): 1 - sigmoid(x) without cancellation
    elif ACT == "gelu":
        d = 0.5 * (1 + tl.erf(x * 0.7071067811865476)) + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
    elif ACT == "gelu_tanh":
        u = 1.5957691216057308 * (x + 0.044715 * x * x * x)
        d = tl.sigmoid(u) * (1 + x * tl.sigmoid(-u) * 1.5957691216057308 * (1 + 0.134145 * x * x))
    else:
        d = tl.full(x.shape, 1.0, tl.float32)
    return d


@triton.jit
def bias_activation_kernel(x_MN, b_N, y_MN, M, N, x_m, HAS_B: tl.constexpr, ACT: tl.constexpr, BLOCK_M: tl.constexpr,
                           BLOCK_N: tl.constexpr):  # fmt: skip
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    row = m.to(tl.int64)[:, None]
    inside = (m < M)[:, None] & (n < N)[None, :]
    x = tl.load(x_MN + row * x_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
    if HAS_B:
        x += tl.load(b_N + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
    tl.store(y_MN + row * N + n[None, :], activated(x, ACT).to(y_MN.dtype.element_ty), mask=inside)


@triton.jit
def bias_activation_backward_kernel(g_MN, x_MN, b_N, dx_MN, db_PN, M, N, g_m, x_m, ADD_B: tl.constexpr, NEEDS_DB: tl.constexpr,
                                    ACT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    """Program (c, p): BLOCK_N columns of every P-th group of rows, so that db needs no atomics. Without ADD_B, x has the bias in it."""
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    b = tl.zeros([BLOCK_N], tl.float32)
    db = tl.zeros([BLOCK_N], tl.float32)
    if ADD_B:
        b = tl.load(b_N + n, mask=n < N, other=0.0).to(tl.float32)
    for group in range(tl.program_id(1), tl.cdiv(M, BLOCK_M), tl.num_programs(1)):
        m = group * BLOCK_M + tl.arange(0, BLOCK_M)
        row = m.to(tl.int64)[:, None]
        inside = (m < M)[:, None] & (n < N)[None, :]
        x = tl.load(x_MN + row * x_m + n[None, :], mask=inside, other=0.0).to(tl.float32) + b[None, :]
        dx = tl.load(g_MN + row * g_m + n[None, :], mask=inside, other=0.0).to(tl.float32) * slope(x, ACT)
        db += tl.sum(dx, 0)
        tl.store(dx_MN + row * N + n[None, :], dx.to(dx_MN.dtype.element_ty), mask=inside)
    if NEEDS_DB:
        tl.store(db_PN + tl.program_id(1).to(tl.int64) * N + n, db, mask=n < N)


@triton.jit
def gated_kernel(gate_MN, up_MN, y_MN, M, N, gate_m, up_m, ACT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    row = m.to(tl.int64)[:, None]
    inside = (m < M)[:, None] & (n < N)[None, :]
    gate = tl.load(gate_MN + row * gate_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
    up = tl.load(up_MN + row * up_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
    tl.store(y_MN + row * N + n[None, :], (activated(gate, ACT) * up).to(y_MN.dtype.element_ty), mask=inside)


@triton.jit
def gated_backward_kernel(g_MN, gate_MN, up_MN, dgate_MN, dup_MN, M, N, g_m, gate_m, up_m, ACT: tl.constexpr, BLOCK_M: tl.constexpr,
                          BLOCK_N: tl.constexpr):  # fmt: skip
    """act(gate) is computed again from gate: an exp is cheaper than reading it back."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    row = m.to(tl.int64)[:, None]
    inside = (m < M)[:, None] & (n < N)[None, :]
    g = tl.load(g_MN + row * g_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(gate_MN + row * gate_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
    up = tl.load(up_MN + row * up_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
    tl.store(dgate_MN + row * N + n[None, :], (g * up * slope(gate, ACT)).to(dgate_MN.dtype.element_ty), mask=inside)
    tl.store(dup_MN + row * N + n[None, :], (g * activated(gate, ACT)).to(dup_MN.dtype.element_ty), mask=inside)


def _tile(N):
    block_n = min(next_power_of_2(N), 1024)
    return dict(BLOCK_M=max(1, min(16, 1024 // block_n)), BLOCK_N=block_n, num_warps=4)


def bias_activation_gradient(g, x, bias, activation, added=False):
    """dx, dbias; `added`: x is the sum with the bias already."""
    x_MN, M, N = rows_of(x)
    g_MN, dx_MN = rows_of(g)[0], empty_like(x)
    if not x.numel():
        return dx_MN, None if bias is None else zeros(bias.shape, bias.dtype, x.device)
    block_n = min(next_power_of_2(N), 256)
    shape = dict(BLOCK_M=1024 // block_n, BLOCK_N=block_n, num_warps=4)
    P = min(cdiv(M, shape["BLOCK_M"]), max(1, 512 // cdiv(N, block_n)))
    db_PN = None if bias is None else scratch(x, P, N)
    flags = dict(ADD_B=bias is not None and not added, NEEDS_DB=bias is not None, ACT=activation)
    arguments = (g_MN, x_MN, None if bias is None else bias.contiguous(), dx_MN, db_PN, M, N, g_MN.stride(0), x_MN.stride(0))
    launch(bias_activation_backward_kernel, (cdiv(N, block_n), P), *arguments, **flags, **shape)
    return dx_MN, None if bias is None else column_sum(db_PN, bias.dtype)


def bias_activation_backward(g, x, bias, activation):
    dx, dbias = bias_activation_gradient(g, x, bias, activation)
    return dict(x=dx, bias=dbias)


def gated_backward(g, gate, up, activation):
    gate_MN, M, N = rows_of(gate)
    up_MN, g_MN = rows_of(up)[0], rows_of(g)[0]
    dgate, dup, shape = empty_like(gate), empty_like(up), _tile(N)
    grid = (cdiv(M, shape["BLOCK_M"]), cdiv(N, shape["BLOCK_N"]))
    strides = (g_MN.stride(0), gate_MN.stride(0), up_MN.stride(0))
    launch(gated_backward_kernel, grid, g_MN, gate_MN, up_MN, dgate, dup, M, N, *strides, ACT=activation, **shape)
    return dict(gate=dgate, up=dup)


def activation_reference(x, activation):
    if activation == "relu":
        return x.relu()
    if activation == "silu":
        return x / (1 + (-x).exp())
    if activation == "gelu":
        return 0.5 * x * (1 + (x * 0.5**0.5).erf())
    if activation == "gelu_tanh":
        return 0.5 * x * (1 + (0.7978845608028654 * (x + 0.044715 * x**3)).tanh())
    return x


def _known(name, activation):
    if activation not in ACTIVATIONS:
        raise ValueError(f"{name}: unknown activation: got {activation!r}, expected one of {', '.join(ACTIVATIONS)}")


@op(
    "bias_activation(x, bias, activation) -> y",
    backward=bias_activation_backward,
    reference=lambda x, bias=None, activation="gelu": activation_reference(x if bias is None else x + bias, activation),
    cases=[
        *(case(x=rand(5, 257), bias=rand(257), activation=a) for a in ACTIVATIONS),
        case(x=rand(3, 1030, scale=4.0), bias=rand(1030), activation="gelu"),
        case(x=rand(33, 4, layout="transposed"), activation="silu"),
        case(x=rand(7, 31, layout="padded"), bias=rand(31, layout="offset"), activation="relu"),
        case(x=rand(0, 7), bias=rand(7)),
    ],
    aot=[case(x=rand(4096, 4096), bias=rand(4096), activation=a, dtypes=("float32", "bfloat16")) for a in ("gelu", "silu")],
    bench=[case(x=rand(8192, n), bias=rand(n), dtypes=("float32", "bfloat16")) for n in (4096, 16384)],
    flops=lambda x, **_: 10 * x.numel(),
    bytes=lambda x, **_: 2 * x.numel() * x.itemsize,
)
def bias_activation(x, bias=None, activation="gelu"):
    """act(x + bias) of `x` (…, N) and `bias` (N); activation: none, relu, silu, gelu or gelu_tanh."""
    _known("bias_activation", activation)
    x_MN, M, N = rows_of(x)
    y_MN, shape = empty_like(x), _tile(N)
    grid = (cdiv(M, shape["BLOCK_M"]), cdiv(N, shape["BLOCK_N"]))
    arguments = (x_MN, None if bias is None else bias.contiguous(), y_MN, M, N, x_MN.stride(0))
    launch(bias_activation_kernel, grid, *arguments, HAS_B=bias is not None, ACT=activation, **shape)
    return y_MN


@op(
    "gated(gate, up, activation) -> y",
    backward=gated_backward,
    reference=lambda gate, up, activation="silu": activation_reference(gate, activation) * up,
    cases=[
        case(gate=rand(5, 257), up=rand(5, 257), activation="silu"),
        case(gate=rand(2, 3, 1030, scale=4.0), up=rand(2, 3, 1030), activation="gelu"),
        case(gate=rand(7, 31, layout="padded"), up=rand(7, 31, layout="padded"), activation="gelu_tanh"),
        case(gate=rand(33, 4, layout="transposed"), up=rand(33, 4), activation="relu"),
        case(gate=rand(0, 7), up=rand(0, 7)),
    ],
    aot=[case(gate=rand(4096, 11008), up=rand(4096, 11008), activation=a, dtypes=("float32", "bfloat16")) for a in ("silu", "gelu")],
    bench=[case(gate=rand(8192, n), up=rand(8192, n), dtypes=("float32", "bfloat16")) for n in (4096, 11008)],
    flops=lambda gate, **_: 8 * gate.numel(),
    bytes=lambda gate, **_: 3 * gate.numel() * gate.itemsize,
)
def gated(gate, up, activation="silu"):
    """act(gate) * up, both (…, N): swiglu with "silu", geglu with "gelu"."""
    _known("gated", activation)
    gate_MN, M, N = rows_of(gate)
    up_MN, y_MN, shape = rows_of(up)[0], empty_like(gate), _tile(N)
    grid = (cdiv(M, shape["BLOCK_M"]), cdiv(N, shape["BLOCK_N"]))
    launch(gated_kernel, grid, gate_MN, up_MN, y_MN, M, N, gate_MN.stride(0), up_MN.stride(0), ACT=activation, **shape)
    return y_MN


if __name__ == "__main__":
    main(bias_activation, gated)
