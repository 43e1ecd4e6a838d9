"""State of the default random generator: seeding, saving, restoring, `fork_rng`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minigrad import _core

default_generator = _core.default_generator
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
def fork_rng(devices: object = None, enabled: bool = True) -> Iterator[None]:
    """Random numbers drawn inside leave the state outside as it was.

    Args:
        devices: accepted for PyTorch's sake.
        enabled: False makes this a no-op.
    """
    state = get_rng_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            set_rng_state(state)
