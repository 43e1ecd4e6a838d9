"""`minigrad.linalg`: linear algebra under PyTorch's names.

The ops are declared in minigrad/ops with namespace "linalg".
"""

from minigrad.op import namespaces as _namespaces

globals().update(_namespaces["linalg"])
__all__ = sorted(_namespaces["linalg"])
