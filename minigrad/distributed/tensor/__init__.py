"""torch.distributed.tensor: the placements as data, and DTensor as a type that no tensor has. Distributing raises NotImplementedError."""

from __future__ import annotations

from typing import Any

from minigrad.distributed.device_mesh import DeviceMesh, init_device_mesh  # noqa: F401
from minigrad.distributed.tensor.placement_types import Partial, Placement, Replicate, Shard

__all__ = ["DTensor", "DeviceMesh", "Partial", "Placement", "Replicate", "Shard", "distribute_module",
           "distribute_tensor", "init_device_mesh"]


class DTensor:
    """A tensor spread over processes; nothing is one here, so `isinstance(x, DTensor)` is False."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("distributed.tensor.DTensor: minigrad runs on one process")

    @staticmethod
    def from_local(*args: Any, **kwargs: Any) -> Any:
        """Not here: raises NotImplementedError."""
        raise NotImplementedError("distributed.tensor.DTensor: minigrad runs on one process")


def distribute_tensor(*args: Any, **kwargs: Any) -> Any:
    """Not here: raises NotImplementedError."""
    raise NotImplementedError("distributed.tensor.distribute_tensor: minigrad runs on one process")


def distribute_module(*args: Any, **kwargs: Any) -> Any:
    """Not here: raises NotImplementedError."""
    raise NotImplementedError("distributed.tensor.distribute_module: minigrad runs on one process")
