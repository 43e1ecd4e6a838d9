"""The parent's side of loading with worker processes: hands out indices, takes batches in order, notices the dead.

One thread: the parent polls its lines when it needs a batch; what workers have ready waits in shared memory. Order and distribution of
the work are PyTorch's: task k goes to the next living worker in turn, `prefetch_factor` tasks per worker are under way, results come out
in the order of the tasks (or as they arrive, with in_order=False).
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import select
import signal
import time
import weakref
from collections import deque
from typing import Any

from minigrad._utils import ExceptionWrapper

from ._channel import Channel, ChannelClosed
from .dataloader import DataLoader, _BaseDataLoaderIter
from .worker import EndOfStream, Resume, WorkerSpec, parent_ends, worker_main

CHECK_EVERY = 1.0  # seconds between looks whether silent workers live
PATIENCE = 5.0  # seconds a worker gets to finish its sample before it is terminated


class _Worker:
    """A worker process as the parent sees it."""

    def __init__(self, process: Any, channel: Channel) -> None:
        self.process = process
        self.channel = channel
        self.active = True  # False when its stream has ended
        self.tasks = 0  # under way


def _stop(workers: list[_Worker], owner: int) -> None:
    """End all workers: by hanging up, then SIGTERM, then SIGKILL. In a forked copy of the parent, only close the lines."""
    forked = os.getpid() != owner
    for worker in workers:
        worker.channel.close() if forked else worker.channel.hang_up()
    if forked:
        return
    for end_it, patience in ((None, PATIENCE), ("terminate", 1.0), ("kill", 60.0)):
        deadline = time.monotonic() + patience
        for worker in workers:
            if end_it is not None and worker.process.is_alive():
                getattr(worker.process, end_it)()
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
        if not any(worker.process.is_alive() for worker in workers):
            return


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Iterates over the batches that worker processes make."""

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        if loader.prefetch_factor <= 0:
            raise AssertionError("prefetch_factor must be greater than 0 for MultiProcessingDataLoaderIter")
        self._prefetch_factor = loader.prefetch_factor
        self._in_order = loader.in_order
        self._context = loader.multiprocessing_context or multiprocessing.get_context()
        self._crew: list[_Worker] = []
        self._shutdown = False
        self._failure = ""  # why, when a worker died
        self._poll = select.poll()
        self._by_fd: dict[int, _Worker] = {}
        self._finalizer = weakref.finalize(self, _stop, self._crew, os.getpid())
        try:
            for worker_id in range(self._num_workers):
                self._start_worker(loader, worker_id)
        except BaseException:
            self._shutdown_workers()
            raise
        self._reset(loader, first_iter=True)

    @property
    def _workers(self) -> list[Any]:
        return [worker.process for worker in self._crew]

    def _start_worker(self, loader: DataLoader, worker_id: int) -> None:
        method = self._context.get_start_method()
        if method != "fork":  # the dataset is pickled: let its tensors go through shared memory
            import minigrad.multiprocessing  # noqa: F401
        spec = WorkerSpec(
            worker_id, self._num_workers, self._base_seed, self._dataset_kind, self._dataset, self._auto_collation, self._collate_fn,
            self._drop_last, loader.worker_init_fn, os.getpid(), method,
        )  # fmt: skip
        ours, theirs = Channel.pair()
        channel = Channel(ours, blocking=False)
        parent_ends.add(channel)
        try:
            process = self._context.Process(target=worker_main, args=(theirs, spec), daemon=True)
            process.start()
        except BaseException:
            channel.close()
            raise
        finally:
            theirs.close()
        worker = _Worker(process, channel)
        self._crew.append(worker)
        self._by_fd[channel.fileno()] = worker
        self._poll.register(channel.fileno(), select.POLLIN)

    def _reset(self, loader: DataLoader, first_iter: bool = False) -> None:
        super()._reset(loader, first_iter)
        self._next_task = 0  # number of the next task to hand out
        self._next_out = 0  # number of the next task whose result is due
        self._given_to: dict[int, _Worker] = {}  # tasks whose result was not delivered
        self._ready: dict[int, Any] = {}  # results that came before their turn
        self._arrived: deque[tuple[_Worker, Any, Any]] = deque()
        self._turn = itertools.cycle(self._crew)
        if not first_iter:
            self._resume()
        for _ in range(self._prefetch_factor * self._num_workers):
            self._hand_out()

    def _resume(self) -> None:
        """Tell persistent workers that a new pass begins; drop what they still had to say about the last one."""
        passing = Resume(self._num_yielded)
        for worker in self._crew:
            worker.active, worker.tasks = True, 0
            worker.channel.send(passing)
            self._watch(worker)
        waiting = set(self._crew)
        while waiting:
            worker, number, _ = self._receive()
            if isinstance(number, Resume):
                waiting.discard(worker)
        for worker in self._crew:
            worker.tasks = 0

    # --- handing out ---------------------------------------------------------------------------------------------------
    def _choose(self) -> _Worker | None:
        active = sum(worker.active for worker in self._crew)
        limit = self._prefetch_factor * self._num_workers
        for worker in itertools.islice(self._turn, self._num_workers):
            # Out of order, the work goes to who has room for it.
            if worker.active and (self._in_order or worker.tasks < limit // active):
                return worker
        return None

    def _hand_out(self) -> None:
        """Give the next task to a worker, if there is one of each."""
        try:
            indices = self._next_index()
        except StopIteration:
            return
        worker = self._choose()
        if worker is None:
            return
        try:
            worker.channel.send((self._next_task, indices))
        except ChannelClosed:
            self._lost(worker)
        self._watch(worker)
        worker.tasks += 1
        self._given_to[self._next_task] = worker
        self._next_task += 1

    def _watch(self, worker: _Worker) -> None:
        """Poll for room, too, while something waits to be sent."""
        wanted = select.POLLIN if worker.channel.flush() else select.POLLIN | select.POLLOUT
        self._poll.modify(worker.channel.fileno(), wanted)

    # --- receiving -----------------------------------------------------------------------------------------------------
    def _receive(self) -> tuple[_Worker, Any, Any]:
        """The next message of any worker: (worker, number of the task, result)."""
        deadline = time.monotonic() + self._timeout if self._timeout > 0 else None
        while not self._arrived:
            wait = CHECK_EVERY
            if deadline is not None:
                wait = min(wait, max(0.0, deadline - time.monotonic()))
            events = self._poll.poll(wait * 1000)
            for fd, _ in events:
                self._talk(self._by_fd[fd])
            if events:
                continue
            if deadline is not None and time.monotonic() >= deadline:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            for worker in self._crew:
                if worker.channel.fileno() >= 0 and not worker.process.is_alive():
                    self._talk(worker)  # its last words first
                    if not self._arrived:
                        self._lost(worker)
        return self._arrived.popleft()

    def _talk(self, worker: _Worker) -> None:
        """Take one message of a worker and send it what waits."""
        try:
            number, result = worker.channel.receive()
        except BlockingIOError:
            pass
        except ChannelClosed:
            if not self._arrived:
                self._lost(worker)
            return
        except Exception:  # nobody can say which task it was: do not wait for it
            self._failure = "DataLoader: a batch of a worker could not be unpickled"
            self._shutdown_workers()
            raise
        else:
            self._arrived.append((worker, number, result))
        try:
            self._watch(worker)
        except ChannelClosed:
            pass  # seen again at the next receive, after its last words

    def _lost(self, worker: _Worker) -> None:
        """A worker died: end the others, and say how it died."""
        worker.process.join(1.0)
        code = worker.process.exitcode
        pid = worker.process.pid
        self._shutdown_workers()
        if code is not None and code < 0:  # the second half as PyTorch words it: programs look for it
            how = f"DataLoader worker (pid {pid}) is killed by signal: {signal.strsignal(-code)}. "
            if -code == signal.SIGKILL:
                how += "So does the system when it is out of memory."
        else:
            how = (
                f"DataLoader worker (pid {pid}) exited unexpectedly with exit code {code}. Details are lost due to multiprocessing. "
                "Rerunning with num_workers=0 may give better error trace."
            )
        self._failure = f"DataLoader worker (pid(s) {pid}) exited unexpectedly: {how}"
        raise RuntimeError(self._failure)

    # --- iterating -----------------------------------------------------------------------------------------------------
    def _next_data(self) -> Any:
        if self._failure:
            raise RuntimeError(self._failure)
        if self._shutdown:
            raise StopIteration
        while True:
            self._skip_ended()
            if self._next_out in self._ready:
                return self._deliver(self._next_out, self._ready.pop(self._next_out))
            worker, number, result = self._receive()
            worker.tasks -= 1
            if isinstance(result, EndOfStream):
                self._end_stream(worker)
                self._hand_out()
            elif number == self._next_out or not self._in_order:
                return self._deliver(number, result)
            else:
                self._ready[number] = result

    def _skip_ended(self) -> None:
        """Move on over tasks that will have no result; at the end of all tasks, StopIteration."""
        while self._next_out < self._next_task:
            if self._next_out in self._ready:
                return
            worker = self._given_to.get(self._next_out)
            if worker is not None and worker.active:
                return
            self._given_to.pop(self._next_out, None)
            self._next_out += 1
        if not self._persistent_workers:
            self._shutdown_workers()
        raise StopIteration

    def _end_stream(self, worker: _Worker) -> None:
        worker.active = False
        if not self._persistent_workers:
            self._poll.unregister(worker.channel.fileno())
            del self._by_fd[worker.channel.fileno()]
            worker.channel.hang_up()

    def _deliver(self, number: int, result: Any) -> Any:
        del self._given_to[number]
        if number == self._next_out:
            self._next_out += 1
        self._hand_out()
        if isinstance(result, ExceptionWrapper):
            result.reraise()
        return result

    def _shutdown_workers(self) -> None:
        """End the worker processes."""
        self._shutdown = True
        self._finalizer()
