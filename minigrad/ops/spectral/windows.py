"""Window functions: `minigrad.signal.windows.*` (symmetric by default) and the older `hann_window` … (periodic by default).

All compute in float64 and round once. Harris (Proc. IEEE 66, 1978) is the source of the cosine sums and of Kaiser's window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import minigrad as mg
from minigrad.op import composite
from minigrad.ops.shared.struct_doc import card, shared_args

_FACTORY = "they make tensors from numbers; tests/test_fft.py compares them with PyTorch"
_SKIP = {"no_samples_reason": _FACTORY, "no_ref_reason": _FACTORY}
_OPTIONS = {
    "dtype": "float32 or float64; default the default dtype.",
    "layout": "dense only, accepted for PyTorch's sake.",
    "device": "where the result lives.",
    "requires_grad": "whether the result is a leaf that records.",
}


def _finish(values: Any, dtype: Any, device: Any, requires_grad: bool) -> mg.Tensor:
    result = values.to(dtype)
    result = result if device is None else result.to(device)
    return result.requires_grad_() if requires_grad else result


def _steps(count: int, start: float, step: float) -> mg.Tensor:
    return mg.arange(count).to(mg.float64) * step + start


def _cosine_sum(k: mg.Tensor, coefficients: Iterable[float]) -> mg.Tensor:
    """a0 - a1 cos k + a2 cos 2k - …"""
    total = mg.zeros_like(k)
    for i, a in enumerate(coefficients):
        total = total + (-1) ** i * float(a) * mg.cos(k * i)
    return total


# --- minigrad.signal.windows ------------------------------------------------------------------------------------------
def _build(name: str, M: int, sym: bool, dtype: Any, layout: Any, device: Any, requires_grad: bool,
           window: Callable[[int, int], mg.Tensor]) -> mg.Tensor:
    """Checks in PyTorch's classes; `window(M, span)` gets the number of steps from one end to the other end's repetition."""
    if not isinstance(M, int) or isinstance(M, bool):
        raise TypeError(f"{name}: M must be an int: got {type(M).__name__}")
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout not in (None, mg.strided):
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    dtype = mg.get_default_dtype() if dtype is None else dtype
    if dtype not in (mg.float32, mg.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
    values = mg.ones(M, dtype=mg.float64) if M < 2 else window(M, M - 1 if sym else M)
    return _finish(values, dtype, device, requires_grad)


def _window(function: Callable) -> Callable:
    sym = "symmetric (for filters); False: one period of a periodic window (for spectra)."
    return composite("signal.windows", method=False, **_SKIP)(shared_args(sym=sym, **_OPTIONS)(function))


@_window
def general_cosine(M: int, *, a: Iterable[float], sym: bool = True, dtype: Any = None, layout: Any = None,
                   device: Any = None, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Sum of cosines a0 - a1 cos(t) + a2 cos(2t) - …, t from 0 to 2 pi.

    Args:
        M: length.
        a: the coefficients.
    Returns:
        a tensor (M,) with maximum 1.
    Raises:
        ValueError for negative M, another dtype, and parameters out of range.
    Source:
        Harris, Proc. IEEE 66 (1978).
    Example:
        >>> mg.signal.windows.general_cosine(3, a=[0.5, 0.5])
        tensor([0., 1., 0.])
    """
    if not isinstance(a, Iterable):
        raise TypeError(f"general_cosine: Coefficients must be a list/tuple: got {type(a).__name__}")
    a = list(a)
    if not a:
        raise ValueError("general_cosine: Coefficients cannot be empty")
    return _build("general_cosine", M, sym, dtype, layout, device, requires_grad,
                  lambda n, span: _cosine_sum(_steps(n, 0.0, 2 * math.pi / span), a))  # fmt: skip


