"""One compiled form of a function: its plans, what has to hold for it to be used, and the way from arguments to results."""

from __future__ import annotations

import gc
import inspect
import types
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._core import Tensor

from ._code import give_code
from ._guards import Guards
from ._pytree import LEAF, flatten, unflatten
from ._reach import GaveUp, Reach, is_plain
from ._steps import native_step
from ._witness import Witness

MISS = object()
UNPREDICTABLE = [info.name for info in mg.op.registry.values() if "size depends" in str(info.info.get("no_meta_reason", ""))]
_core.compare_by_value([mg.device, mg.dtype, mg.Size, slice, range])


class Entry:
    """What one trace gave.

    Attributes:
        call: what a call goes to. verdict: what a trial of speed said.
        plan: the whole function, or its forward part.
        backward: the gradients' part when results require grad, else None.
        graph, backward_graph: what the plans run, for printing.
    """

    def __init__(self, function: Callable[..., Any], args: tuple, kwargs: dict) -> None:
        self.backward: Any = None
        self.backward_graph: Any = None
        self.function = function
        self.call = self.run  # or the function: see _trial.py
        self.verdict = ""
        self.on_cpu = True
        self.form = _core.Form(args, kwargs)
        containers: list[Any] = []
        leaves, spec = flatten((args, kwargs), containers)
        _refuse(leaves)
        reach = Reach(function, dict(zip(argument_names(function, args, kwargs), (*args, *kwargs.values()))))
        if iterators := reach.iterators():
            raise GaveUp(f"{iterators[0]} is an iterator, which moves on. Try a list")
        had = {id(t): t.grad is not None for t in reach.tensors if t.requires_grad and t.is_leaf}
        needs = [t.requires_grad for t in reach.tensors]
        trace = _core.Trace(UNPREDICTABLE)
        inside = {id(t): trace.input(t) for t in leaves if isinstance(t, Tensor) and t.requires_grad and not t.is_leaf}
        self._arguments = [t for t in leaves if isinstance(t, Tensor)]
        self._constants_given = [t for t in leaves if not isinstance(t, Tensor)]
        witness = Witness(reach)
        kept = False
        self.owners: list[Any] = []  # optimizers and schedulers, in the order of their steps
        try:
            with _Recorded(trace, reach, self.owners):
                trace.enter()
                try:
                    for t in self._arguments:  # also those that no op reads: a view of one must not be taken for a constant
                        if id(t) not in inside:
                            trace.meet(t)
                    given = unflatten([inside.get(id(t), t) for t in leaves], spec)
                    self._trace(trace, witness, function, given, inside)
                    _unchanged(given, [inside.get(id(t), t) for t in leaves], spec)
                except Exception as error:
                    raise GaveUp(trace.asked or f"{type(error).__name__}: {error}") from error
                finally:
                    trace.abandon()
            self._results_can_be_made_again(reach, containers)
            order = list(inside)
            del inside, given, leaves
            _no_effects(witness, reach, needs)
            _nothing_escaped(trace)
            self._bind(trace, reach, witness, had, order)
            kept = True
        finally:
            if not kept:
                witness.effects(put_back=True)

    def _trace(self, trace: Any, witness: Witness, function: Callable[..., Any], given: Any, inside: dict[int, Tensor]) -> None:
        with witness:
            result = function(*given[0], **given[1])
        if trace.asked:  # and the function caught the error
            raise GaveUp(trace.asked)
        self._containers: list[Any] = []
        self._leaves, self._spec = flatten(result, self._containers)
        given_out = {id(c) for c in _containers_of(given)}
        if any(id(c) in given_out for c in self._containers):
            raise GaveUp("a list, dict or dataclass of the arguments is part of the result, as the same object. Try a copy")
        del result
        self._tensor_at = [k for k, leaf in enumerate(self._leaves) if isinstance(leaf, Tensor)]
        outputs = [self._leaves[k] for k in self._tensor_at]
        here = trace.position
        before = trace.met
        known = {id(t) for t in before if t is not None}
        # What the function only hands on is no result of its own: it comes out as the same object.
        wanted = [k for k, t in enumerate(outputs) if t.requires_grad and id(t) not in known and mg.op.is_dataless(t)]
        given_on = known | {id(t) for t in inside.values()}
        self._cut = {k for k, t in enumerate(outputs) if id(t) not in given_on}  # of those that are handed on: x.detach(), x.data
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
        graph = trace.leave([*outputs, *(g for g in grads if g is not None)])
        if trace.asked:
            raise GaveUp(trace.asked)
        for k in self._tensor_at:
            self._leaves[k] = None
        if wanted:
            self.graph, self.backward_graph = (part.optimized() for part in graph.split(here, len(outputs), len(wanted)))
            self.backward = _core.Plan(self.backward_graph)
        else:
            self.graph = graph.optimized()
        self.plan = _core.Plan(self.graph)
        give_code(self.plan, self.backward)
        if wanted:
            has = [g is not None for g in grads]
            self._joint = _core.Joint(self.plan, self.backward, len(outputs), wanted, has, _differentiable_gradients)
        self.draws, self.writes = self.graph.draws, self.graph.writes
        self._single = self._spec is LEAF and len(outputs) == 1
        inputs = {value: k for k, value in enumerate(self.graph.inputs)}
        self._handed_on = [(k, inputs[v]) for k, v in enumerate(self.graph.outputs[: len(outputs)]) if v in inputs]

    def _results_can_be_made_again(self, reach: Reach, containers: list) -> None:
        """A replay gives the same results: tensors anew, and everything else as it is, so that has to be constants or things of outside."""
        for container in self._containers:
            if id(container) in reach.nodes and not isinstance(container, tuple):
                raise GaveUp("a list, dict or dataclass from outside of the function is part of its result. Try a copy")
        self._containers = []
        for leaf in self._leaves:
            if leaf is None or is_plain(leaf) or id(leaf) in reach.nodes or isinstance(leaf, (type, types.ModuleType, mg.Size)):
                continue
            if not any(leaf is a for a in self._constants_given):
                raise GaveUp(f"the result has a {type(leaf).__name__}, which a replay could not make anew. Try a tuple, dict or dataclass")

    def _bind(self, trace: Any, reach: Reach, witness: Witness, had: dict[int, bool], inside: list[int]) -> None:
        """Say where each input of the plan comes from: an argument, or a tensor that is kept, and what of it must still hold."""
        number = {id(t): k for k, t in reversed(list(enumerate(self._arguments)))}
        shadows = iter([number[k] for k in inside])
        owners = [(t, t.grad) for t in reach.tensors if t.is_leaf and t.grad is not None]  # holds the gradients' Python objects
        by_grad = {id(grad): t for t, grad in owners}
        touched = trace.gradient_leaves
        if self.backward is not None and any(t is not None and _core.hooks_on(t) for t in trace.met):
            raise GaveUp("a parameter has gradient hooks, which the gradients of a compiled function would meet twice")
        guards = Guards(self.form, reach, witness)
        guards.keep()
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
                self.form.from_tensor(tensor, reach.places.get(id(tensor), (None, None, "a tensor"))[2])
                guards.place(tensor)
            if position in touched and not had.get(id(tensor), True) and tensor.is_leaf:
                self.form.keep_gradient(tensor, False)
        if self.graph.writes:
            self.form.keep_memory(self.graph.input_storages)
        self.form.set_plan(self.plan)
        self.on_cpu = all(t.device.type == "cpu" for t in (*self._arguments, *(m for m in trace.met if m is not None)))
        self._arguments = self._constants_given = None  # the call's own objects go

    MISS = MISS

    def difference(self, args: tuple, kwargs: dict) -> str:
        """Why a call is another kind of call."""
        return self.form.difference(args, kwargs, argument_names(self.function, args, kwargs)[: len(args)])

    def run_function(self, args: tuple, kwargs: dict) -> Any:
        """The function itself, for calls of this form."""
        return self.function(*args, **kwargs) if self.form.fits(args, kwargs) else MISS

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
        if self.backward is not None:
            outputs = self._joint.run(inputs, (self, args, kwargs, _random_states() if self.draws else None))
        else:
            outputs = self.plan.run(inputs)
        return self.results(inputs, outputs)

    def results(self, inputs: list[Tensor], outputs: list[Tensor]) -> Any:
        """What the function returns, of what the plan gave for these inputs."""
        for k, source in self._handed_on:
            outputs[k] = inputs[source].detach() if k in self._cut else inputs[source]
        return outputs[0] if self._single else self._result(outputs)

    def _result(self, outputs: list[Tensor]) -> Any:
        result = list(self._leaves)
        for k, t in zip(self._tensor_at, outputs):
            result[k] = t
        return unflatten(result, self._spec)


