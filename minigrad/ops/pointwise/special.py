"""Special functions: Bessel, error and gamma families, entropy. Kernels: csrc/special/*.h through csrc/cpu/pointwise_special_isa.cpp.

All compute in double and round once. The references of the tests are SciPy's functions of the same meaning (skipped where it is not
installed); the kernels share no code with them. Where PyTorch gives NaN at infinity (bessel_j0, i0 …) the limit is returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, namespaces, op
from minigrad.ops.layers import softmax  # noqa: F401  declare the ops that get a second name below
from minigrad.ops.pointwise import unary  # noqa: F401  declare the ops that get a second name below
from minigrad.ops.reductions import reduce  # noqa: F401  declare the ops that get a second name below
from minigrad.ops.shared import expr as m
from minigrad.ops.shared.check import expect_tensors, into
from minigrad.ops.shared.doc import doc

_TOL = dict(
    tol={"float64": 2e-13},
    tol_reason="SciPy's own error is of this size near zeros of the function and for arguments far out",
)


def scipy_reference(name: str, order: tuple[int, ...] = ()) -> Callable[..., Any]:
    """The function of scipy.special (or a lambda over the module) as a reference; Skip where SciPy is missing."""

    def reference(*args: Any, **kwargs: Any) -> Any:
        try:
            import scipy.special as sp
        except ImportError:
            from minigrad.testing.calls import Skip

            raise Skip("the reference of this op is SciPy's, which is not installed") from None
        given = [args[i] for i in order] if order else args
        return getattr(sp, name)(*given, **kwargs)

    return reference


def no_derivative(name: str, argument: str) -> Callable[..., Any]:
    """Formula of an argument that has no derivative in closed form: an error, as in PyTorch."""

    def formula(g: Any) -> Any:
        raise NotImplementedError(
            f"{name}: the derivative for '{argument}' is not implemented: it has no closed form. Try {argument}.detach()."
        )

    return formula


def _over(a: Any, x: Any, limit: float) -> Any:
    """a / x with its limit at x = 0; the inner where keeps 0/0 out of the second derivative."""
    at_zero = mg.eq(x, 0)
    return mg.where(at_zero, limit, a / mg.where(at_zero, 1.0, x))


def _unary(name: str, summary: str, example: str, source: str, *, arg: str = "input", ref: Any = "", grad: str = "",
           namespace: tuple[str, ...] = ("special",), domain: tuple[float, float] = (-6.0, 6.0), **options: Any) -> None:
    """Declares one function of one tensor."""
    if "expr" not in options:
        options = {"ref": ref if callable(ref) else scipy_reference(ref or name), **_TOL, **options}
    op(f"{name}({arg}) -> out", meta="unary_float", namespace=namespace, domain=domain,
       doc=doc("unary_float", summary, f"mg.special.{name}(mg.tensor({example.replace(' -> ', ')) -> tensor(')})",
               source=source, grad=grad),
       **options)  # fmt: skip


# --- modified Bessel functions ----------------------------------------------------------------------------------------
_I = "DLMF 10.25 and 10.40; Abramowitz & Stegun 9.8.1-4 for the form of the approximation."
_K = "DLMF 10.31 and 10.40; Abramowitz & Stegun 9.8.5-8 for the form of the approximation."
_POSITIVE: dict[str, Any] = {"domain": (0.2, 6.0), "special_skip": (float("inf"), 1e30, -1e-7)}

_INFINITE = (float("inf"), float("-inf"))  # NaN in SciPy

for _name in ("i0", "modified_bessel_i0"):
    _unary(_name, "Modified Bessel function of the first kind, order 0.", "[0., 1.] -> [1.0000, 1.2661]", _I, ref="i0",
           special_skip=_INFINITE,
           namespace=("", "special") if _name == "i0" else ("special",),
           dinput=lambda g, input: g * mg.special.i1(input))  # fmt: skip
for _name in ("i1", "modified_bessel_i1"):
    _unary(_name, "Modified Bessel function of the first kind, order 1.", "[0., 1.] -> [0.0000, 0.5652]", _I, ref="i1",
           special_skip=_INFINITE,
           dinput=lambda g, input, out: g * (mg.special.i0(input) - _over(out, input, 0.5)))  # fmt: skip

_unary("i0e", "exp(-|input|) times the modified Bessel function i0.", "[0., 1.] -> [1.0000, 0.4658]", _I,
       dinput=lambda g, input, out: g * (mg.special.i1e(input) - mg.sign(input) * out))

_unary("i1e", "exp(-|input|) times the modified Bessel function i1.", "[0., 1.] -> [0.0000, 0.2079]", _I,
       dinput=lambda g, input, out: g * (mg.special.i0e(input) - mg.sign(input) * out - _over(out, input, 0.5)))

_unary("modified_bessel_k0", "Modified Bessel function of the second kind, order 0; inf at 0, NaN below.",
       "[1., 2.] -> [0.4210, 0.1139]", _K, ref="k0", **_POSITIVE,
       dinput=lambda g, input: -g * mg.special.modified_bessel_k1(input))

_unary("modified_bessel_k1", "Modified Bessel function of the second kind, order 1; inf at 0, NaN below.",
       "[1., 2.] -> [0.6019, 0.1399]", _K, ref="k1", **_POSITIVE,
       dinput=lambda g, input, out: -g * (mg.special.modified_bessel_k0(input) + out / input))

_unary("scaled_modified_bessel_k0", "exp(input) times modified_bessel_k0.", "[1., 2.] -> [1.1445, 0.8416]", _K,
       ref="k0e", **_POSITIVE,
       arg="x",
       dx=lambda g, x, out: g * (out - mg.special.scaled_modified_bessel_k1(x)))

_unary("scaled_modified_bessel_k1", "exp(input) times modified_bessel_k1.", "[1., 2.] -> [1.6362, 1.0335]", _K,
       ref="k1e", **_POSITIVE,
       arg="x",
       dx=lambda g, x, out: g * (out - mg.special.scaled_modified_bessel_k0(x) - out / x))

# --- Bessel functions -------------------------------------------------------------------------------------------------
_J = "DLMF 10.2 and 10.17; Abramowitz & Stegun 9.4 for the form of the approximation."
_COARSE = {"torch_tol": {"float64": 1e-5, "float32": 1e-5}}  # PyTorch's J1 is good to 1e-7, its Ai to 3e-6; SciPy agrees with us
# SciPy gives NaN at infinity or reduces 1e30 differently; the sine of 1e30 is meaningless in float32 anyway.
_FAR: dict[str, Any] = {"special_skip": (*_INFINITE, 1e30), **_COARSE}
_FAR_POSITIVE: dict[str, Any] = {**_FAR, "domain": (0.2, 6.0), "special_skip": (*_INFINITE, 1e30, -1e-7)}

_unary("bessel_j0", "Bessel function of the first kind, order 0.", "[0., 1.] -> [1.0000, 0.7652]", _J, ref="j0", **_FAR,
       dinput=lambda g, input: -g * mg.special.bessel_j1(input))

_unary("bessel_j1", "Bessel function of the first kind, order 1.", "[0., 1.] -> [0.0000, 0.4401]", _J, ref="j1", **_FAR,
       dinput=lambda g, input, out: g * (mg.special.bessel_j0(input) - _over(out, input, 0.5)))

_unary("bessel_y0", "Bessel function of the second kind, order 0; -inf at 0, NaN below.",
       "[1., 2.] -> [0.0883, 0.5104]", _J, ref="y0", **_FAR_POSITIVE,
       dinput=lambda g, input: -g * mg.special.bessel_y1(input))

_unary("bessel_y1", "Bessel function of the second kind, order 1; -inf at 0, NaN below.",
       "[1., 2.] -> [-0.7812, -0.1070]", _J, ref="y1", **_FAR_POSITIVE,
       dinput=lambda g, input, out: g * (mg.special.bessel_y0(input) - out / input))


def _np_spherical_j0(x: Any) -> Any:
    import numpy as np

    return np.where(np.isinf(x), 0.0, np.where(x == 0, 1.0, np.sin(x) / np.where(x == 0, 1.0, x)))


_unary("spherical_bessel_j0", "Spherical Bessel function of order 0: sin(input) / input; 1 at 0.",
       "[0., 1.] -> [1.0000, 0.8415]", "DLMF 10.49.3.", ref=_np_spherical_j0, **_FAR,
       arg="x", dx=lambda g, x, out: g * mg.where(mg.abs(x) < 1e-4, x * (-1 / 3), _over(mg.cos(x) - out, x, 0.0)))

_unary("airy_ai", "Airy function Ai.", "[0., 1.] -> [0.3550, 0.1353]", arg="x",
       source="DLMF 9.7 for the asymptotic forms; Abramowitz & Stegun 10.4.59-60.",
       special_skip=(*_INFINITE, 1e30, 20.0, 100.0), **_COARSE,
       ref=lambda x: scipy_reference("airy")(x)[0],
       no_grad_reason="its derivative Ai' is not an op; PyTorch has no gradient for it either")

# --- error functions and the normal distribution ----------------------------------------------------------------------
_unary("erfcx", "exp(input**2) * erfc(input): the complementary error function without its decay.",
       "[0., 1.] -> [1.0000, 0.4276]", "Shepherd and Laframboise, Math. Comp. 36 (1981) for the form; DLMF 7.7.",
       special_skip=(-20.0, -6.0), dinput=lambda g, input, out: g * (2 * input * out - 2 / math.sqrt(math.pi)))

# PyTorch computes ndtr of 16-bit floats in 16 bits, where 1 + erf cancels.
_unary("ndtr", "Distribution function of the standard normal: P(N(0, 1) <= input).", "[0., 1.96] -> [0.5000, 0.9750]",
       "DLMF 7.18; erfc in csrc/simd/vecmath_special.h.", expr=lambda input: 0.5 * m.erfc(input * -math.sqrt(0.5)),
       torch_tol={"float16": 1e-3, "bfloat16": 1e-2},
       dinput=lambda g, input: g * mg.exp(-0.5 * input * input) * (1 / math.sqrt(2 * math.pi)))

_unary("log_ndtr", "Logarithm of ndtr, accurate in both tails.", "[0., 1.] -> [-0.6931, -0.1728]",
       "log(erfcx(-x / sqrt 2) / 2) - x**2 / 2 below -1; DLMF 7.2.",
       dinput=lambda g, input: g * math.sqrt(2 / math.pi) / mg.special.erfcx(input * -math.sqrt(0.5)))

_unary("ndtri", "Quantile of the standard normal, the inverse of ndtr: -inf at 0, inf at 1, NaN outside.",
       "[0.5, 0.975] -> [0.0000, 1.9600]", "Chebyshev series in (p - 1/2)**2 and sqrt(-log p); form of Wichura, AS 241.",
       domain=(0.02, 0.98), dinput=lambda g, out: g * math.sqrt(2 * math.pi) * mg.exp(0.5 * out * out))

_unary("entr", "Entropy of each element: -input * log(input); 0 at 0, -inf below.", "[0., 0.5] -> [0.0000, 0.3466]",
       "definition.", domain=(0.1, 4.0),
       expr=lambda input: m.where(m.isnan(input), m.nan, m.where(
           input > 0, -input * m.log(m.where(input > 0, input, 1.0)), m.where(input < 0, -m.inf, 0.0))),
       dinput=lambda g, input: g * (-1 - mg.log(input)))  # fmt: skip


def _xlog1py_input(g: Any, input: Any, other: Any) -> Any:
    if not isinstance(other, mg.Tensor):
        return mg.where(mg.eq(input, 0), 0.0, mg.special.xlog1py(g, other)) if other <= -1 else mg.special.xlog1py(g, other)
    flat = mg.logical_and(mg.eq(input, 0), mg.le(other, -1))
    return mg.where(flat, 0.0, mg.special.xlog1py(g, mg.where(flat, 0.0, other)))


op("xlog1py(input: operand, other: operand) -> out", meta="binary_float", namespace="special",
   domain={"other": (-0.7, 3.0)},
   expr=lambda input, other: m.where(m.isnan(other), m.nan, m.where(input == 0, 0.0, input * m.log1p(other))),
   dinput=_xlog1py_input, dother=lambda g, input, other: g * input / (other + 1),
   doc=doc("binary_float", "input * log(1 + other); 0 where input is 0, unless other is NaN.",
           "mg.special.xlog1py(mg.tensor([0., 2.]), mg.tensor([0., 1.])) -> tensor([0.0000, 1.3863])",
           grad="for input 0 where input is 0 and other <= -1."))

# --- gamma family -----------------------------------------------------------------------------------------------------
op("zeta(input: operand, other: operand) -> out", meta="binary_float", namespace="special",
   domain={"input": (1.5, 5.0), "other": (0.2, 4.0)}, ref=scipy_reference("zeta"), **_TOL,
   special_skip=(float("inf"), float("-inf"), 1e30, 1e-30, -1e-7, -0.5),
   samples=lambda s: [s(s.t(*shape, low=1.5, high=5, grad=False), s.t(*shape, low=0.2, high=4))
                      for shape in ((), (0,), (7,), (33,), (3, 5), (1025,))]
   + [s(2.5, s.t(4, 5, low=0.2, high=4, layout="transposed")), s(s.t(3, 1, low=1.5, high=5, grad=False), 2.0)],
   dinput=no_derivative("zeta", "input"), dother=lambda g, input, other: -g * input * mg.special.zeta(input + 1, other),
   doc=doc("binary_float", "Hurwitz zeta function: sum over k >= 0 of (other + k) ** -input.",
           "mg.special.zeta(2., mg.tensor([1., 2.])) -> tensor([1.6449, 0.6449])",
           args="input: inf at 1, NaN below.;;other: inf at 0, -1, -2 …; NaN at other negative numbers unless input is "
           "an integer.", grad="for other only: -input zeta(input + 1, other).", source="Euler-Maclaurin, DLMF 25.11.5."))

op("_polygamma(input, n: scalar) -> out", meta="unary_float", namespace=None, inplace=False, domain=(0.3, 4.0),
   ref=lambda input, n: scipy_reference("polygamma")(n, input), **_TOL, attrs={"n": (1, 2, 3)},
   special_skip=(float("inf"), float("-inf"), 1e30, -1e-7),
   dinput=lambda g, input, n: g * functions["_polygamma"](input, n + 1),
   doc=doc("unary_float", "n-th derivative of digamma; the kernel of `polygamma`.",
           "mg.polygamma(1, mg.tensor([1., 2.])) -> tensor([1.6449, 0.6449])", source="DLMF 5.15.1 and 25.11.5."))


def _order(op_name: str, n: Any) -> int:
    if not isinstance(n, int):
        raise TypeError(f"{op_name}: the order must be an int: got {type(n).__name__}")
    if n < 0:
        raise RuntimeError(f"{op_name}: order is negative: got n={n}, expected n >= 0. Try 0 (digamma).")
    return n


@composite(
    namespace=("", "special"), method=False, ref=lambda n, input: scipy_reference("polygamma")(n, input), **_TOL,
    torch_tol={"float64": 1e-9},  # PyTorch stops the series early
    samples=lambda s: [s(n, s.f(*shape, low=0.3, high=4)) for n in (0, 1, 2) for shape in ((), (0,), (7,), (3, 5))],
)  # fmt: skip
def polygamma(n: int, input: mg.Tensor, *, out: mg.Tensor | None = None) -> mg.Tensor:
    """n-th derivative of digamma.

    Args:
        n: order of the derivative, at least 0 (digamma itself).
        input: any shape and dtype; inf (or -inf) at 0, -1, -2 …
        out: tensor that receives the result.
    Returns:
        a floating tensor of the same shape.
    Raises:
        RuntimeError for negative n.
    Gradient:
        polygamma(n + 1, input).
    Source:
        DLMF 5.15.1 and 25.11.5.
    Example:
        >>> mg.polygamma(1, mg.tensor([1., 2.]))
        tensor([1.6449, 0.6449])
    """
    expect_tensors("polygamma", input=input)
    result = mg.digamma(input) if _order("polygamma", n) == 0 else functions["_polygamma"](input, n)
    return result if out is None else into("polygamma", result, out)


def _polygamma_method(input: mg.Tensor, n: int) -> mg.Tensor:
    """n-th derivative of digamma at this tensor; see `minigrad.polygamma`."""
    return polygamma(n, input)


def _polygamma_inplace(input: mg.Tensor, n: int) -> mg.Tensor:
    """In-place form of `polygamma`."""
    result = polygamma(n, input.clone() if input.requires_grad else input)
    if not mg.can_cast(result.dtype, input.dtype):
        raise RuntimeError(f"polygamma_: result type {result.dtype} can't be cast to the desired output type {input.dtype}")
    return input.copy_(result)


mg.Tensor.polygamma, mg.Tensor.polygamma_ = _polygamma_method, _polygamma_inplace


@composite(
    inplace=True, domain=(2.6, 6.0), ref=lambda input, p: scipy_reference("multigammaln")(input, p), **_TOL,
    samples=lambda s: [s(s.f(*shape, low=2.6, high=6), p) for p in (1, 2, 5) for shape in ((), (0,), (7,), (3, 5))],
)  # fmt: skip
def mvlgamma(input: mg.Tensor, p: int, *, out: mg.Tensor | None = None) -> mg.Tensor:
    """Logarithm of the multivariate gamma function of dimension p.

    Args:
        input: any shape, any dtype but bool; values above (p - 1) / 2.
        p: dimension, at least 1.
        out: tensor that receives the result.
    Returns:
        a floating tensor of the same shape: log(pi) p (p - 1) / 4 + sum over j < p of lgamma(input - j / 2).
    Raises:
        RuntimeError for p < 1 and for bool.
    Gradient:
        sum over j < p of digamma(input - j / 2).
    Source:
        DLMF 35.3.4.
    Example:
        >>> mg.mvlgamma(mg.tensor([1.5, 3.]), 2)
        tensor([0.4516, 1.5502])
    """
    expect_tensors("mvlgamma", input=input)
    if not isinstance(p, int):
        raise TypeError(f"mvlgamma: p must be an int: got {type(p).__name__}")
    if p < 1:
        raise RuntimeError(f"mvlgamma: p has to be greater than or equal to 1: got p={p}")
    if input.dtype == mg.bool:
        raise RuntimeError("mvlgamma: the input tensor may not be a boolean tensor. Try x.float().")
    if p > 1 << 16:
        raise RuntimeError(f"mvlgamma: p is a number of terms, at most 65536: got {p}")
    x = input if input.is_floating_point() or input.is_complex() else input.to(mg.get_default_dtype())
    total = mg.lgamma(x)
    for j in range(1, p):
        total = total + mg.lgamma(x - 0.5 * j)
    result = total + p * (p - 1) / 4 * math.log(math.pi) if p > 1 else total
    return result if out is None else into("mvlgamma", result, out)


def _igamma_other(g: Any, input: Any, other: Any) -> Any:
    """Density of the gamma distribution: exp((a - 1) log x - x - lgamma(a))."""
    return g * mg.exp((input - 1) * mg.log(other) - other - mg.lgamma(input))


def _igamma_samples(s: Any) -> list[Any]:
    shapes = ((), (0,), (7,), (33,), (3, 5), (1025,))
    return [s(s.t(*k, low=0.3, high=5, grad=False), s.t(*k, low=0.2, high=6)) for k in shapes] + [
        s(s.t(3, 1, low=0.3, high=5, grad=False), s.t(2, 3, 4, low=0.2, high=6)),
        s(s.t(4, 5, low=0.3, high=5, grad=False, layout="transposed"), s.t(4, 5, low=0.2, high=6, layout="step")),
    ]


for _name, _long, _value, _sign in (("igamma", "lower", "[0.3528, 0.5665]", 1), ("igammac", "upper", "[0.6472, 0.4335]", -1)):
    op(f"{_name}(input, other) -> out", meta="binary_float", samples=_igamma_samples, **_TOL,
       ref=scipy_reference("gammainc" if _sign > 0 else "gammaincc"),
       domain={"input": (0.3, 5.0), "other": (0.2, 6.0)}, special_skip=(float("inf"), 1e30, 1e-30),
       dinput=no_derivative(_name, "input"),
       dother=_igamma_other if _sign > 0 else lambda g, input, other: -_igamma_other(g, input, other),
       doc=doc("binary_float", f"Regularised {_long} incomplete gamma function of the shape input at other.",
               f"mg.{_name}(mg.tensor([4.]), mg.tensor([3., 4.])) -> tensor({_value})",
               args="input: shape a >= 0, NaN below.;;other: x >= 0, NaN below.",
               grad="for other only: the gamma distribution's density" + (", negated." if _sign < 0 else "."),
               source="DLMF 8.7, 8.9, 8.11 and Temme's uniform expansion 8.12.3."))  # fmt: skip

# Names that PyTorch has in `special` beside the plain ones.
for _name, _op in (("gammainc", "igamma"), ("gammaincc", "igammac"), ("multigammaln", "mvlgamma"), ("softmax", "softmax"),
                   ("log_softmax", "log_softmax"), ("logsumexp", "logsumexp"), ("round", "round")):  # fmt: skip
    namespaces["special"][_name] = functions[_op]
