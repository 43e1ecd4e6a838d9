"""Automatic mixed precision, named as in torch.amp: autocast regions and GradScaler.

`autocast` itself is in autocast_mode.py, its lists of ops in _policy.py, its switches in _state.py; GradScaler in grad_scaler.py.
"""

from __future__ import annotations

from . import autocast_mode, grad_scaler
from .autocast_mode import _enter_autocast, _exit_autocast, autocast, custom_bwd, custom_fwd, is_autocast_available
from .grad_scaler import GradScaler

__all__ = [
    "GradScaler", "_enter_autocast", "_exit_autocast", "autocast", "autocast_mode", "custom_bwd", "custom_fwd", "grad_scaler",
    "is_autocast_available",
]  # fmt: skip
