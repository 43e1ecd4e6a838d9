"""Determinants. Kernels: csrc/cpu/linalg_factor.cpp.

Legend: A (*, n, n); its determinant (*).
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.ops.linalg.common import general, hermitian_sample, linalg, np_linalg, primitive, primitive_of


def _det_grad(g: Any, input: Any, out: Any) -> Any:
    """conj(adjugate): det A^-H. At singular matrices from the SVD, where the product of the other singular values stays finite."""
    singular = out == 0
    if not bool(mg.op.all_values(singular).any()):
        return _scaled_inverse(input, (g * out.conj() if out.is_complex() else g * out))
    U, S, Vh, _ = primitive_of("_linalg_svd")(input, False, True)
    sign = mg.linalg.det(U.detach()) * mg.linalg.det(Vh.detach())
    others = _product_of_others(S)
    scale = (g * (sign.conj() if sign.is_complex() else sign)).unsqueeze(-1) * others
    from_svd = (U * scale.unsqueeze(-2)) @ Vh
    if bool(mg.op.all_values(singular).all()):
        return from_svd
    eye = mg.eye(input.shape[-1], dtype=input.dtype, device=input.device)
    regular = mg.where(singular[..., None, None], eye, input)
    from_inverse = _scaled_inverse(regular, g * (out.conj() if out.is_complex() else out))
    return mg.where(singular[..., None, None], from_svd, from_inverse)


def _product_of_others(S: Any) -> Any:
    n = S.shape[-1]
    ones = mg.ones_like(S.narrow(-1, 0, 1))
    before = mg.cat([ones, S.narrow(-1, 0, n - 1).cumprod(-1)], -1)
    after = mg.cat([ones, S.narrow(-1, 1, n - 1).flip(-1).cumprod(-1)], -1).flip(-1)
    return before * after


def _scaled_inverse(a: Any, factor: Any) -> Any:
    """factor * A^-H."""
    n = a.shape[-1]
    right = mg.diag_embed(factor.unsqueeze(-1).expand(*factor.shape, n))
    return primitive_of("_linalg_solve")(a.mH, right, True)[0]


def _slogdet_grad(g_sign: Any, g_logabsdet: Any, input: Any, sign: Any) -> Any:
    """d log|det A| = Re tr(A^-1 dA); for complex A the phase turns with Im tr(A^-1 dA)."""
    factor = g_logabsdet - 1j * (g_sign.conj() * sign).imag if sign.is_complex() else g_logabsdet
    return _scaled_inverse(input, factor)


_det = primitive(
    "_linalg_det(input) -> out, LU, pivots",
    meta="linalg_det",
    nondiff=("LU", "pivots"),
    dinput=_det_grad,
    samples=lambda s: [s(general(s, *shape)) for shape in ((3, 3), (2, 3, 3), (1, 1))],
    no_ref_reason="its LU has no reference; linalg.det has one",
    doc="Determinant and its LU factorisation; the kernel of `linalg.det`.",
)
_slogdet = primitive(
    "_linalg_slogdet(input) -> sign, logabsdet, LU, pivots",
    meta="linalg_det",
    nondiff=("LU", "pivots"),
    dinput=_slogdet_grad,
    samples=lambda s: [s(general(s, *shape)) for shape in ((3, 3), (2, 3, 3), (1, 1))],
    no_ref_reason="its LU has no reference; linalg.slogdet has one",
    doc="Sign and logarithm of the determinant; the kernel of `linalg.slogdet`.",
)


def _square_samples(s: Any) -> list[Any]:
    return [s(general(s, *shape)) for shape in ((3, 3), (2, 3, 3), (1, 1), (0, 0), (0, 2, 2), (4, 4))] + [s(general(s, 3, 3, layout="step"))]


def np_slogdet(a: Any) -> tuple[Any, Any]:
    """Reference of slogdet."""
    return tuple(np_linalg().slogdet(a))


@linalg(samples=_square_samples, ref=lambda A: np_linalg().det(A))
def det(A: mg.Tensor) -> mg.Tensor:
    """Determinant.

    Args:
        A: (*, n, n), float32, float64 or complex.
        out: tensor to write to.
    Returns:
        (*); 1 for 0 x 0 matrices.
    Raises:
        RuntimeError for other shapes and dtypes.
    Gradient:
        det(A) A^-H; at singular matrices its continuation, the conjugate adjugate.
    Example:
        >>> mg.linalg.det(mg.tensor([[1., 2.], [3., 5.]]))
        tensor(-1.)
    """
    return _det(A)[0]


@linalg(results=("sign", "logabsdet"), samples=_square_samples, ref=np_slogdet)
def slogdet(A: mg.Tensor) -> Any:
    """Sign and logarithm of the absolute value of the determinant.

    Args:
        A: (*, n, n), float32, float64 or complex.
        out: pair of tensors to write to.
    Returns:
        named tuple (sign, logabsdet), both (*); sign has modulus 1, or 0 with logabsdet -inf for singular matrices.
    Raises:
        RuntimeError for other shapes and dtypes.
    Gradient:
        of logabsdet: A^-H; 0 of sign for real matrices.
    Example:
        >>> mg.linalg.slogdet(mg.tensor([[2., 0.], [0., -1.]])).sign
        tensor(-1.)
    """
    return _slogdet(A)[:2]


@linalg(name="det", space="", samples=_square_samples, ref=lambda input: np_linalg().det(input))
def old_det(input: mg.Tensor) -> mg.Tensor:
    """Determinant; the same as `linalg.det`.

    Args:
        input: (*, n, n).
        out: tensor to write to.
    Returns:
        (*).
    Raises:
        RuntimeError for other shapes and dtypes.
    Example:
        >>> mg.det(mg.tensor([[2., 0.], [0., 3.]]))
        tensor(6.)
    """
    return _det(input)[0]


@linalg(name="slogdet", space="", results=("sign", "logabsdet"), samples=_square_samples, ref=np_slogdet)
def old_slogdet(input: mg.Tensor) -> Any:
    """Sign and logarithm of the determinant; the same as `linalg.slogdet`.

    Args:
        input: (*, n, n).
        out: pair of tensors to write to.
    Returns:
        named tuple (sign, logabsdet).
    Raises:
        RuntimeError for other shapes and dtypes.
    Example:
        >>> mg.slogdet(mg.tensor([[2., 0.], [0., -1.]])).sign
        tensor(-1.)
    """
    return _slogdet(input)[:2]


def _np_logdet(input: Any) -> Any:
    import numpy as np

    sign, value = np.linalg.slogdet(input)
    return np.where(sign < 0, np.nan, value)


def _logdet_samples(s: Any) -> list[Any]:
    return [s(hermitian_sample(s, *shape)) for shape in ((3, 3), (2, 3, 3), (1, 1), (0, 0))] + [s(general(s, 3, 3)).by_convention()]


@linalg(space="", samples=_logdet_samples, ref=_np_logdet, no_layouts_reason="the determinant of expanded matrices is a rounding error")
def logdet(input: mg.Tensor) -> mg.Tensor:
    """Logarithm of the determinant.

    Args:
        input: (*, n, n).
    Returns:
        (*): NaN for negative determinants, -inf for 0; complex for complex matrices.
    Raises:
        RuntimeError for other shapes and dtypes.
    Gradient:
        A^-H.
    Example:
        >>> mg.logdet(mg.tensor([[1., 0.], [0., 1.]]))
        tensor(0.)
    """
    sign, value = _slogdet(input)[:2]
    if sign.is_complex():
        return sign.log() + value
    return mg.where(sign == -1, mg.nan, value)
