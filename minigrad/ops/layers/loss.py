"""Losses with kernels of their own: mse_loss, nll_loss, cross_entropy. Kernels: csrc/cpu/loss.cpp.
The others are composites of minigrad.nn.functional.

Gradients are written over public ops; the fused kernels (`fast_grads`) are used when no graph of the
gradient is wanted.
Shapes: input (C), (N, C) or (N, C, *); target (), (N) or (N, *).
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.reductions.reduce import _np

_REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


def _code(name: str, reduction: str) -> int:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"{name}: '{reduction}' is not a valid value for reduction, expected 'none', 'mean' or 'sum'")
    return _REDUCTIONS[reduction]


# --- mean squared error -----------------------------------------------------------------------------------------------
def _mse_scale(shape: tuple[int, ...], reduction: str) -> float:
    n = 1
    for size in shape:
        n *= size
    return 2.0 / n if reduction == "mean" and n else 2.0


def _mse_grads(g: Any, input: Any, target: Any, reduction: str, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    difference = input - target
    d = g * difference * _mse_scale(difference.shape, reduction)
    return d if needs[0] else None, -d if needs[1] else None


def _mse_fast(g: Any, input: Any, target: Any, reduction: str, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    if input.shape != target.shape or input.dtype != target.dtype or (needs[0] and needs[1]):
        return _mse_grads(g, input, target, reduction, needs)
    scale = _mse_scale(input.shape, reduction)
    kernel = functions["_mse_loss_backward"]
    return kernel(g, input, target, scale) if needs[0] else None, kernel(g, input, target, -scale) if needs[1] else None


op(
    "_mse_loss_backward(g, input, target, scale: float) -> dinput",
    meta="pair_loss_backward",
    namespace=None,
    no_grad_reason="only used when no graph of the gradient is wanted; mse_loss's `grads` is its differentiable form",
    samples=lambda s: [s(s.f(), s.f(3, 4), s.f(3, 4), 0.5), s(s.f(3, 4), s.f(3, 4), s.f(3, 4), 2.0)],
    ref=lambda g, input, target, scale: g * scale * (input - target),
    doc="Gradient of mse_loss in one pass.",
)

op(
    "mse_loss(input, target, reduction: str = 'mean') -> out",
    meta="pair_loss",
    namespace="nn.functional",
    method=False,
    grads=_mse_grads,
    fast_grads=_mse_fast,
    samples=lambda s: [
        s(s.f(3, 4), s.f(3, 4)),
        s(s.f(5), s.f(5), reduction="sum"),
        s(s.f(2, 3), s.f(2, 3), reduction="none"),
        s(s.f(), s.f()),
        s(s.f(2, 3), s.f(3)),
    ],
    ref=lambda input, target, reduction="mean": {"mean": _np().mean, "sum": _np().sum, "none": lambda x: x}[reduction](
        (input - target) ** 2
    ),
    doc="""Squared difference, averaged (or summed).

Args:
    input: floating tensor of any shape.
    target: tensor that broadcasts with it.
    reduction: "mean", "sum" or "none".
Returns:
    a 0-d tensor, or with "none" the broadcast shape.
Raises:
    RuntimeError for shapes that do not broadcast; ValueError for an unknown reduction.
Gradient:
    2 (input - target) / n.
Example:
    >>> mg.nn.functional.mse_loss(mg.tensor([1., 3.]), mg.tensor([1., 1.]))
    tensor(2.)
""",
)


# --- negative log likelihood ------------------------------------------------------------------------------------------
def _one_hot(input_shape: tuple[int, ...], target: Any, ignore_index: int, dtype: Any) -> Any:
    """1 at the target class, 0 elsewhere and in samples that do not count."""
    dim = 0 if len(input_shape) == 1 else 1
    valid = target != ignore_index
    index = mg.where(valid, target, mg.zeros_like(target)).to(mg.int64).unsqueeze(dim)
    return mg.zeros(input_shape, dtype=dtype, device=target.device).scatter(dim, index, valid.to(dtype).unsqueeze(dim))


def _along_classes(weight: Any, ndim: int) -> Any:
    return weight if ndim == 1 else weight.reshape([1, -1] + [1] * (ndim - 2))


def _sample_gradient(g: Any, total_weight: Any, reduction: int, ndim: int) -> Any:
    """Gradient of each sample's loss, broadcasting over the classes."""
    if reduction == 1:
        return g / mg.where(total_weight == 0, 1.0, total_weight)  # nothing counts: the loss is NaN, its gradient 0 (PyTorch's)
    return g if reduction == 2 else g.unsqueeze(0 if ndim == 1 else 1)


