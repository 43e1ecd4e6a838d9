"""torch.xpu: this build has no such device."""

from __future__ import annotations

from minigrad._no_device import (
    device_count,
    empty_cache,
    is_available,
    is_initialized,
    manual_seed,
    manual_seed_all,
    refusing,
)

__all__ = [
    "device_count",
    "empty_cache",
    "is_available",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "synchronize",
]

synchronize = refusing("synchronize", "Torch not compiled with xpu enabled")
