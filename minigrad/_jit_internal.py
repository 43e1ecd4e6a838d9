"""torch._jit_internal: where some programs import the TorchScript decorators from."""

from __future__ import annotations

from typing import Any, Final, List, Optional, Tuple, Union  # noqa: F401, UP035

from minigrad.jit import Future, _overload, _overload_method, export, ignore, interface, is_scripting, unused  # noqa: F401  # noqa: F401
from minigrad.jit.annotations import BroadcastingList1, BroadcastingList2, BroadcastingList3  # noqa: F401


def is_tracing() -> bool:
    """False: nothing is traced."""
    return False


def boolean_dispatch(
    arg_name: str, arg_index: int, default: bool, if_true: Any, if_false: Any, module_name: Any, func_name: str
) -> Any:
    """A function that calls `if_true` or `if_false`, by the value of its bool argument."""

    def function(*args: Any, **kwargs: Any) -> Any:
        flag = kwargs[arg_name] if arg_name in kwargs else args[arg_index] if arg_index < len(args) else default
        return (if_true if flag else if_false)(*args, **kwargs)

    function.__name__ = func_name
    return function


def _copy_to_script_wrapper(fn: Any) -> Any:
    return fn
