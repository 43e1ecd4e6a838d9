"""torch.cuda.nvtx without CUDA: ranges raise as in PyTorch."""

from __future__ import annotations

from minigrad._no_device import refusing

# ruff: noqa: F822  (some names are made below, or on first use)
__all__ = ["mark", "range", "range_end", "range_pop", "range_push", "range_start"]

for _name in __all__:
    globals()[_name] = refusing(
        _name, "NVTX functions not installed. Are you sure you have a CUDA build?", RuntimeError
    )
