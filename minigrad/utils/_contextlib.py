"""torch.utils._contextlib: context managers that are decorators too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def context_decorator(ctx: Any, func: Callable) -> Callable:
    """The function, run inside a new context for every call."""
    make = (
        ctx if callable(ctx) and not hasattr(ctx, "__enter__") else ctx.clone if hasattr(ctx, "clone") else lambda: ctx
    )

    @functools.wraps(func)
    def within(*args: Any, **kwargs: Any) -> Any:
        with make():
            return func(*args, **kwargs)

    return within


class _DecoratorContextManager:
    """Base of context managers that can decorate functions."""

    def __call__(self, orig_func: Callable) -> Callable:
        return context_decorator(self.clone, orig_func)

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        raise NotImplementedError

    def clone(self) -> Any:
        """A fresh manager."""
        return type(self)()


class _NoParamDecoratorContextManager(_DecoratorContextManager):
    """One that needs no parentheses: `@no_grad`."""

    def __new__(cls, orig_func: Callable | None = None) -> Any:
        return super().__new__(cls) if orig_func is None else cls()(orig_func)
