"""softmax and log_softmax with their fused gradients. Kernels: csrc/cpu/softmax.cpp."""

from __future__ import annotations

from typing import Any

from minigrad.op import functions, op
from minigrad.ops.reductions.reduce import _np
from minigrad.ops.shared.reduce_doc import doc


def _softmax_grad(g: Any, out: Any, dim: int) -> Any:
    product = g * out
    return product - out * product.sum(dim, True)


def _log_softmax_grad(g: Any, out: Any, dim: int) -> Any:
    return g - out.exp() * g.sum(dim, True)


def _np_softmax(input: Any, dim: int, dtype: Any = None, log: bool = False) -> Any:
    np = _np()
    axis = dim if input.ndim else None
    shifted = input - input.max(axis=axis, keepdims=True) if input.size else input
    total = np.exp(shifted).sum(axis=axis, keepdims=True)
    return shifted - np.log(total) if log else np.exp(shifted) / total


def _samples(s: Any) -> list[Any]:
    return [s(s.f(3, 4), 1), s(s.f(3, 4), 0), s(s.f(2, 3, 5), 1), s(s.f(), 0), s(s.f(17), -1), s(s.f(0, 3), 1),
            s(s.t(4, 3, layout="transposed"), 1) if not s.integer else s(s.f(4, 3), 1)]  # fmt: skip


op(
    "_softmax_backward(g, out, dim: int) -> grad",
    meta="softmax_backward",
    namespace=None,
    no_grad_reason="used when no graph of the gradient is wanted; softmax's own formula is its differentiable form",
    samples=lambda s: [s(s.f(3, 4), s.f(3, 4), 1), s(s.f(2, 3, 4), s.f(2, 3, 4), 1)],
    ref=lambda g, out, dim: out * (g - (g * out).sum(dim, keepdims=True)),
    doc="Gradient of softmax in one pass: out (g - sum(g out)).",
)

op(
    "_log_softmax_backward(g, out, dim: int) -> grad",
    meta="softmax_backward",
    namespace=None,
    no_grad_reason="used when no graph of the gradient is wanted; log_softmax's own formula is its differentiable form",
    samples=lambda s: [s(s.f(3, 4), s.f(3, 4), 1), s(s.f(2, 3, 4), s.f(2, 3, 4), 1)],
    ref=lambda g, out, dim: g - _np().exp(out) * g.sum(dim, keepdims=True),
    doc="Gradient of log_softmax in one pass: g - exp(out) sum(g).",
)

op(
    "softmax(input, dim: int, dtype: dtype? = None) -> out",
    meta="softmax",
    samples=_samples,
    ref=_np_softmax,
    dinput=_softmax_grad,
    fast_grads=lambda g, out, dim: (functions["_softmax_backward"](g, out, dim),),
    doc=doc(
        "exp(input) divided by its sum along a dim, without overflow.",
        "floating, unless dtype names a floating type",
        "mg.softmax(mg.tensor([0., 0.]), 0) -> tensor([0.5000, 0.5000])",
        dtype=True,
        grad="out (g - sum(g out)).",
        raises="NotImplementedError for integers.",
    ),
)

op(
    "log_softmax(input, dim: int, dtype: dtype? = None) -> out",
    meta="softmax",
    samples=_samples,
    ref=lambda input, dim, dtype=None: _np_softmax(input, dim, None, True),
    dinput=_log_softmax_grad,
    fast_grads=lambda g, out, dim: (functions["_log_softmax_backward"](g, out, dim),),
    doc=doc(
        "Logarithm of softmax: input minus its logsumexp along a dim.",
        "floating, unless dtype names a floating type",
        "mg.log_softmax(mg.tensor([0., 0.]), 0) -> tensor([-0.6931, -0.6931])",
        dtype=True,
        grad="g - softmax(input) sum(g).",
        raises="NotImplementedError for integers.",
    ),
)
