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


class _ZeroPadNd(_ConstantPadNd):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    extra_repr = _PadNd.extra_repr


_SIDES = {1: "(left, right)", 2: "(left, right, top, bottom)", 3: "(left, right, top, bottom, front, back)"}
_KINDS = {
    "CircularPad": (_PadNd, "circular", "Continue at the other end"),
    "ConstantPad": (_ConstantPadNd, "constant", "Fill with `value`"),
    "ReflectionPad": (_PadNd, "reflect", "Mirror at the border, which is not repeated"),
    "ReplicationPad": (_PadNd, "replicate", "Repeat the border"),
    "ZeroPad": (_ZeroPadNd, "constant", "Fill with zeros"),
}
__all__: list[str] = []
for _kind, (_base, _mode, _what) in _KINDS.items():
    for _dims, _sides in _SIDES.items():
        _name = f"{_kind}{_dims}d"
        _doc = f"{_what}; `padding` is one int or {_sides}."
        globals()[_name] = type(
            _name, (_base,), {"__doc__": _doc, "__module__": __name__, "_dims": _dims, "_mode": _mode}
        )
        __all__.append(_name)
