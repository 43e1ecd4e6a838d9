"""The worker process of a DataLoader: seeding, the serving loop, get_worker_info.

A worker ends when its line is closed, and at once when its parent dies (a watching thread without the GIL, `exit_with_parent`).
"""

from __future__ import annotations

import os
import random
import socket
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._utils import ExceptionWrapper

from ._channel import Channel, ChannelClosed
from .fetch import _DatasetKind

# The parents' ends in this process. A forked worker closes the copies it inherited: they would keep its siblings' lines open.
parent_ends: weakref.WeakSet[Channel] = weakref.WeakSet()


class WorkerInfo:
    """What `get_worker_info()` returns in a worker: id, num_workers, seed, dataset (the worker's copy)."""

    __initialized = False

    def __init__(self, **details: Any) -> None:
        for name, value in details.items():
            setattr(self, name, value)
        self.__keys = tuple(details)
        self.__initialized = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__initialized:
            raise RuntimeError(f"Cannot assign attributes to {self.__class__.__name__} objects")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({', '.join(f'{name}={getattr(self, name)}' for name in self.__keys)})"


_worker_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Details of the DataLoader worker this is called in; None in the main process.

    Returns:
        an object with `id` (from 0), `num_workers`, `seed` (base seed + id) and `dataset` (this process's copy).
    """
    return _worker_info


@dataclass(frozen=True)
class EndOfStream:
    """A worker's IterableDataset has ended."""

    worker_id: int


@dataclass(frozen=True)
class Resume:
    """To a persistent worker: a new pass begins; and its answer."""

    number: int


@dataclass
class WorkerSpec:
    """All that a worker must know, pickled for `spawn`."""

    worker_id: int
    num_workers: int
    base_seed: int
    dataset_kind: int
    dataset: Any
    auto_collation: bool
    collate_fn: Callable
    drop_last: bool
    init_fn: Callable[[int], None] | None
    parent: int  # process id
    start_method: str
    where: str = field(init=False)

    def __post_init__(self) -> None:
        self.where = f"in DataLoader worker process {self.worker_id}"

    def fetcher(self) -> Any:
        """A new fetcher over the dataset."""
        return _DatasetKind.create_fetcher(self.dataset_kind, self.dataset, self.auto_collation, self.collate_fn, self.drop_last)


def _generate_state(base_seed: int, worker_id: int) -> list[int]:
    """Four 32-bit words made of both seeds by NumPy's SeedSequence (libraries seed generators of their own with them)."""
    import numpy as np

    mask = 0xFFFFFFFF
    return np.random.SeedSequence([worker_id, base_seed & mask, base_seed >> 32, 0]).generate_state(4).tolist()


def seed_everything(base_seed: int, worker_id: int) -> int:
    """Seed Python's, minigrad's and (if it is loaded) NumPy's generators for one worker; returns base_seed + worker_id."""
    seed = base_seed + worker_id
    random.seed(seed)
    mg.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(_generate_state(base_seed, worker_id))
    return seed


def worker_main(end: socket.socket, spec: WorkerSpec) -> None:
    """The body of a worker process."""
    global _worker_info
    if spec.start_method == "fork":
        for inherited in list(parent_ends):
            inherited.close()
    # A fork server's children are not the parent's: it goes when the parent goes, and they with it.
    _core.exit_with_parent(os.getppid() if spec.start_method == "forkserver" else spec.parent)
    mg.set_num_threads(1)
    seed = seed_everything(spec.base_seed, spec.worker_id)
    _worker_info = WorkerInfo(id=spec.worker_id, num_workers=spec.num_workers, seed=seed, dataset=spec.dataset)
    try:
        _serve(Channel(end, blocking=True), spec)
    except (KeyboardInterrupt, ChannelClosed):
        pass  # Ctrl-C reaches the parent too, and it raises; a closed line says that we are done


def _serve(channel: Channel, spec: WorkerSpec) -> None:
    """Answer (number, indices) with (number, batch), and Resume with Resume, until the line is closed."""
    fetcher, failure = None, None
    try:
        if spec.init_fn is not None:
            spec.init_fn(spec.worker_id)
        fetcher = spec.fetcher()
    except Exception:
        failure = ExceptionWrapper(where=spec.where)
    ended = False
    while True:
        message = channel.receive()
        if isinstance(message, Resume):
            ended = False
            try:
                fetcher, failure = spec.fetcher(), None
            except Exception:
                failure = ExceptionWrapper(where=spec.where)
            channel.send((message, None))
            continue
        number, indices = message
        if ended:
            continue  # asked for before the parent knew
        answer: Any
        if failure is not None:
            answer = failure
        else:
            try:
                answer = fetcher.fetch(indices)
            except StopIteration:
                ended = spec.dataset_kind == _DatasetKind.Iterable
                answer = EndOfStream(spec.worker_id) if ended else ExceptionWrapper(where=spec.where)
            except Exception:
                answer = ExceptionWrapper(where=spec.where)
        try:
            channel.send((number, answer))
        except ChannelClosed:
            raise
        except Exception:  # the batch cannot be pickled
            channel.send((number, ExceptionWrapper(where=spec.where)))
        del answer, message, indices  # the batch's memory is needed for the next one
