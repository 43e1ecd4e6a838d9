"""Activation checkpointing: keep the inputs of a piece of the model instead of its intermediate results, compute it again in backward.

Two forms. use_reentrant=False puts hooks on saved tensors: each tensor that the piece saves is replaced by a placeholder; the first
placeholder that backward asks for runs the piece again and fills all of them, stopping as soon as the last one is there. It works with
`autograd.grad`, nested, and with inputs and outputs of any structure. use_reentrant=True is one custom Function whose backward runs the
piece with gradients and calls backward inside of backward.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from minigrad import _core, cuda
from minigrad.autograd import Function
from minigrad.autograd import backward as _run_backward
from minigrad.autograd.graph import saved_tensors_hooks
from minigrad.autograd.modes import enable_grad, no_grad
from minigrad.random import fork_rng, get_rng_state, set_rng_state
from minigrad.utils._checkpoint_policy import CheckpointPolicy, SelectiveCheckpointContext, create_selective_checkpoint_contexts

Tensor = _core.Tensor

__all__ = [
    "CheckpointError", "CheckpointFunction", "DefaultDeviceType", "check_backward_validity", "checkpoint", "checkpoint_sequential",
    "detach_variable", "get_device_states", "noop_context_fn", "set_checkpoint_debug_enabled", "set_checkpoint_early_stop",
    "set_device_states", "CheckpointPolicy", "SelectiveCheckpointContext", "create_selective_checkpoint_contexts",
]  # fmt: skip

_early_stop: bool | None = None  # set_checkpoint_early_stop's word, over the argument of checkpoint()
_debug: bool | None = None
_outside_backward = itertools.count(start=-2, step=-1)  # stand-in graph task numbers: saved tensors looked at outside of backward


class CheckpointError(RuntimeError):
    """The piece did not do the same when it was computed again."""


class _StopRecomputationError(Exception):
    pass


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that do nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Inside the block (at the forward), whether recomputation stops once all needed tensors are there."""
    global _early_stop
    before, _early_stop = _early_stop, enable
    try:
        yield
    finally:
        _early_stop = before


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """Accepted for PyTorch's sake: errors name the saved tensors that differ in any case; there is no operator trace."""
    global _debug
    before, _debug = _debug, enabled
    try:
        yield
    finally:
        _debug = before


class DefaultDeviceType:
    """The device kind whose generators are kept when no argument says one."""

    _kind = "cuda"

    @staticmethod
    def set_device_type(device: str = "cuda") -> None:
        """Set it."""
        DefaultDeviceType._kind = device

    @staticmethod
    def get_device_type() -> str:
        """Tell it."""
        return DefaultDeviceType._kind


def detach_variable(inputs: tuple) -> tuple:
    """Tensors of the tuple cut from their history (requires_grad stays); other entries as they are."""
    if not isinstance(inputs, tuple):
        raise RuntimeError("Only tuple of tensors is supported. Got Unsupported input type: ", type(inputs).__name__)
    return tuple(x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs)


def check_backward_validity(inputs: Iterable[Any]) -> None:
    """Warn when no input requires grad: the reentrant form then gives no gradients."""
    if not any(x.requires_grad for x in inputs if isinstance(x, Tensor)):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)


def get_device_states(*args: Any) -> tuple[list[int], list[Tensor]]:
    """Indices of the CUDA devices among the tensors of `args`, and the states of their generators."""
    devices = sorted({t.get_device() for t in args if isinstance(t, Tensor) and t.is_cuda})
    return devices, [cuda.get_rng_state(k) for k in devices]


def set_device_states(devices: list[int], states: list[Tensor], *, device_type: str | None = None) -> None:
    """Restore what get_device_states gave."""
    for k, state in zip(devices, states):
        cuda.set_rng_state(state, k)


class _Surroundings:
    """What the second run must find as the first did: the generators (CPU's, the arguments' devices') and autocast."""

    def __init__(self, preserve_rng_state: bool, args: Any) -> None:
        self.rng = (get_rng_state(), *get_device_states(*args)) if preserve_rng_state else None
        self.autocast = _autocast_state()

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self.rng is not None:
                host, devices, states = self.rng
                stack.enter_context(fork_rng(devices))
                set_rng_state(host)
                set_device_states(devices, states)
            stack.enter_context(self.autocast())
            yield


