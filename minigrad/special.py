"""`minigrad.special`: special functions under PyTorch's names.

The ops are declared in minigrad/ops with namespace "special".
"""

from minigrad.op import known_as as _known_as
from minigrad.op import namespaces as _namespaces

globals().update(_namespaces["special"])
_known_as(__name__, _namespaces["special"])
__all__ = sorted(_namespaces["special"])
