"""Products made of others: outer, vdot, inner, kron, addr, addbmm, linalg.multi_dot, chain_matmul."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite
from minigrad.ops.linalg.common import with_out
from minigrad.ops.products.einsum import tensordot
from minigrad.ops.shared.check import expect_tensors
from minigrad.ops.shared.struct_doc import numpy


def _scaled(x: Any, factor: float) -> Any:
    return x if factor == 1 else x * factor


@composite(
    out=True,
    aliases=("ger",),
    samples=lambda s: [s(s.t(3), s.t(4)), s(s.t(0), s.t(2))],
    ref=lambda input, vec2: numpy().outer(input, vec2),
)
def outer(input: mg.Tensor, vec2: mg.Tensor) -> mg.Tensor:
    """All products of an element of one vector with an element of another.

    Args:
        input: (M,).
        vec2: (N,).
    Returns:
        (M, N), input[i] * vec2[j].
    Raises:
        RuntimeError unless both are 1-d.
    Example:
        >>> mg.outer(mg.tensor([1., 2.]), mg.tensor([3., 4.])).tolist()
        [[3.0, 4.0], [6.0, 8.0]]
    """
    if input.dim() != 1 or vec2.dim() != 1:
        raise RuntimeError(
            f"outer: expected two vectors: got shapes {tuple(input.shape)} and {tuple(vec2.shape)}. Try x.flatten()."
        )
    return input.unsqueeze(1) * vec2


@composite(out=True, samples=lambda s: [s(s.t(3), s.t(3))], ref=lambda input, other: input @ other)
def vdot(input: mg.Tensor, other: mg.Tensor) -> mg.Tensor:
    """Sum of conj(input) * other for two vectors; the same as `dot` for real dtypes.

    Args:
        input: (K,).
        other: (K,), of the same dtype.
    Returns:
        a 0-d tensor.
    Raises:
        RuntimeError unless both are 1-d of one size and dtype.
    Example:
        >>> mg.vdot(mg.tensor([1., 2.]), mg.tensor([3., 4.]))
        tensor(11.)
    """
    return mg.dot(mg.conj(input), other)


@composite(
    out=True,
    samples=lambda s: [s(s.t(3, 2), s.t(3), s.t(2)), s(s.t(2), s.t(3), s.t(2), beta=2, alpha=3)],
    inplace=True,
    ref=lambda input, vec1, vec2, beta=1, alpha=1: beta * input + alpha * numpy().outer(vec1, vec2),
)
def addr(input: mg.Tensor, vec1: mg.Tensor, vec2: mg.Tensor, *, beta: float = 1, alpha: float = 1) -> mg.Tensor:
    """beta * input + alpha * outer(vec1, vec2).

    Args:
        input: broadcasts to (M, N); ignored when beta is 0.
        vec1: (M,).
        vec2: (N,).
        beta: number.
        alpha: number.
    Returns:
        (M, N).
    Raises:
        RuntimeError unless vec1 and vec2 are vectors.
    Example:
        >>> mg.addr(mg.zeros(2), mg.tensor([1., 2.]), mg.tensor([3., 4.])).tolist()
        [[3.0, 4.0], [6.0, 8.0]]
    """
    product = outer(vec1, vec2)
    input = input.expand(product.shape)  # the sum never grows beyond the product
    if product.dtype == mg.bool and input.dtype == mg.bool:  # PyTorch: numbers act as truth values
        return (input & bool(beta)) | (product & bool(alpha))
    product = _scaled(product, alpha)
    return product if beta == 0 else _scaled(input, beta) + product


@composite(
    out=True,
    samples=lambda s: [
        s(s.t(3, 2), s.t(2, 3, 4), s.t(2, 4, 2)),
        s(s.t(2), s.t(2, 3, 4), s.t(2, 4, 2), beta=2, alpha=3),
    ],
    inplace=True,
    ref=lambda input, batch1, batch2, beta=1, alpha=1: beta * input + alpha * numpy().matmul(batch1, batch2).sum(0),
)
def addbmm(input: mg.Tensor, batch1: mg.Tensor, batch2: mg.Tensor, *, beta: float = 1, alpha: float = 1) -> mg.Tensor:
    """beta * input + alpha * (batch1 @ batch2 summed over the batch).

    Args:
        input: broadcasts to (M, N); ignored when beta is 0.
        batch1: (B, M, K).
        batch2: (B, K, N).
        beta: number.
        alpha: number.
    Returns:
        (M, N).
    Raises:
        RuntimeError as for bmm.
    Example:
        >>> mg.addbmm(mg.zeros(1), mg.ones(2, 1, 3), mg.ones(2, 3, 1)).tolist()
        [[6.0]]
    """
    if not (input.is_floating_point() or input.is_complex()):
        beta, alpha = int(beta), int(alpha)  # PyTorch cuts them
    product = _scaled(mg.bmm(batch1, batch2).sum(0, dtype=batch1.dtype), alpha)
    return product if beta == 0 else _scaled(input, beta) + product


@composite(
    out=True,
    samples=lambda s: [s(s.t(3), s.t(3)), s(s.t(2, 3), s.t(4, 3)), s(s.t(), s.t(2))],
    ref=lambda input, other: numpy().inner(input, other),
)
def inner(input: mg.Tensor, other: mg.Tensor) -> mg.Tensor:
    """Sum of products over the last dimension of both.

    Args:
        input: (..., K), or 0-d.
        other: (..., K), or 0-d.
    Returns:
        input.shape[:-1] + other.shape[:-1]; a plain product when one is 0-d.
    Raises:
        RuntimeError when the last sizes differ.
    Example:
        >>> mg.inner(mg.tensor([1., 2.]), mg.tensor([3., 4.]))
        tensor(11.)
    """
    expect_tensors("inner", input=input, other=other)
    if input.dim() == 0 or other.dim() == 0:
        return input * other
    return tensordot(input, other, ([-1], [-1]))


@composite(
    out=True,
    samples=lambda s: [s(s.t(2, 3), s.t(3, 2)), s(s.t(2), s.t(3)), s(s.t(2, 2), s.t(3))],
    ref=lambda input, other: numpy().kron(input, other),
)
def kron(input: mg.Tensor, other: mg.Tensor) -> mg.Tensor:
    """Kronecker product: every element of `input` times the whole of `other`, as blocks.

    Args:
        input: any shape.
        other: any shape.
    Returns:
        sizes multiplied dim by dim (missing dims count as 1, in front).
    Example:
        >>> mg.kron(mg.tensor([1., 2.]), mg.tensor([1., 1.]))
        tensor([1., 1., 2., 2.])
    """
    n = max(input.dim(), other.dim())
    sa, sb = ([1] * (n - x.dim()) + list(x.shape) for x in (input, other))
    left = input.reshape([k for s in sa for k in (s, 1)])
    right = other.reshape([k for s in sb for k in (1, s)])
    return (left * right).reshape([p * q for p, q in zip(sa, sb, strict=True)])


def _best_split(sizes: list[int]) -> list[list[int]]:
    """Matrix-chain order by dynamic programming: split[i][j] is where the product i..j is cut."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i][j], split[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )
    return split


