"""Frequencies of the bins of a transform, and moving the zero frequency to the middle and back."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite
from minigrad.ops.shared.check import expect_tensors, into
from minigrad.ops.spectral.common import as_ints

_FACTORY = "they make tensors from numbers; tests/test_fft.py compares them with NumPy and PyTorch"


def _frequencies(name: str, bins: Any, n: int, d: float, out: Any, dtype: Any, options: dict[str, Any]) -> mg.Tensor:
    dtype = (out.dtype if out is not None else None) or dtype or mg.get_default_dtype()
    if not (dtype.is_floating_point or dtype.is_complex):
        raise RuntimeError(f"{name} requires a floating point or complex dtype: got {dtype}. Try dtype=minigrad.float32.")
    # One multiplication by 1 / (n d), as PyTorch does it; n = 0 has no bins.
    scale = 1.0 / (n * d) if n and d else float("inf")
    result = (bins.to(mg.float64) * scale).to(dtype) if not dtype.is_complex else (bins * scale).to(dtype)
    requires_grad = options.pop("requires_grad", False)
    device = options.pop("device", None)
    if options:
        raise TypeError(f"{name}: unexpected keyword argument '{next(iter(options))}'")
    result = result if device is None else result.to(device)
    if requires_grad:
        result.requires_grad_()
    return into(name, result, out)


def _count(name: str, n: int) -> int:
    if not isinstance(n, int):
        raise TypeError(f"{name}: n must be an int: got {type(n).__name__}")
    if n < 0:
        raise RuntimeError(f"{name}: n must not be negative: got {n}")
    return n


@composite("fft", method=False, no_samples_reason=_FACTORY, no_ref_reason=_FACTORY)
def fftfreq(n: int, d: float = 1.0, *, out: mg.Tensor | None = None, dtype: Any = None, layout: Any = None,
            device: Any = None, requires_grad: bool = False) -> mg.Tensor:
    """Frequencies of the bins of fft: 0, 1, … then the negative ones, over n d.

    Args:
        n: points of the transform.
        d: distance between samples.
        out: tensor that receives the result.
        dtype: floating or complex; default the default dtype.
        layout: accepted for PyTorch's sake; dense only.
        device: where the result lives.
        requires_grad: whether the result is a leaf that records.
    Returns:
        a tensor (n,).
    Raises:
        RuntimeError for an integer dtype.
    Example:
        >>> mg.fft.fftfreq(4)
        tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    bins = mg.arange(_count("fftfreq", n))
    half = (n + 1) // 2
    bins = mg.where(bins >= half, bins - n, bins)
    return _frequencies("fftfreq", bins, n, d, out, dtype, {"device": device, "requires_grad": requires_grad})


@composite("fft", method=False, no_samples_reason=_FACTORY, no_ref_reason=_FACTORY)
def rfftfreq(n: int, d: float = 1.0, *, out: mg.Tensor | None = None, dtype: Any = None, layout: Any = None,
             device: Any = None, requires_grad: bool = False) -> mg.Tensor:
    """Frequencies of the bins of rfft: 0, 1, … n // 2, over n d.

    Args:
        n: points of the transform.
        d: distance between samples.
        out: tensor that receives the result.
        dtype: floating or complex; default the default dtype.
        layout: accepted for PyTorch's sake; dense only.
        device: where the result lives.
        requires_grad: whether the result is a leaf that records.
    Returns:
        a tensor (n // 2 + 1,).
    Raises:
        RuntimeError for an integer dtype.
    Example:
        >>> mg.fft.rfftfreq(4)
        tensor([0.0000, 0.2500, 0.5000])
    """
    bins = mg.arange(_count("rfftfreq", n) // 2 + 1)
    return _frequencies("rfftfreq", bins, n, d, out, dtype, {"device": device, "requires_grad": requires_grad})


def _shift(name: str, input: Any, dim: Any, back: bool) -> mg.Tensor:
    expect_tensors(name, input=input)
    dims = as_ints(name, "dim", dim)
    dims = list(range(len(input.shape))) if dims is None else dims
    for d in dims:
        if not -len(input.shape) <= d < len(input.shape):
            raise IndexError(f"{name}: dimension out of range: got {d} for shape {tuple(input.shape)}")
    if not dims:
        return input.clone()
    return mg.roll(input, [(input.shape[d] + back) // 2 for d in dims], dims)


def _shift_samples(s: Any) -> list[Any]:
    return [s(s.t(5)), s(s.t(4)), s(s.t(3, 4)), s(s.t(3, 4), 1), s(s.t(2, 3, 5), (0, -1)), s(s.t(0, 3)),
            s(s.t(4, 3, layout="transposed"))]  # fmt: skip


def _np_shift(name: str) -> Any:
    def reference(input: Any, dim: Any = None) -> Any:
        import numpy as np

        return getattr(np.fft, name)(input, axes=dim)

    return reference


@composite("fft", method=False, samples=_shift_samples, ref=_np_shift("fftshift"))
def fftshift(input: mg.Tensor, dim: Any = None) -> mg.Tensor:
    """Rolls each dim by half, so that the zero frequency comes to the middle.

    Args:
        input: any shape and dtype.
        dim: a dim or a tuple of them; default all.
    Returns:
        a tensor of the same shape and dtype.
    Raises:
        IndexError for dims out of range.
    Gradient:
        rolled back.
    Example:
        >>> mg.fft.fftshift(mg.tensor([0, 1, 2, -2, -1]))
        tensor([-2, -1,  0,  1,  2])
    """
    return _shift("fftshift", input, dim, False)


@composite("fft", method=False, samples=_shift_samples, ref=_np_shift("ifftshift"))
def ifftshift(input: mg.Tensor, dim: Any = None) -> mg.Tensor:
    """Inverse of fftshift: brings the zero frequency from the middle to the front.

    Args:
        input: any shape and dtype.
        dim: a dim or a tuple of them; default all.
    Returns:
        a tensor of the same shape and dtype.
    Raises:
        IndexError for dims out of range.
    Gradient:
        rolled back.
    Example:
        >>> mg.fft.ifftshift(mg.tensor([-2, -1, 0, 1, 2]))
        tensor([ 0,  1,  2, -2, -1])
    """
    return _shift("ifftshift", input, dim, True)
