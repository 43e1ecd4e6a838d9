"""How multiprocessing pickles tensors: as a descriptor of the shared segment their storage lives on.

Registered with ForkingPickler, which serves queues, pipes and the arguments of processes; plain `pickle` still copies the bytes.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from multiprocessing import resource_sharer, util
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import Any

import minigrad as mg
from minigrad import _core

__all__ = ["init_reductions", "rebuild_tensor", "reduce_tensor"]


def rebuild_tensor(
    fd: Any, nbytes: int, dtype: mg.dtype, sizes: tuple, strides: tuple, offset: int, requires_grad: bool
) -> mg.Tensor:
    """A tensor on the segment behind `fd` (the end of `reduce_tensor`)."""
    lease = _core.SharedSegment.open(fd.detach()).lease(False)
    made = lease.tensor(0, nbytes, dtype, sizes, strides, offset)
    return made.requires_grad_() if requires_grad else made


def reduce_tensor(tensor: mg.Tensor) -> tuple:
    """Share the storage and describe the tensor; RuntimeError for one with a history.

    Tensors that are not in CPU memory (other devices, sparse layouts) travel by value, as in plain pickle.
    """
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support crossing process "
            "boundaries.  If you just want to transfer the data, call detach() on the tensor before serializing (e.g., putting it on "
            "the queue)."
        )
    if tensor.device.type != "cpu" or tensor.layout != mg.strided:
        return tensor.__reduce_ex__(2)
    segment = _core.share_storage(tensor)
    place = (_core.storage_nbytes(tensor), tensor.dtype, tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset())
    with _sharing:
        descriptor = DupFd(segment.fd)
        _keep_address()
    return rebuild_tensor, (descriptor, *place, tensor.requires_grad), getattr(tensor, "__dict__", None) or None


_sharing = threading.Lock()
LINGER = 20.0  # seconds a child that has ended waits for others to take what it sent


def _keep_address() -> None:
    """Let the socket at which receivers ask for descriptors go with its folder, after `_linger`, not first thing at exit."""
    listener = getattr(getattr(resource_sharer._resource_sharer, "_listener", None), "_listener", None)
    unlink = getattr(listener, "_unlink", None)
    if unlink is not None:
        unlink.cancel()


def _linger() -> None:
    """Keep a child that is about to exit until its tensors were taken: their descriptors live in its table until then."""
    parent = multiprocessing.parent_process()
    waiting = getattr(resource_sharer._resource_sharer, "_cache", None)
    deadline = time.monotonic() + LINGER
    while waiting and parent is not None and parent.is_alive() and time.monotonic() < deadline:
        time.sleep(0.002)


def _let_feeders_share(again: bool) -> None:
    """At the beginning of each round of finalizers: a queue's thread that just opened the socket must have kept its address first."""
    with _sharing:
        if again:
            util.Finalize(None, _let_feeders_share, args=(False,), exitpriority=1000)


def _linger_at_exit() -> None:
    global _sharing
    _sharing = threading.Lock()  # a new one after a fork: a thread of the parent may have held it
    util.Finalize(None, _let_feeders_share, args=(True,), exitpriority=1000)
    # After the feeder threads of queues (priority -5), which pickle the tensors; before the folder with the socket goes (-100).
    util.Finalize(None, _linger, exitpriority=-50)


def init_reductions() -> None:
    """Register; subclasses (Parameter) reduce themselves to plain tensors."""
    ForkingPickler.register(mg.Tensor, reduce_tensor)
    _linger_at_exit()
    if hasattr(os, "register_at_fork"):
        util.register_after_fork(mg.Tensor, lambda _: _linger_at_exit())  # a forked process starts without finalizers
