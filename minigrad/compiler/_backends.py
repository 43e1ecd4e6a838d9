"""Backends of the user's own: `mg.compile(f, backend=callable)`, and names for them.

PyTorch's contract: `backend(graph, example_inputs)` is called once per compiled form and gives a callable that takes the inputs and returns
a list or tuple of the outputs. It sees the function's forward ops, as they were traced. What its callable computes with ops is recorded as
ever, so gradients need nothing from a backend.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._core import Tensor

from ._entry import MISS, Entry
from ._reach import GaveUp

BUILT_IN = ("inductor", "interpreter", "llvm", "triton")  # names of ways to run a graph; the first is: whatever is best here
EAGER = ("eager",)  # debugging names: the function itself
TRACED_ONLY = ("aot_eager", "aot_eager_decomp_partition")

_registered: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {}


class BackendCompilerFailed(RuntimeError):
    """A backend raised, or gave what is not a compiled function; the message names it, and the cause is its own error.

    Attributes:
        backend_name: of the backend. inner_exception: its error, if there was one.
    """

    def __init__(self, name: str, inner: Exception | None, text: str) -> None:
        super().__init__(f"backend={name!r} {text}")
        self.backend_name, self.inner_exception = name, inner


class Value:
    """A tensor of the graph: `index` is its number there, %3 in the text."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __repr__(self) -> str:
        return f"%{self.index}"


class Call:
    """One op call of a graph.

    Attributes:
        op: the op's name. args: by the op's parameter names; tensors are `Value`s. outputs: the values that it makes.
        inplace: it overwrites its first tensor and makes none. line: of the user's program. text: the call as the graph prints it.
    """

    def __init__(self, data: dict[str, Any], text: str) -> None:
        self.op: str = data["op"]
        names = [arg.name for arg in mg.op.registry[self.op].args]
        self.args = {name: _argument(kind, value) for name, (kind, value) in zip(names, data["args"])}
        self.outputs = [Value(k) for k in data["outs"]]
        self.inplace: bool = data["inplace"]
        self.line: str = data["line"]
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def __call__(self, known: dict[int, Tensor]) -> None:
        """Compute it: what it needs is looked up in `known`, by number, and what it makes is put there."""
        given = [_filled(value, known) for value in self.args.values()]
        for value, made in zip(self.outputs, _core.call_op(self.op, self.inplace, given)):
            known[value.index] = made


def _argument(kind: str, value: Any) -> Any:
    if kind == "number":
        return value
    return Value(value) if kind == "value" else [None if k is None else Value(k) for k in value]


def _filled(value: Any, known: dict[int, Tensor]) -> Any:
    if isinstance(value, list):
        return [_filled(part, known) for part in value]
    return known[value.index] if isinstance(value, Value) else value


class GraphFunction:
    """The graph that a backend is given: print it, go through its calls, call it.

    `graph(*inputs)` runs it op by op, recorded if grad mode is on, and returns a list; `graph.compiled()` gives the same as a function that
    this compiler runs.

    Attributes:
        calls: in their order. inputs, outputs: their values, in the order of the arguments and of the list returned.
        graph: what other code of this package takes.
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        texts = [call["text"] for call in graph.calls]
        self.calls = [Call(data, text) for data, text in zip(_core.graph_data(graph)["calls"], texts)]
        self.inputs = [Value(k) for k in graph.inputs]
        self.outputs = [Value(k) for k in graph.outputs]

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    def __str__(self) -> str:
        return str(self.graph)

    __repr__ = __str__

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        if len(inputs) != len(self.inputs):
            raise TypeError(f"graph: got {len(inputs)} inputs, expected {len(self.inputs)}")
        known = {value.index: t for value, t in zip(self.inputs, inputs)}
        for call in self.calls:
            call(known)
        return [known[value.index] for value in self.outputs]

    forward = __call__

    def compiled(self) -> Callable[..., list[Tensor]]:
        """A function of the inputs that runs the graph fused, with gradients."""
        from ._compiled import CompiledFunction

        return CompiledFunction(self.forward)


class OwnEntry(Entry):
    """A compiled form whose forward graph went to a backend of the user's."""

    joint = False

    def build(self, backend: Callable[..., Any], args: tuple, kwargs: dict, options: dict[str, Any]) -> None:
        """Let the backend compile it for these arguments."""
        self._name = name_of(backend)
        examples = self.form.inputs(args, kwargs)
        if examples is None:
            raise GaveUp(f"what it depends on changed while it was traced: {self.difference(args, kwargs)}")
        try:
            self._compiled = backend(GraphFunction(self.graph), examples, **options)
        except Exception as error:
            raise BackendCompilerFailed(self._name, error, f"raised:\n{type(error).__name__}: {error}") from error
        if not callable(self._compiled):
            raise BackendCompilerFailed(self._name, None, f"returned a {type(self._compiled).__name__}, expected a callable")

    def run(self, args: tuple, kwargs: dict) -> Any:
        """The function's result by the backend's callable; `MISS` when it was not compiled for these arguments."""
        inputs = self.form.inputs(args, kwargs)
        if inputs is None:
            return MISS
        outputs = self._compiled(*inputs)
        wanted = len(self._tensor_at)
        if not isinstance(outputs, Sequence) or len(outputs) != wanted or not all(isinstance(t, Tensor) for t in outputs):
            got = f"{len(outputs)} values" if isinstance(outputs, (list, tuple)) else f"a {type(outputs).__name__}"
            text = f"made a function that returned {got}, expected a list or tuple of {wanted} tensors"
            raise BackendCompilerFailed(self._name, None, text)
        return self.results(inputs, list(outputs))


