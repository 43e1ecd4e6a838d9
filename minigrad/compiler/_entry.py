"""One compiled form of a function: its plans, what has to hold for it to be used, and the way from arguments to results."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._core import Tensor
from minigrad.autograd import Function
from minigrad.func._tree import LEAF, flatten, unflatten

from ._roots import Roots


class GaveUp(Exception):
    """The function cannot be traced; the text says why."""


MISS = object()
UNPREDICTABLE = [info.name for info in mg.op.registry.values() if "size depends" in str(info.info.get("no_meta_reason", ""))]


class Entry:
    """What one trace gave.

    Attributes:
        plan: the whole function, or its forward part.
        backward: the gradients' part when results require grad, else None.
        graph, backward_graph: what the plans run, for printing.
    """

    def __init__(self, function: Callable[..., Any], args: tuple, kwargs: dict) -> None:
        self.backward: Any = None
        self.backward_graph: Any = None
        self.form = _core.Form(args, kwargs)
        leaves, spec = flatten((args, kwargs))
        tree = leaves
        roots = Roots(function, leaves)
        had = {id(t): t.grad is not None for t in roots.tensors if t.requires_grad and t.is_leaf}
        trace = _core.Trace(UNPREDICTABLE)
        inside = {id(t): trace.input(t) for t in leaves if isinstance(t, Tensor) and t.requires_grad and not t.is_leaf}
        self._arguments = [t for t in leaves if isinstance(t, Tensor)]
        args, kwargs = unflatten([inside.get(id(t), t) for t in tree], spec)
        with _Recorded(trace, roots):
            trace.enter()
            try:
                self._trace(trace, function, args, kwargs, inside)
            except Exception as error:
                raise GaveUp(trace.asked or f"{type(error).__name__}: {error}") from error
            finally:
                trace.abandon()
        order = list(inside)
        del inside, args, kwargs, leaves, tree
        _nothing_escaped(trace)
        self._bind(trace, roots, had, order)

    def _trace(self, trace: Any, function: Callable[..., Any], args: Any, kwargs: Any, inside: dict[int, Tensor]) -> None:
        result = function(*args, **kwargs)
        self._leaves, self._spec = flatten(result)
        self._tensor_at = [k for k, leaf in enumerate(self._leaves) if isinstance(leaf, Tensor)]
        outputs = [self._leaves[k] for k in self._tensor_at]
        here = trace.position
        before = trace.met
        known = {id(t) for t in before if t is not None}
        # What the function only hands on is no result of its own: it comes out as the same object.
        wanted = [k for k, t in enumerate(outputs) if t.requires_grad and id(t) not in known and mg.op.is_dataless(t)]
        grads: list[Any] = []
        if wanted and mg.is_grad_enabled():
            variables = [*inside.values(), *(t for t in trace.met if t is not None and t.requires_grad)]
            cotangents = [trace.cotangent(outputs[k]) for k in wanted]
            try:
                grads = list(mg.autograd.grad([outputs[k] for k in wanted], variables, cotangents, allow_unused=True))
            except RuntimeError as error:
                if "a second time" not in str(error):
                    raise
                trace.rewind(here)  # backward() ran inside of the function: what is returned is a value
                wanted = []
        self._wanted = wanted
        self._n_variables = len(grads)
        self._variables_with_gradient = [k for k, g in enumerate(grads) if g is not None]
        graph = trace.leave([*outputs, *(g for g in grads if g is not None)])
        for k in self._tensor_at:
            self._leaves[k] = None
        if wanted:
            self.graph, self.backward_graph = (part.optimized() for part in graph.split(here, len(outputs), len(wanted)))
            self.backward = _core.Plan(self.backward_graph)
        else:
            self.graph = graph.optimized()
        self.plan = _core.Plan(self.graph)
        self._single = self._spec is LEAF and len(outputs) == 1
        inputs = {value: k for k, value in enumerate(self.graph.inputs)}
        self._handed_on = [(k, inputs[v]) for k, v in enumerate(self.graph.outputs[: len(outputs)]) if v in inputs]

    def _bind(self, trace: Any, roots: Roots, had: dict[int, bool], inside: list[int]) -> None:
        """Say where each input of the plan comes from: an argument, or a tensor that is kept, and what of it must still hold."""
        number = {id(t): k for k, t in reversed(list(enumerate(self._arguments)))}
        shadows = iter([number[k] for k in inside])
        owners = [(t, t.grad) for t in roots.tensors if t.is_leaf and t.grad is not None]  # holds the gradients' Python objects
        by_grad = {id(grad): t for t, grad in owners}
        touched = trace.gradient_leaves
        for position, tensor in enumerate(trace.met):
            if tensor is None:  # made by trace.input(): an argument with a history, then the cotangents
                shadow = next(shadows, None)
                if shadow is not None:
                    self.form.from_argument(shadow)
                continue
            if id(tensor) in number:
                self.form.from_argument(number[id(tensor)])
            elif id(tensor) in by_grad and by_grad[id(tensor)] is not tensor:
                self.form.from_gradient(by_grad[id(tensor)])
            else:
                self.form.from_tensor(tensor)
                if id(tensor) in roots.places:
                    self.form.keep_place(*roots.places[id(tensor)], tensor)
            if position in touched and not had.get(id(tensor), True) and tensor.is_leaf:
                self.form.keep_gradient(tensor, False)
        for module in roots.modules:
            for inner in module.modules():
                self.form.keep_attribute(inner, "training", inner.training)
                if inner._modules:
                    self.form.keep_entries(inner._modules)
        self.form.set_plan(self.plan)

    def run(self, args: tuple, kwargs: dict) -> Any:
        """The function's result for these arguments; `MISS` when it was not compiled for them or something has changed since."""
        if self.backward is None and not self._handed_on:
            outputs = self.form.run(args, kwargs)
            if outputs is None:
                return MISS
            return outputs[0] if self._single else self._result(outputs)
        inputs = self.form.inputs(args, kwargs)
        if inputs is None:
            return MISS
        outputs = list(_Compiled.apply(self, *inputs)) if self.backward is not None else self.plan.run(inputs)
        for k, source in self._handed_on:
            outputs[k] = inputs[source]
        return self._result(outputs)

    def _result(self, outputs: list[Tensor]) -> Any:
        result = list(self._leaves)
        for k, t in zip(self._tensor_at, outputs):
            result[k] = t
        return unflatten(result, self._spec)


