"""torch's global switches: default device, determinism, matmul precision.

`compile`. Looked up by `minigrad.__getattr__` through `__all__`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from minigrad import _core, _tensor

__all__ = [
    "Event", "Stream", "are_deterministic_algorithms_enabled", "compile", "cond", "compiled_with_cxx11_abi", "get_default_device",
    "get_deterministic_debug_mode", "get_device_module", "get_file_path", "get_float32_matmul_precision", "get_num_interop_threads",
    "get_printoptions", "has_lapack", "has_mkl", "has_openmp", "init_num_threads", "is_anomaly_check_nan_enabled", "is_anomaly_enabled",
    "is_deterministic_algorithms_warn_only_enabled", "is_distributed", "is_storage", "is_vulkan_available", "is_warn_always_enabled",
    "set_anomaly_enabled", "set_default_device", "set_default_tensor_type", "set_deterministic_debug_mode", "set_float32_matmul_precision",
    "set_flush_denormal", "set_num_interop_threads", "set_printoptions", "set_warn_always", "typename", "use_deterministic_algorithms",
]  # fmt: skip

has_lapack, has_mkl, has_openmp = True, False, False
_state: dict[str, Any] = {
    "precision": "highest", "deterministic": False, "warn_only": False, "warn_always": False, "interop_threads": 1,
}  # fmt: skip


# --- compile -----------------------------------------------------------------------------------------------------------
def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = None, mode: str | None = None,
    options: dict[str, Any] | None = None, name: str | None = None, disable: bool = False, recompile_limit: int | None = None,
    isolate_recompiles: bool = False, shapes_spec: Any = None,
) -> Any:  # fmt: skip
    """The function, module or whole training step, traced at its first call and replayed as one graph from then on.

    Results are the function's: what cannot be captured (values that steer Python, printing, changed Python state) runs eagerly, and
    `compile.explain(f)(*args)` says what and why. The first calls measure plan and function, and the faster one stays.

    Args:
        model: function or module; None makes a decorator: `@compile` and `@compile(mode=…)` both work.
        fullgraph: raise where the function cannot be captured whole.
        dynamic: True: sizes that change do not count as new forms; False: they do; None: it is seen after the second size.
        backend: 'inductor' (whatever is best here), 'interpreter', 'llvm', 'triton'; 'eager' gives the function itself.
        mode, options: PyTorch's names are accepted; options={'budget': seconds} limits the time spent on tracing, and
            options={'activation_memory_budget': share} (0 to 1) the memory of a run: values are computed again until it fits.
        disable: give the function itself.
        recompile_limit: forms of one function, 8.
    Returns:
        A function, or a module that shares the original's state (`state_dict` keys begin with `_orig_mod.`, as in PyTorch).
    Raises:
        RuntimeError: both mode and options are given, or an unknown mode or backend.
    Example:
        >>> double = mg.compile(lambda x: x * 2)
        >>> double(mg.ones(2))
        tensor([2., 2.])
    """
    from minigrad.compiler._api import maker

    make = maker(fullgraph, dynamic, backend, mode, options, disable, recompile_limit)
    return make if model is None else make(model)


def _explain(fn: Any, *args: Any, **kwargs: Any) -> Any:
    """See `minigrad.compiler.explain`."""
    from minigrad.compiler._compiled import explain

    return explain(fn, *args, **kwargs)


def _visualize(fn: Any, *, path: Any = None) -> Any:
    """See `minigrad.compiler.visualize`."""
    from minigrad.compiler._visualize import visualize

    return visualize(fn, path=path)


compile.explain = _explain  # type: ignore[attr-defined]
compile.visualize = _visualize  # type: ignore[attr-defined]


def cond(pred: Any, true_fn: Callable, false_fn: Callable, operands: Any = ()) -> Any:
    """`true_fn(*operands)` or `false_fn(*operands)`, by the value of `pred` (a bool or a tensor of one element)."""
    return (true_fn if pred else false_fn)(*operands)


# --- devices -----------------------------------------------------------------------------------------------------------
def set_default_device(device: Any) -> None:
    """Device of tensors made from now on in this thread without naming one: None, 'cpu' or 'meta'.

    Raises:
        AssertionError: a device this build has not.
    """
    _core.set_default_device(device)


def get_default_device() -> Any:
    """The device of new tensors."""
    return _core.get_default_device()


class _Entered(threading.local):
    """The default devices to return to, innermost last."""

    def __init__(self) -> None:
        self.devices: list[Any] = []

    def append(self, device: Any) -> None:
        """One region more."""
        self.devices.append(device)

    def pop(self) -> Any:
        """One region less."""
        return self.devices.pop()


_entered = _Entered()


def _device_enter(self: Any) -> Any:
    before = get_default_device()
    set_default_device(self)
    _entered.append(before)
    return self


def _device_exit(self: Any, *error: Any) -> None:
    set_default_device(_entered.pop())


def _device_call(self: Any, function: Callable) -> Callable:
    import functools

    @functools.wraps(function)
    def within(*args: Any, **kwargs: Any) -> Any:
        with self:
            return function(*args, **kwargs)

    return within


def attach_device_context() -> None:
    """`with device('cpu'):` and `@device('cpu')` set the default device, as in PyTorch."""
    for name, method in (("__enter__", _device_enter), ("__exit__", _device_exit), ("__call__", _device_call)):
        setattr(_core.device, name, method)


def get_device_module(device: Any = None) -> Any:
    """The module of a device type: minigrad.cpu, minigrad.cuda."""
    import importlib

    kind = _core.device(device).type if device is not None else get_default_device().type
    return importlib.import_module("minigrad." + kind)


def set_default_tensor_type(t: Any) -> None:
    """Default floating dtype by a legacy type: `FloatTensor`, `DoubleTensor`, or its name.

    Raises:
        TypeError: not a floating type.
    """
    from minigrad import _legacy

    if isinstance(t, str):
        t = getattr(_legacy, t.split(".")[-1], None)
    if getattr(t, "is_cuda", False):
        raise TypeError("type not available. Torch not compiled with CUDA enabled.")
    target = getattr(t, "dtype", None)
    if target is None or not target.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    _core.set_default_dtype(target)


# --- switches ----------------------------------------------------------------------------------------------------------
def set_float32_matmul_precision(precision: str) -> None:
    """'highest', 'high' or 'medium'; float32 products are computed in float32 whatever it says.

    Raises:
        RuntimeError: another word.
    """
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"set_float32_matmul_precision: got {precision!r}, expected 'highest', 'high' or 'medium'")
    _state["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` set."""
    return _state["precision"]


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Remembered; the CPU kernels are deterministic whatever it says."""
    _state["deterministic"], _state["warn_only"] = bool(mode), bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` set."""
    return _state["deterministic"]


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What `use_deterministic_algorithms` set."""
    return _state["warn_only"]


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """'default' (0), 'warn' (1) or 'error' (2).

    Raises:
        TypeError, RuntimeError: another value.
    """
    if not isinstance(debug_mode, (int, str)):
        raise TypeError(f"debug_mode must be str or int, but got {type(debug_mode)}")
    names = {"default": 0, "warn": 1, "error": 2}
    level = names.get(debug_mode) if isinstance(debug_mode, str) else debug_mode
    if level not in (0, 1, 2):
        raise RuntimeError(
            f"invalid value of debug_mode, expected one of default, warn, error or 0, 1, 2: got {debug_mode}"
        )
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 (warn) or 2 (error)."""
    return 0 if not _state["deterministic"] else 1 if _state["warn_only"] else 2


