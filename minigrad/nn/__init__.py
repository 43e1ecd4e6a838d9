"""Neural network layers, losses and their helpers, named as in torch.nn."""

from __future__ import annotations

from typing import Any

from . import attention, common_types, functional, grad, init, modules, parallel, parameter, utils
from ._functional.linear_cross_entropy import LinearCrossEntropyOptions
from .modules import *  # noqa: F403
from .modules import __all__ as _modules
from .parallel import DataParallel
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    "Buffer", "DataParallel", "LinearCrossEntropyOptions", "Parameter", "UninitializedBuffer", "UninitializedParameter",
    "attention", "common_types", "factory_kwargs", "functional", "grad", "init", "modules", "parallel", "parameter", "utils", *_modules,
]  # fmt: skip


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """`kwargs` with the entries of its "factory_kwargs" beside them, for passing on to tensor factories.

    Args:
        kwargs: device, dtype and memory_format, here or within "factory_kwargs", not in both.

    Raises:
        TypeError: another keyword, or one given twice.
    """
    if kwargs is None:
        return {}
    simple = {"device", "dtype", "memory_format"}
    unexpected = kwargs.keys() - simple - {"factory_kwargs"}
    if unexpected:
        raise TypeError(f"unexpected kwargs {unexpected}")
    merged = dict(kwargs.get("factory_kwargs", {}))
    for key in simple & kwargs.keys():
        if key in merged:
            raise TypeError(f"{key} specified twice, in **kwargs and in factory_kwargs")
        merged[key] = kwargs[key]
    return merged
