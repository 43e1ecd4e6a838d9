"""Functions and products of matrices and vectors: powers, exponential, tensor equations, cross, vecdot, vander, low rank."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.ops._linalg_common import general, linalg, need_square, np_linalg, primitive, primitive_of

_FLOATS = ("float64", "float32", "float16", "bfloat16")


# --- powers and exponential -------------------------------------------------------------------------------------------
def _power(name: str, x: mg.Tensor, n: int) -> mg.Tensor:
    need_square(name, x)
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"{name}(): argument 'n' must be int, not {type(n).__name__}")
    if n < 0:
        return _power(name, mg.linalg.inv(x), -n)
    if n == 0:
        return x.clone().copy_(mg.eye(x.shape[-1], dtype=x.dtype).expand(x.shape))  # keeps its place in the graph
    result, square = None, x
    while True:
        if n & 1:
            result = square if result is None else result @ square
        n >>= 1
        if not n:
            return result.clone() if result is x else result
        square = square @ square


_POWER = dict(
    samples=lambda s: [s(general(s, 3, 3), n) for n in (0, 1, 2, 5, -1, -2)] + [s(general(s, 2, 3, 3), 3), s(s.t(0, 0), 2)],
    reduction=lambda input, n: 40 * input.shape[-1],
    no_layouts_reason="expanded matrices are singular and have no negative powers",
)


@linalg(**_POWER, ref=lambda input, n: np_linalg().matrix_power(input, n))
def matrix_power(input: mg.Tensor, n: int) -> mg.Tensor:
    """Product of a square matrix with itself, n times.

    Args:
        input: (*, k, k).
        n: any integer; 0 gives identities, negative n powers of the inverse.
        out: tensor to write to.
    Returns:
        (*, k, k).
    Raises:
        LinAlgError for a negative n and a singular matrix; RuntimeError for other shapes.
    Example:
        >>> mg.linalg.matrix_power(mg.tensor([[1., 1.], [0., 1.]]), 3).tolist()
        [[1.0, 3.0], [0.0, 1.0]]
    """
    return _power("linalg.matrix_power", input, n)


@linalg(name="matrix_power", space="", **_POWER, ref=lambda input, n: np_linalg().matrix_power(input, n))
def old_matrix_power(input: mg.Tensor, n: int) -> mg.Tensor:
    """Same as `linalg.matrix_power`.

    Args:
        input: (*, k, k).
        n: any integer.
        out: tensor to write to.
    Returns:
        (*, k, k).
    Raises:
        LinAlgError for a negative n and a singular matrix.
    Example:
        >>> mg.matrix_power(mg.tensor([[2.]]), 3).tolist()
        [[8.0]]
    """
    return _power("matrix_power", input, n)


def _exp_grad(g: Any, input: Any) -> Any:
    """The corner of exp([[A^H, g], [0, A^H]]) (Al-Mohy and Higham, SIAM J. Matrix Anal. Appl. 30, 2009)."""
    n = input.shape[-1]
    a = input.mH
    top = mg.cat([a, g], -1)
    bottom = mg.cat([mg.zeros_like(a), a], -1)
    return primitive_of("_matrix_exp")(mg.cat([top, bottom], -2)).narrow(-2, 0, n).narrow(-1, n, n)


def _np_exp(input: Any) -> Any:
    import numpy as np

    if input.size == 0:
        return input
    norm = np.abs(input).sum(-2).max()
    squarings = max(0, int(np.ceil(np.log2(norm + 1e-300))) + 1)
    x = input / 2.0**squarings
    eye = np.broadcast_to(np.eye(input.shape[-1]), input.shape)
    out, term = eye, eye
    for k in range(1, 25):
        term = term @ x / k
        out = out + term
    for _ in range(squarings):
        out = out @ out
    return out


_exp = primitive(
    "_matrix_exp(input) -> out",
    meta="linalg_square",
    dinput=_exp_grad,
    samples=lambda s: [s(s.t(3, 3)), s(s.t(2, 2, 2)), s(s.t(4, 4, low=-9, high=0))],
    ref=_np_exp,
    reduction=lambda input: 400 * input.shape[-1],
    doc="Matrix exponential; the kernel of `linalg.matrix_exp`.",
)


def _exponential(input: mg.Tensor) -> mg.Tensor:
    need_square("linalg.matrix_exp", input)
    if input.dtype in (mg.float16, mg.bfloat16):
        return _exp(input.float()).to(input.dtype)
    return _exp(input)


_EXP = dict(  # float16 and bfloat16 are left to test_linalg.py: PyTorch's own series overflows there
    samples=lambda s: [s(s.t(*shape)) for shape in ((3, 3), (2, 2, 2), (1, 1), (0, 0), (0, 2, 2))] + [s(s.t(3, 3, low=-9, high=0, layout="transposed"))],
    ref=_np_exp,
    reduction=lambda input: 400 * max(input.shape[-1], 1),
)  # fmt: skip


@linalg(**_EXP)
def matrix_exp(input: mg.Tensor) -> mg.Tensor:
    """Exponential of square matrices, 1 + A + A^2/2! + …

    Args:
        input: (*, n, n), floating or complex.
    Returns:
        (*, n, n); NaN for matrices that are not finite.
    Raises:
        RuntimeError for other shapes and for integers.
    Gradient:
        of the exponential of a block matrix of twice the size.
    Source:
        Higham, SIAM J. Matrix Anal. Appl. 26 (2005): scaling and squaring of Pade approximants.
    Example:
        >>> mg.linalg.matrix_exp(mg.zeros(2, 2)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    return _exponential(input)


@linalg(name="matrix_exp", space="", **_EXP)
def old_matrix_exp(input: mg.Tensor) -> mg.Tensor:
    """Same as `linalg.matrix_exp`.

    Args:
        input: (*, n, n).
    Returns:
        (*, n, n).
    Raises:
        RuntimeError for other shapes and for integers.
    Example:
        >>> mg.matrix_exp(mg.zeros(1, 1)).tolist()
        [[1.0]]
    """
    return _exponential(input)


# --- tensor equations -------------------------------------------------------------------------------------------------
@linalg(
    samples=lambda s: [s(s.of(_eye_plus(s, 6).reshape(2, 3, 6)), ind=2), s(s.of(_eye_plus(s, 4).reshape(4, 2, 2)), ind=1)],
    ref=lambda input, ind=2: np_linalg().tensorinv(input, ind),
    no_layouts_reason="expanded tensors are singular",
)
def tensorinv(input: mg.Tensor, ind: int = 2) -> mg.Tensor:
    """Inverse of the map that tensordot with `ind` dims describes.

    Args:
        input: the product of its first `ind` sizes equals the product of the others.
        ind: positive.
        out: tensor to write to.
    Returns:
        of shape input.shape[ind:] + input.shape[:ind].
    Raises:
        LinAlgError when the map is singular; RuntimeError for sizes that do not fit.
    Example:
        >>> mg.linalg.tensorinv(mg.eye(4).reshape(2, 2, 4)).shape
        minigrad.Size([4, 2, 2])
    """
    if ind <= 0:
        raise RuntimeError(f"linalg.tensorinv: expected a strictly positive integer for 'ind': got {ind}.")
    left, right = tuple(input.shape[:ind]), tuple(input.shape[ind:])
    if math.prod(left) != math.prod(right):
        raise RuntimeError(
            f"linalg.tensorinv: expected input to satisfy prod(input.shape[ind:]) == prod(input.shape[:ind]): got {math.prod(right)}"
            f" != {math.prod(left)}."
        )
    inverse, info = primitive_of("_linalg_inv")(input.reshape(math.prod(left), math.prod(right)))
    if bool(mg.op.all_values(info).any()):
        raise mg.linalg.LinAlgError("linalg.tensorinv: Failed to invert the input tensor, because it is singular.")
    return inverse.reshape(right + left)


def _eye_plus(s: Any, n: int) -> Any:
    import numpy as np

    return 2 * np.eye(n) + s.t(n, n, low=-0.3, high=0.3).values


@linalg(
    samples=lambda s: [s(s.of(_eye_plus(s, 6).reshape(2, 3, 6)), s.t(2, 3)), s(s.of(_eye_plus(s, 4).reshape(2, 2, 4)), s.t(2, 2))],
    ref=lambda input, other, dims=None: np_linalg().tensorsolve(input, other, dims),
    no_layouts_reason="expanded tensors are singular",
)
def tensorsolve(input: mg.Tensor, other: mg.Tensor, dims: Any = None) -> mg.Tensor:
    """X with tensordot(A, X, X.dim()) = B.

    Args:
        input: A, with prod(A.shape[B.dim():]) == prod(A.shape[:B.dim()]) after moving dims.
        other: B.
        dims: dims of A to move to its end first.
        out: tensor to write to.
    Returns:
        X, of shape A.shape[B.dim():].
    Raises:
        LinAlgError when A is singular; RuntimeError for sizes that do not fit.
    Example:
        >>> mg.linalg.tensorsolve(2 * mg.eye(4).reshape(2, 2, 4), mg.ones(2, 2))
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """
    if dims is not None:
        dims = list(dims)
        input = input.movedim(dims, list(range(input.dim() - len(dims), input.dim())))
    shape = tuple(input.shape[other.dim() :])
    n = math.prod(shape)
    if n != math.prod(input.shape[: other.dim()]) or n != other.numel():
        raise RuntimeError(
            "linalg.tensorsolve: expected input to satisfy prod(input.shape[other.dim():]) == prod(input.shape[:other.dim()]): got"
            f" shapes {tuple(input.shape)} and {tuple(other.shape)}."
        )
    return mg.linalg.solve(input.reshape(n, n), other.reshape(n)).reshape(shape)


# --- vectors ----------------------------------------------------------------------------------------------------------
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
    result = x.unsqueeze(-1).expand(*x.shape, n - 1).cumprod(-1)
    return mg.cat([mg.ones(*x.shape, 1, dtype=result.dtype), result], -1)


def _arange(n: int) -> Any:
    import numpy as np

    return np.arange(n)
