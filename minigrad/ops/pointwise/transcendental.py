"""Pointwise ops of one tensor: exponentials, logarithms, trigonometry and special functions. Kernels: csrc/scalar.h."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, is_dataless, namespaces, op
from minigrad.ops.shared import expr as m
from minigrad.ops.shared.check import expect_tensors
from minigrad.ops.shared.doc import doc

_F = "unary_float"

# --- exponentials and logarithms --------------------------------------------------------------------------------------
op("exp(input) -> out", meta=_F, expr=m.exp, dinput=lambda g, out: g * out,
   doc=doc(_F, "e to the power of each element.", "mg.exp(mg.tensor([0., 1.])) -> tensor([1.0000, 2.7183])"))

op("exp2(input) -> out", meta=_F, namespace=("", "special"), expr=m.exp2, dinput=lambda g, out: g * out * m.ln2,
   doc=doc(_F, "2 to the power of each element.", "mg.exp2(mg.tensor([0., 3.])) -> tensor([1., 8.])"))

op("expm1(input) -> out", meta=_F, namespace=("", "special"), expr=m.expm1, dinput=lambda g, out: g * (out + 1),
   doc=doc(_F, "exp(input) - 1, accurate near 0.", "mg.expm1(mg.tensor([0., 1.])) -> tensor([0.0000, 1.7183])"))

op("log(input) -> out", meta=_F, domain=(0.1, 4.0), expr=m.log, dinput=lambda g, input: g / input,
   doc=doc(_F, "Natural logarithm of each element; -inf at 0, NaN below.",
           "mg.log(mg.tensor([1., 2.])) -> tensor([0.0000, 0.6931])"))

op("log2(input) -> out", meta=_F, domain=(0.1, 4.0), expr=m.log2, dinput=lambda g, input: g / (input * m.ln2),
   doc=doc(_F, "Logarithm to base 2; -inf at 0, NaN below.", "mg.log2(mg.tensor([1., 8.])) -> tensor([0., 3.])"))

op("log10(input) -> out", meta=_F, domain=(0.1, 4.0), expr=m.log10, dinput=lambda g, input: g / (input * math.log(10)),
   doc=doc(_F, "Logarithm to base 10; -inf at 0, NaN below.", "mg.log10(mg.tensor([1., 100.])) -> tensor([0., 2.])"))

op("log1p(input) -> out", meta=_F, namespace=("", "special"), domain=(-0.8, 4.0), expr=m.log1p,
   dinput=lambda g, input: g / (input + 1),
   doc=doc(_F, "log(1 + input), accurate near 0; -inf at -1, NaN below.",
           "mg.log1p(mg.tensor([0., 1.])) -> tensor([0.0000, 0.6931])"))

# --- trigonometric ----------------------------------------------------------------------------------------------------
op("sin(input) -> out", meta=_F, expr=m.sin, dinput=lambda g, input: g * mg.cos(input),
   doc=doc(_F, "Sine of each element, in radians.", "mg.sin(mg.tensor([0., 1.])) -> tensor([0.0000, 0.8415])"))

op("cos(input) -> out", meta=_F, expr=m.cos, dinput=lambda g, input: -g * mg.sin(input),
   doc=doc(_F, "Cosine of each element, in radians.", "mg.cos(mg.tensor([0., 1.])) -> tensor([1.0000, 0.5403])"))

op("tan(input) -> out", meta=_F, domain=(-1.3, 1.3), expr=m.tan, dinput=lambda g, out: g * (1 + out * out),
   doc=doc(_F, "Tangent of each element, in radians.", "mg.tan(mg.tensor([0., 1.])) -> tensor([0.0000, 1.5574])"))

op("asin(input) -> out", meta=_F, domain=(-0.95, 0.95), expr=m.asin, dinput=lambda g,
   input: g * mg.rsqrt(1 - input * input),
   aliases=("arcsin",),
   doc=doc(_F, "Inverse sine, in [-pi/2, pi/2]; NaN outside [-1, 1].",
           "mg.asin(mg.tensor([0., 1.])) -> tensor([0.0000, 1.5708])", grad="inf at +-1."))

op("acos(input) -> out", meta=_F, domain=(-0.95, 0.95), expr=m.acos, dinput=lambda g,
   input: -g * mg.rsqrt(1 - input * input),
   aliases=("arccos",),
   doc=doc(_F, "Inverse cosine, in [0, pi]; NaN outside [-1, 1].",
           "mg.acos(mg.tensor([0., 1.])) -> tensor([1.5708, 0.0000])", grad="-inf at +-1."))

op("atan(input) -> out", meta=_F, expr=m.atan, dinput=lambda g, input: g / (input * input + 1), aliases=("arctan",),
   doc=doc(_F, "Inverse tangent, in [-pi/2, pi/2].", "mg.atan(mg.tensor([0., 1.])) -> tensor([0.0000, 0.7854])"))

# --- hyperbolic -------------------------------------------------------------------------------------------------------
op("sinh(input) -> out", meta=_F, expr=m.sinh, dinput=lambda g, input: g * mg.cosh(input),
   doc=doc(_F, "Hyperbolic sine.", "mg.sinh(mg.tensor([0., 1.])) -> tensor([0.0000, 1.1752])"))

op("cosh(input) -> out", meta=_F, expr=m.cosh, dinput=lambda g, input: g * mg.sinh(input),
   doc=doc(_F, "Hyperbolic cosine.", "mg.cosh(mg.tensor([0., 1.])) -> tensor([1.0000, 1.5431])"))

op("tanh(input) -> out", meta=_F, expr=m.tanh, dinput=lambda g, out: g * (1 - out * out),
   fast_grads=lambda g, out: (functions["tanh_backward"](g, out),),
   doc=doc(_F, "Hyperbolic tangent; values in [-1, 1].", "mg.tanh(mg.tensor([0., 1.])) -> tensor([0.0000, 0.7616])"))

op("asinh(input) -> out", meta=_F, expr=m.asinh, dinput=lambda g, input: g * mg.rsqrt(input * input + 1),
   aliases=("arcsinh",),
   doc=doc(_F, "Inverse hyperbolic sine.", "mg.asinh(mg.tensor([0., 1.])) -> tensor([0.0000, 0.8814])"))

op("acosh(input) -> out", meta=_F, domain=(1.1, 4.0), expr=m.acosh, dinput=lambda g,
   input: g * (mg.rsqrt(input + 1) * mg.rsqrt(input - 1) if input.is_complex() else mg.rsqrt(input * input - 1)),
   aliases=("arccosh",),
   doc=doc(_F, "Inverse hyperbolic cosine; NaN below 1.", "mg.acosh(mg.tensor([1., 2.])) -> tensor([0.0000, 1.3170])",
           grad="inf at 1."))

op("atanh(input) -> out", meta=_F, domain=(-0.95, 0.95), expr=m.atanh, dinput=lambda g, input: g / (1 - input * input),
   aliases=("arctanh",),
   doc=doc(_F, "Inverse hyperbolic tangent; +-inf at +-1, NaN outside.",
           "mg.atanh(mg.tensor([0., 0.5])) -> tensor([0.0000, 0.5493])", grad="inf at +-1."))

# --- special functions ------------------------------------------------------------------------------------------------
op("sigmoid(input) -> out", meta=_F, expr=m.sigmoid, dinput=lambda g, out: g * (1 - out) * out,
   namespace=("", "nn.functional", "special"),
   fast_grads=lambda g, out: (functions["sigmoid_backward"](g, out),),
   doc=doc(_F, "Logistic function 1 / (1 + exp(-input)); values in [0, 1], no overflow.",
           "mg.sigmoid(mg.tensor([0., 2.])) -> tensor([0.5000, 0.8808])"))

op("erf(input) -> out", meta=_F, expr=m.erf, dinput=lambda g,
   input: g * (2 / math.sqrt(math.pi)) * mg.exp(-input * input),
   namespace=("", "special"),
   doc=doc(_F, "Error function 2/sqrt(pi) * integral of exp(-t*t) from 0 to input.",
           "mg.erf(mg.tensor([0., 1.])) -> tensor([0.0000, 0.8427])"))

op("erfc(input) -> out", meta=_F, expr=m.erfc, namespace=("", "special"),
   dinput=lambda g, input: g * (-2 / math.sqrt(math.pi)) * mg.exp(-input * input),
   doc=doc(_F, "1 - erf(input), accurate for large input.", "mg.erfc(mg.tensor([0., 1.])) -> tensor([1.0000, 0.1573])"))

op("erfinv(input) -> out", meta=_F, domain=(-0.95, 0.95), expr=m.erfinv, namespace=("", "special"),
   dinput=lambda g, out: g * (math.sqrt(math.pi) / 2) * mg.exp(out * out),
   doc=doc(_F, "Inverse of erf; +-inf at +-1, NaN outside.",
   "mg.erfinv(mg.tensor([0., 0.5])) -> tensor([0.0000, 0.4769])"))

op("lgamma(input) -> out", meta=_F, domain=(0.2, 4.0), expr=m.lgamma, dinput=lambda g, input: g * mg.digamma(input),
   doc=doc(_F, "log|gamma(input)|; inf at 0, -1, -2 …", "mg.lgamma(mg.tensor([0.5, 3.])) -> tensor([0.5724, 0.6931])"))

op("digamma(input) -> out", meta=_F, domain=(0.2, 4.0), expr=m.digamma, dinput=lambda g, input: g * mg.polygamma(1,
   input),
   namespace=("", "special"),
   doc=doc(_F, "Derivative of lgamma; -inf at 0, NaN at -1, -2 …",
           "mg.digamma(mg.tensor([1., 2.])) -> tensor([-0.5772,  0.4228])"))


# (-1)^k 2k pi^(2k) / (2k + 1)!, k = 1 … 8: the derivative of sinc by odd powers of x
_SINC_SLOPE = tuple((-1) ** k * 2 * k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(1, 9))


def _sinc_grad(g: Any, input: Any) -> Any:
    """(cos(pi x) - sinc(x)) / x; a series below 1/4, where the difference cancels. The inner where keeps 0/0 out of the second derivative."""
    near = mg.lt(mg.abs(input), 0.25)
    x = mg.where(near, 1.0, input)
    slope = (mg.cos(m.pi * x) - mg.sinc(x)) / x
    low = mg.where(near, input, 0.0)
    square = low * low
    series = _SINC_SLOPE[-1]
    for c in reversed(_SINC_SLOPE[:-1]):
        series = series * square + c
    return g * mg.where(near, low * series, slope)


op("sinc(input) -> out", meta=_F, dinput=_sinc_grad, namespace=("", "special"),
   expr=lambda input: m.where(input == 0, 1.0, m.sin(m.pi * input) / m.where(input == 0, 1.0, m.pi * input)),
   doc=doc(_F, "sin(pi input) / (pi input); 1 at 0.", "mg.sinc(mg.tensor([0., 0.5])) -> tensor([1.0000, 0.6366])",
           grad="0 at 0."))


def _within_unit(x: mg.Tensor) -> bool:
    """Whether every element lies in (0, 1)."""
    low, high = mg.aminmax(x.detach()) if x.numel() else (0.5, 0.5)
    return bool(low > 0) and bool(high < 1)


@composite(out=True, namespace=("", "special"), inplace=True, samples="unary", ref="logit", domain=(0.05, 0.95),
           attrs={"eps": (None, 0.2)})
def logit(input: mg.Tensor, eps: float | None = None) -> mg.Tensor:
    """Inverse of sigmoid: log(input / (1 - input)); NaN outside [0, 1].

    Args:
        input: any shape and dtype; integers are computed in the default float dtype.
        eps: when given, input is clamped to [eps, 1 - eps] first.
    Returns:
        a floating tensor of the same shape.
    Gradient:
        1 / (input (1 - input)); 0 where the clamp cut.
    Example:
        >>> mg.logit(mg.tensor([0.5, 0.75]))
        tensor([0.0000, 1.0986])
    """
    expect_tensors("logit", input=input)
    x = input if input.is_floating_point() or input.is_complex() else input.to(mg.get_default_dtype())
    if eps is not None:
        x = mg.clamp(x, eps, 1 - eps)
    elif x.requires_grad and not x.is_complex() and (is_dataless(x) or not _within_unit(x)):
        # The chain rule would give a number for NaN results and NaN (0 inf) at 0 and 1, where the slope is infinite.
        at = x.detach()
        edge = mg.logical_or(mg.eq(at, 0), mg.eq(at, 1))
        inside = mg.logical_and(mg.gt(at, 0), mg.lt(at, 1))
        e, i, o = mg.where(edge, x, 0.5), mg.where(inside, x, 0.5), mg.where(mg.logical_or(edge, inside), 0.5, x)
        return mg.where(edge, mg.log(e) - mg.log1p(-e), mg.where(inside, mg.log(i / (1 - i)), o * math.nan))
    return mg.log(x / (1 - x))


# PyTorch has second names for these in `special` only.
for _name, _op in (("expit", "sigmoid"), ("gammaln", "lgamma"), ("psi", "digamma")):
    namespaces["special"][_name] = functions[_op]
