"""DataParallel on one device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..modules.module import Module

__all__ = ["DataParallel", "data_parallel"]


def _one_device(name: str, device_ids: Sequence[Any] | None) -> list[Any]:
    device_ids = list(device_ids or [])
    if len(device_ids) > 1:
        raise NotImplementedError(f"{name}: minigrad runs on one device: got device_ids={device_ids}")
    return device_ids


class DataParallel(Module):
    """Calls `module`; with one device there is nothing to split.

    Args:
        module: the module to wrap, available as `.module`.
        device_ids: at most one device.
        output_device: device of the result.
        dim: the batch dimension.
    """

    def __init__(
        self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        self.module = module
        self.device_ids = _one_device("DataParallel", device_ids)
        self.dim = dim
        if self.device_ids:
            self.output_device = output_device if output_device is not None else self.device_ids[0]

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Call the wrapped module."""
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Sequence[Any] | None = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """`module(*inputs, **module_kwargs)`; the functional form of DataParallel."""
    _one_device("data_parallel", device_ids)
    if not isinstance(inputs, tuple):
        inputs = (inputs,) if inputs is not None else ()
    return module(*inputs, **(module_kwargs or {}))
