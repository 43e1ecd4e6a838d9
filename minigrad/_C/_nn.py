"""torch._C._nn: the functions of nn.functional, under the name that some programs import."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from minigrad.nn import functional

    return getattr(functional, name)


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool, Any]:
    """The arguments of Module.to and Tensor.to as (device, dtype, non_blocking, memory_format)."""
    from minigrad import _core
    from minigrad._tensor import _parse_to as parse

    dtype, device, _, memory_format, non_blocking = parse(args, dict(kwargs))
    return (None if device is None else _core.device(device)), dtype, non_blocking, memory_format