def _random_states() -> tuple[Tensor, list[Tensor]]:
    """Of the CPU's generator and of those of all devices in use."""
    return mg.get_rng_state(), mg.cuda.get_rng_state_all() if mg.cuda.is_initialized() else []


def _set_random_states(states: tuple[Tensor, list[Tensor]]) -> None:
    mg.set_rng_state(states[0])
    if states[1]:
        mg.cuda.set_rng_state_all(states[1])


def _differentiable_gradients(call: tuple, inputs: list[Tensor], cotangents: list[Tensor | None]) -> list[Tensor | None]:
    """Gradients that have gradients themselves (create_graph=True), or that stand for a batch: the function runs once more, recorded."""
    entry, args, kwargs, generator = call
    if entry.writes:
        raise NotImplementedError("compile: gradients of gradients through a compiled function that writes to tensors from outside "
                                  "(a BatchNorm in training does). Try the function without compile.")  # fmt: skip
    recorded = mg.is_grad_enabled()
    state = _random_states() if generator is not None else None
    if generator is not None:
        _set_random_states(generator)
    with mg.enable_grad():
        results = flatten(entry.function(*args, **kwargs))[0]
    if generator is not None:
        _set_random_states(state)
    pairs = [(results[entry._tensor_at[w]], c) for w, c in zip(entry._wanted, cotangents) if c is not None]
    variables = [t for t in inputs if t.requires_grad][: entry._n_variables]
    outputs, given = [y for y, _ in pairs], [c for _, c in pairs]
    return list(mg.autograd.grad(outputs, variables, given, create_graph=recorded, allow_unused=True))