class _Compiled(Function):
    """The node of a compiled function whose results require grad."""

    @staticmethod
    def forward(ctx: Any, entry: Entry, *inputs: Tensor) -> tuple[Tensor, ...]:
        n = len(entry._tensor_at)
        results = entry.plan.run(list(inputs))
        ctx.entry, ctx.requires = entry, [t.requires_grad for t in inputs]
        ctx.save_for_backward(*results[n:])
        outputs = results[:n]
        ctx.mark_non_differentiable(*(t for k, t in enumerate(outputs) if k not in entry._wanted))
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        if mg.is_grad_enabled():
            raise NotImplementedError("compile: gradients of gradients through a compiled function. Try the function without compile.")
        entry = ctx.entry
        cotangents = [grads[k] for k in entry._wanted]
        found = iter(entry.backward.run([*ctx.saved_tensors, *cotangents]))
        at, by_input, variable = set(entry._variables_with_gradient), [], 0
        for requires in ctx.requires:
            if requires and variable < entry._n_variables:
                by_input.append(next(found) if variable in at else None)
                variable += 1
            else:
                by_input.append(None)
        return (None, *by_input)


def _nothing_escaped(trace: Any) -> None:
    if trace.escaped:
        gc.collect()  # a cycle may hold what nobody can reach
    if trace.escaped:
        raise GaveUp("a tensor that the function makes is kept outside of it, by an attribute, a list or a closure. Try returning it")


class _Recorded:
    """While a function is traced, the steps of its optimizers and schedulers are noted instead of done."""

    def __init__(self, trace: Any, roots: Roots) -> None:
        self._trace, self._roots = trace, roots
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        for optimizer in self._roots.optimizers:
            params = [p for group in optimizer.param_groups for p in group["params"]]
            self._replace(optimizer, params)
        for scheduler in self._roots.schedulers:
            self._replace(scheduler, [])

    def _replace(self, owner: Any, params: list[Tensor]) -> None:
        step, own = owner.step, "step" in owner.__dict__

        def noted(*args: Any, **kwargs: Any) -> None:
            if args or kwargs:
                raise GaveUp(f"{type(owner).__name__}.step() with arguments")
            self._trace.host(f"{type(owner).__name__}.step()", step, params)

        owner.step = noted
        self._undo.append((lambda: setattr(owner, "step", step)) if own else (lambda: owner.__dict__.pop("step")))

    def __exit__(self, *error: Any) -> None:
        for undo in self._undo:
            undo()
