"""The standard's fft extension: `minigrad.fft` under the standard's argument names."""

from __future__ import annotations

from typing import Any

from minigrad import fft as _fft
from minigrad.array_api._dtypes import Array


def _one(name: str) -> Any:
    def function(x: Array, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Array:
        return getattr(_fft, name)(x, n=n, dim=axis, norm=norm)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`{name}` of the Array API standard along one axis."
    return function


def _many(name: str) -> Any:
    def function(x: Array, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Array:
        return getattr(_fft, name)(x, s=s, dim=axes, norm=norm)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`{name}` of the Array API standard along several axes."
    return function


fft, ifft, rfft, irfft, hfft, ihfft = (_one(n) for n in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"))
fftn, ifftn, rfftn, irfftn = (_many(n) for n in ("fftn", "ifftn", "rfftn", "irfftn"))


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Array:
    """Frequencies of fft's bins."""
    return _fft.fftfreq(n, d, dtype=dtype, device=device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Array:
    """Frequencies of rfft's bins."""
    return _fft.rfftfreq(n, d, dtype=dtype, device=device)


def fftshift(x: Array, /, *, axes: Any = None) -> Array:
    """Zero frequency in the middle."""
    return _fft.fftshift(x, dim=axes)


def ifftshift(x: Array, /, *, axes: Any = None) -> Array:
    """Undoes fftshift."""
    return _fft.ifftshift(x, dim=axes)


__all__ = [
    "fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft", "irfft", "irfftn", "rfft", "rfftfreq", "rfftn",
]  # fmt: skip
