"""One compiled form of a function: its plans, what has to hold for it to be used, and the way from arguments to results."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._core import Tensor

from ._changes import is_plain
from ._checks import containers_of, no_effects, no_history_is_needed, nothing_escaped, refuse, unchanged
from ._code import give_code
from ._guards import Guards
from ._pytree import LEAF, flatten, unflatten
from ._reach import GaveUp, Reach
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

    joint = True  # its gradients are part of it

    def __init__(self, function: Callable[..., Any], args: tuple, kwargs: dict, *, look: bool = True, memory: float = 1.0) -> None:
        """`look`: what tensors hold that seldom change (masks) may decide what the graph becomes. `memory`: see passes_recompute.cpp."""
        self._look, self._memory = look, memory
        self.backward: Any = None
        self.backward_graph: Any = None
        self.function = function
        self.call = self.run  # or the function: see _trial.py
        self.verdict = ""
        self.on_cpu = True
        self.form = _core.Form(args, kwargs)
        containers: list[Any] = []
        leaves, spec = flatten((args, kwargs), containers)
        refuse(leaves)
        reach = Reach(function, dict(zip(argument_names(function, args, kwargs), (*args, *kwargs.values()))))
        if iterators := reach.iterators():
            raise GaveUp(f"{iterators[0]} is an iterator, which moves on. Try a list")
        self._gradients = [(t, t.grad) for t in reach.tensors if t.requires_grad and t.is_leaf]
        had = {id(t): grad is not None for t, grad in self._gradients}
        needs = [t.requires_grad for t in reach.tensors]
        bare = [t for t in reach.tensors if _core.attributes_of(t) is None]
        trace = _core.Trace(UNPREDICTABLE)
        inside = {id(t): trace.input(t) for t in leaves if isinstance(t, Tensor) and t.requires_grad and not t.is_leaf}
        dressed = [(t, _core.attributes_of(t)) for t in leaves if isinstance(t, Tensor) and id(t) in inside]
        for t, attributes in dressed:
            if attributes is not None:
                inside[id(t)].__dict__.update(attributes)
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
                    unchanged(given, [inside.get(id(t), t) for t in leaves], spec)
                except Exception as error:
                    raise GaveUp(trace.asked or f"{type(error).__name__}: {error}") from error
                finally:
                    trace.abandon()
                    for t, grad in self._gradients:  # those that lost it before an op met them
                        if t.grad is not grad:
                            t.grad = grad
                    del self._gradients
            self._results_can_be_made_again(reach, containers)
            order = list(inside)
            no_history_is_needed(witness, [inside[k] for k in order])
            if any((_core.attributes_of(inside[id(t)]) or {}) != (attributes or {}) for t, attributes in dressed):
                raise GaveUp("an attribute of an argument was set")
            del inside, given, leaves
            no_effects(witness, reach, needs, bare)
            nothing_escaped(trace)
            self._bind(trace, reach, witness, had, order)
            kept = True
        finally:
            if not kept:
                witness.effects(put_back=True)
                self._leaves = []  # traced tensors: an entry that came to nothing may wait for Python's collector

    def _trace(self, trace: Any, witness: Witness, function: Callable[..., Any], given: Any, inside: dict[int, Tensor]) -> None:
        with witness:
            result = function(*given[0], **given[1])
        if trace.asked:  # and the function caught the error
            raise GaveUp(trace.asked)
        self._containers: list[Any] = []
        self._leaves, self._spec = flatten(result, self._containers)
        given_out = {id(c) for c in containers_of(given)}
        if any(id(c) in given_out for c in self._containers):
            raise GaveUp("a list, dict or dataclass of the arguments is part of the result, as the same object. Try a copy")
        del result
        self._tensor_at = [k for k, leaf in enumerate(self._leaves) if isinstance(leaf, Tensor)]
        first: dict[int, int] = {}
        self._again = [(k, first[id(self._leaves[k])]) for k in self._tensor_at if first.setdefault(id(self._leaves[k]), k) != k]
        self._tensor_at = list(first.values())  # what the result has twice comes out as one tensor
        outputs = [self._leaves[k] for k in self._tensor_at]
        here = trace.position
        before = trace.met
        known = {id(t) for t in before if t is not None}
        # What the function only hands on is no result of its own: it comes out as the same object.
        wanted = [k for k, t in enumerate(outputs) if self.joint and t.requires_grad and id(t) not in known and mg.op.is_dataless(t)]
        given_on = known | {id(t) for t in inside.values()}
        # Of those that are handed on: x.detach(), x.data. What has data was not met so far: a tensor of outside, as it is.
        self._cut = {k for k, t in enumerate(outputs) if id(t) not in given_on and mg.op.is_dataless(t)}
        written_with_history = {k for k in self._cut if outputs[k].requires_grad}
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
        for t, grad in self._gradients:  # a run takes their gradients as well, though no op met them
            if grad is not None and t.grad is None and not mg.op.is_dataless(t):
                trace.meet(t)
        graph = trace.leave([*outputs, *(g for g in grads if g is not None)])
        if trace.asked:
            raise GaveUp(trace.asked)
        self._assumed: list[Tensor] = []
        if self.joint:
            graph, here = self._with_structured_ops(trace, graph, here)
        for k in (*self._tensor_at, *(k for k, _ in self._again)):
            self._leaves[k] = None
        if wanted and _sets_gradients(trace, graph):
            raise GaveUp("gradients are set inside of the function, and its results require grad. Try returning result.detach()")
        if not self.joint:
            refuse_inner_steps(trace, self.owners, graph)
            self.graph, self.plan = graph, None
        elif wanted:
            self.graph, self.backward_graph = (part.optimized() for part in graph.split(here, len(outputs), len(wanted)))
            self.backward = _core.Plan(self.backward_graph, budget=self._memory)
        else:
            self.graph = graph.optimized()
        if self.joint:
            self.plan = _core.Plan(self.graph, budget=self._memory)
            give_code(self.plan, self.backward)
        if wanted:
            has = [g is not None for g in grads]
            self._joint = _core.Joint(self.plan, self.backward, len(outputs), wanted, has, _differentiable_gradients)
        self.draws, self.writes = self.graph.draws, self.graph.writes
        self._single = self._spec is LEAF and len(outputs) == 1
        inputs = {value: k for k, value in enumerate(self.graph.inputs)}
        self._handed_on = [(k, inputs[v]) for k, v in enumerate(self.graph.outputs[: len(outputs)]) if v in inputs]
        if any(k in written_with_history for k, _ in self._handed_on):
            raise GaveUp("the result is x.detach() of an argument, written to with gradients. Try x.detach().clone()")

    def _with_structured_ops(self, trace: Any, graph: Any, here: int) -> tuple[Any, int]:
        """The graph with softmax, attention … by hand as ops. What was found in masks has to stay as it is: `_assumed`."""
        given = {id(t) for t in self._arguments}
        for position, tensor in enumerate(trace.met if self._look else ()):
            if tensor is not None and id(tensor) not in given and not tensor.requires_grad and _core.writes_are_seen(tensor):
                graph.look_at(position, tensor)
        graph, here = graph.with_structured_ops(here)
        self._assumed = [trace.met[position] for position in graph.assumed]
        return graph, here

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
        offsets: list[int] = []
        if self.backward is not None and any(t is not None and _core.hooks_on(t) for t in trace.met):
            raise GaveUp("a parameter has gradient hooks, which the gradients of a compiled function would meet twice")
        guards = Guards(self.form, reach, witness)
        guards.keep()
        for position, tensor in enumerate(trace.met):
            if tensor is None:  # made by trace.input(): an argument with a history, then the cotangents
                shadow = next(shadows, None)
                if shadow is not None:
                    self.form.from_argument(shadow)
                    offsets.append(self._arguments[shadow].storage_offset())
                continue
            offsets.append(tensor.storage_offset())
            if id(tensor) in number:
                self.form.from_argument(number[id(tensor)])
            elif id(tensor) in by_grad and by_grad[id(tensor)] is not tensor:
                leaf = by_grad[id(tensor)]
                self.form.from_gradient_of_argument(number[id(leaf)]) if id(leaf) in number else self.form.from_gradient(leaf)
            else:
                self.form.from_tensor(tensor, reach.places.get(id(tensor), (None, None, "a tensor"))[2])
                guards.place(tensor)
            if position in touched and not had.get(id(tensor), True) and tensor.is_leaf:
                self._keep_gradient(tensor, False, number)
        for tensor in reach.tensors if "grad" in witness.names else ():  # the code may look at it
            if id(tensor) in had:
                self._keep_gradient(tensor, had[id(tensor)], number)
        if self.graph.writes:
            self.form.keep_memory(self.graph.input_storages)
        for tensor in self._assumed:
            self.form.keep_values(tensor)
        del self._assumed
        if witness.offsets:
            self.form.keep_offsets(offsets)
        if self.plan is not None:
            self.form.set_plan(self.plan)
        self.on_cpu = all(t.device.type == "cpu" for t in (*self._arguments, *(m for m in trace.met if m is not None)))
        self._arguments = self._constants_given = None  # the call's own objects go

    def _keep_gradient(self, tensor: Tensor, has: bool, number: dict[int, int]) -> None:
        if id(tensor) in number:
            self.form.keep_gradient_of_argument(number[id(tensor)], has)
        else:
            self.form.keep_gradient(tensor, has)

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
        for k, source in self._again:
            result[k] = result[source]
        return unflatten(result, self._spec)


def _sets_gradients(trace: Any, graph: Any) -> bool:
    leaves = dict(zip(graph.inputs, trace.met))
    return any(value >= 0 or leaves[leaf].grad is not None for leaf, value in _core.graph_data(graph)["gradients"])


def refuse_inner_steps(trace: Any, owners: list[Any], graph: Any) -> None:
    """A backend of the user's sees what computes results; backward() and steps inside of the function are no part of that."""
    if owners or any(call["op"] is None for call in graph.calls) or _sets_gradients(trace, graph):
        raise GaveUp("backward() or a step of an optimizer happens inside of it, which a backend of one's own does not see")


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
