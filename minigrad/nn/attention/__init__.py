"""Choosing how scaled_dot_product_attention is computed, attention biases, and flex_attention, with torch.nn.attention's names.

There is one way of computing attention here; the contexts are accepted so that programs run, and say what they would allow.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "SDPBackend", "WARN_FOR_UNFUSED_KERNELS", "activate_flash_attention_impl", "current_flash_attention_impl",
    "list_flash_attention_impls", "register_flash_attention_impl", "restore_flash_attention_impl", "sdpa_kernel",
]  # fmt: skip

WARN_FOR_UNFUSED_KERNELS = False


class SDPBackend(enum.Enum):
    """The ways of computing attention that programs name. All of them are one and the same computation here."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __int__(self) -> int:
        return self.value

    __index__ = __int__


_allowed: list[SDPBackend] = [b for b in SDPBackend if b is not SDPBackend.ERROR]


def _cur_sdpa_kernel_backends(with_priority: bool = False) -> list[SDPBackend]:
    return list(_allowed)


@contextmanager
def sdpa_kernel(backends: list[SDPBackend] | SDPBackend, set_priority: bool = False) -> Iterator[Any]:
    """Inside the block (or the decorated function) only these backends are allowed.

    Args:
        backends: one or several of SDPBackend.
        set_priority: their order is the order of preference.
    """
    global _allowed
    several = isinstance(backends, Iterable) and not isinstance(backends, SDPBackend)
    chosen = list(backends) if several else [backends]
    if not all(isinstance(b, SDPBackend) for b in chosen):
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances")
    before, _allowed = _allowed, list(dict.fromkeys(chosen))
    try:
        yield {}
    finally:
        _allowed = before


_flash: dict[str, Any] = {}  # registered by name; the functions below only keep the book
_active_flash: str | None = None


def register_flash_attention_impl(impl: str, *, register_fn: Any) -> None:
    """Note a flash attention implementation; `register_fn()` runs when it is activated."""
    _flash[impl] = register_fn


def activate_flash_attention_impl(impl: str) -> None:
    """Run the registration function of `impl`; raises ValueError for an unknown one."""
    global _active_flash
    if impl not in _flash:
        raise ValueError(f"Unknown flash attention impl '{impl}'. Available implementations: {sorted(_flash)}")
    _flash[impl]()
    _active_flash = impl


def list_flash_attention_impls() -> list[str]:
    """Names of the registered implementations: none of our own."""
    return sorted(_flash)


def current_flash_attention_impl() -> str | None:
    """The one that is active, or None."""
    return _active_flash


def restore_flash_attention_impl(_raise_warn: bool = True) -> None:
    """Back to none."""
    global _active_flash
    _active_flash = None


def __getattr__(name: str) -> Any:
    if name in ("bias", "flex_attention"):
        import importlib

        return importlib.import_module(f"minigrad.nn.attention.{name}")
    raise AttributeError(f"module 'minigrad.nn.attention' has no attribute '{name}'")
