"""pin_memory: page-locked copies of the tensors in a batch, for accelerators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import minigrad as mg

from .collate import _rebuilt_mapping, _rebuilt_sequence


def pin_memory(data: Any, device: Any = None) -> Any:
    """`data` with every tensor pinned, at any depth; objects with a method pin_memory() pin themselves.

    Raises:
        RuntimeError: there is a tensor, and no accelerator to pin it for.
    """
    if isinstance(data, mg.Tensor):
        return data.pin_memory()
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        return _rebuilt_mapping(data, {key: pin_memory(value, device) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(pin_memory(value, device) for value in data))
    if isinstance(data, tuple):
        return [pin_memory(value, device) for value in data]
    if isinstance(data, Sequence):
        return _rebuilt_sequence(data, [pin_memory(value, device) for value in data])
    return data.pin_memory() if hasattr(data, "pin_memory") else data
