"""skip_init: modules without the cost of initialising their parameters."""

from __future__ import annotations

import inspect
from typing import Any

import minigrad as mg

__all__ = ["skip_init"]


def skip_init(module_cls: type, *args: Any, **kwargs: Any) -> Any:
    """`module_cls(*args, **kwargs)` with memory that is not initialised: built on the meta device, then given memory.

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
    final_device = kwargs.pop("device", "cpu")
    kwargs["device"] = "meta"
    return module_cls(*args, **kwargs).to_empty(device=final_device)
