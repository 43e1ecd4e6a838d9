"""One-pass gradients of activations: internal pointwise ops, used as `fast_grads` when no graph of the gradient is
wanted.

`grad` is the incoming gradient,
   `out` the activation's output, `input` its input. The formula beside each activation, made of public ops,
is the definition (and what create_graph differentiates); tests/test_ops.py checks that both agree.
"""

from __future__ import annotations

import math
from typing import Any

from minigrad.op import functions, op
from minigrad.ops.shared import expr as m

_WHY = "an internal one-pass gradient; double backward goes through the public formula of the activation"
_SPECIAL = "which NaN comes out of 0 * inf depends on how a gradient is factored"


def _gradient(schema: str, expr: Any, summary: str, **more: Any) -> None:
    if "dgrad" not in more:
        more["no_grad_reason"] = _WHY
    op(schema, meta="binary_float_only", expr=expr, namespace=None, no_special_reason=_SPECIAL, doc=summary, **more)


def _gelu_erf(g: Any, x: Any) -> Any:
    return g * (0.5 * m.erfc(-x * math.sqrt(0.5)) + x * m.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _gelu_tanh(g: Any, x: Any) -> Any:
    k, c = math.sqrt(2 / math.pi), 0.044715
    t = m.tanh(k * x * (1 + c * x * x))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * c * x * x))


def _silu(g: Any, x: Any) -> Any:
    s = m.sigmoid(x)
    return g * s * (1 + x * (1 - s))


_gradient(
    "relu_backward(grad, out) -> y",
    lambda g, out: m.where(out <= 0, 0.0, g),
    "Gradient of relu.",
    # Linear in grad; piecewise constant in out, whose derivative is 0.
    dgrad=lambda g, out: functions["relu_backward"](g, out),
    dout=lambda g: None,
)
_gradient("sigmoid_backward(grad, out) -> y", lambda g, out: g * (1 - out) * out, "Gradient of sigmoid.")
_gradient("tanh_backward(grad, out) -> y", lambda g, out: g * (1 - out * out), "Gradient of tanh.")
_gradient("gelu_erf_backward(grad, input) -> y", _gelu_erf, "Gradient of the exact gelu.")
_gradient("gelu_tanh_backward(grad, input) -> y", _gelu_tanh, "Gradient of the tanh approximation of gelu.")
_gradient("silu_backward(grad, input) -> y", _silu, "Gradient of silu.")
_gradient(
    "hardswish_backward(grad, input) -> y",
    lambda g, x: g * m.where(x <= -3, 0.0, m.where(x < 3, x / 3 + 0.5, 1.0)),
    "Gradient of hardswish.",
)
_gradient(
    "leaky_relu_backward(grad, input, slope: scalar) -> y",
    lambda g, x, slope: m.where(x > 0, g, g * slope),
    "Gradient of leaky_relu.",
    attrs={"slope": (0.1,)},
)
_gradient(
    "elu_backward(grad, input, alpha: scalar) -> y",
    lambda g, x, alpha: m.where(x > 0, g, g * alpha * m.exp(m.minimum(x, 0))),
    "Gradient of elu.",
    attrs={"alpha": (0.7,)},
)
_gradient(
    "threshold_backward(grad, input, threshold: scalar) -> y",
    lambda g, x, threshold: m.where(x <= threshold, 0.0, g),
    "Gradient of threshold.",
    attrs={"threshold": (0.5,)},
)
_gradient(
    "softplus_backward(grad, input, beta: scalar, threshold: scalar) -> y",
    lambda g, x, beta, threshold: m.where(x * beta > threshold, g, g * m.sigmoid(x * beta)),
    "Gradient of softplus.",
    attrs={"beta": (2.0,), "threshold": (20.0,)},
)
