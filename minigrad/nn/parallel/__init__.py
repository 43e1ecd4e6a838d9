"""DataParallel and DistributedDataParallel for one process and one device: the wrapped module runs as it is.

What programs can see is kept: the attribute `module`, state_dict keys that begin with "module.", `no_sync`, `device_ids`.
"""

from __future__ import annotations

from typing import Any

from .data_parallel import DataParallel, data_parallel
from .distributed import DistributedDataParallel

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel"]


def __getattr__(name: str) -> Any:
    if name in ("replicate", "scatter", "gather", "parallel_apply"):
        raise NotImplementedError(f"nn.parallel.{name}: minigrad runs one device at a time")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
