"""Arguments of the Fourier functions: lengths, dims and norms completed and checked with PyTorch's rules and classes of errors."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.ops.shared.check import expect_tensors, into


def finish(name: str, result: mg.Tensor, out: mg.Tensor | None) -> mg.Tensor:
    """The result, or `out` with it; a real result does not go into a complex tensor."""
    if out is not None and out.dtype.is_complex and not result.dtype.is_complex:
        raise RuntimeError(f"{name} expects a floating point output tensor, but got {out.dtype}. Try the form without out=.")
    return into(name, result, out)


def scale_of(name: str, norm: str | None, points: int, forward: bool) -> float:
    """Factor of a transform of so many points: "backward" scales the inverse, "forward" the forward one, "ortho" both."""
    if norm not in (None, "backward", "forward", "ortho"):
        raise RuntimeError(
            f"{name}: Invalid normalization mode: got {norm!r}, expected 'backward', 'forward' or 'ortho'. Try norm='ortho'."
        )
    if norm == "ortho":
        return 1 / math.sqrt(points)
    return 1 / points if (norm == "forward") == forward else 1.0


def promoted(name: str, input: Any, *, require_complex: bool = False) -> mg.Tensor:
    """The input as float32, float64 or complex; integers become the default dtype."""
    expect_tensors(name, input=input)
    dtype = input.dtype
    if not (dtype.is_floating_point or dtype.is_complex):
        input, dtype = input.to(mg.get_default_dtype()), mg.get_default_dtype()
    if dtype in (mg.float16, mg.bfloat16):
        raise RuntimeError(f"{name}: Unsupported dtype {dtype}: expected float32, float64 or complex. Try x.float().")
    return to_complex(input) if require_complex else input


def to_complex(x: mg.Tensor) -> mg.Tensor:
    """The tensor in the complex dtype over its own."""
    return x if x.dtype.is_complex else x.to(mg.complex128 if x.dtype == mg.float64 else mg.complex64)


def expect_real(name: str, input: mg.Tensor) -> None:
    """rfft and ihfft take real signals only."""
    if input.dtype.is_complex:
        raise RuntimeError(f"{name} expects a real input tensor, but got {input.dtype}. Try x.real.")


def check_points(name: str, n: int) -> int:
    """A transform has at least one point."""
    if n < 1:
        raise RuntimeError(f"{name}: Invalid number of data points ({n}) specified: expected at least 1.")
    return n


def wrap(name: str, dim: int, ndim: int) -> int:
    """dim counted from 0."""
    if not isinstance(dim, int) or isinstance(dim, bool):
        raise TypeError(f"{name}: dim must be an int: got {type(dim).__name__}")
    if ndim == 0:
        raise IndexError(f"{name}: dimension specified as {dim} but tensor has no dimensions. Try x.reshape(1).")
    if not -ndim <= dim < ndim:
        raise IndexError(f"{name}: dimension out of range: got {dim}, expected a value in [{-ndim}, {ndim - 1}]")
    return dim % ndim


def as_ints(name: str, argument: str, value: Any) -> list[int] | None:
    """A list of ints from an int, a sequence of ints or None."""
    if value is None:
        return None
    values = [value] if isinstance(value, int) else value
    if not isinstance(values, (list, tuple, mg.Size)) or not all(isinstance(v, int) for v in values):
        raise TypeError(f"{name}: {argument} must be a tuple of ints: got {value!r}")
    return [int(v) for v in values]


def resized(x: mg.Tensor, dims: list[int], sizes: list[int]) -> mg.Tensor:
    """Cut or padded with zeros at the end of each dim."""
    for dim, n in zip(dims, sizes, strict=True):
        size = x.shape[dim]
        if n < size:
            x = x.narrow(dim, 0, n)
        elif n > size:
            missing = list(x.shape)
            missing[dim] = n - size
            x = mg.cat([x, mg.zeros(missing, dtype=x.dtype, device=x.device)], dim)
    return x


def shape_and_dims(name: str, input: mg.Tensor, s: Any, dim: Any) -> tuple[list[int], list[int], bool]:
    """(sizes, dims, whether s gave the last size) of an n-dimensional transform."""
    sizes, dims = as_ints(name, "s", s), as_ints(name, "dim", dim)
    ndim = len(input.shape)
    if dims is not None:
        dims = [wrap(name, d, ndim) for d in dims]
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"{name}: FFT dims must be unique: got dim={tuple(dims)}")
    if sizes is not None:
        if dims is not None and len(dims) != len(sizes):
            raise RuntimeError(
                f"{name}: When given, dim and shape arguments must have the same length: got s={tuple(sizes)}, "
                f"dim={tuple(dims)}"
            )
        if len(sizes) > ndim:
            raise RuntimeError(
                f"{name}: Got shape with {len(sizes)} values but input tensor only has {ndim} dimensions."
            )
    if dims is None:
        dims = list(range(ndim)) if sizes is None else list(range(ndim - len(sizes), ndim))
    given = sizes is not None and bool(sizes) and sizes[-1] != -1
    sizes = [input.shape[d] for d in dims] if sizes is None else [
        input.shape[d] if n == -1 else n for n, d in zip(sizes, dims, strict=True)
    ]  # fmt: skip
    for n in sizes:
        check_points(name, n)
    return sizes, dims, given
