"""torch.types: the names that annotations use."""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from typing import Any, List, Tuple, Union  # noqa: F401, UP035  re-exported, as there

from minigrad import _core

__all__ = ["Device", "FileLike", "Number", "Storage"]

_TensorOrTensors = Union[_core.Tensor, Sequence[_core.Tensor]]  # noqa: UP007
_TensorOrTensorsOrGradEdge = Any
_dtype, _device = _core.dtype, _core.device
_size = Union[_core.Size, List[int], Tuple[int, ...]]  # noqa: UP006, UP007
_symsize = _size
_dispatchkey = Any
_int, _float, _bool, _complex = builtins.int, builtins.float, builtins.bool, builtins.complex
IntLikeType, FloatLikeType, BoolLikeType = Union[int, Any], Union[float, Any], Union[bool, Any]  # noqa: UP007
py_sym_types = ()
PySymType = Any
Number = Union[int, float, bool]  # noqa: UP007
_Number = (int, float, bool)
FileLike = Union[str, os.PathLike, Any]  # noqa: UP007
Device = Union[_core.device, str, int, None]  # noqa: UP007


class Storage:
    """Any storage, in annotations."""
