"""Looking at the graph and at what it keeps: `Node` (what `x.grad_fn` is), gradient edges, hooks on saved tensors and on several
gradients at once.

Hooks on saved tensors cost nothing where there are none: recording asks one thread-local flag (csrc/autograd/saved_hooks.h).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from minigrad import _core
from minigrad._tensor import RemovableHandle

Node = _core.Node
Tensor = _core.Tensor

__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge",
    "increment_version", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip


class GradientEdge(NamedTuple):
    """(node, output number) to which the gradient of a tensor flows."""

    node: Any
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The edge of `tensor`; raises RuntimeError when it does not require grad."""
    edge = _core.gradient_node(tensor)
    if edge is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return GradientEdge(*edge, tensor if tensor.grad_fn is None else None)  # a leaf's node lives as long as the leaf


def _register_hook(self: Any, fn: Callable[[tuple, tuple], Any]) -> RemovableHandle:
    """Call `fn(grad_inputs, grad_outputs)` after this node ran; a returned tuple replaces grad_inputs."""
    return RemovableHandle(self._register_hook(fn))


def _register_prehook(self: Any, fn: Callable[[tuple], Any]) -> RemovableHandle:
    """Call `fn(grad_outputs)` before this node runs; a returned tuple replaces grad_outputs."""
    return RemovableHandle(self._register_prehook(fn))


Node.register_hook, Node.register_prehook = _register_hook, _register_prehook


# --- saved tensors -----------------------------------------------------------------------------------------------------
_disabled: list[str] = []


class saved_tensors_hooks:  # noqa: N801  torch's name
    """Inside the block, `pack_hook(tensor)` decides what is kept of each tensor saved for backward; `unpack_hook(packed)` gives it back.

    Args:
        pack_hook: takes a tensor, returns any object. It must not write into the tensor.
        unpack_hook: takes that object when backward needs the tensor, returns a tensor of the same values (shape is checked).
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook
        self._before: list[Any] = []

    def __enter__(self) -> None:
        if _disabled:
            raise RuntimeError(_disabled[-1])
        self._before.append(_core.set_saved_hooks(_core.SavedTensorsHooks(self.pack_hook, self.unpack_hook)))

    def __exit__(self, *exc: object) -> None:
        _core.set_saved_hooks(self._before.pop())


class save_on_cpu(saved_tensors_hooks):  # noqa: N801  torch's name
    """Keep tensors saved for backward on the CPU, and bring them back to their device when they are needed.

    Args:
        pin_memory: keep them in page-locked memory.
        device_type: the device kind to serve; tensors of other kinds are copied all the same.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        def pack(tensor: Tensor) -> tuple:
            if not pin_memory:
                return tensor.device, tensor.cpu()
            return tensor.device, tensor.cpu().pin_memory()

        def unpack(packed: tuple) -> Tensor:
            device, tensor = packed
            return tensor.to(device, non_blocking=pin_memory)

        super().__init__(pack, unpack)


@contextlib.contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Inside the block, entering `saved_tensors_hooks` raises RuntimeError(error_message)."""
    active = _core.set_saved_hooks(None)
    _core.set_saved_hooks(active)
    if active is not None:
        raise RuntimeError(error_message)
    _disabled.append(error_message)
    try:
        yield
    finally:
        _disabled.pop()


class _AllowMutation:
    """What `allow_mutation_on_saved_tensors` yields: the copies it keeps."""

    def clear(self) -> None:
        """Nothing to forget: copies live in the graph."""


@contextlib.contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[_AllowMutation]:
    """Inside the block, tensors saved for backward may be changed in place: each is copied when it is saved.

    PyTorch copies at the write instead; the gradients are the same, the memory here is more.
    """
    with saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        yield _AllowMutation()


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Note a write that the engine did not see: a backward that saved the tensor will refuse to run."""
    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        _core.bump_version(t)


# --- several gradients ----------------------------------------------------------------------------------------------------
def register_multi_grad_hook(tensors: Sequence[Tensor], fn: Callable[..., None], *, mode: str = "all") -> RemovableHandle:
    """Call `fn` when the gradients of several tensors have been computed.

    Args:
        tensors: they must require grad.
        fn: mode "all": called with the list of gradients (None where a backward gave none) once all that this backward reaches are there;
            mode "any": called with the first gradient.
        mode: "all" or "any".
    Returns:
        a handle with remove().
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    tensors = list(tensors)
    for t in tensors:
        if not t.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    return _on_any(tensors, fn) if mode == "any" else _on_all(tensors, fn)


def _on_any(tensors: list[Tensor], fn: Callable[[Tensor], None]) -> RemovableHandle:
    seen: set[int] = set()

    def hook(grad: Tensor) -> None:
        task = _core.graph_task_id()
        if task not in seen:
            seen.add(task)
            fn(grad)

    handles = [t.register_hook(hook) for t in tensors]
    return RemovableHandle(lambda: [h.remove() for h in handles])


def _on_all(tensors: list[Tensor], fn: Callable[[list], None]) -> RemovableHandle:
    waiting: dict[int, tuple[int, list]] = {}  # graph task -> (gradients still to come, gradients)
    edges = [_core.gradient_node(t)[0] for t in tensors]

    def hook_of(k: int) -> Callable[[Tensor], None]:
        def hook(grad: Tensor) -> None:
            task = _core.graph_task_id()
            if task not in waiting:
                waiting[task] = (sum(_core.node_in_task(e) for e in edges), [None] * len(tensors))
            left, grads = waiting.pop(task)
            grads[k] = grad
            if left == 1:
                fn(grads)
            else:
                waiting[task] = (left - 1, grads)

        return hook

    handles = [t.register_hook(hook_of(k)) for k, t in enumerate(tensors)]
    return RemovableHandle(lambda: [h.remove() for h in handles])
