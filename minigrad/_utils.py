"""torch._utils: flattening lists of tensors, and rebuilding pickled ones (minigrad.io reads those names itself)."""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from minigrad import _core


def _flatten_dense_tensors(tensors: Sequence[_core.Tensor]) -> _core.Tensor:
    """All elements in one 1-d tensor."""
    import minigrad as mg

    return mg.cat([t.contiguous().view(-1) for t in tensors])


def _unflatten_dense_tensors(flat: _core.Tensor, tensors: Sequence[_core.Tensor]) -> tuple:
    """Views of the flat tensor with the shapes of `tensors`."""
    out, at = [], 0
    for t in tensors:
        out.append(flat.narrow(0, at, t.numel()).view_as(t))
        at += t.numel()
    return tuple(out)


def _take_tensors(tensors: Sequence[_core.Tensor], size_limit: int) -> Any:
    """Groups of tensors of one type with at most `size_limit` bytes each."""
    groups: dict[str, tuple[list, int]] = {}
    for t in tensors:
        held, size = groups.get(t.type(), ([], 0))
        nbytes = t.numel() * t.element_size()
        if held and size + nbytes > size_limit:
            yield held
            held, size = [], 0
        groups[t.type()] = (held + [t], size + nbytes)
    for held, _ in groups.values():
        if held:
            yield held


def _get_device_index(device: Any, optional: bool = False, allow_cpu: bool = False) -> int:
    """The number of a device."""
    if isinstance(device, int):
        return device
    found = None if device is None else _core.device(device)
    if found is None or found.index is None:
        if optional or (allow_cpu and found is not None and found.type == "cpu"):
            return -1
        raise ValueError(f"Expected a torch.device with a specified index or an integer, but got: {device}")
    return found.index


def _get_all_device_indices() -> list:
    return []


def _get_available_device_type() -> None:
    return None


def _get_device_module(device_type: str) -> Any:
    """The module of a device type."""
    from minigrad._settings import get_device_module

    return get_device_module(device_type)


def _rebuild_parameter(data: _core.Tensor, requires_grad: bool, backward_hooks: Any) -> Any:
    from minigrad.nn import Parameter

    return Parameter(data, requires_grad)


class KeyErrorMessage(str):
    """A str whose repr is itself: KeyError shows the text with its line breaks."""

    def __repr__(self) -> str:
        return str(self)


def _picklable(kind: type[BaseException]) -> type[BaseException]:
    """The class, or its nearest base that another process can name (a class made inside a function cannot)."""
    for candidate in kind.__mro__:
        try:
            pickle.dumps(candidate)
        except Exception:  # whatever pickling that class raises
            continue
        return candidate
    return RuntimeError


class ExceptionWrapper:
    """An exception with its traceback as text, to be raised again in another process.

    Args:
        exc_info: as of sys.exc_info(); the exception being handled by default.
        where: e.g. "in DataLoader worker process 0".
    """

    def __init__(self, exc_info: Any = None, where: str = "in background") -> None:
        exc_info = exc_info or sys.exc_info()
        self.exc_type = _picklable(exc_info[0])
        self.exc_msg = "".join(traceback.format_exception(*exc_info))
        self.where = where
        self._name = exc_info[0].__name__

    def reraise(self) -> None:
        """Raise it here, with the original traceback in the message; RuntimeError if its class takes no message."""
        message: Any = f"Caught {self._name} {self.where}.\nOriginal {self.exc_msg}"
        if self.exc_type is KeyError:
            message = KeyErrorMessage(message)
        elif getattr(self.exc_type, "message", None):
            raise self.exc_type(message=message)
        try:
            error = self.exc_type(message)
        except Exception:  # a class with a constructor of its own
            raise RuntimeError(message) from None
        raise error


def is_compiling() -> bool:
    """False."""
    return False


class classproperty:  # noqa: N801  torch's name
    """A property of the class."""

    def __init__(self, func: Any) -> None:
        self.func = func

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self.func(owner)
