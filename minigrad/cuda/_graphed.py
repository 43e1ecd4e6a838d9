"""make_graphed_callables: a function or module whose forward and backward passes are graphs.

Map. A `_Recording` per callable holds what a graph needs to stay where it is: inputs, outputs, and the gradients on their way in and out.
All forward passes are captured in the order of the callables and the backward passes in reverse, in one memory pool: the order in which
training replays them, so one pass may use the memory that the one before has left. `_Replayed` is the autograd node around the replays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import minigrad as mg
from minigrad.cuda import _graphs, _streams
from minigrad.utils._pytree import tree_flatten, tree_unflatten

__all__ = ["make_graphed_callables"]

Tensor = mg.Tensor


def make_graphed_callables(
    callables: Any, sample_args: Any, num_warmup_iters: int = 3, allow_unused_input: bool = False, pool: Any = None
) -> Any:
    """Functions or modules as ones that replay a graph of their forward pass and, in `backward()`, one of their backward pass.

    Args:
        callables: function or module, or a tuple of them in the order in which they are called. A module is changed in place: in the
            mode (train or eval) of the capture its forward replays.
        sample_args: a tuple of tensors, or a tuple of such tuples. Later arguments must have the same shapes, dtypes and requires_grad.
        num_warmup_iters: runs before the capture.
        allow_unused_input: whether an input that needs a gradient may have no part in the outputs.
        pool: memory to share with other graphs.
    Returns:
        the graphed function or module, or a tuple of them. Results are overwritten by the next call.
    Raises:
        TypeError: a sample argument is no tensor.
        RuntimeError: the callable does what cannot be captured (docs/cuda.md), or has hooks.
    """
    single = not isinstance(callables, tuple)
    functions, samples = ((callables,), (sample_args,)) if single else (callables, sample_args)
    pool = pool or _graphs.graph_pool_handle()
    recordings = [_Recording(f, tuple(a), allow_unused_input) for f, a in zip(functions, samples)]
    side = _streams.Stream()
    side.wait_stream(_streams.current_stream())
    with _streams.stream(side):
        for recording in recordings:
            for _ in range(num_warmup_iters):
                recording.forward()
                recording.backward()
    _streams.current_stream().wait_stream(side)
    for recording in recordings:
        recording.forward_graph = _captured(recording.forward, pool)
    for recording in reversed(recordings):
        if recording.needs_grad:
            recording.backward_graph = _captured(recording.backward, pool)
    graphed = tuple(_wrapped(recording) for recording in recordings)
    return graphed[0] if single else graphed


def _captured(work: Callable[[], None], pool: Any) -> Any:
    recorded = _graphs.CUDAGraph()
    with _graphs.graph(recorded, pool=pool):
        work()
    return recorded


class _Recording:
    """The tensors of one callable that its graphs read and write."""

    def __init__(self, function: Callable, samples: tuple, allow_unused: bool) -> None:
        flat, self.spec = tree_flatten(samples)
        if not all(isinstance(t, Tensor) for t in flat):
            raise TypeError("make_graphed_callables: sample_args must hold tensors only")
        _refuse_hooks(function)
        grad = mg.is_grad_enabled()
        self.function, self.allow_unused = function, allow_unused
        self.inputs = [t.detach().clone().requires_grad_(grad and t.requires_grad) for t in flat]
        parameters = tuple(function.parameters()) if hasattr(function, "parameters") else ()
        self.parameters = parameters if grad else ()
        self.sources = [t for t in (*self.inputs, *self.parameters) if t.requires_grad]
        self.outputs: list[Tensor] = []
        self.grads_out: list[Tensor | None] = []
        self.grads_in: list[Tensor | None] = []
        self.forward_graph: Any = None
        self.backward_graph: Any = None

    @property
    def needs_grad(self) -> bool:
        return any(t.requires_grad for t in self.outputs)

    def forward(self) -> None:
        result = self.function(*tree_unflatten(self.inputs, self.spec))
        self.outputs, self.out_spec = tree_flatten(result)

    def backward(self) -> None:
        """Gradients of `sources` from those in `grads_out`, which are made here."""
        wanted = [t for t in self.outputs if t.requires_grad]
        if not wanted:
            return
        self.grads_out = [mg.empty_like(t) if t.requires_grad else None for t in self.outputs]
        given = [g for g in self.grads_out if g is not None]
        found = iter(mg.autograd.grad(wanted, self.sources, given, allow_unused=self.allow_unused))
        self.grads_in = [next(found) if t.requires_grad else None for t in (*self.inputs, *self.parameters)]
        self.outputs = [t.detach().requires_grad_(t.requires_grad) for t in self.outputs]  # the graph of the recording is used up


def _refuse_hooks(function: Any) -> None:
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
        if getattr(function, name, None):
            raise RuntimeError("make_graphed_callables: a module with hooks cannot be captured. Try registering them afterwards.")
    if any(b.requires_grad for b in (function.buffers() if hasattr(function, "buffers") else ())):
        raise RuntimeError("make_graphed_callables: buffers that require grad: only parameters may. Try a Parameter, or detach_().")


def _copy_in(kept: Sequence[Tensor | None], given: Sequence[Any]) -> None:
    with mg.no_grad():
        for mine, new in zip(kept, given):
            if mine is not None and new is not None and mine.data_ptr() != new.data_ptr():
                mine.copy_(new)


class _Replayed(mg.autograd.Function):
    """apply(recording, *inputs, *parameters): the outputs, by two replays."""

    @staticmethod
    def forward(ctx: Any, recording: _Recording, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.recording = recording
        _copy_in(recording.inputs, tensors)
        recording.forward_graph.replay()
        outputs = tuple(t.detach() for t in recording.outputs)
        ctx.mark_non_differentiable(*(mine for mine, t in zip(outputs, recording.outputs) if not t.requires_grad))
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        recording = ctx.recording
        _copy_in(recording.grads_out, grads)
        recording.backward_graph.replay()
        return (None, *(None if g is None else g.detach() for g in recording.grads_in))


def _wrapped(recording: _Recording) -> Any:
    function = recording.function

    def replay(*args: Any) -> Any:
        flat, spec = tree_flatten(args)
        if spec != recording.spec:
            raise RuntimeError("graphed callable: the arguments are not structured like sample_args")
        for mine, given in zip(recording.inputs, flat):
            if given.shape != mine.shape or given.dtype != mine.dtype:
                raise RuntimeError(
                    f"graphed callable: expected an argument of shape {tuple(mine.shape)} and {mine.dtype}, as in sample_args: "
                    f"got {tuple(given.shape)} and {given.dtype}"
                )
        frozen = contextlib.nullcontext() if recording.needs_grad else mg.no_grad()
        with frozen:
            outputs = _Replayed.apply(recording, *flat, *recording.parameters)
        return tree_unflatten(list(outputs), recording.out_spec)

    if not isinstance(function, mg.nn.Module):
        return replay
    eager, mode = function.forward, function.training

    def forward(*args: Any) -> Any:
        return replay(*args) if function.training == mode else eager(*args)

    function.forward = forward
    return function