def set_warn_always(b: bool) -> None:
    """Remembered."""
    _state["warn_always"] = bool(b)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` set."""
    return _state["warn_always"]


def get_num_interop_threads() -> int:
    """1 unless set: ops of one program run one after the other."""
    return _state["interop_threads"]


def set_num_interop_threads(num: int) -> None:
    """Remembered.

    Raises:
        RuntimeError: not positive.
    """
    if num <= 0:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _state["interop_threads"] = int(num)


def init_num_threads() -> None:
    """Nothing to do: the pool starts by itself."""


def set_flush_denormal(mode: bool) -> bool:
    """False: denormals are kept."""
    return False


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on."""
    return bool(_core.is_anomaly_enabled()) if hasattr(_core, "is_anomaly_enabled") else False


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly detection looks for nan: it always does when it is on."""
    return is_anomaly_enabled()


def set_anomaly_enabled(mode: bool, check_nan: bool = True) -> None:
    """Switch anomaly detection."""
    from minigrad.autograd.modes import set_detect_anomaly

    set_detect_anomaly(mode)


def set_printoptions(**options: Any) -> None:
    """See `minigrad.printing.set_printoptions`."""
    from minigrad import printing

    printing.set_printoptions(**options)


def get_printoptions() -> dict[str, Any]:
    """The print options in force."""
    from minigrad import printing

    return printing.get_printoptions()


# --- small things ------------------------------------------------------------------------------------------------------
def typename(obj: Any, /) -> str:
    """'torch.FloatTensor' of a tensor, 'package.module.Class' of anything else."""
    if isinstance(obj, _core.Tensor):
        return obj.type()
    kind = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(kind, "__module__", "") or ""
    if module.startswith("minigrad."):  # torch's under minigrad.compat
        module = _tensor.TYPE_PREFIX + module.removeprefix("minigrad.")
    return kind.__qualname__ if module in ("", "builtins") else f"{module}.{kind.__qualname__}"


def compiled_with_cxx11_abi() -> bool:
    """True."""
    return True


def get_file_path(*path_components: str) -> str:
    """A path inside the package's folder."""
    import os

    return os.path.join(os.path.dirname(os.path.abspath(__file__)), *path_components)


def is_vulkan_available() -> bool:
    """False."""
    return False


def is_storage(obj: Any, /) -> bool:
    """Whether it is a storage of a tensor."""
    from minigrad.storage import TypedStorage, UntypedStorage

    return isinstance(obj, (TypedStorage, UntypedStorage))


def is_distributed(input: Any) -> bool:
    """False."""
    return False


class Stream:
    """A queue of work on a device; the CPU has one and runs it in order, so everything here returns at once."""

    def __init__(self, device: Any = None, *, priority: int = 0) -> None:
        self.device = _core.device(device if device is not None else "cpu")
        self.priority, self.stream_id = priority, 0

    def synchronize(self) -> None:
        """Nothing is pending."""

    def query(self) -> bool:
        """True: nothing is pending."""
        return True

    def wait_stream(self, stream: Any) -> None:
        """Nothing to wait for."""

    def wait_event(self, event: Any) -> None:
        """Nothing to wait for."""

    def record_event(self, event: Any = None) -> Event:
        """An event, recorded now."""
        event = event or Event()
        event.record(self)
        return event

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class Event:
    """A point in the work of a stream: the time `record` was called."""

    def __init__(
        self, device: Any = None, *, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        self.device, self._time = device, None

    def record(self, stream: Any = None) -> None:
        """Note the time."""
        import time

        self._time = time.perf_counter()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to the other."""
        if self._time is None or end_event._time is None:
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        return (end_event._time - self._time) * 1e3

    def query(self) -> bool:
        """True: the CPU has nothing pending."""
        return True

    def synchronize(self) -> None:
        """Nothing is pending."""

    def wait(self, stream: Any = None) -> None:
        """Nothing to wait for."""


nullcontext = contextlib.nullcontext