def _nll_grad(g: Any, input_shape: tuple[int, ...], target: Any, weight: Any, total_weight: Any, ignore_index: int, reduction: int) -> Any:
    ndim = len(input_shape)
    q = _one_hot(input_shape, target, ignore_index, g.dtype)
    if weight is not None:
        q = q * _along_classes(weight, ndim)
    return -_sample_gradient(g, total_weight, reduction, ndim) * q


def _np_one_hot(input: Any, target: Any, ignore_index: int) -> Any:
    np = _np()
    dim = 0 if input.ndim == 1 else 1
    q = np.zeros(input.shape)
    valid = target != ignore_index
    np.put_along_axis(q, np.expand_dims(np.where(valid, target, 0), dim), np.expand_dims(valid * 1.0, dim), dim)
    return q


def _np_reduced(loss: Any, total: Any, reduction: int) -> Any:
    return loss if reduction == 0 else loss.sum() / (total if reduction == 1 else 1)


def _np_weights(input: Any, weight: Any) -> Any:
    np = _np()
    return np.ones(input.shape) if weight is None else np.ones(input.shape) * _along_classes(weight, input.ndim)


def _np_nll(input: Any, target: Any, weight: Any, ignore_index: int, reduction: int) -> tuple[Any, Any]:
    q = _np_one_hot(input, target, ignore_index) * _np_weights(input, weight)
    return _np_reduced(-(q * input).sum(0 if input.ndim == 1 else 1), q.sum(), reduction), q.sum()


def _np_cross_entropy(input: Any, target: Any, weight: Any, ignore_index: int, reduction: int, label_smoothing: float) -> tuple[Any, ...]:
    np = _np()
    dim = 0 if input.ndim == 1 else 1
    w, hot = _np_weights(input, weight), _np_one_hot(input, target, ignore_index)
    lse = np.log(np.exp(input).sum(dim, keepdims=True))
    q = ((1 - label_smoothing) * hot + label_smoothing / input.shape[dim] * hot.sum(dim, keepdims=True)) * w
    return _np_reduced((q * (lse - input)).sum(dim), (hot * w).sum(), reduction), lse.squeeze(dim), (hot * w).sum()


op(
    "_nll_loss(input, target, weight?, ignore_index: int, reduction: int) -> out, total_weight",
    meta="nll_loss",
    namespace=None,
    nondiff=("total_weight",),
    dinput=_nll_grad,
    ref=_np_nll,
    samples=lambda s: [
        s(s.f(3, 5), s.index(3, high=5), None, -100, 1),
        s(s.f(3, 5), s.index(3, high=5), s.f(5, low=0.5, grad=False), 2, 2),
        s(s.f(2, 4, 3), s.index(2, 3, high=4), None, -100, 0),
        s(s.f(4), s.index(high=4), None, -100, 1),
    ],
    doc="Negative log likelihood and the total weight of the samples that count; the kernel of `nll_loss`.",
)


# --- cross entropy ----------------------------------------------------------------------------------------------------
def _cross_entropy_grad(
    g: Any,
    input: Any,
    target: Any,
    weight: Any,
    total_weight: Any,
    ignore_index: int,
    reduction: int,
    label_smoothing: float,
) -> Any:
    """scale (sum(q) softmax(x) - q), q the target distribution times the class weights."""
    dim = 0 if input.dim() == 1 else 1
    x = input.float() if input.dtype in (mg.float16, mg.bfloat16) else input
    hot = _one_hot(tuple(x.shape), target, ignore_index, x.dtype)
    q = hot
    if label_smoothing:
        q = (1 - label_smoothing) * hot + label_smoothing / x.shape[dim] * hot.sum(dim, True)
    if weight is not None:
        q = q * _along_classes(weight, x.dim())
    return _sample_gradient(g, total_weight, reduction, x.dim()) * (q.sum(dim, True) * x.softmax(dim) - q)


