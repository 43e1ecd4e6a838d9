"""Python's `multiprocessing`, with tensors that travel by shared memory.

Everything of the standard module is here under its name (Process, Queue, Pool, get_context …). A tensor put on a queue or pipe, or
given to a process, has its storage moved to an anonymous shared segment (`Tensor.share_memory_`); the receiver's tensor is the same
memory, so that writes of one process are seen by the others. Segments have no name: nothing can leak, however a process dies.

As with PyTorch, the sending process must live until the receiver has taken the tensor, and every shared storage holds a descriptor.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import *  # noqa: F403

from .reductions import init_reductions
from .spawn import ProcessContext, ProcessException, ProcessExitedException, ProcessRaisedException, SpawnContext, spawn, start_processes

__all__ = [
    *multiprocessing.__all__,
    "ProcessContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException", "SpawnContext", "get_all_sharing_strategies",
    "get_sharing_strategy", "set_sharing_strategy", "spawn", "start_processes",
]  # fmt: skip

_all_sharing_strategies = {"file_descriptor", "file_system"}
_sharing_strategy = "file_descriptor"


def set_sharing_strategy(new_strategy: str) -> None:
    """Choose how tensors are shared.

    Args:
        new_strategy: one of `get_all_sharing_strategies()`. Both share anonymous memory by descriptors here: files with names in
            /dev/shm, PyTorch's "file_system", would outlive a killed process.
    """
    global _sharing_strategy
    if new_strategy not in _all_sharing_strategies:
        raise AssertionError(f"invalid sharing strategy {new_strategy!r}, expected one of {_all_sharing_strategies}")
    _sharing_strategy = new_strategy


def get_sharing_strategy() -> str:
    """The strategy in force."""
    return _sharing_strategy


def get_all_sharing_strategies() -> set[str]:
    """The names that `set_sharing_strategy` accepts."""
    return _all_sharing_strategies


init_reductions()
