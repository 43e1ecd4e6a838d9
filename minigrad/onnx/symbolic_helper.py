"""torch.onnx.symbolic_helper: the decorators that libraries put on their exporters; nothing calls those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def parse_args(*arg_descriptors: str) -> Callable[[T], T]:
    """A decorator that returns its function."""
    return lambda fn: fn


def quantized_args(*arg_q_descriptors: bool, **options: Any) -> Callable[[T], T]:
    """A decorator that returns its function."""
    return lambda fn: fn
