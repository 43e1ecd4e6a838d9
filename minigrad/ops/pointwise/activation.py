"""Activation functions, all pointwise. Kernels: csrc/scalar.h; modules: minigrad/nn/modules/activation.py.

Gradients at kinks are PyTorch's and are stated with each op. Constants of `selu` are those of the paper, to double
precision.
"""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.pointwise import activation_grad  # noqa: F401  declares the fast twins
from minigrad.ops.shared import expr as m
from minigrad.ops.shared.check import expect_tensors
from minigrad.ops.shared.doc import doc

_F = "unary_float_only"
_NN = "nn.functional"
_BOTH = ("", "nn.functional")
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946

# --- rectifiers -------------------------------------------------------------------------------------------------------
op("relu(input) -> out", meta="unary_no_bool", namespace=_BOTH, expr=lambda input: m.maximum(input, 0),
   dinput=lambda g, out: mg.where(mg.le(out, 0), 0.0, g),
   fast_grads=lambda g, out: (functions["relu_backward"](g, out),),
   doc=doc("unary_no_bool", "max(input, 0).", "mg.relu(mg.tensor([-1., 2.])) -> tensor([0., 2.])", grad="0 at 0."))

op("relu6(input) -> out", meta="unary_no_bool", namespace=_NN, method=False,
   expr=lambda input: m.minimum(m.maximum(input, 0), 6),
   dinput=lambda g, input: mg.where(mg.logical_or(mg.le(input, 0), mg.ge(input, 6)), 0.0, g),
   doc=doc("unary_no_bool", "min(max(input, 0), 6).",
   "mg.nn.functional.relu6(mg.tensor([-1., 8.])) -> tensor([0., 6.])",
           grad="0 at 0 and at 6."))

op("leaky_relu(input, negative_slope: scalar = 0.01) -> out", meta=_F, attrs={"negative_slope": (0.01, 0.3)},
   namespace=_NN, method=False,
   expr=lambda input, negative_slope: m.where(input > 0, input, input * negative_slope),
   dinput=lambda g, input, negative_slope: mg.where(mg.gt(input, 0), g, g * negative_slope),
   fast_grads=lambda g, input, negative_slope: (functions["leaky_relu_backward"](g, input, negative_slope),),
   doc=doc(_F, "input above 0, negative_slope * input below.",
           "mg.nn.functional.leaky_relu(mg.tensor([-1., 2.])) -> tensor([-0.0100,  2.0000])",
           args="negative_slope: number.", grad="negative_slope at 0."))

op("threshold(input, threshold: scalar, value: scalar) -> out", meta="unary_no_bool", attrs={"threshold": (0, 1),
   "value": (2, 7)}, namespace=_BOTH, method=False, inplace=True,
   expr=lambda input, threshold, value: m.where(input <= threshold, value, input),
   dinput=lambda g, input, threshold: mg.where(mg.le(input, threshold), 0.0, g),
   fast_grads=lambda g, input, threshold: (functions["threshold_backward"](g, input, threshold),),
   doc=doc("unary_no_bool", "input above the threshold, value elsewhere.",
           "mg.threshold(mg.tensor([-1., 2.]), 0.5, 9.) -> tensor([9., 2.])",
           args="threshold: number.;;value: number.", grad="0 at the threshold."))

op("hardtanh(input, min_val: scalar = -1.0, max_val: scalar = 1.0) -> out", meta="unary_no_bool",
   attrs={"min_val": (-1, -2), "max_val": (1, 2)}, namespace=_NN, method=False,
   dtypes=("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8"),
   expr=lambda input, min_val, max_val: m.minimum(m.maximum(input, min_val), max_val),
   dinput=lambda g, input, min_val, max_val: mg.where(mg.logical_or(mg.le(input, min_val), mg.ge(input, max_val)), 0.0,
   g),
   doc=doc("unary_no_bool", "Each element clipped to [min_val, max_val].",
           "mg.nn.functional.hardtanh(mg.tensor([-2., 0.5])) -> tensor([-1.0000,  0.5000])",
           args="min_val: number, >= 0 for uint8.;;max_val: number.", grad="0 at both bounds (unlike clamp)."))