def name_of(backend: Any) -> str:
    """What messages call it."""
    known = next((name for name, (fn, _) in _registered.items() if fn is backend), None)
    return known or getattr(backend, "__name__", type(backend).__name__)


def register_backend(compiler_fn: Any = None, name: str | None = None, tags: Sequence[str] = ()) -> Any:
    """Give a backend a name for `compile(backend=name)`: its own, or `name`. Without a function, a decorator.

    Raises:
        ValueError: the name is taken.
    """
    if compiler_fn is None:
        return lambda fn: register_backend(fn, name, tags)
    if not callable(compiler_fn):
        raise TypeError(f"register_backend: expected a callable: got {type(compiler_fn).__name__}")
    name = name or name_of(compiler_fn)
    taken = name in (*BUILT_IN, *EAGER, *TRACED_ONLY) or (name in _registered and _registered[name][0] is not compiler_fn)
    if taken:
        raise ValueError(f"register_backend: there is a backend {name!r}. Try another name=")
    _registered[name] = (compiler_fn, tuple(tags))
    return compiler_fn


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """Names for `compile(backend=)`; with exclude_tags=(), those for debugging too."""
    excluded = set(exclude_tags or ())
    debugging = () if "debug" in excluded else (*EAGER, *TRACED_ONLY)
    own = [name for name, (_, tags) in _registered.items() if not excluded.intersection(tags)]
    return sorted((*BUILT_IN, *debugging, *own))


def lookup_backend(compiler_fn: Any) -> Callable[..., Any]:
    """The backend of that name, as a function of a graph and example inputs; a function as it is.

    Raises:
        InvalidBackend: (a RuntimeError) there is none of that name.
    """
    if not isinstance(compiler_fn, str):
        return compiler_fn
    if compiler_fn in _registered:
        return _registered[compiler_fn][0]
    if compiler_fn in BUILT_IN:
        return lambda graph, example_inputs, **options: graph.compiled()
    if compiler_fn in (*EAGER, *TRACED_ONLY):
        return lambda graph, example_inputs, **options: graph.forward
    raise InvalidBackend(compiler_fn)


class InvalidBackend(RuntimeError):
    """There is no backend of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Invalid backend: {name!r}. Try one of {', '.join(list_backends(()))}")


def chosen(backend: Any) -> Any:
    """What `compile(backend=)` means: a built-in name, or a function."""
    if isinstance(backend, str) and backend not in _registered:
        if backend not in (*BUILT_IN, *EAGER, *TRACED_ONLY):
            raise InvalidBackend(backend)
        return backend
    found = lookup_backend(backend)
    if inspect.isclass(found) or not callable(found):
        raise RuntimeError(f"compile: backend must be a name or a function of a graph and its inputs: got {found!r:.80}")
    return found