@composite(
    "linalg",
    samples=lambda s: [s([s.t(2, 3), s.t(3, 4), s.t(4, 2)]), s([s.t(3), s.t(3, 4), s.t(4)])],
    ref=lambda tensors: numpy().linalg.multi_dot(tensors),
)
@with_out("linalg.multi_dot", None)
def multi_dot(tensors: Any) -> mg.Tensor:
    """Product of a chain of matrices in the order that needs the fewest multiplications.

    Args:
        tensors: two or more matrices; the first and the last may be vectors.
        out: tensor to write to.
    Returns:
        the product, 1-d or 0-d where an end was a vector.
    Raises:
        RuntimeError for fewer than two tensors or sizes that do not fit.
    Source:
        Cormen et al., Introduction to Algorithms, matrix-chain multiplication.
    Example:
        >>> mg.linalg.multi_dot([mg.ones(2, 3), mg.ones(3, 4), mg.ones(4)])
        tensor([12., 12.])
    """
    chain = list(tensors)
    if len(chain) < 2:
        raise RuntimeError(f"multi_dot: expected at least 2 tensors: got {len(chain)}.")
    first, last = chain[0].dim() == 1, chain[-1].dim() == 1
    if first:
        chain[0] = chain[0].unsqueeze(0)
    if last:
        chain[-1] = chain[-1].unsqueeze(1)
    split = _best_split([chain[0].shape[0], *(x.shape[-1] for x in chain)])

    def product(i: int, j: int) -> Any:
        return chain[i] if i == j else mg.mm(product(i, split[i][j]), product(split[i][j] + 1, j))

    result = product(0, len(chain) - 1)
    result = result.squeeze(-1) if last else result
    return result.squeeze(0) if first else result


@composite(
    method=False,
    samples=lambda s: [s(s.t(2, 3), s.t(3, 4), s.t(4, 2))],
    ref=lambda *matrices: numpy().linalg.multi_dot(matrices),
)
def chain_matmul(*matrices: Any) -> mg.Tensor:
    """`linalg.multi_dot` with the matrices as separate arguments.

    Args:
        matrices: matrices whose neighbouring sizes fit.
    Returns:
        their product.
    Example:
        >>> mg.chain_matmul(mg.ones(1, 2), mg.ones(2, 1)).tolist()
        [[2.0]]
    """
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)
