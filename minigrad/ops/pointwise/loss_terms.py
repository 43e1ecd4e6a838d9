"""What a loss adds up, element by element, in one pass: internal ops behind l1, smooth l1, Huber, logit cross entropy and KL divergence.

nn.functional reduces them. Each has a public formula as its gradient and a one-pass form (`<name>_backward`) for when no graph is wanted.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import functions, op
from minigrad.ops.shared import expr as m

_META = "binary_float_only"
_NAN = "which NaN comes out of 0 * inf depends on how the term is factored"
_WHY = "an internal one-pass gradient; double backward goes through the formula of the loss term"
_APART: Any = {"input": (1.0, 3.0), "target": (-0.5, 0.4)}  # away from the kinks at equality, beta and delta


def _term(name: str, expr: Any, slope: Any, summary: str, argument: str = "", **declared: Any) -> None:
    """The loss term and its one-pass gradient by input."""
    schema = f"input, target{argument}"
    op(f"{name}({schema}) -> out", meta=_META, namespace=None, expr=expr, no_special_reason=_NAN, doc=summary, **declared)
    shared = {k: v for k, v in declared.items() if k in ("domain", "attrs")}
    op(
        f"{name}_backward(grad, {schema}) -> y", meta=_META, namespace=None, expr=slope, no_special_reason=_NAN, no_grad_reason=_WHY,
        doc=f"Gradient of {name} by its input.", **shared,
    )  # fmt: skip


def _both(d: Any, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    """Gradients of a term in input - target."""
    return d if needs[0] else None, -d if needs[1] else None


def _sign(d: Any) -> Any:
    return m.where(d > 0, 1.0, m.where(d < 0, -1.0, 0.0))


_term(
    "absolute_error",
    lambda input, target: m.abs(input - target),
    lambda g, input, target: g * _sign(input - target),
    "|input - target|; gradient 0 where they are equal.",
    domain=_APART,
    grads=lambda g, input, target, needs: _both(g * mg.sign(input - target), needs),
    fast_grads=lambda g, input, target, needs: _both(functions["absolute_error_backward"](g, input, target), needs),
)


def _smooth_l1_slope(input: Any, target: Any, beta: float) -> Any:
    d = input - target
    return mg.where(d.abs() < beta, d / beta, d.sign())


_term(
    "smooth_l1_error",
    lambda input, target, beta: m.where(
        m.abs(input - target) < beta, (input - target) * (input - target) * (0.5 / beta), m.abs(input - target) - 0.5 * beta
    ),
    lambda g, input, target, beta: g * m.where(m.abs(input - target) < beta, (input - target) / beta, _sign(input - target)),
    "0.5 d² / beta where |d| < beta, else |d| - beta / 2, with d = input - target.",
    ", beta: scalar",
    domain=_APART,
    attrs={"beta": (0.25, 5.0)},
    grads=lambda g, input, target, beta, needs: _both(g * _smooth_l1_slope(input, target, beta), needs),
    fast_grads=lambda g, input, target, beta, needs: _both(functions["smooth_l1_error_backward"](g, input, target, beta), needs),
)


def _huber_slope(input: Any, target: Any, delta: float) -> Any:
    d = input - target
    return mg.where(d.abs() < delta, d, d.sign() * delta)


_term(
    "huber_error",
    lambda input, target, delta: m.where(
        m.abs(input - target) < delta, (input - target) * (input - target) * 0.5, (m.abs(input - target) - 0.5 * delta) * delta
    ),
    lambda g, input, target, delta: g * m.where(m.abs(input - target) < delta, input - target, _sign(input - target) * delta),
    "0.5 d² where |d| < delta, else delta (|d| - delta / 2), with d = input - target.",
    ", delta: scalar",
    domain=_APART,
    attrs={"delta": (0.25, 5.0)},
    grads=lambda g, input, target, delta, needs: _both(g * _huber_slope(input, target, delta), needs),
    fast_grads=lambda g, input, target, delta, needs: _both(functions["huber_error_backward"](g, input, target, delta), needs),
)

_term(
    "bce_logits_error",
    lambda input, target: (1 - target) * input + m.softplus(-input),
    lambda g, input, target: g * (m.sigmoid(input) - target),
    "Binary cross entropy of sigmoid(input) and target, without overflow: (1 - target) input - logsigmoid(input).",
    domain={"input": (-3.0, 3.0), "target": (0.0, 1.0)},
    grads=lambda g, input, target, needs: (g * (input.sigmoid() - target) if needs[0] else None, -g * input if needs[1] else None),
    fast_grads=lambda g, input, target, needs: (
        functions["bce_logits_error_backward"](g, input, target) if needs[0] else None,
        -g * input if needs[1] else None,
    ),
)


def _kl_target_slope(input: Any, target: Any) -> Any:
    counts = target > 0  # 0 log 0 = 0, in the value and in the gradient: the logarithm never sees the zero
    return mg.where(counts, target, 1.0).log() - input + counts.to(target.dtype)


op(
    "kl_error(input, target) -> out", meta=_META, namespace=None, no_special_reason=_NAN,
    expr=lambda input, target: target * (m.log(m.where(target > 0, target, 1.0)) - input),
    domain={"input": (-3.0, 0.0), "target": (0.1, 1.5)},
    dinput=lambda g, target: -g * target,
    dtarget=lambda g, input, target: g * _kl_target_slope(input, target),
    doc="target (log(target) - input), 0 where target is 0: a term of the Kullback-Leibler divergence; input holds log probabilities.",
)  # fmt: skip
