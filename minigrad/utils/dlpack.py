"""torch.utils.dlpack: exchange of memory with other libraries."""

from __future__ import annotations

from typing import Any

from minigrad import Tensor, from_dlpack

__all__ = ["from_dlpack", "to_dlpack"]


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule sharing the tensor's memory."""
    return tensor.__dlpack__()
