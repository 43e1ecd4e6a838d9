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
