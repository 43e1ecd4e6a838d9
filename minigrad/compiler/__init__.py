"""torch.compiler's names, and the first half of a compiler (docs/compiler.md).

`CompiledFunction(f)` traces and replays, `explain(f)(*args)` shows what came of it. `minigrad.compile` still runs the function eagerly, so
most of torch's names have nothing to do.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

__all__ = ["allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable",
           "is_compiling", "is_dynamo_compiling",
           "is_exporting", "list_backends", "reset", "save_cache_artifacts", "load_cache_artifacts", "set_stance", "substitute_in_graph",
           "wrap_numpy", "nested_compile_region", "set_enable_guard_collectives", "config"]  # fmt: skip

T = TypeVar("T")


def compile(*args: Any, **kwargs: Any) -> Any:
    """See `minigrad.compile`."""
    from minigrad._settings import compile as compile_eagerly

    return compile_eagerly(*args, **kwargs)


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function itself; without one, a decorator."""
    return fn if callable(fn) else lambda function: function


def allow_in_graph(fn: T) -> T:
    """The function (or list of functions) itself."""
    return fn


def assume_constant_result(fn: T) -> T:
    """The function itself."""
    return fn


def nested_compile_region(
    fn: Any = None, options: Any = None, max_reuse_entries: int = 8, reuse_hash_fn: Any = None
) -> Any:
    """The function itself; without one, a decorator."""
    return fn if callable(fn) else lambda function: function


def wrap_numpy(fn: T) -> T:
    """Not here.

    Raises:
        NotImplementedError: always; it would change what the function takes.
    """
    raise NotImplementedError("compiler.wrap_numpy: minigrad has no compiler")


def substitute_in_graph(original_fn: Any, **kwargs: Any) -> Callable[[T], T]:
    """A decorator that returns its function; the original stays in use."""
    return lambda fn: fn


class _Now(threading.local):
    tracing = False


_now = _Now()  # set by CompiledFunction


def is_compiling() -> bool:
    """Whether the calling code is being traced by a `CompiledFunction`."""
    return _now.tracing


def is_dynamo_compiling() -> bool:
    """False."""
    return False


def is_exporting() -> bool:
    """False."""
    return False


def reset() -> None:
    """Nothing is cached."""


def cudagraph_mark_step_begin() -> None:
    """Nothing to mark."""


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """No backends: []."""
    return []


@contextlib.contextmanager
def set_stance(
    stance: str = "default", *, skip_guard_eval_unsafe: bool = False, force_backend: Any = None
) -> Iterator[None]:
    """Every stance runs eagerly."""
    yield


@contextlib.contextmanager
def set_enable_guard_collectives(enabled: bool) -> Iterator[None]:
    """Nothing to set."""
    yield


def save_cache_artifacts() -> None:
    """None: nothing was compiled."""


def load_cache_artifacts(serialized_artifacts: bytes) -> None:
    """None: nothing is loaded."""


class _Config:
    """Settings of a compiler that is not there: what is set can be read back."""

    def patch(self, *args: Any, **kwargs: Any) -> contextlib.AbstractContextManager:
        """Set nothing for the length of a `with` block."""
        return contextlib.nullcontext()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


config = _Config()


def __getattr__(name: str) -> Any:
    if name in ("CompiledFunction", "explain"):  # they need nn and optim
        from minigrad.compiler import _compiled

        return getattr(_compiled, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