def _autocast_state() -> Callable[[], Any]:
    """A maker of contexts with the autocast settings of now."""
    import sys

    if "minigrad.amp" not in sys.modules:  # nobody can have switched it on
        return contextlib.nullcontext
    import minigrad as mg

    if not hasattr(mg, "is_autocast_enabled"):
        return contextlib.nullcontext
    kinds = [(k, mg.get_autocast_dtype(k), mg.is_autocast_enabled(k)) for k in ("cpu", "cuda")]

    @contextlib.contextmanager
    def again() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for kind, dtype, enabled in kinds:
                if enabled != mg.is_autocast_enabled(kind) or enabled:
                    stack.enter_context(mg.amp.autocast(device_type=kind, dtype=dtype, enabled=enabled))
            yield

    return again


# --- with hooks on saved tensors (use_reentrant=False) -----------------------------------------------------------------------------
class _Placeholder:
    """Stands for one saved tensor; `found` holds it between recomputation and use, by graph task."""

    __slots__ = ("__weakref__", "found", "index", "used")

    def __init__(self, index: int) -> None:
        self.index, self.found, self.used = index, {}, set()


class _Frame:
    """One call of checkpoint(): how to run it again, and the placeholders it left in the graph (weakly: the graph owns them)."""

    def __init__(self, run: Callable[[], Any], early_stop: bool, check: bool) -> None:
        self.run, self.early_stop, self.check = run, early_stop, check
        self.placeholders: list[weakref.ref] = []
        self.metadata: list[dict[str, Any]] = []
        self.recomputed: set[int] = set()
        self.ignore_count = False

    def forward_hooks(self) -> saved_tensors_hooks:
        def pack(tensor: Tensor) -> _Placeholder:
            holder = _Placeholder(len(self.placeholders))
            self.placeholders.append(weakref.ref(holder))
            self.metadata.append(_metadata(tensor))
            return holder

        return saved_tensors_hooks(pack, self.unpack)

    def unpack(self, holder: _Placeholder) -> Tensor:
        task = _core.graph_task_id()
        if task == -1:
            task = next(_outside_backward)
        if task in holder.used:
            raise CheckpointError(
                "torch.utils.checkpoint: Unpack is being triggered for a tensor that was already unpacked once. If you are calling "
                "ctx.saved_tensors in backward, make sure to do so only once. Otherwise please open an issue with details on your use case."
            )
        if task not in self.recomputed:
            self.recompute(task)
            self.recomputed.add(task)
        if task not in holder.found:
            raise CheckpointError(self._count_message(len([h for h in self.placeholders if h() is not None and task in h().found])))
        holder.used.add(task)
        return holder.found.pop(task)

    def recompute(self, task: int) -> None:
        count = 0
        mismatches: list[str] = []

        def pack(tensor: Tensor) -> Tensor:
            nonlocal count
            index, count = count, count + 1
            if index >= len(self.placeholders):
                if not self.early_stop:
                    return tensor  # counted; reported at the end
                raise CheckpointError(
                    "torch.utils.checkpoint: trying to save more tensors during recomputation than during the original forward pass."
                )
            now = _metadata(tensor)
            if self.check and now != self.metadata[index]:
                mismatches.append(
                    f"tensor at position {index}:\nsaved metadata: {self.metadata[index]}\nrecomputed metadata: {now}\n"
                )
            holder = self.placeholders[index]()
            if holder is not None:
                holder.found[task] = tensor
            if self.early_stop and count == len(self.placeholders):
                raise _StopRecomputationError
            return tensor

        with contextlib.suppress(_StopRecomputationError), saved_tensors_hooks(pack, lambda tensor: tensor), enable_grad():
            self.run()
        if count != len(self.placeholders):
            raise CheckpointError(self._count_message(count))
        if mismatches:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than during the forward "
                "pass.\n" + "".join(mismatches)
            )

    def _count_message(self, count: int) -> str:
        return (
            "torch.utils.checkpoint: A different number of tensors was saved during the original forward and recomputation.\n"
            f"Number of tensors saved during forward: {len(self.placeholders)}\n"
            f"Number of tensors saved during recomputation: {count}."
        )


def _metadata(tensor: Tensor) -> dict[str, Any]:
    return {"shape": tensor.shape, "dtype": tensor.dtype, "device": tensor.device}


