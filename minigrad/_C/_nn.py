"""torch._C._nn: the functions of nn.functional, under the name that some programs import."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from minigrad.nn import functional

    return getattr(functional, name)