op(
    "_cross_entropy_backward(g, input, target, weight?, lse, total_weight, ignore_index: int, reduction: int, "
    "label_smoothing: float) -> dinput",
    meta="cross_entropy_backward",
    namespace=None,
    no_samples_reason="tested as the fast gradient of _cross_entropy",
    no_ref_reason="tested against the plain formula of _cross_entropy, which finite differences check",
    no_grad_reason="used when no graph of the gradient is wanted; _cross_entropy's own formula is its differentiable form",
    doc="Gradient of cross_entropy in one pass over the logits.",
)

op(
    "_cross_entropy(input, target, weight?, ignore_index: int, reduction: int, label_smoothing: float) -> out, lse, total_weight",
    meta="cross_entropy",
    namespace=None,
    nondiff=("lse", "total_weight"),
    dinput=_cross_entropy_grad,
    fast_grads=lambda g, input, target, weight, lse, total_weight, ignore_index, reduction, label_smoothing: (
        functions["_cross_entropy_backward"](g, input, target, weight, lse, total_weight, ignore_index, reduction, label_smoothing),
    ),
    samples=lambda s: [
        s(s.f(3, 5), s.index(3, high=5), None, -100, 1, 0.0),
        s(s.f(3, 5), s.index(3, high=5), s.f(5, low=0.5, grad=False), 2, 1, 0.1),
        s(s.f(2, 4, 3), s.index(2, 3, high=4), None, -100, 0, 0.0),
        s(s.f(4), s.index(high=4), None, -100, 2, 0.2),
    ],
    ref=_np_cross_entropy,
    doc="Cross entropy with class indices, the logsumexp of each sample, the total weight; kernel of `cross_entropy`.",
)

def _np_linear_cross_entropy(
    input: Any, weight: Any, bias: Any, target: Any, class_weight: Any, g: Any, ignore_index: int, reduction: int, label_smoothing: float,
    needs: int,
) -> tuple[Any, ...]:  # fmt: skip
    np = _np()
    x = input.reshape(-1, input.shape[-1])
    logits = x @ weight.T + (0 if bias is None else bias)
    out, _, total = _np_cross_entropy(logits, target, class_weight, ignore_index, reduction, label_smoothing)
    empty = np.zeros(0)
    if g is None:
        return out, empty, empty, empty
    hot = _np_one_hot(logits, target, ignore_index)
    q = (1 - label_smoothing) * hot + label_smoothing / logits.shape[1] * hot.sum(1, keepdims=True)
    q = q * _np_weights(logits, class_weight)
    p = np.exp(logits - logits.max(1, keepdims=True))
    d = (g / total if reduction == 1 else g[:, None] if reduction == 0 else g) * (q.sum(1, keepdims=True) * p / p.sum(1, keepdims=True) - q)
    found = ((d @ weight).reshape(input.shape), d.T @ x, d.sum(0))
    return out, *(each if needs >> k & 1 else empty for k, each in enumerate(found))


op(
    "_linear_cross_entropy(input, weight, bias?, target, class_weight?, g?, ignore_index: int, reduction: int, label_smoothing: float, "
    "needs: int) -> out, dinput, dweight, dbias",
    meta="linear_cross_entropy",
    namespace=None,
    no_grad_reason="the compiler puts it in place of a linear layer, its cross entropy and their gradients: it gives these itself",
    samples=lambda s: [
        s(s.f(3, 4, grad=False), s.f(5, 4, grad=False), None, s.index(3, high=5), None, s.f(grad=False), -100, 1, 0.0, 3),
        s(s.f(2, 3, 4, grad=False), s.f(5, 4, grad=False), s.f(5, grad=False), s.index(6, high=5), s.f(5, low=0.5, grad=False),
          s.f(grad=False), 2, 2, 0.1, 7),
        s(s.f(3, 4, grad=False), s.f(5, 4, grad=False), s.f(5, grad=False), s.index(3, high=5), None, None, -100, 0, 0.0, 0),
        s(s.f(3, 4, grad=False), s.f(5, 4, grad=False), None, s.index(3, high=5), None, s.f(3, grad=False), -100, 0, 0.2, 1),
    ],
    ref=_np_linear_cross_entropy,
    reduction=lambda input, weight, *_, **__: max(weight.shape) * 4,
    doc="""Cross entropy of linear(input, weight, bias), with its gradients, on some rows at a time.

`needs`: 1 dinput + 2 dweight + 4 dbias, for `g`, the gradient of the loss; what is not wanted is empty.
""",
)


