"""`minigrad.special`: special functions under PyTorch's names.

The ops are declared in minigrad/ops with namespace "special".
"""

from minigrad.op import namespaces as _namespaces

globals().update(_namespaces["special"])
__all__ = sorted(_namespaces["special"])
