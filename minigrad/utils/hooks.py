"""RemovableHandle: what registering a hook on a module or optimizer returns."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

Hook = Callable[..., Any]


class RemovableHandle:
    """Returned by every `register_*hook`; `remove()` takes the hook away, also as a context manager."""

    _next_id = 0

    def __init__(self, hooks: dict[int, Hook], *, extra: Any = ()) -> None:
        self.hooks_ref = weakref.ref(hooks)
        self.id = RemovableHandle._next_id
        RemovableHandle._next_id += 1
        extra = extra if isinstance(extra, (list, tuple)) else (extra,)
        self.extra_refs = tuple(weakref.ref(d) for d in extra)

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        for ref in (self.hooks_ref, *self.extra_refs):
            table = ref()
            if table is not None and self.id in table:
                del table[self.id]

    def __getstate__(self) -> tuple[Any, ...]:
        return (self.hooks_ref(), self.id, tuple(ref() for ref in self.extra_refs))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        hooks, self.id, extra = state
        self.hooks_ref = weakref.ref(OrderedDict() if hooks is None else hooks)
        self.extra_refs = tuple(weakref.ref(OrderedDict() if d is None else d) for d in extra)
        RemovableHandle._next_id = max(RemovableHandle._next_id, self.id + 1)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()