# --- exponential units ------------------------------------------------------------------------------------------------
op("elu(input, alpha: scalar = 1.0) -> out", meta=_F, attrs={"alpha": (1.0, 0.7)}, namespace=_NN, method=False,
   expr=lambda input, alpha: m.where(input > 0, input, alpha * m.expm1(m.minimum(input, 0))),
   dinput=lambda g, input, alpha: mg.where(mg.le(input, 0), g * alpha * mg.exp(mg.clamp_max(input, 0)), g),
   fast_grads=lambda g, input, alpha: (functions["elu_backward"](g, input, alpha),),
   doc=doc(_F, "input above 0, alpha * (exp(input) - 1) below.",
           "mg.nn.functional.elu(mg.tensor([-1., 2.])) -> tensor([-0.6321,  2.0000])", args="alpha: number.",
           grad="alpha at 0.", source="Clevert et al. 2015, arXiv:1511.07289."))

op("celu(input, alpha: scalar = 1.0) -> out", meta=_F, attrs={"alpha": (1.0, 0.7)},
   namespace=_BOTH, method=False, inplace=True,
   expr=lambda input, alpha: m.where(input > 0, input, alpha * m.expm1(m.minimum(input, 0) / alpha)),
   dinput=lambda g, input, alpha: mg.where(mg.le(input, 0), g * mg.exp(mg.clamp_max(input, 0) / alpha), g),
   doc=doc(_F, "input above 0, alpha * (exp(input / alpha) - 1) below; smooth for every alpha.",
           "mg.celu(mg.tensor([-1., 2.])) -> tensor([-0.6321,  2.0000])", args="alpha: number, not 0.",
           source="Barron 2017, arXiv:1704.07483."))

op("selu(input) -> out", meta=_F, namespace=_BOTH, method=False, inplace=True,
   expr=lambda input: SELU_SCALE * m.where(input > 0, input, SELU_ALPHA * m.expm1(m.minimum(input, 0))),
   dinput=lambda g, input: SELU_SCALE * mg.where(mg.le(input, 0), g * SELU_ALPHA * mg.exp(mg.clamp_max(input, 0)), g),
   doc=doc(_F, "Scaled elu whose constants keep zero mean and unit variance through layers.",
           "mg.selu(mg.tensor([-1., 2.])) -> tensor([-1.1113,  2.1014])", grad="scale * alpha at 0.",
           source="Klambauer et al. 2017, arXiv:1706.02515."))


# --- smooth gates -----------------------------------------------------------------------------------------------------
def _silu_grad(g: Any, input: Any) -> Any:
    s = mg.sigmoid(input)
    return g * s * (1 + input * (1 - s))


op("silu(input) -> out", meta=_F, namespace=_NN, method=False, recompute=True, expr=lambda input: input * m.sigmoid(input),
   dinput=_silu_grad,
   fast_grads=lambda g, input: (functions["silu_backward"](g, input),),
   doc=doc(_F, "input * sigmoid(input), also called swish.",
           "mg.nn.functional.silu(mg.tensor([-1., 2.])) -> tensor([-0.2689,  1.7616])",
           source="Elfwing et al. 2017, arXiv:1702.03118."))


def _gelu_erf_grad(g: Any, input: Any) -> Any:
    """Phi(x) + x phi(x), with the normal distribution function and density."""
    cdf = 0.5 * mg.erfc(input * -math.sqrt(0.5))
    return g * (cdf + input * mg.exp(-0.5 * input * input) * (1 / math.sqrt(2 * math.pi)))


def _gelu_tanh_grad(g: Any, input: Any) -> Any:
    k, c = math.sqrt(2 / math.pi), 0.044715
    square = input * input
    t = mg.tanh(k * input * (1 + c * square))
    return g * (0.5 * (1 + t) + 0.5 * input * (1 - t * t) * (k * (1 + 3 * c * square)))


op("gelu_erf(input) -> out", meta=_F, namespace=None, recompute=True, expr=lambda input: 0.5 * input * m.erfc(-input * math.sqrt(0.5)),
   dinput=_gelu_erf_grad,
   fast_grads=lambda g, input: (functions["gelu_erf_backward"](g, input),),
   doc=doc(_F, "input times the normal distribution function; the exact kernel of `gelu`.",
           "mg.nn.functional.gelu(mg.tensor([-1., 2.])) -> tensor([-0.1587,  1.9545])"))

op("gelu_tanh(input) -> out", meta=_F, namespace=None, recompute=True, dinput=_gelu_tanh_grad,
   expr=lambda input: 0.5 * input * (1 + m.tanh(math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input))),
   fast_grads=lambda g, input: (functions["gelu_tanh_backward"](g, input),),
   doc=doc(_F, "The tanh approximation of `gelu`.",
           'mg.nn.functional.gelu(mg.tensor([-1., 2.]), approximate="tanh") -> tensor([-0.1588,  1.9546])'))