def _soft_cross_entropy(input: Any, target: Any, weight: Any, reduction: str, label_smoothing: float) -> mg.Tensor:
    """Cross entropy with target probabilities."""
    dim = 0 if input.dim() == 1 else 1
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / input.shape[dim]
    loss = target * input.log_softmax(dim)
    if weight is not None:
        loss = loss * _along_classes(weight, input.dim())
    if reduction == "none":
        return -loss.sum(dim)
    batch = input.numel() // input.shape[dim] if input.shape[dim] else 0
    return -loss.sum() / batch if reduction == "mean" else -loss.sum()


@composite(
    namespace="nn.functional",
    no_ref_reason="_cross_entropy has the reference",
    samples=lambda s: [s(s.f(3, 5), s.index(3, high=5)), s(s.f(3, 5), s.f(3, 5, low=0.0), label_smoothing=0.1)],
)
def cross_entropy(
    input: mg.Tensor,
    target: mg.Tensor,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> mg.Tensor:
    """Negative log likelihood of the target under softmax(input), computed from the logits in one pass.

    Args:
        input: logits (C), (N, C) or (N, C, *).
        target: class indices (), (N) or (N, *), or probabilities of the input's shape.
        weight: (C) weight of each class.
        ignore_index: class whose samples do not count.
        reduction: "mean" (by total weight), "sum" or "none".
        label_smoothing: share of the target spread evenly over the classes, in [0, 1].
    Returns:
        a 0-d tensor, or one loss per sample with "none". NaN for a mean over no samples.
    Raises:
        IndexError for a class out of range; ValueError and RuntimeError for shapes that do not fit.
    Gradient:
        (softmax(input) - target) times the weights, over the total weight. None for target indices and weight.
    Example:
        >>> mg.nn.functional.cross_entropy(mg.tensor([[0., 0.]]), mg.tensor([1]))
        tensor(0.6931)
    """
    code = _code("cross_entropy", reduction)
    if input.shape == target.shape and target.is_floating_point():
        if not 0.0 <= label_smoothing <= 1.0:
            raise RuntimeError(f"cross_entropy: label_smoothing must be between 0.0 and 1.0: got {label_smoothing}")
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    return functions["_cross_entropy"](input, target, weight, ignore_index, code, label_smoothing)[0]


@composite(
    namespace="nn.functional",
    no_ref_reason="_nll_loss has the reference",
    samples=lambda s: [s(s.f(3, 5), s.index(3, high=5))],
)
def nll_loss(input: mg.Tensor, target: mg.Tensor, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> mg.Tensor:
    """Minus the log probability of the target class.

    Args:
        input: log probabilities (C), (N, C) or (N, C, *).
        target: class indices (), (N) or (N, *).
        weight: (C) weight of each class.
        ignore_index: class whose samples do not count.
        reduction: "mean" (by total weight), "sum" or "none".
    Returns:
        a 0-d tensor, or one loss per sample with "none". NaN for a mean over no samples.
    Raises:
        IndexError for a class out of range; ValueError and RuntimeError for shapes that do not fit.
    Example:
        >>> mg.nn.functional.nll_loss(mg.tensor([[-1., -2.]]), mg.tensor([1]))
        tensor(2.)
    """
    return functions["_nll_loss"](input, target, weight, ignore_index, _code("nll_loss", reduction))[0]
