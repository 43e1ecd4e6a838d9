"""State of the default random generator: seeding, saving, restoring, `fork_rng`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minigrad import _core

__all__ = ["default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]

default_generator = _core.default_generator
Generator = _core.Generator
manual_seed = _core.manual_seed


def seed() -> int:
    """Seed the default generator from the operating system; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed in force."""
    return default_generator.initial_seed()


def get_rng_state() -> _core.Tensor:
    """State of the default generator as a uint8 tensor of 16 bytes."""
    return default_generator.get_state()


def set_rng_state(new_state: _core.Tensor) -> None:
    """Restore what `get_rng_state` returned."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, _caller: str = "fork_rng", _devices_kw: str = "devices",
             device_type: str = "cuda") -> Iterator[None]:  # fmt: skip
    """Random numbers drawn inside leave the state outside as it was, also when the block raises.

    Args:
        devices: further devices to fork; there is only the CPU, which is always forked.
        enabled: False makes this a no-op.
        device_type: kind of `devices`.
    """
    if not enabled:
        yield
        return
    if devices:
        warnings.warn(f"{_caller}: {_devices_kw}={devices!r} of {device_type} are ignored: there is only the CPU", stacklevel=4)
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)