@composite(namespace="nn.functional", method=False, out=True, samples="unary", ref="gelu",
           attrs={"approximate": ("none", "tanh")})
def gelu(input: mg.Tensor, approximate: str = "none") -> mg.Tensor:
    """Gaussian error linear unit: input times the normal distribution function at input.

    Args:
        input: any shape, a floating dtype.
        approximate: "none" (exact, by erf) or "tanh".
    Returns:
        a tensor of the same shape and dtype.
    Raises:
        RuntimeError for integers, bools and an unknown approximation.
    Source:
        Hendrycks and Gimpel 2016, arXiv:1606.08415.
    Example:
        >>> mg.nn.functional.gelu(mg.tensor([-1., 2.]))
        tensor([-0.1587,  1.9545])
    """
    if approximate == "none":
        return functions["gelu_erf"](input)
    if approximate == "tanh":
        return functions["gelu_tanh"](input)
    raise RuntimeError(
        f"gelu: unknown approximation: got {approximate!r}, expected 'none' or 'tanh'. Try "
        "approximate='none'."
    )


def _mish_grad(g: Any, input: Any) -> Any:
    t = mg.tanh(mg.nn.functional.softplus(input))
    return g * (t + input * mg.sigmoid(input) * (1 - t * t))


op("mish(input) -> out", meta=_F, namespace=_NN, method=False, expr=lambda input: input * m.tanh(m.softplus(input)),
   dinput=_mish_grad,
   doc=doc(_F, "input * tanh(softplus(input)).",
           "mg.nn.functional.mish(mg.tensor([-1., 2.])) -> tensor([-0.3034,  1.9440])",
           source="Misra 2019, arXiv:1908.08681."))

op("hardswish(input) -> out", meta=_F, namespace=_NN, method=False,
   expr=lambda input: input * m.minimum(m.maximum(input + 3, 0), 6) / 6,
   dinput=lambda g, input: mg.where(
       mg.le(input, -3), 0.0, mg.where(mg.lt(input, 3), g * (input / 3 + 0.5), g)),
   fast_grads=lambda g, input: (functions["hardswish_backward"](g, input),),
   doc=doc(_F, "input * relu6(input + 3) / 6.",
           "mg.nn.functional.hardswish(mg.tensor([-1., 4.])) -> tensor([-0.3333,  4.0000])", grad="0 at -3, 1 at 3.",
           source="Howard et al. 2019, arXiv:1905.02244."))

op("hardsigmoid(input) -> out", meta=_F, namespace=_NN, method=False,
   torch_tol={"gradient": 1e-7},  # PyTorch divides by 6 in float32 even for float64
   expr=lambda input: m.minimum(m.maximum(input + 3, 0), 6) / 6,
   dinput=lambda g, input: mg.where(mg.logical_and(mg.gt(input, -3), mg.lt(input, 3)), g / 6, 0.0),
   doc=doc(_F, "relu6(input + 3) / 6.",
   "mg.nn.functional.hardsigmoid(mg.tensor([-4., 0.])) -> tensor([0.0000, 0.5000])",
           grad="0 at -3 and at 3."))

# --- soft forms -------------------------------------------------------------------------------------------------------
op("softplus(input, beta: scalar = 1.0, threshold: scalar = 20.0) -> out", meta=_F, attrs={"beta": (1.0, 2.0),
   "threshold": (20.0, 3.0)}, namespace=_NN, method=False,
   expr=lambda input, beta, threshold: m.where(input * beta > threshold, input, m.softplus(input * beta) / beta),
   dinput=lambda g, input, beta, threshold: mg.where(
       mg.gt(input * beta, threshold), g, g * mg.sigmoid(input * beta)),
   fast_grads=lambda g, input, beta, threshold: (functions["softplus_backward"](g, input, beta, threshold),),
   doc=doc(_F, "log(1 + exp(beta * input)) / beta, without overflow.",
           "mg.nn.functional.softplus(mg.tensor([0., 30.])) -> tensor([ 0.6931, 30.0000])",
           args="beta: number, not 0.;;threshold: where beta * input is above it, the result is input itself."))

op("logsigmoid(input) -> out", meta=_F, namespace=_NN, method=False, expr=lambda input: -m.softplus(-input),
   dinput=lambda g, input: g * mg.sigmoid(-input),
   doc=doc(_F, "log(sigmoid(input)), without overflow.",
           "mg.nn.functional.logsigmoid(mg.tensor([0., -100.])) -> tensor([  -0.6931, -100.0000])"))

