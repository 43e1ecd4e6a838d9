"""Aliasing: where PyTorch's result is a view of an argument, ours must show the same memory with the same strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import minigrad as mg

from .convert import Case, Rebuild, tensors


def view_difference(f: Callable[..., Any], case: Case, actual: Any, ours: Rebuild) -> str | None:
    """None when every output of `actual` aliases the inputs as PyTorch's does; `ours` built the arguments of `actual`."""
    theirs = Rebuild(torch, ours.rebind)
    args, kwargs = theirs.case(case)
    results = list(tensors(f(*args, **kwargs), torch.Tensor))
    places = {flat.untyped_storage().data_ptr(): key for key, flat in theirs.storages.items() if flat.numel()}
    for i, (got, want) in enumerate(zip(tensors(actual, mg.Tensor), results)):
        if want.layout != torch.strided or want.numel() == 0 or want.is_conj() or want.is_neg():
            continue
        key = places.get(want.untyped_storage().data_ptr())
        if key is None or key not in ours.storages or got.shape != tuple(want.shape) or got.dtype != ours.storages[key].dtype:
            continue
        if got.data_ptr() - got.storage_offset() * got.element_size() != ours.storages[key].data_ptr():
            return f"output {i} is a copy; PyTorch's is a view of an argument"
        if got.storage_offset() != want.storage_offset():
            return f"output {i} views the argument from element {got.storage_offset()}, PyTorch's from {want.storage_offset()}"
        if any(a != b for a, b, n in zip(got.stride(), want.stride(), want.shape) if n > 1):
            return f"output {i} has strides {tuple(got.stride())}, expected those of PyTorch's view, {tuple(want.stride())}"
    return None
