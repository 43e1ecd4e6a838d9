"""Turning samples into batches: default_collate and default_convert."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import minigrad as mg


def _is_numpy(value: Any) -> bool:
    numpy = sys.modules.get("numpy")  # a sample can only be numpy's if numpy is loaded
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def _rebuilt(like: Any, items: list[Any]) -> Any:
    if isinstance(like, tuple):
        return type(like)(*items) if hasattr(like, "_fields") else items
    try:
        return type(like)(items)
    except TypeError:  # a sequence type that cannot be built from a list (range)
        return items


def default_convert(data: Any) -> Any:
    """Numpy arrays become tensors, at any depth; everything else stays."""
    if isinstance(data, mg.Tensor):
        return data
    if _is_numpy(data):
        return data if data.dtype.kind in "SUO" else mg.as_tensor(data)
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(value) for value in data))
    if isinstance(data, tuple):
        return [default_convert(value) for value in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuilt(data, [default_convert(value) for value in data])
    return data


def default_collate(batch: list[Any]) -> Any:
    """Stack a list of samples into a batch: tensors and arrays along a new first dimension, containers recursively.

    Raises:
        RuntimeError: samples of different length.
        TypeError: a kind of sample that cannot be batched.
    """
    first = batch[0]
    if isinstance(first, mg.Tensor):
        return mg.stack(batch, 0)
    if _is_numpy(first):
        if first.dtype.kind in "SUO":
            raise TypeError(f"default_collate: batch must contain tensors, numbers or arrays; found {first.dtype}")
        return mg.stack([mg.as_tensor(value) for value in batch], 0)
    if isinstance(first, bool):
        return mg.tensor(batch)
    if isinstance(first, float):
        return mg.tensor(batch, dtype=mg.float64)
    if isinstance(first, int):
        return mg.tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        collated = {key: default_collate([sample[key] for sample in batch]) for key in first}
        try:
            return type(first)(collated)
        except TypeError:
            return collated
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(list(group)) for group in zip(*batch, strict=True)))
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return _rebuilt(first, [default_collate(list(group)) for group in zip(*batch, strict=True)])
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found " + str(type(first))
    )
