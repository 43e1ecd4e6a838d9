"""What the Array API standard asks of the array object itself: `x.__array_namespace__()` and `x.to_device()`."""

from __future__ import annotations

from typing import Any

from minigrad import _core

Tensor = _core.Tensor
VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")


def _array_namespace(self: Tensor, /, *, api_version: str | None = None) -> Any:
    """The Array API namespace of this tensor: `minigrad.array_api`.

    Raises:
        ValueError for a version of the standard that is not supported.
    """
    from minigrad import array_api

    if api_version is not None and api_version not in VERSIONS:
        raise ValueError(f"__array_namespace__: version not supported: got {api_version!r}, expected one of {', '.join(VERSIONS)}.")
    return array_api


def _to_device(self: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """This tensor on a device (the standard's name for `to`)."""
    if stream is not None and self.device.type == "cpu":
        raise ValueError(f"to_device: the CPU has no streams: got stream={stream!r}, expected None.")
    return self.to(device=device)


Tensor.__array_namespace__ = _array_namespace
Tensor.to_device = _to_device
