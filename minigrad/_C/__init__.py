"""torch._C, as far as programs touch it: classes and questions about PyTorch's compilers, all answered with "no"."""

from __future__ import annotations

import contextlib
from typing import Any

from minigrad import _core
from minigrad._core import Generator, Size, Tensor, device, dtype  # noqa: F401
from minigrad._tensor_more import _disabled_torch_function_impl  # noqa: F401
from minigrad.jit import ScriptFunction, ScriptModule  # noqa: F401

TensorBase = _TensorBase = Tensor
_TensorMeta = type(Tensor)
has_cuda = has_mps = has_mkldnn = has_openmp = has_cudnn = _has_cuda = _has_mps = False
_GLIBCXX_USE_CXX11_ABI = True
TensorType = ListType = TupleType = StringType = IntType = FloatType = Graph = Node = Value = type("JitType", (), {})


class DisableTorchFunctionSubclass(contextlib.AbstractContextManager):
    """`with DisableTorchFunctionSubclass():` calls in it do not look for `__torch_function__`."""

    def __enter__(self) -> Any:
        self._before = _core.set_overrides_off(True)
        return self

    def __exit__(self, *error: Any) -> None:
        _core.set_overrides_off(self._before)


DisableTorchFunction = DisableTorchFunctionSubclass


class _DistributedC10d:
    pass


def _log_api_usage_once(*args: Any) -> None:
    pass


def _get_tracing_state() -> None:
    return None


def _is_tracing() -> bool:
    return False


def _cuda_getDeviceCount() -> int:
    return 0


def _cuda_isInBadFork() -> bool:
    return False


def _jit_set_profiling_executor(mode: bool) -> bool:
    return False


_jit_set_profiling_mode = _jit_override_can_fuse_on_cpu = _jit_override_can_fuse_on_gpu = (
    _jit_set_texpr_fuser_enabled
) = _jit_set_profiling_executor


def _get_privateuse1_backend_name() -> str:
    return "privateuseone"


def _functorch_is_batched(tensor: Any) -> bool:
    from minigrad.op import is_dataless

    return is_dataless(tensor)

_disabled_torch_dispatch_impl = _disabled_torch_function_impl


class _DispatchKeys(type):
    """Every name is a key: PyTorch has about two hundred, and programs only pass them on."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class DispatchKey(metaclass=_DispatchKeys):
    """`DispatchKey.AutogradCPU`: a name that is passed on; the core has one way of calling an op."""


class DispatchKeySet(frozenset):
    """A set of dispatch keys."""

    def __new__(cls, *keys: str) -> DispatchKeySet:
        return super().__new__(cls, keys)

    def __or__(self, other: Any) -> DispatchKeySet:
        return DispatchKeySet(*self, *other)

    def has(self, key: str) -> bool:
        """Whether the key is in the set."""
        return key in self


class _ExcludeDispatchKeyGuard(contextlib.AbstractContextManager):
    def __init__(self, keys: Any) -> None:
        self.keys = keys

    def __exit__(self, *error: Any) -> None:
        pass


_IncludeDispatchKeyGuard = _AutoDispatchBelowAutograd = _ExcludeDispatchKeyGuard


def _are_functorch_transforms_active() -> bool:
    return False


def _len_torch_function_stack() -> int:
    from minigrad import overrides

    return len(overrides._modes)


def _len_torch_dispatch_stack() -> int:
    return 0


def _is_torch_function_mode_enabled() -> bool:
    return _len_torch_function_stack() > 0


def _is_torch_function_all_disabled() -> bool:
    return False
