"""torch.jit's names for eager programs. There is no TorchScript: decorators return what they get, and nothing is ever scripting.

`script`, `trace` and `freeze` give back the function or module itself, which computes the same; `save` and `load`
raise NotImplementedError.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from minigrad.nn import Module

__all__ = [
    "Attribute", "CompilationUnit", "Error", "Final", "Future", "RecursiveScriptModule", "ScriptFunction",
    "ScriptModule", "ScriptWarning", "TracerWarning", "annotate",
    "enable_onednn_fusion", "export", "export_opnames", "fork", "freeze", "fuser", "ignore", "interface", "is_scripting", "is_tracing",
    "isinstance", "jit_module_from_flatbuffer", "last_executed_optimized_graph", "load", "onednn_fusion_enabled", "optimize_for_inference",
    "optimized_execution", "run_frozen_optimizations", "save", "script", "script_if_tracing", "script_method", "set_fusion_strategy",
    "strict_fusion", "trace", "trace_module", "unused", "wait",
]  # fmt: skip

T = TypeVar("T")
_builtin_isinstance = isinstance


class Error(RuntimeError):
    """What TorchScript raises; never raised here."""


class TracerWarning(Warning):
    """What PyTorch's tracer warns with; never given here."""


class ScriptWarning(Warning):
    """What TorchScript warns with; never given here."""


class ScriptModule(Module):
    """Base class of modules whose methods are marked with `script_method`; an ordinary nn.Module here."""


class RecursiveScriptModule(ScriptModule):
    """The result type of torch.jit.script(module) in PyTorch; `script` here returns the module itself, so nothing is an instance."""


class ScriptFunction:
    """The result type of torch.jit.script(function) in PyTorch; `script` here returns the function itself, so nothing is an instance."""


class CompilationUnit:
    """TorchScript source compiled at run time.

    Raises:
        NotImplementedError: always.
    """

    def __init__(self, lang: str | None = None, _frames_up: int = 0) -> None:
        raise NotImplementedError("jit.CompilationUnit: minigrad has no TorchScript compiler")


def script(obj: T, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None, example_inputs: Any = None) -> T:
    """The function, class or module itself: it runs eagerly and gives the same results."""
    return obj


def script_method(fn: T) -> T:
    """The method itself."""
    return fn


def script_if_tracing(fn: T) -> T:
    """The function itself: nothing is ever traced."""
    return fn


_script_if_tracing = script_if_tracing


def trace(
    func: Any, example_inputs: Any = None, optimize: Any = None, check_trace: bool = True, check_inputs: Any = None,
    check_tolerance: float = 1e-5, strict: bool = True, _force_outplace: bool = False, _module_class: Any = None,
    _compilation_unit: Any = None, example_kwarg_inputs: dict[str, Any] | None = None, _store_inputs: bool = True,
) -> Any:  # fmt: skip
    """The function or module itself, called once on the example so that its errors show here as in PyTorch.

    Unlike a PyTorch trace the result keeps its Python control flow, and `.save()` is not there.
    """
    import minigrad

    if example_kwarg_inputs is not None or example_inputs is not None:
        args = (
            ()
            if example_inputs is None
            else (example_inputs,)
            if minigrad.is_tensor(example_inputs)
            else tuple(example_inputs)
        )
        with minigrad.no_grad():
            func(*args, **(example_kwarg_inputs or {}))
    return func


def trace_module(mod: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """The module itself; see `trace`."""
    return mod


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """Decorator for methods the TorchScript compiler should leave alone: `@ignore` or `@ignore(drop=True)`."""
    return drop if callable(drop) else lambda fn: fn


def unused(fn: T) -> T:
    """The function itself."""
    return fn


def export(fn: T) -> T:
    """The function itself."""
    return fn


def interface(obj: T) -> T:
    """The class itself."""
    return obj


def _overload(func: T) -> T:
    return func


def _overload_method(func: T) -> T:
    return func


def is_scripting() -> bool:
    """False: the program runs as Python."""
    return False


def is_tracing() -> bool:
    """False."""
    return False


def annotate(the_type: Any, the_value: T) -> T:
    """The value; the type is for TorchScript."""
    return the_value


def Attribute(value: T, type: Any) -> T:
    """The value; the type is for TorchScript."""
    return value


def isinstance(obj: Any, target_type: Any) -> bool:
    """isinstance that also knows parametrised containers: List[int], Dict[str, Tensor], Optional[Tensor], tuples of types."""
    import types
    import typing

    if _builtin_isinstance(target_type, (tuple, list)):
        return any(isinstance(obj, t) for t in target_type)
    origin, args = typing.get_origin(target_type), typing.get_args(target_type)
    if origin is None:
        return obj is None if target_type in (None, type(None)) else _builtin_isinstance(obj, target_type)
    if origin in (typing.Union, types.UnionType):
        return any(isinstance(obj, t) for t in args)
    if not _builtin_isinstance(obj, origin):
        return False
    if origin is dict:
        return all(isinstance(k, args[0]) and isinstance(v, args[1]) for k, v in obj.items())
    if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        return len(obj) == len(args) and all(isinstance(o, t) for o, t in zip(obj, args))
    return all(isinstance(o, args[0]) for o in obj)


def freeze(mod: T, preserved_attrs: Any = None, optimize_numerics: bool = True) -> T:
    """The module itself."""
    return mod


def optimize_for_inference(mod: T, other_methods: Any = None) -> T:
    """The module itself."""
    return mod


def run_frozen_optimizations(mod: Any, optimize_numerics: bool = True, preserved_methods: Any = None) -> None:
    """Nothing to do."""


class Future:
    """The result of `fork`: already there."""

    def __init__(self, value: Any = None) -> None:
        self._value = value

    def wait(self) -> Any:
        """The result."""
        return self._value

    value = wait

    def done(self) -> bool:
        """True."""
        return True


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future:
    """Call the function now; `wait(fork(f, x))` is f(x)."""
    return Future(func(*args, **kwargs))


def wait(future: Any) -> Any:
    """The result of a `fork`."""
    return future.wait()


@contextlib.contextmanager
def _nothing(*args: Any, **kwargs: Any) -> Iterator[None]:
    yield


fuser = optimized_execution = strict_fusion = _nothing


def set_fusion_strategy(strategy: Any) -> list:
    """Nothing to set; the previous strategy: []."""
    return []


def enable_onednn_fusion(enabled: bool) -> None:
    """Nothing to set."""


def onednn_fusion_enabled() -> bool:
    """False."""
    return False


def last_executed_optimized_graph() -> None:
    """None: there are no graphs."""


def _absent(name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f"jit.{name}: minigrad has no TorchScript. Try minigrad.save of the module or its state_dict()."
        )

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"torch.jit.{name}. Raises NotImplementedError: minigrad has no TorchScript."
    return call


save, load, export_opnames = _absent("save"), _absent("load"), _absent("export_opnames")
jit_module_from_flatbuffer = _absent("jit_module_from_flatbuffer")
_get_trace_graph = _absent("_get_trace_graph")
