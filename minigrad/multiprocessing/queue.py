"""`multiprocessing.queues` under torch's path: queues share tensors through the registered reductions."""

from __future__ import annotations

from multiprocessing.queues import JoinableQueue, Queue, SimpleQueue

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]
