"""torch.compiler's names: what steers `mg.compile`, and what tells about it (docs/compiler.md).

`minigrad.compile(f)` traces and replays, `explain(f)(*args)` shows what came of it. Everything heavier is imported when it is first used.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

__all__ = ["allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable",
           "is_compiling", "is_dynamo_compiling",
           "is_exporting", "list_backends", "lookup_backend", "register_backend", "reset",
           "save_cache_artifacts", "load_cache_artifacts", "set_stance", "substitute_in_graph",
           "wrap_numpy", "nested_compile_region", "set_enable_guard_collectives", "config"]  # fmt: skip

T = TypeVar("T")


def compile(*args: Any, **kwargs: Any) -> Any:
    """See `minigrad.compile`."""
    from minigrad._settings import compile as build

    return build(*args, **kwargs)


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function (or module) as one that is never captured: it runs eagerly, also inside of a compiled function (a graph break there).

    Args:
        fn: function or module; None makes a decorator.
        recursive: whether what it calls is left alone too; it always is.
        reason: shown by `explain`.
    """
    if fn is None:
        return lambda function: disable(function, recursive, reason=reason)
    from minigrad.nn import Module

    from ._api import Disabled

    if isinstance(fn, Module):
        fn.__dict__["forward"] = Disabled(fn.forward, reason)
        return fn
    fn = getattr(fn, "fn", fn) if type(fn).__name__ == "CompiledFunction" else fn
    return Disabled(fn, reason)


def allow_in_graph(fn: T) -> T:
    """The function (or list of functions) itself."""
    return fn


def assume_constant_result(fn: T) -> T:
    """The function itself."""
    return fn


def nested_compile_region(
    fn: Any = None, options: Any = None, max_reuse_entries: int = 8, reuse_hash_fn: Any = None
) -> Any:
    """The function itself: functions called by a compiled one are part of its graph. Without one, a decorator."""
    return fn if callable(fn) else lambda function: function


def wrap_numpy(fn: T) -> T:
    """Not here.

    Raises:
        NotImplementedError: always; it would change what the function takes.
    """
    raise NotImplementedError("compiler.wrap_numpy: NumPy calls are not captured. Try the tensor functions")


def substitute_in_graph(original_fn: Any, **kwargs: Any) -> Callable[[T], T]:
    """A decorator that returns its function; the original stays in use."""
    return lambda fn: fn


class _Now(threading.local):
    tracing = False  # a function is being traced
    exporting = False  # by mg.export
    busy = False  # and compiled functions run as they are
    stance = "default"


_now = _Now()  # set by CompiledFunction


def is_compiling() -> bool:
    """Whether the calling code is being traced by a `CompiledFunction`."""
    return _now.tracing


def is_dynamo_compiling() -> bool:
    """The same as `is_compiling`."""
    return _now.tracing


def is_exporting() -> bool:
    """Whether the calling code is being traced by `mg.export`."""
    return _now.exporting


def reset() -> None:
    """Forget everything that was compiled: the next calls trace anew."""
    from ._compiled import every

    for compiled in list(every):
        compiled.reset()


def cudagraph_mark_step_begin() -> None:
    """Nothing to mark."""


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """Names for `compile(backend=)`; with exclude_tags=(), those for debugging too."""
    from ._backends import list_backends as names

    return names(exclude_tags)


def register_backend(compiler_fn: Any = None, name: str | None = None, tags: Any = ()) -> Any:
    """Give a backend (a function of a graph and example inputs) a name for `compile(backend=name)`; without one, a decorator."""
    from ._backends import register_backend as register

    return register(compiler_fn, name, tags)


def lookup_backend(compiler_fn: Any) -> Callable[..., Any]:
    """The backend of that name, as a function of a graph and example inputs; a function as it is."""
    from ._backends import lookup_backend as look_up

    return look_up(compiler_fn)


_STANCES = ("default", "force_eager", "eager_on_recompile", "fail_on_recompile", "eager_then_compile")


class set_stance:  # noqa: N801  torch's name
    """What compiled functions do in this thread, from now on or for a `with` block or a decorated function.

    Args:
        stance: 'default'; 'force_eager' runs the functions as they are; 'eager_on_recompile' uses what is compiled and compiles no
            more; 'fail_on_recompile' raises instead; 'eager_then_compile' is 'default'.
    Raises:
        RuntimeError: another word.
    """

    def __init__(self, stance: str = "default", *, skip_guard_eval_unsafe: bool = False, force_backend: Any = None) -> None:
        if stance not in _STANCES:
            raise RuntimeError(f"set_stance: got {stance!r}, expected one of {', '.join(_STANCES)}")
        self._stance = stance
        self._before = _now.stance, _now.busy
        self._set()

    def _set(self) -> None:
        _now.stance = "default" if self._stance in ("force_eager", "eager_then_compile") else self._stance
        _now.busy = self._stance == "force_eager"

    def _undo(self) -> None:
        _now.stance, _now.busy = self._before

    def __enter__(self) -> None:
        self._set()

    def __exit__(self, *error: Any) -> None:
        self._undo()

    def __call__(self, function: T) -> T:
        import functools

        self._undo()

        @functools.wraps(function)  # type: ignore[arg-type]
        def within(*args: Any, **kwargs: Any) -> Any:
            with set_stance(self._stance):
                return function(*args, **kwargs)  # type: ignore[operator]

        return within  # type: ignore[return-value]


@contextlib.contextmanager
def set_enable_guard_collectives(enabled: bool) -> Iterator[None]:
    """Nothing to set."""
    yield


def save_cache_artifacts() -> None:
    """None: compiled code is in a folder of its own, for every process."""


def load_cache_artifacts(serialized_artifacts: bytes) -> None:
    """None: nothing is loaded."""


class _Config:
    """PyTorch's settings of its compiler, which are not this one's: what is set can be read back."""

    def patch(self, *args: Any, **kwargs: Any) -> contextlib.AbstractContextManager:
        """Set nothing for the length of a `with` block."""
        return contextlib.nullcontext()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


config = _Config()


def __getattr__(name: str) -> Any:
    if name == "visualize":
        from minigrad.compiler._visualize import visualize

        return visualize
    if name in ("CompiledFunction", "explain"):  # they need nn and optim
        from minigrad.compiler import _compiled

        return getattr(_compiled, name)
    if name == "OptimizedModule":
        from minigrad.compiler import _api

        return _api.OptimizedModule
    if name in ("mark_dynamic", "mark_static"):
        from minigrad.compiler import _dynamic

        return getattr(_dynamic, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
