"""`minigrad.signal.windows`: the window functions declared in minigrad/ops/spectral/windows.py."""

from minigrad.op import known_as as _known_as
from minigrad.op import namespaces as _namespaces

globals().update(_namespaces["signal.windows"])
_known_as(__name__, _namespaces["signal.windows"])
__all__ = sorted(_namespaces["signal.windows"])
