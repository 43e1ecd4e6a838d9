"""CUDA graphs: record the work of a stream once, replay it with one launch."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from minigrad.cuda import _memory, _streams
from minigrad.cuda._device import synchronize
from minigrad.cuda._door import backend

__all__ = ["CUDAGraph", "graph", "graph_pool_handle", "make_graphed_callables"]


class CUDAGraph:
    """Recorded CUDA work. Tensors used by the recording keep their addresses: write new inputs into them (copy_) and replay.

    Args:
        keep_graph: accepted, changes nothing.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        self._graph = backend.Graph()

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """Record what the current stream (not the default one) is given from now on.

        Args:
            pool: a handle of graph_pool_handle() or another graph's pool(), to share its memory.
            capture_error_mode: "global", "thread_local" or "relaxed": whose unsafe calls end the capture with an error.
        """
        self._graph.capture_begin(0 if pool is None else pool[1], capture_error_mode)

    def capture_end(self) -> None:
        """The recording is complete."""
        self._graph.capture_end()

    def replay(self) -> None:
        """Run the recorded work on the current stream."""
        self._graph.replay()

    def reset(self) -> None:
        """Forget the recording; its memory goes back to the allocator."""
        self._graph.reset()

    def pool(self) -> tuple[int, int]:
        """The graph's memory pool, for another graph's `pool` argument."""
        return 0, self._graph.pool()


def graph_pool_handle() -> tuple[int, int]:
    """A new memory pool for several graphs that never run at the same time."""
    return 0, backend.new_memory_pool()


class graph:  # noqa: N801  torch's name
    """`with cuda.graph(g):` records the body into g, on a stream of its own.

    Inside, nothing may wait for the device (item(), cpu(), synchronize()): such calls raise. Random numbers are those of the capture at
    every replay.

    Args:
        cuda_graph: the CUDAGraph that records.
        pool: memory of another graph, or of graph_pool_handle().
        stream: the stream to record on.
        capture_error_mode: see CUDAGraph.capture_begin.
    """

    default_capture_stream: Any = None

    def __init__(self, cuda_graph: CUDAGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = "global") -> None:
        if graph.default_capture_stream is None:
            graph.default_capture_stream = _streams.Stream()
        self.cuda_graph, self.pool, self.capture_error_mode = cuda_graph, pool, capture_error_mode
        self.capture_stream = stream or graph.default_capture_stream
        self.stream_ctx = _streams.StreamContext(self.capture_stream)

    def __enter__(self) -> None:
        synchronize()
        gc.collect()
        _memory.empty_cache()
        self.stream_ctx.__enter__()
        try:
            self.cuda_graph.capture_begin(self.pool, self.capture_error_mode)
        except BaseException:
            self.stream_ctx.__exit__()
            raise

    def __exit__(self, kind: Any, *error: Any) -> None:
        try:
            self.cuda_graph.capture_end()
        except RuntimeError:
            if kind is None:  # the error inside is the one to tell
                raise
        finally:
            self.stream_ctx.__exit__()


def make_graphed_callables(
    callables: Any, sample_args: Any, num_warmup_iters: int = 3, allow_unused_input: bool = False, pool: Any = None
) -> Any:
    """A function of tensors (or a tuple of them) as one that replays a graph of its forward pass, without gradients.

    Args:
        callables: function or module, or a tuple of them.
        sample_args: its arguments, or a tuple of such tuples; shapes and dtypes are fixed by them.
        num_warmup_iters: runs before the capture.
        allow_unused_input: accepted, changes nothing.
        pool: memory to share with other graphs.

    Raises:
        RuntimeError: an argument or parameter requires grad; capture forward, backward and step in one `graph` instead.
    """
    if isinstance(callables, tuple):
        pool = pool or graph_pool_handle()
        return tuple(make_graphed_callables(f, a, num_warmup_iters, pool=pool) for f, a in zip(callables, sample_args))
    return _graphed(callables, tuple(sample_args), num_warmup_iters, pool)


def _graphed(function: Callable, samples: tuple, warmup: int, pool: Any) -> Callable:
    from minigrad import is_grad_enabled

    held = [*samples, *(function.parameters() if hasattr(function, "parameters") else ())]
    if is_grad_enabled() and any(t.requires_grad for t in held):
        raise RuntimeError(
            "make_graphed_callables: expected no argument or parameter that requires grad. Try capturing forward, backward and step in "
            "one minigrad.cuda.graph, or no_grad()."
        )
    inputs = tuple(t.clone() for t in samples)
    side = _streams.Stream()
    side.wait_stream(_streams.current_stream())
    with _streams.stream(side):
        for _ in range(warmup):
            function(*inputs)
    _streams.current_stream().wait_stream(side)
    recorded = CUDAGraph()
    with graph(recorded, pool=pool):
        outputs = function(*inputs)

    def replay(*args: Any) -> Any:
        for mine, given in zip(inputs, args):
            if mine is not given:
                mine.copy_(given)
        recorded.replay()
        return tuple(t.detach() for t in outputs) if isinstance(outputs, tuple) else outputs.detach()

    return replay
