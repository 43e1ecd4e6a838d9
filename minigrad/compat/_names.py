"""How types name themselves: `str(x.dtype)` is 'minigrad.float32'.

And 'torch.float32' while a PyTorch program runs (some compare the text).
"""

from __future__ import annotations

from typing import Any

from minigrad import _core

_originals: dict[type, Any] = {}


def speak(prefix: str) -> None:
    """Let dtypes, sizes, layouts, memory formats and `x.type()` name themselves `prefix.…`."""
    from minigrad import _layout, _tensor

    _tensor.TYPE_PREFIX = prefix + "."
    for kind in (_core.dtype, _core.Size, _layout.layout, _layout.memory_format):
        original = _originals.setdefault(kind, kind.__repr__)
        kind.__repr__ = original if prefix == "minigrad" else _renamed(original, prefix)


def _renamed(original: Any, prefix: str) -> Any:
    def text(self: Any) -> str:
        return original(self).replace("minigrad.", prefix + ".", 1)

    return text
