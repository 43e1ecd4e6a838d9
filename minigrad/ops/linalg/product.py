"""Functions of matrices: powers, exponential, tensor equations."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.ops.linalg.common import general, linalg, need_square, np_linalg, primitive, primitive_of


# --- powers and exponential -------------------------------------------------------------------------------------------
def _power(name: str, x: mg.Tensor, n: int) -> mg.Tensor:
    need_square(name, x)
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"{name}(): argument 'n' must be int, not {type(n).__name__}")
    if n < 0:
        return _power(name, mg.linalg.inv(x), -n)
    if n == 0:
        return x.clone().copy_(mg.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(x.shape))  # keeps its place in the graph
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
