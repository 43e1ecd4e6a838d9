"""The one way in which a Triton kernel of this package is started: launch(kernel, grid, *args, num_warps=, num_stages=, **constexprs).

    on a GPU                 compiled once for each (kernel, dtypes, divisibility, constexprs, options), started from C++ (_driver.py)
    TRITON_INTERPRET=1       run by Triton's interpreter on CPU tensors or the simulated device (_interpret.py)
    inside recording(arch)   nothing runs: what would be compiled is noted, for the ahead-of-time checks (_aot.py); tensors are on "meta"

The launchers of the kernel files are the same in all three, so what the checks compile is what ships.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minigrad import _core

OPTIONS = ("num_warps", "num_stages", "num_ctas", "maxnreg", "launch_pdl", "enable_fp_fusion")


@dataclasses.dataclass
class Launch:
    """One launch that was recorded instead of run."""

    kernel: Any
    grid: tuple[int, ...]
    args: tuple
    constants: dict[str, Any]
    options: dict[str, Any]


class _State:
    recorded: list[Launch] | None = None
    arch = 90
    observer: Callable[[Launch], None] | None = None  # the lab's
    watched: list[Any] | None = None


_state = _State()


@functools.cache
def interpreting() -> bool:
    """Whether kernels run in Triton's interpreter, which is settled when triton is imported."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@contextlib.contextmanager
def recording(arch: int) -> Iterator[list[Launch]]:
    """Inside, launches are noted in the list and not run; target() says sm_<arch>."""
    previous = _state.recorded, _state.arch
    _state.recorded, _state.arch = [], arch
    try:
        yield _state.recorded
    finally:
        _state.recorded, _state.arch = previous


@contextlib.contextmanager
def watching() -> Iterator[list[Any]]:
    """Inside, kernels that are launched while gradients are recorded, and so behind autograd's back, are noted in the list."""
    previous, _state.watched = _state.watched, []
    try:
        yield _state.watched
    finally:
        _state.watched = previous


@dataclasses.dataclass(frozen=True)
class Target:
    """What a launcher may adapt to: compute capability (80, 90 …) and the number of multiprocessors."""

    arch: int
    multiprocessors: int


def target(device: Any = None) -> Target:
    """The device's; in the interpreter an sm_90 with two multiprocessors, so that persistent kernels have few programs."""
    if _state.recorded is not None:
        return Target(_state.arch, 132 if _state.arch >= 90 else 108)
    if interpreting():
        return Target(90, 2)
    from minigrad.kernels import _driver

    return _driver.target_of(device)


def launch(kernel: Any, grid: Sequence[int], *args: Any, **named: Any) -> None:
    """Start `kernel` on the current stream with `grid` programs (1 to 3 numbers; nothing happens when one is 0).

    Args:
        args: the kernel's run-time arguments in order: tensors, ints, floats, bools, None for an absent tensor.
        named: its constexpr parameters by name, and num_warps, num_stages, num_ctas, maxnreg.
    """
    if 0 in grid:
        return
    if _state.watched is not None and _core.is_grad_enabled():
        _state.watched.append(kernel)
    if _state.recorded is None and not interpreting():
        from minigrad.kernels import _driver

        return _driver.start(kernel, tuple(grid), args, named)
    options = {name: named.pop(name) for name in OPTIONS if name in named}
    entry = Launch(kernel, tuple(grid), args, named, options)
    if _state.recorded is not None:
        _state.recorded.append(entry)
        return
    if _state.observer is not None:
        _state.observer(entry)
    from minigrad.kernels import _interpret

    _interpret.run(kernel, entry.grid, args, named)


class Wrapped:
    """A Triton kernel from elsewhere, started its own way on minigrad tensors: wrapped[grid](x, y, n, BLOCK=128)."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        """The call that starts it; `grid` may be a function of the constants, as in Triton."""
        if interpreting():
            from minigrad.kernels import _interpret

            return lambda *args, **named: _interpret.run(self.kernel, grid, args, named)
        from minigrad.kernels import _driver

        _driver.install_once()
        return self.kernel[grid]


def tuned(key: tuple, candidates: Sequence[dict[str, Any]], run: Callable[[dict[str, Any]], None]) -> None:
    """run(c) with the fastest of `candidates` for `key`: measured at the key's first use on a GPU and remembered on disk (_autotune.py).

    In the interpreter that is the first; while recording, all are run, so that every one of them is checked.
    """
    if len(candidates) == 1 or (interpreting() and _state.recorded is None):
        return run(candidates[0])
    if _state.recorded is not None:
        for candidate in candidates:
            run(candidate)
        return
    from minigrad.kernels import _autotune

    run(_autotune.best(key, candidates, run))