def _checkpoint_with_hooks(
    function: Callable, args: tuple, kwargs: dict, preserve: bool, context_fn: Callable, check: bool, early_stop: bool
) -> Any:
    forward_context, recompute_context = context_fn()
    surroundings = _Surroundings(preserve, args)
    if not _core.is_grad_enabled():
        with forward_context:
            return function(*args, **kwargs)
    # Inputs are saved tensors themselves: version-checked, and left to an outer checkpoint's hooks when there is one.
    kept = [_core.save_variable(a, -1, "checkpoint") if isinstance(a, Tensor) else a for a in args]

    def again() -> None:
        inputs = [_core.unpack_variable(k, None) if isinstance(k, _core.SavedVariable) else k for k in kept]
        with surroundings.restored(), recompute_context:
            function(*inputs, **kwargs)

    frame = _Frame(again, early_stop, check)
    with frame.forward_hooks(), forward_context:
        return function(*args, **kwargs)


# --- as a Function (use_reentrant=True) ---------------------------------------------------------------------------------------------
class CheckpointFunction(Function):
    """The reentrant form: apply(function, preserve_rng_state, *args)."""

    @staticmethod
    def forward(ctx: Any, run_function: Callable, preserve_rng_state: bool, *args: Any) -> Any:
        """Run without recording; keep the inputs."""
        check_backward_validity(args)
        ctx.run_function = run_function
        ctx.surroundings = _Surroundings(preserve_rng_state, args)
        ctx.places = [k for k, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.inputs = [None if isinstance(a, Tensor) else a for a in args]
        ctx.save_for_backward(*(args[k] for k in ctx.places))
        with no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple:
        """Run again, recording, and backward through that."""
        if not _core.is_checkpoint_valid():
            raise RuntimeError(
                "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` parameter to "
                ".backward(). To resolve this error, you can either set use_reentrant=False, or call .backward() without passing the "
                "`inputs` argument."
            )
        inputs = list(ctx.inputs)
        for place, tensor in zip(ctx.places, ctx.saved_tensors):
            inputs[place] = tensor
        detached = detach_variable(tuple(inputs))
        with ctx.surroundings.restored(), enable_grad():
            outputs = ctx.run_function(*detached)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        pairs = [(o, g) for o, g in zip(outputs, grads) if isinstance(o, Tensor) and o.requires_grad]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        _run_backward([o for o, _ in pairs], [g for _, g in pairs])
        return (None, None, *(x.grad if isinstance(x, Tensor) else None for x in detached))


# --- the public functions -----------------------------------------------------------------------------------------------------------
def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """Run `function(*args, **kwargs)` without keeping its intermediate results; backward runs it again.

    Args:
        function: a module or a function; it must do the same at its second run.
        args, kwargs: its arguments. `preserve_rng_state` (default True) among kwargs: the second run draws the same random numbers.
        use_reentrant: which form, see the top of this file; False is recommended, None means True with a warning.
        context_fn: gives two contexts, for the first and the second run (use_reentrant=False).
        determinism_check: "default" compares shapes, dtypes and devices of both runs, "none" does not.
        debug: accepted; there is no operator trace.
        early_stop: stop the second run once everything needed is there.
    Returns:
        what the function returns.
    Raises:
        CheckpointError at backward, when the second run saves other tensors than the first.
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in PyTorch 2.9, calling checkpoint "
            "without use_reentrant will raise an exception. use_reentrant=False is recommended, but if you need to preserve the current "
            "default behavior, you can pass use_reentrant=True. Refer to docs for more details on the differences between the two "
            "variants.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        return CheckpointFunction.apply(function, preserve, *args)
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
    stop = early_stop if _early_stop is None else _early_stop
    return _checkpoint_with_hooks(function, args, kwargs, preserve, context_fn, determinism_check == "default", stop)


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """Checkpoint a Sequential (or list of functions) in `segments` pieces of about equal length; the last piece runs normally.

    Args:
        functions: what to run one after the other.
        segments: number of pieces.
        input: of the first function.
        use_reentrant, kwargs: of `checkpoint` (preserve_rng_state).
    Returns:
        the last function's result.
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed explicitly. "
            "use_reentrant=False is recommended, but if you need to preserve the current default behavior, you can pass "
            "use_reentrant=True.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))

    def piece(start: int, stop: int) -> Callable:
        def run(value: Any) -> Any:
            for step in steps[start:stop]:
                value = step(value)
            return value

        return run

    children = getattr(functions, "children", None)
    steps = list(children()) if children is not None else list(functions)
    size = len(steps) // segments
    for start in range(0, size * (segments - 1), size) if size else ():
        input = checkpoint(piece(start, start + size), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return piece(size * (segments - 1), len(steps))(input)
