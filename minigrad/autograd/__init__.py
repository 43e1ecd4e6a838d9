"""Reverse-mode automatic differentiation: `backward`, `grad`, custom `Function`s, grad modes, anomaly mode, `gradcheck`.

The engine is csrc/autograd/engine.cpp; this package is its Python face, with PyTorch's names and defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad import _core
from minigrad.autograd import graph  # noqa: F401
from minigrad.autograd.function import Function, FunctionCtx, once_differentiable  # noqa: F401
from minigrad.autograd.modes import (  # noqa: F401
    detect_anomaly,
    enable_grad,
    inference_mode,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
)  # fmt: skip
from minigrad.autograd.variable import Variable  # noqa: F401

Tensor = _core.Tensor


def _as_list(x: Any, what: str) -> list:
    if x is None:
        return []
    if isinstance(x, Tensor):
        return [x]
    items = list(x)
    for item in items:
        if item is not None and not isinstance(item, Tensor):
            raise TypeError(f"{what}: expected Tensors, got {type(item).__name__}")
    return items


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Accumulate the gradients of `tensors` into the leaves they depend on.

    Args:
        tensors: roots; any floating tensors with history.
        grad_tensors: gradient of each root, same shape; None (or a None entry) for scalars means 1.
        retain_graph: keep saved tensors for another backward (default: create_graph).
        create_graph: record the backward itself, for higher derivatives.
        inputs: accumulate into these tensors only.
    Raises:
        RuntimeError: a root has no history or is not a scalar, the graph was freed, a saved tensor was modified in place.
    """
    roots = _as_list(tensors, "backward")
    grads = _as_list(grad_tensors, "backward") or [None] * len(roots)
    if len(grads) != len(roots):
        raise RuntimeError(f"backward: got {len(roots)} tensors and {len(grads)} gradients")
    retain = create_graph if retain_graph is None else retain_graph
    targets = _as_list(inputs, "backward")
    if inputs is not None and not targets:
        raise RuntimeError("backward: inputs argument to backward() cannot be empty")
    if inputs is None:
        _core.run_backward(roots, grads, [], False, retain, create_graph, True)
        return
    found = _core.run_backward(roots, grads, targets, True, retain, create_graph, True)
    for target, gradient in zip(targets, found):  # non-leaf targets receive theirs here, leaves got it from the engine
        if not target.is_leaf and gradient is not None:
            target.grad = gradient if target.grad is None else target.grad + gradient


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of `outputs` with respect to `inputs`, without touching any `.grad`.

    Args:
        outputs, inputs: tensors; each input must require grad.
        grad_outputs: gradient of each output (default 1 for scalars).
        retain_graph, create_graph: as in `backward`.
        allow_unused: return None for inputs that the outputs do not depend on, instead of raising.
        materialize_grads: zeros instead of None for unused inputs.
    Returns:
        one gradient per input, in the input's shape and dtype.
    Raises:
        RuntimeError: an input does not require grad or was not used.
    """
    if is_grads_batched:
        return _batched_grad(outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads)
    if materialize_grads and allow_unused is False:
        raise ValueError("grad: expected allow_unused to be True or not passed when materialize_grads=True, got False")
    roots, targets = _as_list(outputs, "grad"), _as_list(inputs, "grad")
    if not targets:
        raise ValueError("grad: requires non-empty inputs")
    grads = _as_list(grad_outputs, "grad") or [None] * len(roots)
    if len(grads) != len(roots):
        raise RuntimeError(f"grad: got {len(roots)} outputs and {len(grads)} gradients")
    retain = create_graph if retain_graph is None else retain_graph
    found = _core.run_backward(roots, grads, targets, True, retain, create_graph, False)
    if materialize_grads:
        import minigrad

        found = [minigrad.zeros_like(t) if g is None else g for t, g in zip(targets, found)]
    elif not allow_unused and any(g is None for g in found):
        raise RuntimeError(
            "grad: one of the differentiated Tensors appears to not have been used in the graph. "
            "Set allow_unused=True if this is the desired behavior."
        )
    return tuple(found)


def _batched_grad(
    outputs: Any, inputs: Any, grad_outputs: Any, retain: Any, create: bool, unused: Any, zeros: bool
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """grad() for each slice of grad_outputs along dimension 0."""
    from minigrad.func import vmap

    given = _as_list(grad_outputs, "grad")
    which: list[bool] = []

    def one(*slices: Tensor) -> tuple[Tensor, ...]:
        found = grad(outputs, inputs, slices, retain, create, True, unused, False, zeros)
        which[:] = [g is not None for g in found]
        return tuple(g for g in found if g is not None)

    batched = iter(vmap(one)(*given))
    return tuple(next(batched) if there else None for there in which)


def _tensor_backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    backward(self, gradient, retain_graph, create_graph, inputs)


def __getattr__(name: str):
    if name in ("gradcheck", "gradgradcheck"):
        from minigrad.autograd import _gradcheck as module  # not `gradcheck`: importing that would shadow the function

        globals()["gradcheck"], globals()["gradgradcheck"] = module.gradcheck, module.gradgradcheck
        return globals()[name]
    if name in ("functional", "grad_mode", "anomaly_mode", "profiler", "profiler_util", "forward_ad"):
        import importlib

        try:
            return importlib.import_module("minigrad.autograd." + name)
        except ModuleNotFoundError as error:
            raise AttributeError(f"module 'minigrad.autograd' has no attribute '{name}'") from error
    raise AttributeError(f"module 'minigrad.autograd' has no attribute '{name}'")
