"""torch.utils._foreach_utils: tensors grouped by device and dtype, for optimizers that update lists of them."""

from __future__ import annotations

from typing import Any

__all__ = ["Indices", "TensorListList"]

Indices = list
TensorListList = list


def _group_tensors_by_device_and_dtype(tensorlistlist: list, with_indices: bool = False) -> dict[tuple, tuple]:
    """{(device, dtype): (lists, indices)}: the parallel lists split by the device and dtype of the first list's tensors."""
    groups: dict[tuple, tuple] = {}
    for index, first in enumerate(tensorlistlist[0]):
        lists, indices = groups.setdefault((first.device, first.dtype), ([[] for _ in tensorlistlist], []))
        for held, given in zip(lists, tensorlistlist):
            if given:
                held.append(given[index])
        indices.append(index)
    return {key: (lists, indices if with_indices else []) for key, (lists, indices) in groups.items()}


def _get_foreach_kernels_supported_devices() -> list[str]:
    return ["cpu", "cuda"]


def _get_fused_kernels_supported_devices() -> list[str]:
    return ["cpu", "cuda"]


def _has_foreach_support(tensors: Any, device: Any) -> bool:
    return True


def _device_has_foreach_support(device: Any) -> bool:
    return True
