"""torch.functional: some functions of the main namespace, under the import path that older programs use."""

from __future__ import annotations

from typing import Any

# ruff: noqa: F822  (some names are made below, or on first use)
__all__ = ["atleast_1d", "atleast_2d", "atleast_3d", "align_tensors", "block_diag", "broadcast_shapes",
           "broadcast_tensors", "cartesian_prod", "cdist",
           "chain_matmul", "einsum", "istft", "lu", "meshgrid", "norm", "split", "stft", "tensordot", "unique", "unique_consecutive",
           "unravel_index"]  # fmt: skip


def __getattr__(name: str) -> Any:
    import minigrad

    if name in __all__ or name == "Tensor":
        return getattr(minigrad, name)
    if name == "F":
        return minigrad.nn.functional
    raise AttributeError(f"module 'minigrad.functional' has no attribute '{name}'")