def _softsign_grad(g: Any, input: Any) -> Any:
    """For complex input |input| moves with the part of a step along input only."""
    size = 1 + mg.abs(input)
    if not input.is_complex():
        return g / mg.square(size)
    return g / size - mg.sgn(input) * mg.real(mg.conj(g) * input) / mg.square(size)


op("softsign(input) -> out", meta="unary_float", namespace=_NN, method=False,
   expr=lambda input: input / (1 + m.abs(input)), holomorphic=False,
   dinput=_softsign_grad,
   doc=doc("unary_float", "input / (1 + |input|).",
           "mg.nn.functional.softsign(mg.tensor([-1., 3.])) -> tensor([-0.5000,  0.7500])"))

op("tanhshrink(input) -> out", meta="unary_float",
   torch_tol={"float16": 2e-3, "bfloat16": 2e-2},  # PyTorch rounds twice
   dtypes=("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"),
   namespace=_NN, method=False,
   expr=lambda input: input - m.tanh(input),
   dinput=lambda g, input: g * mg.square(mg.tanh(input)),
   doc=doc("unary_float", "input - tanh(input).",
           "mg.nn.functional.tanhshrink(mg.tensor([0., 1.])) -> tensor([0.0000, 0.2384])"))

op("hardshrink(input, lambd: scalar = 0.5) -> out", meta=_F, attrs={"lambd": (0.5, 1.0)}, namespace=_BOTH,
   expr=lambda input, lambd: m.where((input >= -lambd) & (input <= lambd), 0.0, input),
   dinput=lambda g, input, lambd: mg.where(mg.logical_and(mg.ge(input, -lambd), mg.le(input, lambd)), 0.0, g),
   inplace=False,
   doc=doc(_F, "0 within [-lambd, lambd], input outside.",
           "mg.hardshrink(mg.tensor([-0.2, 2.])) -> tensor([0., 2.])", args="lambd: number.", grad="0 at +-lambd."))

op("softshrink(input, lambd: scalar = 0.5) -> out", meta=_F, attrs={"lambd": (0.5, 1.0)}, namespace=_NN, method=False,
   inplace=False,
   expr=lambda input, lambd: m.where(input > lambd, input - lambd, m.where(input < -lambd, input + lambd, input * 0)),
   dinput=lambda g, input, lambd: mg.where(mg.logical_and(mg.ge(input, -lambd), mg.le(input, lambd)), 0.0, g),
   doc=doc(_F, "input moved towards 0 by lambd, and 0 within [-lambd, lambd].",
           "mg.nn.functional.softshrink(mg.tensor([0.2, 2.])) -> tensor([0.0000, 1.5000])",
           args="lambd: number, at least 0.", grad="0 at +-lambd."))


@composite(
    namespace=("", "nn.functional"), ref="prelu",
    samples=lambda s: [s(s.t(*shape), s.t(n)) for shape, n in (((), 1), ((7,), 1), ((2, 3), 3), ((2, 3, 4), 3), ((0,
    3), 3))],
)  # fmt: skip
def prelu(input: mg.Tensor, weight: mg.Tensor) -> mg.Tensor:
    """leaky_relu with a learned slope: input above 0, weight * input below.

    Args:
        input: shape (N, C, ...), a floating dtype.
        weight: one slope, or C of them (shape (C,)).
    Returns:
        a tensor of input's shape.
    Raises:
        RuntimeError when weight has neither one element nor one per channel.
    Gradient:
        weight for input at 0.
    Source:
        He et al. 2015, arXiv:1502.01852.
    Example:
        >>> mg.prelu(mg.tensor([-1., 2.]), mg.tensor([0.25]))
        tensor([-0.2500,  2.0000])
    """
    expect_tensors("prelu", input=input, weight=weight)
    if weight.dim() > 1:
        raise RuntimeError(
            f"prelu: weight must be a scalar or a vector: got shape {tuple(weight.shape)}. Try weight.flatten()."
        )
    channels = input.shape[1] if input.dim() > 1 else 1
    if weight.numel() != 1 and weight.numel() != channels:
        raise RuntimeError(
            f"prelu: wrong number of slopes: got weight {tuple(weight.shape)} for input {tuple(input.shape)}, "
            f"expected 1 or {channels} elements. Try weight of shape ({channels},)."
        )
    shape = (1, -1) + (1,) * (input.dim() - 2) if weight.numel() > 1 else (1,) * input.dim()
    return mg.where(mg.gt(input, 0), input, mg.mul(weight.reshape(shape), input))
