"""torch.fx._compatibility: the decorator that some libraries put on their functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def compatibility(is_backward_compatible: bool) -> Callable[[T], T]:
    """A decorator that returns its function."""
    return lambda fn: fn
