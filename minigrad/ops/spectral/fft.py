"""Discrete Fourier transforms under the names of `torch.fft`. Kernels: csrc/cpu/fft.cpp.

Three kernels do all of it: complex to complex, real to (half) complex, half complex to real. Their gradients are each other: the adjoint
of a transform is the opposite one, with weights where the half spectrum stands for both halves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.spectral.common import (
    check_points,
    expect_real,
    finish,
    promoted,
    resized,
    scale_of,
    shape_and_dims,
    to_complex,
    wrap,
)  # fmt: skip

# --- kernels ----------------------------------------------------------------------------------------------------------
_INTERNAL = "internal; the functions of minigrad.fft call it and their samples cover it"


def _half_weights(n: int, like: Any, dim: int, inner: float) -> Any:
    """`inner` for the coefficients of a half spectrum that stand for two, 1 for the others; shaped to multiply along dim."""
    half = n // 2 + 1
    wide = like.dtype in (mg.float64, mg.complex128)
    weights = mg.ones(half, dtype=mg.float64 if wide else mg.float32, device=like.device)
    weights[1 : (n + 1) // 2] = inner
    return weights.reshape([half] + [1] * (len(like.shape) - 1 - dim))


def _r2c_grad(g: Any, input_shape: Any, dims: list[int], scale: float, onesided: bool) -> Any:
    if not onesided:
        return mg.real(functions["_fft_c2c"](g, dims, scale, False))
    n = input_shape[dims[-1]]
    return functions["_fft_c2r"](g * _half_weights(n, g, dims[-1], 0.5), dims, scale, n)


def _c2r_grad(g: Any, dims: list[int], scale: float, last_dim_size: int) -> Any:
    spectrum = functions["_fft_r2c"](g, dims, scale, True)
    return spectrum * _half_weights(last_dim_size, spectrum, dims[-1], 2.0)


# Their formulas are written for complex gradients as they are: holomorphic=False (csrc/python/registry.cpp).
op("_fft_c2c(input, dims: ints, scale: float, forward: bool) -> out", meta="fft_c2c", namespace=None, holomorphic=False,
   dinput=lambda g, dims, scale, forward: functions["_fft_c2c"](g, dims, scale, not forward),
   no_samples_reason=_INTERNAL, no_ref_reason=_INTERNAL,
   doc="Complex transform along dims (counted from 0), forward or inverse, times scale.")

op("_fft_r2c(input, dims: ints, scale: float, onesided: bool) -> out", meta="fft_r2c", namespace=None, dinput=_r2c_grad,
   holomorphic=False, no_samples_reason=_INTERNAL, no_ref_reason=_INTERNAL,
   doc="Forward transform of a real tensor; onesided keeps the first n // 2 + 1 coefficients of the last of dims.")

op("_fft_c2r(input, dims: ints, scale: float, last_dim_size: int) -> out", meta="fft_c2r", namespace=None,
   holomorphic=False, dinput=_c2r_grad, no_samples_reason=_INTERNAL, no_ref_reason=_INTERNAL,
   doc="Inverse transform of a half spectrum to a real tensor with last_dim_size points in the last of dims.")

# --- documentation ----------------------------------------------------------------------------------------------------
_NORM = (
    '    norm: None or "backward" (the inverse is scaled by 1/n), "forward" (the forward one is) or "ortho" (both by 1/sqrt(n)).\n'
    "    out: tensor that receives the result.\n"
)
_RAISES = (
    "Raises:\n    RuntimeError for an unknown norm, lengths below 1, repeated dims, float16 and bfloat16; IndexError for dims out of "
    "range.\n"
)


def _doc(summary: str, arguments: str, returns: str, call: str, shown: str, source: str = "DLMF 1.17; definition.") -> str:
    return (
        f"{summary}\n\nArgs:\n    input: {arguments}\n{_NORM}Returns:\n    {returns}\n{_RAISES}"
        "Gradient:\n    the opposite transform; exact at every order.\n"
        f"Source:\n    {source}\n"
        f"Example:\n    >>> {call}\n    {shown}\n"
    )


_ONE = "any shape with at least one dim.\n    n: points along dim; the input is cut or padded with zeros.\n    dim: the dim."
_MANY = (
    "any shape.\n    s: points along each dim (-1: as they are); the input is cut or padded with zeros.\n"
    "    dim: the dims; default all, or the last len(s)."
)


def _samples(real: bool, many: bool = False, least: int = 1) -> Callable[[Any], list[Any]]:
    def samples(s: Any) -> list[Any]:
        if many:
            return [s(s.f(4, 5)), s(s.f(3, 4, 5), dim=(0, 2)), s(s.f(3, 4), s=(5, 6)), s(s.f(4, 3), s=(2, 7), norm="ortho"),
                    s(s.f(5, 4, layout="transposed"), norm="forward"), s(s.f(2, 3, 4), dim=(-1, 0))]  # fmt: skip
        found = [s(s.f(k)) for k in (2, 3, 5, 8, 12)] + [s(s.f(4, 6), 7), s(s.f(3, 5), 4, 0), s(s.f(2, 5), norm="ortho")]
        return [*found, s(s.f(4, 5, layout="transposed"), None, 0, "forward"), s(s.f(0, 4)), s(s.f(67))]

    return samples


def _np(name: str) -> Callable[..., Any]:
    """The function of numpy.fft, with its names for the arguments."""

    def reference(input: Any, *args: Any, **kwargs: Any) -> Any:
        import numpy as np

        if "dim" in kwargs:
            kwargs["axis" if name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft") else "axes"] = kwargs.pop("dim")
        elif name.endswith("n") and "s" in kwargs:
            kwargs["axes"] = tuple(range(-len(kwargs["s"]), 0))
        return getattr(np.fft, name)(np.asarray(input) * 1.0, *args, **kwargs)

    return reference


def _declare(name: str, ref: Callable[..., Any] | None, many: bool, text: str, body: Callable) -> Callable:
    body.__name__ = body.__qualname__ = name
    body.__doc__ = text
    return composite(
        "fft", method=False, name=name, samples=_samples(False, many), ref=ref, dtypes=("float64", "float32", "int64"),
        reduction=lambda input, *a, **k: input.size, **({} if ref else {"no_ref_reason": "NumPy has none; checked against hfft and fft"}),
    )(body)  # fmt: skip


# --- one dim ----------------------------------------------------------------------------------------------------------
def _one(name: str, x: mg.Tensor, n: int | None, dim: int) -> tuple[mg.Tensor, int, int]:
    """Input cut or padded to n points along the wrapped dim."""
    dim = wrap(name, dim, len(x.shape))
    points = check_points(name, x.shape[dim] if n is None else n)
    return resized(x, [dim], [points]), points, dim


def _c2c_one(name: str, forward: bool) -> Callable:
    def body(input: mg.Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
             out: mg.Tensor | None = None) -> mg.Tensor:
        x, points, axis = _one(name, promoted(name, input), n, dim)
        scale = scale_of(name, norm, points, forward)
        if x.dtype.is_complex or not forward:
            result = functions["_fft_c2c"](to_complex(x), [axis], scale, forward)
        else:
            result = functions["_fft_r2c"](x, [axis], scale, False)
        return finish(name, result, out)

    return body


def _r2c_one(name: str, forward: bool) -> Callable:
    def body(input: mg.Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
             out: mg.Tensor | None = None) -> mg.Tensor:
        x = promoted(name, input)
        expect_real(name, x)
        x, points, axis = _one(name, x, n, dim)
        result = functions["_fft_r2c"](x, [axis], scale_of(name, norm, points, forward), True)
        return finish(name, result if forward else mg.conj(result), out)

    return body


def _c2r_one(name: str, forward: bool) -> Callable:
    def body(input: mg.Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
             out: mg.Tensor | None = None) -> mg.Tensor:
        x = promoted(name, input, require_complex=True)
        axis = wrap(name, dim, len(x.shape))
        points = check_points(name, 2 * (x.shape[axis] - 1) if n is None else n)
        x = resized(x, [axis], [points // 2 + 1])
        scale = scale_of(name, norm, points, forward)
        return finish(name, functions["_fft_c2r"](mg.conj(x) if forward else x, [axis], scale, points), out)

    return body


_COMPLEX, _REAL, _HALF = "a complex tensor.", "a real tensor.", "a complex tensor with n // 2 + 1 coefficients along dim."
fft = _declare("fft", _np("fft"), False, _doc("Discrete Fourier transform along one dim.", _ONE, _COMPLEX,
               "mg.fft.fft(mg.tensor([1., 0., 0., 0.])).real", "tensor([1., 1., 1., 1.])"), _c2c_one("fft", True))  # fmt: skip
ifft = _declare("ifft", _np("ifft"), False, _doc("Inverse of fft.", _ONE, _COMPLEX,
                "mg.fft.ifft(mg.tensor([4., 0., 0., 0.])).real", "tensor([1., 1., 1., 1.])"), _c2c_one("ifft", False))  # fmt: skip
rfft = _declare("rfft", _np("rfft"), False, _doc("Transform of a real signal: the half of the spectrum that determines it.",
                _ONE, _HALF, "mg.fft.rfft(mg.tensor([1., 0., 0., 0.])).real", "tensor([1., 1., 1.])"), _r2c_one("rfft", True))  # fmt: skip
irfft = _declare("irfft", _np("irfft"), False, _doc("Inverse of rfft; n defaults to 2 (m - 1) for m coefficients.", _ONE, _REAL,
                 "mg.fft.irfft(mg.tensor([4., 0., 0.]))", "tensor([1., 1., 1., 1.])"), _c2r_one("irfft", False))  # fmt: skip
hfft = _declare("hfft", _np("hfft"), False, _doc("Transform of a Hermitian signal, given by its first half, to a real spectrum.",
                _ONE, _REAL, "mg.fft.hfft(mg.tensor([1., 0., 0.]))", "tensor([1., 1., 1., 1.])"), _c2r_one("hfft", True))  # fmt: skip
ihfft = _declare("ihfft", _np("ihfft"), False, _doc("Inverse of hfft.", _ONE, _HALF,
                 "mg.fft.ihfft(mg.tensor([4., 0., 0., 0.])).real", "tensor([1., 1., 1.])"), _r2c_one("ihfft", False))  # fmt: skip


# --- several dims -----------------------------------------------------------------------------------------------------
def _c2c_many(name: str, input: mg.Tensor, s: Any, dim: Any, norm: str | None, forward: bool) -> mg.Tensor:
    x = promoted(name, input)
    sizes, dims, _ = shape_and_dims(name, x, s, dim)
    scale = scale_of(name, norm, math.prod(sizes), forward)
    x = resized(x, dims, sizes)
    if not dims:
        return to_complex(x).clone()
    if x.dtype.is_complex or not forward:
        return functions["_fft_c2c"](to_complex(x), dims, scale, forward)
    return functions["_fft_r2c"](x, dims, scale, False)


def _r2c_many(name: str, input: mg.Tensor, s: Any, dim: Any, norm: str | None, forward: bool) -> mg.Tensor:
    x = promoted(name, input)
    expect_real(name, x)
    sizes, dims, _ = shape_and_dims(name, x, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis: got dim=(). Try dim=(-1,).")
    scale = scale_of(name, norm, math.prod(sizes), forward)
    x = resized(x, dims, sizes)
    if forward:
        return functions["_fft_r2c"](x, dims, scale, True)
    half = mg.conj(functions["_fft_r2c"](x, dims[-1:], scale, True))
    return functions["_fft_c2c"](half, dims[:-1], 1.0, False) if len(dims) > 1 else half


def _c2r_many(name: str, input: mg.Tensor, s: Any, dim: Any, norm: str | None, forward: bool) -> mg.Tensor:
    x = promoted(name, input, require_complex=True)
    sizes, dims, given = shape_and_dims(name, x, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis: got dim=(). Try dim=(-1,).")
    last = check_points(name, sizes[-1] if given else 2 * (sizes[-1] - 1))
    scale = scale_of(name, norm, math.prod(sizes[:-1]) * last, forward)
    x = resized(x, dims, [*sizes[:-1], last // 2 + 1])
    if not forward:
        return functions["_fft_c2r"](x, dims, scale, last)
    if len(dims) > 1:
        x = functions["_fft_c2c"](x, dims[:-1], 1.0, True)
    return functions["_fft_c2r"](mg.conj(x), dims[-1:], scale, last)


def _many(name: str, core: Callable, forward: bool, default: tuple[int, int] | None) -> Callable:
    if default is None:
        def body(input: mg.Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *,
                 out: mg.Tensor | None = None) -> mg.Tensor:
            return finish(name, core(name, input, s, dim, norm, forward), out)
    else:
        def body(input: mg.Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None, *,
                 out: mg.Tensor | None = None) -> mg.Tensor:
            return finish(name, core(name, input, s, dim, norm, forward), out)
    return body  # fmt: skip


# name, core, forward, sentence, result, example on a 2 x 2 tensor of ones: what to print of it and its first element
for _base, _core_function, _forward, _what, _result, _part, _first in (
    ("fft", _c2c_many, True, "Discrete Fourier transform", _COMPLEX, ".real", 4),
    ("ifft", _c2c_many, False, "Inverse of fft", _COMPLEX, ".real", 1),
    ("rfft", _r2c_many, True, "Half spectrum of a real signal", _HALF, ".real", 4),
    ("irfft", _c2r_many, False, "Inverse of rfft", _REAL, "", 1),
    ("hfft", _c2r_many, True, "Transform of a signal that is Hermitian in the last dim", _REAL, "", 4),
    ("ihfft", _r2c_many, False, "Inverse of hfft", _HALF, ".real", 1),
):
    for _suffix, _default, _where in (("2", (-2, -1), "over two dims, by default the last"), ("n", None, "over several dims")):
        _name = _base + _suffix
        _shown = f"tensor([[{_first}., 0.],\n            [0., 0.]])"
        _text = _doc(f"{_what} {_where}.", _MANY, _result, f"mg.fft.{_name}(mg.ones(2, 2)){_part}", _shown)
        _reference = None if _base in ("hfft", "ihfft") else _np(_name)
        _declare(_name, _reference, True, _text, _many(_name, _core_function, _forward, _default))
