"""CUDA graphs: record the work of a stream once, replay it with one launch."""

from __future__ import annotations

import gc
from typing import Any

from minigrad.cuda import _memory, _streams
from minigrad.cuda._device import synchronize
from minigrad.cuda._door import backend

__all__ = ["CUDAGraph", "graph", "graph_pool_handle"]


class CUDAGraph:
    """Recorded CUDA work. Tensors used by the recording keep their addresses: write new inputs into them (copy_) and replay.

    Args:
        keep_graph: accepted, changes nothing.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        self._graph = backend.Graph()
        self._generators: list[Any] = []  # kept alive

    def register_generator_state(self, generator: Any) -> None:
        """Let the capture draw from `generator`: every replay then goes on in its stream. The device's default generator needs no word."""
        self._graph.add_generator(generator)
        self._generators.append(generator)

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

    Inside, nothing may wait for the device (item(), cpu(), synchronize()): such calls raise. Random numbers are new ones at every replay:
    the generator goes on from where it is then.

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