def argument_names(function: Callable[..., Any], args: tuple, kwargs: dict) -> list[str]:
    """A name for each argument, as the function calls them."""
    try:
        target = function.forward if isinstance(function, mg.nn.Module) else function
        parameters = list(inspect.signature(target).parameters.values())
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):
        names = []
    names += [f"argument {k}" for k in range(len(names), len(args))]
    return [*names[: len(args)], *kwargs]


def _containers_of(tree: Any) -> list:
    found: list[Any] = []
    flatten(tree, found)
    return [c for c in found if not isinstance(c, tuple)]


def _refuse(leaves: list) -> None:
    for leaf in leaves:
        if isinstance(leaf, Tensor) and _core.any_overrides((leaf,)):
            raise GaveUp(f"an argument is a {type(leaf).__name__}, whose __torch_function__ wants to see each op")
        if hasattr(type(leaf), "__next__"):
            raise GaveUp(f"an argument is a {type(leaf).__name__}, which moves on when it is read. Try a list")
        if type(leaf).__module__ == "numpy" and getattr(leaf, "ndim", 0):
            raise GaveUp("an argument is a NumPy array, whose elements may change. Try a tensor")


def _unchanged(given: Any, leaves: list, spec: Any) -> None:
    now, now_spec = flatten(given)
    if len(now) != len(leaves) or any(a is not b for a, b in zip(now, leaves)) or repr_of(spec) != repr_of(now_spec):
        raise GaveUp("a list, dict or dataclass among the arguments was changed. Try returning the new one")


def repr_of(spec: Any) -> Any:
    """A spec as plain data, to compare."""
    return None if spec is LEAF else (spec.kind, spec.keys, [repr_of(part) for part in spec.parts])


def _no_effects(witness: Witness, reach: Reach, needs: list[bool]) -> None:
    changed = [t for t, before in zip(reach.tensors, needs) if t.requires_grad != before]
    for t in changed:
        t.requires_grad_(not t.requires_grad)
    if changed:
        raise GaveUp("requires_grad of a tensor from outside was changed", later=True)
    if reach.capped:
        raise GaveUp("the function reaches more Python state than can be watched for changes")
    effects = witness.effects(put_back=True)
    if effects:
        raise GaveUp(f"Python state changed, which a replay would not repeat: {effects}", later=True)


def _nothing_escaped(trace: Any) -> None:
    if trace.escaped:
        gc.collect()  # a cycle may hold what nobody can reach
    if trace.escaped:
        raise GaveUp("a tensor that the function makes is kept outside of it, somewhere in Python. Try returning it", later=True)


class _Recorded:
    """While a function is traced, the steps of its optimizers and schedulers are noted instead of done."""

    def __init__(self, trace: Any, roots: Reach, owners: list[Any]) -> None:
        self._trace, self._roots, self._owners = trace, roots, owners
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
            self._owners.append(owner)
            self._trace.host(f"{type(owner).__name__}.step()", native_step(owner), params)

        owner.step = noted
        self._undo.append((lambda: setattr(owner, "step", step)) if own else (lambda: owner.__dict__.pop("step")))

    def __exit__(self, *error: Any) -> None:
        for undo in self._undo:
            undo()
