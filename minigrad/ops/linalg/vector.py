"""Products and powers of vectors: cross, vecdot, vander."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.ops.linalg.common import linalg

_FLOATS = ("float64", "float32", "float16", "bfloat16")


def _cross(name: str, a: mg.Tensor, b: mg.Tensor, dim: int) -> mg.Tensor:
    if a.dim() != b.dim():
        raise RuntimeError(f"{name}: inputs must have the same number of dimensions: got shapes {tuple(a.shape)} and {tuple(b.shape)}.")
    n = a.dim()
    if not -max(n, 1) <= dim < max(n, 1):
        raise IndexError(f"Dimension out of range (expected to be in range of [{-max(n, 1)}, {max(n, 1) - 1}], but got {dim})")
    if n == 0 or a.shape[dim] != 3 or b.shape[dim] != 3:
        sizes = f"{a.shape[dim]} and {b.shape[dim]}" if n else "scalars"
        raise RuntimeError(f"{name}: inputs dimension {dim} must have length 3: got {sizes}.")
    if a.dtype == mg.bool and b.dtype == mg.bool:
        raise NotImplementedError(f"{name}: not implemented for bool")
    a0, a1, a2 = (a.narrow(dim, i, 1) for i in range(3))
    b0, b1, b2 = (b.narrow(dim, i, 1) for i in range(3))
    return mg.cat([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], dim)


_CROSS_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8")


@linalg(
    dtypes=_CROSS_DTYPES,
    samples=lambda s: [s(s.t(3), s.t(3)), s(s.t(4, 3), s.t(4, 3)), s(s.t(3, 4), s.t(3, 4), dim=0), s(s.t(1, 3), s.t(5, 3)), s(s.t(0, 3), s.t(0, 3))],
    ref=lambda input, other, dim=-1: _np_cross(input, other, dim),
)
def cross(input: mg.Tensor, other: mg.Tensor, *, dim: int = -1) -> mg.Tensor:
    """Cross product of vectors with 3 elements.

    Args:
        input: size 3 in `dim`.
        other: as many dims, size 3 in `dim`; the other dims broadcast.
        dim: where the vectors lie.
        out: tensor to write to.
    Returns:
        the broadcast shape.
    Raises:
        RuntimeError for sizes other than 3; IndexError for a dim out of range.
    Example:
        >>> mg.linalg.cross(mg.tensor([1., 0., 0.]), mg.tensor([0., 1., 0.]))
        tensor([0., 0., 1.])
    """
    return _cross("linalg.cross", input, other, dim)


def _np_cross(input: Any, other: Any, dim: Any = -1) -> Any:
    import numpy as np

    dim = next(i for i, n in enumerate(input.shape) if n == 3) if dim is None else dim
    a, b = (np.moveaxis(x, dim, 0) for x in np.broadcast_arrays(input, other))
    return np.moveaxis(np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]), 0, dim)


@linalg(
    name="cross",
    space="",
    dtypes=_CROSS_DTYPES,
    samples=lambda s: [s(s.t(3), s.t(3)), s(s.t(3, 4), s.t(3, 4)), s(s.t(4, 3), s.t(4, 3)), s(s.t(2, 3), s.t(2, 3), dim=1)],
    ref=lambda input, other, dim=None: _np_cross(input, other, dim),
)
def old_cross(input: mg.Tensor, other: mg.Tensor, dim: int | None = None) -> mg.Tensor:
    """Cross product of vectors with 3 elements.

    Args:
        input: size 3 in `dim`.
        other: as many dims; the other dims broadcast.
        dim: where the vectors lie; None for the first dim of size 3.
        out: tensor to write to.
    Returns:
        the broadcast shape.
    Raises:
        RuntimeError when there is no such dim.
    Example:
        >>> mg.cross(mg.tensor([1., 0., 0.]), mg.tensor([0., 1., 0.]))
        tensor([0., 0., 1.])
    """
    if dim is None:
        dim = next((i for i, n in enumerate(input.shape) if n == 3), None)
        if dim is None:
            raise RuntimeError(f"linalg.cross: no dimension of size 3 in input: got shape {tuple(input.shape)}.")
    return _cross("linalg.cross", input, other, dim)


@linalg(
    dtypes=_FLOATS,
    samples=lambda s: [s(s.t(4), s.t(4)), s(s.t(2, 3), s.t(2, 3)), s(s.t(3, 2), s.t(3, 1), dim=0), s(s.t(0, 3), s.t(3)), s(s.t(2, 0), s.t(2, 0))],
    ref=lambda x, y, dim=-1: (x * y).sum(dim),
)
def vecdot(x: mg.Tensor, y: mg.Tensor, *, dim: int = -1) -> mg.Tensor:
    """Sum of the products of two batches of vectors, conj(x) times y.

    Args:
        x: floating or complex.
        y: of the same dtype; the shapes broadcast.
        dim: where the vectors lie.
        out: tensor to write to.
    Returns:
        the broadcast shape without `dim`.
    Raises:
        RuntimeError for integers and shapes that do not broadcast; IndexError for a dim out of range.
    Example:
        >>> mg.linalg.vecdot(mg.tensor([1., 2.]), mg.tensor([3., 4.]))
        tensor(11.)
    """
    if not (x.is_floating_point() or x.is_complex()):
        raise RuntimeError(f"linalg.vecdot: expected a floating or complex tensor as input: got {x.dtype}. Try x.float().")
    if x.dtype != y.dtype:
        raise RuntimeError(f"linalg.vecdot: expected vectors of the same dtype: got {x.dtype} and {y.dtype}. Try y.to(x.dtype).")
    left = x.conj() if x.is_complex() else x
    low = x.dtype in (mg.float16, mg.bfloat16)
    product = left.float() * y.float() if low else left * y
    return product.sum(dim).to(x.dtype) if low else product.sum(dim)


@linalg(
    dtypes=("float64", "float32", "int64", "int32", "int16", "int8", "uint8"),
    samples=lambda s: [s(s.t(3)), s(s.t(2, 3), N=2), s(s.t(4), N=5), s(s.t(0, 2))],
    ref=lambda x, N=None: x[..., None] ** _arange(x.shape[-1] if N is None else N),
    tol=dict(float32=1e-4),
    tol_reason="powers by repeated multiplication, up to the fourth of 2",
)
def vander(x: mg.Tensor, *, N: int | None = None) -> mg.Tensor:
    """Vandermonde matrix: the powers 0, 1, …, N - 1 of each element.

    Args:
        x: (*, n); 0-d when N is given.
        N: number of powers, at least 2; None for n.
    Returns:
        (*, n, N); int64 for integers.
    Raises:
        RuntimeError for N < 2, given or taken from x.
    Example:
        >>> mg.linalg.vander(mg.tensor([2, 3]), N=3)
        tensor([[1, 2, 4],
                [1, 3, 9]])
    """
    if x.dim() == 0 and N is None:
        raise RuntimeError("linalg.vander: expected a tensor with at least one dim, or N: got a 0-d tensor.")
    n = x.shape[-1] if N is None else N
    if n <= 1:
        raise RuntimeError(f"linalg.vander: N must be greater than 1: got {n}.")
    x = x.reshape(1) if x.dim() == 0 else x
    result = x.unsqueeze(-1).expand(*x.shape, n - 1).cumprod(-1)
    return mg.cat([mg.ones(*x.shape, 1, dtype=result.dtype, device=x.device), result], -1)


def _arange(n: int) -> Any:
    import numpy as np

    return np.arange(n)


@linalg(
    name="vander",
    space="",
    method=False,
    dtypes=("float64", "float32", "int64", "int32", "int16", "int8", "uint8"),
    samples=lambda s: [s(s.t(3)), s(s.t(3), N=2), s(s.t(4), 5, True), s(s.t(3), 0), s(s.t(3), 1)],
    ref=lambda x, N=None, increasing=False: x[..., None] ** _arange(x.shape[-1] if N is None else N)[:: 1 if increasing else -1],
    tol=dict(float32=1e-4),
    tol_reason="powers by repeated multiplication, up to the fourth of 2",
    no_torch_reason="PyTorch's own backward fails: it fills the powers in place",
)
def old_vander(x: mg.Tensor, N: int | None = None, increasing: bool = False) -> mg.Tensor:
    """Vandermonde matrix, by default with the highest power first (`linalg.vander` has the lowest first).

    Args:
        x: (n,).
        N: number of powers; None for n.
        increasing: lowest power first.
    Returns:
        (n, N); int64 for integers.
    Raises:
        RuntimeError unless x is 1-d and N non-negative.
    Example:
        >>> mg.vander(mg.tensor([2, 3]), N=3)
        tensor([[4, 2, 1],
                [9, 3, 1]])
    """
    if x.dim() != 1:
        raise RuntimeError(f"vander: x must be a one-dimensional tensor: got shape {tuple(x.shape)}.")
    n = x.shape[0] if N is None else N
    if n < 0:
        raise RuntimeError(f"vander: N must be non-negative: got {n}.")
    powers = x.unsqueeze(-1).expand(x.shape[0], max(n - 1, 0)).cumprod(-1)
    result = mg.cat([mg.ones(x.shape[0], min(n, 1), dtype=powers.dtype, device=x.device), powers], -1)
    return result if increasing else result.flip(-1)
