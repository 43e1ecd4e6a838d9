"""Classical orthogonal polynomials of degree n at x. Kernels: csrc/special/polynomial.h through csrc/cpu/pointwise_special_isa.cpp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.op import op
from minigrad.ops.shared.doc import doc

_SUMMARY = {
    "t": "first kind", "u": "second kind", "v": "third kind", "w": "fourth kind",
}  # fmt: skip
_FIRST = {"t": 0.0, "u": 0.0, "v": -1.0, "w": 1.0}  # p_1 = 2x + this (T: x)


def _recurrence(first: Callable, step: Callable) -> Callable[..., Any]:
    """Reference: the three-term recurrence in NumPy, degree by degree."""

    def reference(x: Any, n: Any) -> Any:
        import numpy as np

        x, n = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(n, dtype=np.float64))
        degree = np.trunc(n)
        older, p = np.ones(x.shape), first(x) + np.zeros(x.shape)
        result = np.where(degree == 0, older, np.where(degree < 0, 0.0, p))
        for k in range(1, int(np.max(degree, initial=0))):
            older, p = p, step(k, x, p, older)
            result = np.where(degree == k + 1, p, result)
        return result

    return reference


def _chebyshev(kind: str, shifted: bool) -> Callable[..., Any]:
    plain = _recurrence(lambda x: x if kind == "t" else 2 * x + _FIRST[kind], lambda k, x, p, older: 2 * x * p - older)
    return (lambda x, n: plain(2 * x - 1, n)) if shifted else plain


def _samples(s: Any) -> list[Any]:
    """Degrees up to 9, also negative and fractional; x beyond [-1, 1] too."""
    found = [s(s.t(*shape, low=-1.5, high=1.5, grad=False), s.t(*shape, low=-1.4, high=9.4, grad=False))
             for shape in ((), (0,), (7,), (33,), (3, 5))]  # fmt: skip
    found.append(s(s.t(4, 5, low=-1.0, high=1.0, grad=False, layout="transposed"), 5))
    found.append(s(s.t(3, 1, low=-1.0, high=1.0, grad=False), s.index(4, high=6)))
    return found


def _declare(name: str, what: str, values: str, source: str, ref: Callable[..., Any]) -> None:
    op(f"{name}(x: operand, n: operand) -> out", meta="binary_float", namespace="special", samples=_samples, ref=ref,
       tol={"float64": 1e-11, "float32": 1e-5}, tol_reason="near its zeros the value is a difference of large terms",
       no_grad_reason="PyTorch defines none: the degree is an integer",
       no_special_reason="the degree is an integer; its limits are in tests/test_special.py",
       doc=doc("binary_float", f"{what} of degree n.", f"mg.special.{name}(mg.tensor([0.5, 2.]), 3) -> tensor({values})",
               args="n: degree, cut to an integer; 0 for negative n, NaN for NaN.", source=source))  # fmt: skip


for _shifted, _kind, _values in (
    (False, "t", "[-1., 26.]"), (False, "u", "[-1., 56.]"), (False, "v", "[-1., 41.]"), (False, "w", "[-1., 71.]"),
    (True, "t", "[-0., 99.]"), (True, "u", "[ -0., 204.]"), (True, "v", "[  1., 169.]"), (True, "w", "[ -1., 239.]"),
):  # fmt: skip
    _declare(
        f"{'shifted_' if _shifted else ''}chebyshev_polynomial_{_kind}",
        f"Chebyshev polynomial of the {_SUMMARY[_kind]}" + (", at 2x - 1," if _shifted else ""),
        _values,
        "DLMF 18.5.1-4 and table 18.9.1.",
        _chebyshev(_kind, _shifted),
    )

_declare("hermite_polynomial_h", "Physicist's Hermite polynomial", "[-5., 40.]", "DLMF table 18.9.1.",
         _recurrence(lambda x: 2 * x, lambda k, x, p, older: 2 * x * p - 2 * k * older))

_declare("hermite_polynomial_he", "Probabilist's Hermite polynomial", "[-1.3750,  2.0000]", "DLMF table 18.9.1.",
         _recurrence(lambda x: x, lambda k, x, p, older: x * p - k * older))

_declare("laguerre_polynomial_l", "Laguerre polynomial", "[-0.1458, -0.3333]", "DLMF table 18.9.1.",
         _recurrence(lambda x: 1 - x, lambda k, x, p, older: ((2 * k + 1 - x) * p - k * older) / (k + 1)))

_declare("legendre_polynomial_p", "Legendre polynomial", "[-0.4375, 17.0000]", "DLMF table 18.9.1.",
         _recurrence(lambda x: x, lambda k, x, p, older: ((2 * k + 1) * x * p - k * older) / (k + 1)))