@_window
def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, dtype: Any = None, layout: Any = None,
                    device: Any = None, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """alpha - (1 - alpha) cos(t), t from 0 to 2 pi.

    Args:
        M: length.
        alpha: the constant term.
    Returns:
        a tensor (M,) with maximum 1.
    Raises:
        ValueError for negative M, another dtype, and parameters out of range.
    Source:
        Harris, Proc. IEEE 66 (1978).
    Example:
        >>> mg.signal.windows.general_hamming(3, alpha=0.5)
        tensor([0., 1., 0.])
    """
    return general_cosine(M, a=[alpha, 1 - alpha], sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


@_window
def hamming(M: int, *, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
            requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Hamming's window: 0.54 - 0.46 cos(t).

    Args:
        M: length.
    Returns:
        a tensor (M,) with maximum 1.
    Raises:
        ValueError for negative M, another dtype, and parameters out of range.
    Source:
        Harris, Proc. IEEE 66 (1978).
    Example:
        >>> mg.signal.windows.hamming(3)
        tensor([0.0800, 1.0000, 0.0800])
    """
    return general_hamming(M, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


@_window
def hann(M: int, *, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
         requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Hann's window: 0.5 - 0.5 cos(t).

    Args:
        M: length.
    Returns:
        a tensor (M,) with maximum 1.
    Raises:
        ValueError for negative M, another dtype, and parameters out of range.
    Source:
        Harris, Proc. IEEE 66 (1978).
    Example:
        >>> mg.signal.windows.hann(3)
        tensor([0., 1., 0.])
    """
    return general_hamming(M, alpha=0.5, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


@_window
def blackman(M: int, *, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
             requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Blackman's window: 0.42 - 0.5 cos(t) + 0.08 cos(2t).

    Args:
        M: length.
    Returns:
        a tensor (M,) with maximum 1.
    Raises:
        ValueError for negative M, another dtype, and parameters out of range.
    Source:
        Harris, Proc. IEEE 66 (1978).
    Example:
        >>> mg.signal.windows.blackman(5)[1:4]
        tensor([0.3400, 1.0000, 0.3400])
    """
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


@_window
def nuttall(M: int, *, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
            requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Nuttall's minimum 4-term window with continuous first derivative.

    Args:
        M: length.
    Returns:
        a tensor (M,) with maximum 1.
    Raises:
        ValueError for negative M, another dtype, and parameters out of range.
    Source:
        Harris, Proc. IEEE 66 (1978).
    Example:
        >>> mg.signal.windows.nuttall(4)
        tensor([3.6280e-04, 5.2923e-01, 5.2923e-01, 3.6280e-04])
    """
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, dtype=dtype, layout=layout,
                          device=device, requires_grad=requires_grad)  # fmt: skip


@_window
def bartlett(M: int, *, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
             requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Triangle with zeros at the ends.

    Args:
        M: length.
    Returns:
        a tensor (M,) with maximum 1.
    Raises:
        ValueError for negative M, another dtype, and parameters out of range.
    Source:
        Harris, Proc. IEEE 66 (1978).
    Example:
        >>> mg.signal.windows.bartlett(5)
        tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    """
    return _build("bartlett", M, sym, dtype, layout, device, requires_grad,
                  lambda n, span: 1 - mg.abs(_steps(n, -1.0, 2 / span)))  # fmt: skip


@_window
def cosine(M: int, *, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
           requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Half a wave of the sine.

    Args:
        M: length.
    Returns:
        a tensor (M,) with maximum 1.
    Raises:
        ValueError for negative M, another dtype, and parameters out of range.
    Source:
        Harris, Proc. IEEE 66 (1978).
    Example:
        >>> mg.signal.windows.cosine(3)
        tensor([0.5000, 1.0000, 0.5000])
    """
    return _build("cosine", M, sym, dtype, layout, device, requires_grad,
                  lambda n, span: mg.sin(_steps(n, 0.5, 1.0) * (math.pi / (span + 1))))  # fmt: skip


@_window
def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, dtype: Any = None,
                layout: Any = None, device: Any = None, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """exp(-|k - center| / tau).

    Args:
        M: length.
        center: position of the maximum; default the middle; only for sym=False.
        tau: decay in samples.
    Returns:
        a tensor (M,) with maximum 1.
    Raises:
        ValueError for negative M, another dtype, and parameters out of range.
    Source:
        Harris, Proc. IEEE 66 (1978).
    Example:
        >>> mg.signal.windows.exponential(3)
        tensor([0.3679, 1.0000, 0.3679])
    """
    if tau <= 0:
        raise ValueError(f"exponential: Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError(f"exponential: Center must be None for symmetric windows: got {center}. Try sym=False.")
    return _build("exponential", M, sym, dtype, layout, device, requires_grad,
                  lambda n, span: mg.exp(-mg.abs(_steps(n, -(span / 2 if center is None else center), 1.0)) / tau))  # fmt: skip


@_window
def gaussian(M: int, *, std: float = 1.0, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
             requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """exp(-(k / std)**2 / 2) around the middle.

    Args:
        M: length.
        std: standard deviation in samples.
    Returns:
        a tensor (M,) with maximum 1.
    Raises:
        ValueError for negative M, another dtype, and parameters out of range.
    Source:
        Harris, Proc. IEEE 66 (1978).
    Example:
        >>> mg.signal.windows.gaussian(3)
        tensor([0.6065, 1.0000, 0.6065])
    """
    if std <= 0:
        raise ValueError(f"gaussian: Standard deviation must be positive, got: {std} instead.")
    return _build("gaussian", M, sym, dtype, layout, device, requires_grad,
                  lambda n, span: mg.exp(-0.5 * mg.square(_steps(n, -span / 2, 1.0) / std)))  # fmt: skip


def _kaiser(n: int, span: int, beta: float) -> mg.Tensor:
    """I0(beta sqrt(1 - x^2)) / I0(beta), x from -1 to 1."""
    x = _steps(n, -1.0, 2 / span)
    peak = mg.i0(mg.tensor(float(beta), dtype=mg.float64))
    return mg.i0(beta * mg.sqrt(mg.clamp(1 - x * x, min=0.0))) / peak


@_window
def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
           requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Kaiser's window: I0(beta sqrt(1 - x**2)) / I0(beta).

    Args:
        M: length.
        beta: shape; 0 is rectangular.
    Returns:
        a tensor (M,) with maximum 1.
    Raises:
        ValueError for negative M, another dtype, and parameters out of range.
    Source:
        Harris, Proc. IEEE 66 (1978).
    Example:
        >>> mg.signal.windows.kaiser(3)
        tensor([5.2773e-05, 1.0000e+00, 5.2773e-05])
    """
    if beta < 0:
        raise ValueError(f"kaiser: beta must be non-negative, got: {beta} instead.")
    return _build("kaiser", M, sym, dtype, layout, device, requires_grad, lambda n, span: _kaiser(n, span, beta))


# --- the older functions ----------------------------------------------------------------------------------------------
def _old(name: str, length: Any, periodic: bool, options: dict[str, Any], window: Callable[[int, int], mg.Tensor]) -> mg.Tensor:
    if not isinstance(length, int) or isinstance(length, bool):
        raise TypeError(f"{name}: window_length must be an int: got {type(length).__name__}")
    if not isinstance(periodic, (bool, int)):
        raise TypeError(f"{name}: periodic must be a bool: got {type(periodic).__name__}")
    dtype = options["dtype"] or mg.get_default_dtype()
    if options["layout"] not in (None, mg.strided):
        raise RuntimeError(f"{name}: dense tensors only: got layout={options['layout']}")
    if not dtype.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}. Try dtype=minigrad.float32.")
    if length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={length}")
    values = mg.ones(length, dtype=mg.float64) if length < 2 else window(length, length if periodic else length - 1)
    return _finish(values, dtype, options["device"], options["requires_grad"])


def _old_doc(summary: str, parameters: tuple[tuple[str, float], ...], example: str) -> str:
    own = {"periodic": "one period of a periodic window (for spectra); False: symmetric."}
    own |= {p: f"see the formula; default {v}." for p, v in parameters}
    return card(summary, example, window_length="number of points.", **own, **{**_OPTIONS, "dtype": "a floating dtype; default the default dtype."},
                returns="a tensor (window_length,).", raises="RuntimeError for a negative length and other dtypes.",
                source="Harris, Proc. IEEE 66 (1978).")


def _declare_old(name: str, parameters: tuple[tuple[str, float], ...], summary: str, example: str, window: Callable) -> None:
    names = ["periodic", *(p for p, _ in parameters)]
    defaults = {"periodic": True, **dict(parameters)}

    def function(window_length: int, *args: Any, dtype: Any = None, layout: Any = None, device: Any = None,
                 pin_memory: bool = False, requires_grad: bool = False, **named: Any) -> mg.Tensor:
        if len(args) > len(names):
            raise TypeError(f"{name}() takes at most {len(names) + 1} positional arguments: got {len(args) + 1}")
        values = {**defaults, **dict(zip(names, args))}
        for key, value in named.items():
            if key not in defaults:
                raise TypeError(f"{name}() got an unexpected keyword argument '{key}'")
            values[key] = value
        options = {"dtype": dtype, "layout": layout, "device": device, "requires_grad": requires_grad}
        given = {p: values[p] for p, _ in parameters}
        return _old(name, window_length, values["periodic"], options, lambda n, span: window(n, span, **given))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = _old_doc(summary, parameters, f"mg.{name}({example}")
    composite(method=False, name=name, **_SKIP)(function)


def _waves(n: int, span: int, *a: float) -> mg.Tensor:
    return _cosine_sum(_steps(n, 0.0, 2 * math.pi / span), a)


_declare_old("hann_window", (), "Hann's window: 0.5 - 0.5 cos(t).", "4) -> tensor([0.0000, 0.5000, 1.0000, 0.5000])",
             lambda n, span: _waves(n, span, 0.5, 0.5))
_declare_old("hamming_window", (("alpha", 0.54), ("beta", 0.46)), "alpha - beta cos(t).",
             "4) -> tensor([0.0800, 0.5400, 1.0000, 0.5400])", lambda n, span, alpha, beta: _waves(n, span, alpha, beta))
_declare_old("blackman_window", (), "Blackman's window: 0.42 - 0.5 cos(t) + 0.08 cos(2t).",
             "4)[1:] -> tensor([0.3400, 1.0000, 0.3400])", lambda n, span: _waves(n, span, 0.42, 0.5, 0.08))
_declare_old("bartlett_window", (), "Triangle with a zero at the start.", "4) -> tensor([0.0000, 0.5000, 1.0000, 0.5000])",
             lambda n, span: 1 - mg.abs(_steps(n, -1.0, 2 / span)))
_declare_old("kaiser_window", (("beta", 12.0),), "Kaiser's window: I0(beta sqrt(1 - x**2)) / I0(beta).",
             "4, False, 0.) -> tensor([1., 1., 1., 1.])", _kaiser)
