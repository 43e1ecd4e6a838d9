"""Padding layers: F.pad with fixed arguments, by mode and number of spatial dimensions."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from .. import functional as F
from .module import Module
from .utils import _ntuple

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d",
    "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip


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


class CircularPad1d(_PadNd):
    """Continue at the other end; `padding` is one int or (left, right) of the last dimension."""

    _dims = 1
    _mode = "circular"


class CircularPad2d(_PadNd):
    """Continue at the other end; `padding` is one int or (left, right, top, bottom)."""

    _dims = 2
    _mode = "circular"


class CircularPad3d(_PadNd):
    """Continue at the other end; `padding` is one int or (left, right, top, bottom, front, back)."""

    _dims = 3
    _mode = "circular"


class ReflectionPad1d(_PadNd):
    """Mirror at the border, which is not repeated; `padding` is one int or (left, right) of the last dimension."""

    _dims = 1
    _mode = "reflect"


class ReflectionPad2d(_PadNd):
    """Mirror at the border, which is not repeated; `padding` is one int or (left, right, top, bottom)."""

    _dims = 2
    _mode = "reflect"


class ReflectionPad3d(_PadNd):
    """Mirror at the border, which is not repeated; `padding` is one int or (left, right, top, bottom, front, back)."""

    _dims = 3
    _mode = "reflect"


class ReplicationPad1d(_PadNd):
    """Repeat the border; `padding` is one int or (left, right) of the last dimension."""

    _dims = 1
    _mode = "replicate"


class ReplicationPad2d(_PadNd):
    """Repeat the border; `padding` is one int or (left, right, top, bottom)."""

    _dims = 2
    _mode = "replicate"


class ReplicationPad3d(_PadNd):
    """Repeat the border; `padding` is one int or (left, right, top, bottom, front, back)."""

    _dims = 3
    _mode = "replicate"


class ConstantPad1d(_ConstantPadNd):
    """Fill with `value`; `padding` is one int or (left, right) of the last dimension."""

    _dims = 1


class ConstantPad2d(_ConstantPadNd):
    """Fill with `value`; `padding` is one int or (left, right, top, bottom)."""

    _dims = 2


class ConstantPad3d(_ConstantPadNd):
    """Fill with `value`; `padding` is one int or (left, right, top, bottom, front, back)."""

    _dims = 3


class ZeroPad1d(ConstantPad1d):
    """Fill with zeros; `padding` is one int or (left, right) of the last dimension."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Fill with zeros; `padding` is one int or (left, right, top, bottom)."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """Fill with zeros; `padding` is one int or (left, right, top, bottom, front, back)."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"
