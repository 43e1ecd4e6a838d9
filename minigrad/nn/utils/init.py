"""skip_init: modules without the cost of initialising their parameters."""

from __future__ import annotations

import inspect
from typing import Any

import minigrad as mg

__all__ = ["skip_init"]


def skip_init(module_cls: type, *args: Any, **kwargs: Any) -> Any:
    """`module_cls(*args, **kwargs)` with memory that is not initialised by the caller's intent: to be filled right after.

    Args:
        module_cls: a Module class whose constructor takes `device`.
        args, kwargs: of its constructor.
    Raises:
        RuntimeError: not a Module class, or one without a `device` argument.
    """
    if not issubclass(module_cls, mg.nn.Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    kwargs.setdefault("device", "cpu")
    before = {name: getattr(mg.nn.init, name) for name in dir(mg.nn.init) if name.endswith("_") and not name.startswith("_")}
    try:  # there is no meta device to build on: the initialisers do nothing meanwhile
        for name in before:
            setattr(mg.nn.init, name, lambda tensor, *rest, **options: tensor)
        return module_cls(*args, **kwargs)
    finally:
        for name, function in before.items():
            setattr(mg.nn.init, name, function)
