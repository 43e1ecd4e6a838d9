"""State of the default random generator: seeding, saving, restoring, `fork_rng`."""

from __future__ import annotations

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
        devices: indices (or names) of the CUDA devices whose generators are kept too; None means all. The CPU's always is.
        enabled: False makes this a no-op.
        device_type: kind of `devices`.
    """
    if not enabled:
        yield
        return
    from minigrad import cuda

    if device_type not in ("cuda", "cpu", "meta"):
        raise RuntimeError(f"{_caller}: there are no devices of type {device_type!r}, only cpu and cuda")
    if device_type != "cuda":
        devices = ()
    elif devices is None:
        devices = range(cuda.device_count())
    devices = list(devices)
    state, others = get_rng_state(), [cuda.get_rng_state(k) for k in devices]
    try:
        yield
    finally:
        set_rng_state(state)
        for k, other in zip(devices, others):
            cuda.set_rng_state(other, k)
