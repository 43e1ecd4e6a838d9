"""`mg.export`: trace a function once and keep what it does, with weights and constants, as a program."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._core import Tensor

from . import _now, _steppers, _trees
from .program import ExportedProgram, copied


def export(
    f: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    path: Any = None,
    format: str | None = None,
    strict: bool = False,
) -> ExportedProgram:
    """Trace `f(*args, **kwargs)` and return it as a program that runs without f's source.

    Parameters, buffers and other tensors that f reaches become the program's own state (copies); so do optimizers and schedulers
    whose `step()` it calls, so that a whole training step can be exported. The program is for tensors of the shapes, dtypes and
    devices given here; numbers and text are constants. A Module is traced without gradients, a function in the modes of the caller.

    Args:
        f: a Module or function. args, kwargs: example arguments.
        path: also write it there: with format None a file for `mg.export.load`, with "c" C11 source (docs/compiler.md).
        format: None or "c". strict: accepted for torch's signature.
    Raises:
        RuntimeError: f asks for values of tensors, or keeps one outside. NotImplementedError: something that a program cannot hold.
        TypeError: arguments other than tensors, constants and containers of them.
    """
    if format not in (None, "c"):
        raise ValueError(f"export: unknown format {format!r}, expected None or 'c'")
    if not isinstance(args, tuple):
        raise TypeError(f"export: args must be a tuple: got {type(args).__name__}. Try (x,).")
    program = _program(f, args, kwargs or {})
    if format == "c":
        from .csource import write_c

        if path is None:
            raise ValueError("export: format='c' needs a path")
        write_c(program, Path(path))
    elif path is not None:
        program.save(path)
    return program


def _program(function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> ExportedProgram:
    from ._compiled import CompiledFunction
    from ._entry import UNPREDICTABLE
    from ._reach import Reach

    arguments: list[Tensor] = []
    tree = _trees.encode((args, kwargs), arguments, "arguments")
    function = getattr(function, "_orig_mod", function)  # a compiled module, or function
    function = function.fn if isinstance(function, CompiledFunction) else function
    roots = Reach(function, {str(k): t for k, t in enumerate(arguments)})
    inside = [t.detach() for t in arguments]  # tensors of their own: leaves without gradient, and no two the same
    args, kwargs = _trees.replaced((args, kwargs), iter(inside))
    owners = [*roots.optimizers, *roots.schedulers]
    trace = _core.Trace(UNPREDICTABLE)
    order: list[Any] = []  # the owner of each host call
    grads_before = [t.grad for t in roots.tensors if t.is_leaf and t.grad is not None]
    with _noted_steps(trace, owners, order), mg.set_grad_enabled(mg.is_grad_enabled() and not isinstance(function, mg.nn.Module)):
        results, results_tree, graph = _trace(trace, function, args, kwargs)
    del results
    met = trace.met
    data = _core.graph_data(graph.optimized())
    for value, tensor in data["constants"]:  # computed when the graph was made: inputs like any other tensor from outside
        data["inputs"].append(value)
        met.append(tensor)
    if any(t is g for t in met for g in grads_before):
        raise NotImplementedError("export: the function adds to gradients of an earlier step. Try optimizer.zero_grad() at its start.")
    state, names = _lift(met, inside, roots, data)
    used = [o for o in owners if any(o is x for x in order)]
    for owner in used:
        if isinstance(owner, mg.optim.Optimizer):
            _complete(owner, met, state, names)
    steppers = [_steppers.describe(owner, names, used, state) for owner in used]
    return ExportedProgram(_data(data, tree, results_tree, names, met, inside, steppers, [used.index(o) for o in order]), state)


def _trace(trace: Any, function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[list[Tensor], Any, Any]:
    before = _now.tracing, _now.busy
    _now.tracing = _now.busy = _now.exporting = True
    trace.enter()
    try:
        results: list[Tensor] = []
        results_tree = _trees.encode(function(*args, **kwargs), results, "results")
        return results, results_tree, trace.leave(results)
    except (TypeError, NotImplementedError) as error:
        if trace.asked:
            raise RuntimeError(f"export: {trace.asked}") from error
        raise
    except Exception as error:
        raise RuntimeError(f"export: the function cannot be captured: {trace.asked or error}") from error
    finally:
        trace.abandon()
        (_now.tracing, _now.busy), _now.exporting = before, False


@contextmanager
def _noted_steps(trace: Any, owners: list[Any], order: list[Any]) -> Iterator[None]:
    """Steps of these optimizers and schedulers are noted in the trace instead of done."""
    undo: list[Callable[[], Any]] = []

    def replace(owner: Any) -> None:
        step, own = owner.step, "step" in owner.__dict__
        params = [p for group in owner.param_groups for p in group["params"]] if isinstance(owner, mg.optim.Optimizer) else []

        def noted(*args: Any, **kwargs: Any) -> None:
            if args or kwargs:
                raise NotImplementedError(f"export: {type(owner).__name__}.step() with arguments")
            order.append(owner)
            trace.host(f"{type(owner).__name__}.step()", step, params)

        owner.step = noted
        undo.append((lambda: setattr(owner, "step", step)) if own else (lambda: owner.__dict__.pop("step")))

    for owner in owners:
        replace(owner)
    try:
        yield
    finally:
        for back in undo:
            back()


def _known_names(roots: Any) -> dict[int, str]:
    names: dict[int, str] = {}
    inner = {id(m) for module in roots.modules for m in module.modules() if m is not module}
    outer = [module for module in roots.modules if id(module) not in inner]
    for number, module in enumerate(outer):
        front = "" if len(outer) == 1 else f"{number}."
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            names.setdefault(id(tensor), front + name)
    for key, (_, place, _) in roots.places.items():
        if isinstance(place, str) and place:
            names.setdefault(key, place)
    return names


def _lift(met: list[Tensor], inside: list[Tensor], roots: Any, data: dict[str, Any]) -> tuple[dict[str, Tensor], dict[int, str]]:
    """(state by name, id of a tensor -> its name) for every input that is no argument; copies, in the same layout."""
    known, state, names = _known_names(roots), {}, {}
    arguments = {id(t) for t in inside}
    written = {data["values"][_target(c)]["storage"] for c in data["calls"] if c.get("inplace")}
    shared: dict[int, int] = {}
    for value, tensor in zip(data["inputs"], met):
        storage = data["values"][value]["storage"]
        shared[storage] = shared.get(storage, 0) + 1
        if id(tensor) in arguments:
            continue
        name = known.get(id(tensor), "constant")
        while name in state:
            front, number = re.fullmatch(r"(.*?)(?:_(\d+))?", name, re.DOTALL).groups()
            name = f"{front}_{int(number or 0) + 1}"
        names[id(tensor)] = name
        state[name] = copied(tensor)
    if any(shared.get(s, 0) > 1 for s in written):
        raise NotImplementedError("export: the function writes into memory that two of its tensors share. Try .clone() on one of them.")
    return state, names


def _target(call: dict[str, Any]) -> int:
    mutated = next((k for k, a in enumerate(mg.op.registry[call["op"]].args) if a.mutated), 0)
    return call["args"][mutated][1]


def _complete(owner: Any, met: list[Tensor], state: dict[str, Tensor], names: dict[int, str]) -> None:
    """Parameters of an optimizer that no call meets still belong to its groups."""
    for number, param in enumerate(p for group in owner.param_groups for p in group["params"]):
        if id(param) not in names:
            names[id(param)] = f"unused.{number}"
            state[names[id(param)]] = copied(param)


def _data(
    graph: dict[str, Any],
    arguments: Any,
    results: Any,
    names: dict[int, str],
    met: list[Tensor],
    inside: list[Tensor],
    steppers: list[dict[str, Any]],
    steps: list[int],
) -> dict[str, Any]:
    values, positions = graph["values"], {id(t): k for k, t in enumerate(inside)}
    written = {_target(c) for c in graph["calls"] if c.get("inplace")}
    written_storages = {values[k]["storage"] for k in written}

    def text(dtype: Any) -> str:
        return str(dtype).rpartition(".")[2]

    inputs = []
    for value, tensor in zip(graph["inputs"], met):
        v = values[value]
        place = (
            {"argument": positions[id(tensor)], "written": v["storage"] in written_storages}
            if id(tensor) in positions
            else {"state": names[id(tensor)]}
        )
        inputs.append(
            place
            | {"id": value, "dtype": text(v["dtype"]), "device": str(v["device"]), "sizes": list(v["sizes"]), "strides": list(v["strides"])}
        )
    of_argument = {i["id"] for i in inputs if "argument" in i}
    step = iter(steps)
    calls = []
    for call in graph["calls"]:
        if "host" in call:
            calls.append({"step": next(step), "gradients": _gradients(call["gradients"], of_argument), "line": call["line"]})
            continue
        args = [encoded(kind, value) for kind, value in call["args"]]
        outs = [[k, text(values[k]["dtype"]), list(values[k]["sizes"])] for k in call["outs"]]
        calls.append({"op": call["op"], "inplace": call["inplace"], "args": args, "outs": outs, "line": call["line"]})
    return {
        "inputs": inputs,
        "calls": calls,
        "outputs": list(graph["outputs"]),
        "gradients": _gradients(graph["gradients"], of_argument),
        "arguments": arguments,
        "results": results,
        "steppers": steppers,
    }


def encoded(kind: str, value: Any) -> Any:
    """An argument of a call as the program's data has it."""
    return _trees.encode_number(value) if kind == "number" else {kind: value}


def _gradients(gradients: list[Any], of_argument: set[int]) -> list[Any]:
    if any(leaf in of_argument for leaf, _ in gradients):
        raise NotImplementedError("export: the function sets the gradient of an argument. Try mg.autograd.grad().")
    return [[leaf, None if value < 0 else value] for leaf, value in gradients]
