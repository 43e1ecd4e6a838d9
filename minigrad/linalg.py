"""`minigrad.linalg`: linear algebra under PyTorch's names.

The ops are declared in minigrad/ops/linalg/*.py with namespace "linalg"; LAPACK comes from the scipy-openblas32 wheel, which
is opened at the first call (minigrad/_lapack.py).
"""

from minigrad.op import known_as as _known_as
from minigrad.op import namespaces as _namespaces
from minigrad.ops.linalg.common import LinAlgError

globals().update(_namespaces["linalg"])
_known_as(__name__, _namespaces["linalg"])
__all__ = ["LinAlgError", *sorted(_namespaces["linalg"])]
