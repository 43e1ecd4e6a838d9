"""QR and Householder reflectors. Kernels: csrc/cpu/linalg_ortho.cpp.

Legend: A (*, m, n), k = min(m, n); reflectors H_i = I - tau_i v_i v_i^H with v_i below the diagonal of column i.
Source of the gradient: Walter and Lehmann, Algorithmic differentiation of linear algebra functions with application in
optimum experimental design, arXiv 1001.1654.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.ops.linalg.common import general, linalg, primitive, primitive_of

_MODES = {"reduced": 0, "complete": 1, "r": 2}


def _symmetrized(x: Any) -> Any:
    """triu(x) mirrored to the lower triangle, with a real diagonal."""
    upper = x.triu(1)
    diagonal = x.diagonal(0, -2, -1)
    return upper + upper.mH + mg.diag_embed(diagonal.real.to(x.dtype) if x.is_complex() else diagonal)


def _qr_grad(g_Q: Any, g_R: Any, input: Any, Q: Any, R: Any, mode: int) -> Any:
    m, n = input.shape[-2], input.shape[-1]
    if mode == 2:
        raise RuntimeError(
            "linalg.qr: the derivative depends on Q, which is not computed when mode='r'. Try mode='reduced'."
        )
    if mode == 1 and m > n:
        raise RuntimeError("linalg.qr: not differentiable when mode='complete' and there are more rows than columns. Try mode='reduced'.")
    if m >= n:
        return _square_qr_grad(g_Q, g_R, Q, R)
    # A = [X Y], R = [U V]: Q U = X, V = Q^H Y
    U, gU, gV = R.narrow(-1, 0, m), g_R.narrow(-1, 0, m), g_R.narrow(-1, m, n - m)
    gX = _square_qr_grad(g_Q + input.narrow(-1, m, n - m) @ gV.mH, gU, Q, U)
    return mg.cat([gX, Q @ gV], -1)


def _square_qr_grad(gQ: Any, gR: Any, Q: Any, R: Any) -> Any:
    """(gQ + Q sym(triu(gR R^H - Q^H gQ))) R^-H"""
    middle = gQ + Q @ _symmetrized(gR @ R.mH - Q.mH @ gQ)
    return primitive_of("_linalg_solve_triangular")(R.mH, middle, False, False, False)


def _np_qr(input: Any, mode: Any = "reduced") -> tuple[Any, Any]:
    import numpy as np

    mode = {0: "reduced", 1: "complete", 2: "r"}.get(mode, mode)
    if mode == "r":
        return np.zeros(0), np.linalg.qr(input, "r")
    return tuple(np.linalg.qr(input, mode))


_qr = primitive(
    "_linalg_qr(input, mode: int) -> Q, R",
    meta="linalg_qr",
    dinput=_qr_grad,
    samples=lambda s: [s(general(s, 3, 3), 0), s(general(s, 2, 4, 2), 0), s(general(s, 2, 3), 0)],
    ref=_np_qr,
    no_layouts_reason="expanded matrices have no full rank: which Q comes out is LAPACK's choice",
    doc="QR factorisation; the kernel of `linalg.qr`.",
)


@linalg(
    results=("Q", "R"),
    samples=lambda s: [
        s(general(s, 3, 3)), s(general(s, 2, 4, 2)), s(general(s, 2, 3)), s(general(s, 3, 4), mode="complete"), s(s.t(0, 0)), s(s.t(0, 3, 2)),
        s(s.t(3, 0)), s(general(s, 3, 3, layout="transposed")),
    ],
    ref=lambda A, mode="reduced": _np_qr(A, mode),
    no_layouts_reason="expanded matrices have no full rank: which Q comes out is LAPACK's choice",
)  # fmt: skip
def qr(A: mg.Tensor, mode: str = "reduced") -> Any:
    """Factors A = Q R, Q with orthonormal columns, R upper triangular.

    Args:
        A: (*, m, n), float32, float64 or complex.
        mode: "reduced": Q (*, m, k), R (*, k, n); "complete": Q (*, m, m), R (*, m, n); "r": R as in reduced, Q empty.
        out: pair of tensors to write to.
    Returns:
        named tuple (Q, R). The diagonal of R may be negative.
    Raises:
        RuntimeError for an unknown mode and for other shapes and dtypes.
    Gradient:
        for the first k columns linearly independent; not for "r", nor for "complete" with m > n.
    Source:
        LAPACK geqrf, orgqr.
    Example:
        >>> mg.linalg.qr(mg.tensor([[3., 1.], [4., 2.]])).R.abs()
        tensor([[5.0000, 2.2000],
                [0.0000, 0.4000]])
    """
    if mode not in _MODES:
        raise RuntimeError(f"qr: unrecognized mode: got '{mode}', expected 'reduced', 'complete' or 'r'.")
    return _qr(A, _MODES[mode])


@linalg(
    name="qr", space="", results=("Q", "R"), samples=lambda s: [s(general(s, 3, 3)), s(general(s, 2, 4, 2)), s(general(s, 2, 3), some=False)],
    ref=lambda input, some=True: _np_qr(input, "reduced" if some else "complete"),
    no_layouts_reason="expanded matrices have no full rank: which Q comes out is LAPACK's choice",
)  # fmt: skip
def old_qr(input: mg.Tensor, some: bool = True) -> Any:
    """Old form of `linalg.qr`.

    Args:
        input: (*, m, n).
        some: True for mode="reduced", False for "complete".
        out: pair of tensors to write to.
    Returns:
        named tuple (Q, R).
    Raises:
        RuntimeError for other shapes and dtypes.
    Example:
        >>> mg.qr(mg.tensor([[3.], [4.]])).R.abs()
        tensor([[5.]])
    """
    return _qr(input, 0 if some else 1)


# --- reflectors -------------------------------------------------------------------------------------------------------
_geqrf = primitive(
    "_geqrf(input) -> a, tau",
    meta="linalg_geqrf",
    no_grad_reason="PyTorch has no gradient of geqrf either; linalg.qr has one",
    samples=lambda s: [s(general(s, 3, 3)), s(general(s, 2, 4, 2))],
    no_ref_reason="test_linalg.py multiplies the reflectors out",
    doc="Compact QR factorisation; the kernel of `geqrf`.",
)


@linalg(
    space="", results=("a", "tau"), samples=lambda s: [s(general(s, 3, 3)), s(general(s, 2, 4, 2)), s(general(s, 2, 3)), s(s.t(0, 2))],
    no_ref_reason="test_linalg.py multiplies the reflectors out",
    no_grad_reason="PyTorch has no gradient of geqrf either; linalg.qr has one",
)  # fmt: skip
def geqrf(input: mg.Tensor) -> Any:
    """QR factorisation in LAPACK's compact form.

    Args:
        input: (*, m, n).
        out: pair of tensors to write to.
    Returns:
        named tuple (a, tau): R in the upper triangle of a (*, m, n), reflectors below; their factors tau (*, min(m, n)).
    Raises:
        RuntimeError for other shapes and dtypes.
    Source:
        LAPACK geqrf.
    Example:
        >>> mg.geqrf(mg.tensor([[3.], [4.]])).a[0].abs()
        tensor([5.])
    """
    if mg.is_grad_enabled() and input.requires_grad:
        raise NotImplementedError("geqrf: has no gradient. Try linalg.qr.")
    return _geqrf(input)


def _reflect(a: Any, tau: Any, c: Any, left: bool, adjoint: bool) -> Any:
    """Q c, Q^H c, c Q or c Q^H, one reflector after the other, in differentiable ops."""
    k = tau.shape[-1]
    m = a.shape[-2]
    vectors = a.narrow(-1, 0, k).tril(-1) + mg.eye(m, k, dtype=a.dtype, device=a.device)
    forward = left == adjoint  # Q^H c and c Q meet H_0 first
    for i in range(k) if forward else range(k - 1, -1, -1):
        v = vectors.narrow(-1, i, 1)
        t = tau.narrow(-1, i, 1).unsqueeze(-1)
        t = t.conj() if adjoint and t.is_complex() else t
        c = c - (t * v) @ (v.mH @ c) if left else c - (c @ v) @ (t * v.mH)
    return c


def _reflect_grads(g: Any, parts: tuple[Any, ...], again: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    """Gradients of `again(*parts)`, by differentiating its reflector-by-reflector form."""
    with mg.enable_grad():
        # Copies, so that one argument's gradient does not run on into another that was computed from it.
        leaves = [p.clone() if p.requires_grad else mg.op.fresh_variable(p) for p in parts]
        again_out = again(*leaves)
    wanted = [x for x, need in zip(leaves, needs) if need]
    if not again_out.requires_grad:  # no reflectors
        return (None,) * len(parts)
    found = iter(mg.autograd.grad(again_out, wanted, g, create_graph=mg.is_grad_enabled(), allow_unused=True))
    return tuple(next(found) if need else None for need in needs)


def _identity_like(a: Any) -> Any:
    return mg.eye(a.shape[-2], a.shape[-1], dtype=a.dtype, device=a.device).expand(a.shape)


_householder = primitive(
    "_householder_product(input, tau) -> out",
    meta="linalg_householder",
    grads=lambda g, input, tau, needs: _reflect_grads(
        g, (input, tau), lambda a, t: _reflect(a, t, _identity_like(a), True, False), needs
    ),
    samples=lambda s: [s(s.t(3, 3), s.t(3, low=0.2, high=0.8)), s(s.t(2, 4, 2), s.t(2, 2, low=0.2, high=0.8)), s(s.t(3, 2), s.t(1))],
    ref=lambda input, tau: _np_reflect(input, tau, None, True, False),
    doc="First columns of a product of reflectors; the kernel of `linalg.householder_product`.",
)


def _np_reflect(a: Any, tau: Any, c: Any, left: bool, transpose: bool) -> Any:
    import numpy as np

    m, k = a.shape[-2], tau.shape[-1]
    q = np.broadcast_to(np.eye(m), (*a.shape[:-2], m, m))
    for i in range(k):
        v = np.where(np.arange(m)[:, None] < i, 0, np.where(np.arange(m)[:, None] == i, 1, a[..., :, i : i + 1]))
        q = q @ (np.eye(m) - tau[..., i, None, None] * v @ v.swapaxes(-1, -2))
    if c is None:
        return q[..., : a.shape[-1]]
    q = q.swapaxes(-1, -2) if transpose else q
    return q @ c if left else c @ q


_HOUSEHOLDER_SAMPLES = lambda s: [  # noqa: E731
    s(s.t(3, 3), s.t(3, low=0.2, high=0.8)), s(s.t(2, 4, 2), s.t(2, 2, low=0.2, high=0.8)), s(s.t(3, 2), s.t(1)), s(s.t(3, 0), s.t(0)),
    s(s.t(0, 3, 2), s.t(0, 2)),
]  # fmt: skip


@linalg(samples=_HOUSEHOLDER_SAMPLES, ref=lambda input, tau: _np_reflect(input, tau, None, True, False))
def householder_product(input: mg.Tensor, tau: mg.Tensor) -> mg.Tensor:
    """First n columns of the product H_0 H_1 … of Householder reflectors.

    Args:
        input: (*, m, n) with m >= n; the vectors stand below the diagonal, as geqrf leaves them.
        tau: (*, k), k <= n.
        out: tensor to write to.
    Returns:
        (*, m, n).
    Raises:
        RuntimeError for shapes and dtypes that do not fit.
    Gradient:
        of input below the diagonal, and of tau.
    Source:
        LAPACK orgqr.
    Example:
        >>> mg.linalg.householder_product(mg.tensor([[0.], [1.]]), mg.tensor([1.])).flatten()
        tensor([ 0., -1.])
    """
    return _householder(input, tau)


@linalg(name="orgqr", space="", samples=_HOUSEHOLDER_SAMPLES, ref=lambda input, input2: _np_reflect(input, input2, None, True, False))
def orgqr(input: mg.Tensor, input2: mg.Tensor) -> mg.Tensor:
    """Old name of `linalg.householder_product`.

    Args:
        input: (*, m, n).
        input2: tau, (*, k).
        out: tensor to write to.
    Returns:
        (*, m, n).
    Raises:
        RuntimeError for shapes and dtypes that do not fit.
    Example:
        >>> mg.orgqr(mg.tensor([[0.], [1.]]), mg.tensor([1.])).flatten()
        tensor([ 0., -1.])
    """
    return _householder(input, input2)


_ormqr = primitive(
    "_ormqr(input, tau, other, left: bool, transpose: bool) -> out",
    meta="linalg_ormqr",
    grads=lambda g, input, tau, other, left, transpose, needs: _reflect_grads(
        g, (input, tau, other), lambda a, t, c: _reflect(a, t, c, left, transpose), needs
    ),
    samples=lambda s: [
        s(s.t(3, 2), s.t(2, low=0.2, high=0.8), s.t(3, 2), True, False),
        s(s.t(2, 3, 3), s.t(2, 3, low=0.2, high=0.8), s.t(2, 2, 3), False, True),
    ],
    ref=_np_reflect,
    doc="Product with the Q of geqrf; the kernel of `ormqr`.",
)


@linalg(
    space="",
    samples=lambda s: [
        s(s.t(3, 2), s.t(2, low=0.2, high=0.8), s.t(3, 2)), s(s.t(3, 2), s.t(2, low=0.2, high=0.8), s.t(3, 2), transpose=True),
        s(s.t(2, 3, 3), s.t(2, 3, low=0.2, high=0.8), s.t(2, 2, 3), left=False), s(s.t(3, 2), s.t(2), s.t(1, 3), False, True),
        s(s.t(3, 0), s.t(0), s.t(3, 2)), s(s.t(0, 3, 2), s.t(0, 2), s.t(0, 3, 1)),
    ],
    ref=lambda input, input2, input3, left=True, transpose=False: _np_reflect(input, input2, input3, left, transpose),
)  # fmt: skip
def ormqr(input: mg.Tensor, input2: mg.Tensor, input3: mg.Tensor, left: bool = True, transpose: bool = False) -> mg.Tensor:
    """Product of a matrix with the square Q that geqrf's reflectors stand for.

    Args:
        input: reflectors, (*, m, k), with m the size of Q.
        input2: their factors tau, (*, k).
        input3: C, (*, m, n), or (*, n, m) with left=False.
        left: Q C, else C Q.
        transpose: Q^H instead of Q.
        out: tensor to write to.
    Returns:
        of C's shape.
    Raises:
        RuntimeError for shapes and dtypes that do not fit.
    Source:
        LAPACK ormqr.
    Example:
        >>> mg.ormqr(mg.tensor([[0.], [1.]]), mg.tensor([1.]), mg.eye(2))
        tensor([[ 0., -1.],
                [-1.,  0.]])
    """
    return _ormqr(input, input2, input3, left, transpose)
