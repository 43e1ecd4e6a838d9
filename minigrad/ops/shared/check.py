"""Argument checks shared by composites, which have no schema to do it for them."""

from __future__ import annotations

from typing import Any

import minigrad as mg


def expect_tensors(op: str, **arguments: Any) -> None:
    """Raises PyTorch's TypeError when an argument is not a Tensor."""
    for name, value in arguments.items():
        if not isinstance(value, mg.Tensor):
            raise TypeError(
                f"{op}: argument '{name}' must be a Tensor: got {type(value).__name__}. Try minigrad.tensor(...)."
            )


def expect_apart(op: str, out: mg.Tensor, *arguments: Any) -> None:
    """Raises PyTorch's RuntimeError when `out` shares memory with a tensor among the arguments."""
    if out.numel() and any(isinstance(a, mg.Tensor) and _start(a) == _start(out) for a in arguments):
        raise RuntimeError(f"{op}: unsupported operation: out= shares memory with an argument. Try clone() on one of them.")


def _start(t: mg.Tensor) -> int:
    """Address of a tensor's storage."""
    return t.data_ptr() - t.storage_offset() * t.element_size()


def into(op: str, result: mg.Tensor, out: mg.Tensor | None) -> mg.Tensor:
    """`out=` of a composite: writes the result into `out` and returns it; the result itself when out is None."""
    if out is None:
        return result
    if not mg.can_cast(result.dtype, out.dtype):
        raise RuntimeError(f"{op}: result type {result.dtype} can't be cast to the desired output type {out.dtype}")
    if tuple(out.shape) != tuple(result.shape):
        out.resize_(result.shape)  # as in PyTorch, and as every op with a kernel of its own does
    return out.copy_(result)
