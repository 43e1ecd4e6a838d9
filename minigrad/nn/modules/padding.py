"""Padding layers: F.pad with fixed arguments, one class per mode and number of spatial dimensions."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from .. import functional as F
from .module import Module
from .utils import _ntuple


class _PadNd(Module):
    __constants__ = ["padding"]
    _mode = "constant"
    _dims = 0

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _ntuple(2 * self._dims, "sides")(padding)

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Pad `input`."""
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class _ConstantPadNd(_PadNd):
    __constants__ = ["padding", "value"]

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Pad `input`."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """The widths and the value."""
        return f"padding={self.padding}, value={self.value}"


class _ReflectionPadNd(_PadNd):
    _mode = "reflect"


class _ReplicationPadNd(_PadNd):
    _mode = "replicate"


class _CircularPadNd(_PadNd):
    _mode = "circular"


def _zero_init(self: Any, padding: Any) -> None:
    _ConstantPadNd.__init__(self, padding, 0.0)


_SIDES = {1: "(left, right)", 2: "(left, right, top, bottom)", 3: "(left, right, top, bottom, front, back)"}
_KINDS = {
    "CircularPad": (_CircularPadNd, "Continue at the other end"),
    "ConstantPad": (_ConstantPadNd, "Fill with `value`"),
    "ReflectionPad": (_ReflectionPadNd, "Mirror at the border, which is not repeated"),
    "ReplicationPad": (_ReplicationPadNd, "Repeat the border"),
    "ZeroPad": (None, "Fill with zeros"),  # on the ConstantPad of as many dimensions
}
__all__: list[str] = []
for _kind, (_base, _what) in _KINDS.items():
    for _dims, _sides in _SIDES.items():
        _name = f"{_kind}{_dims}d"
        _members = {
            "__doc__": f"{_what}; `padding` is one int or {_sides}.",
            "__module__": __name__,
            "__qualname__": _name,
            "_dims": _dims,
        }
        if _base is None:
            _members |= {"__init__": _zero_init, "extra_repr": _PadNd.extra_repr}
        globals()[_name] = type(_name, (_base or globals()[f"ConstantPad{_dims}d"],), _members)
        __all__.append(_name)
