"""torch.distributed for one process: a group of world size 1, where every collective is the identity.

`is_initialized()` is False until `init_process_group`; a world size above 1 raises NotImplementedError. Tensors
given to a collective are left
as they are (a sum over one rank is the tensor itself), output lists are filled with copies, as PyTorch does in a group of one.
"""

from __future__ import annotations

from minigrad.distributed.distributed_c10d import *  # noqa: F403
from minigrad.distributed.distributed_c10d import __all__ as _names
from minigrad.distributed.distributed_c10d import _get_default_group  # noqa: F401

__all__ = [*_names, "is_available", "is_torchelastic_launched"]


def is_available() -> bool:
    """True: a group of one process can be made."""
    return True


def is_torchelastic_launched() -> bool:
    """Whether torchrun started this process."""
    import os

    return "TORCHELASTIC_RUN_ID" in os.environ
