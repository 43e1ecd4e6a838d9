"""NumPy's scalars, arrays and dtypes in pickles, without NumPy's own rebuilding functions: dtypes are plain numbers or
text, and the bytes have exactly the length that shape and dtype ask for."""

from __future__ import annotations

import math
import re
from typing import Any

from ._unpickle import UnpicklingError

_PLAIN = re.compile(r"^[<>|=]?([?biufcSU]\d{0,9}|bool)$")


class _Name:
    """Stands for a NumPy class that a file may name."""

    def __init__(self, name: str) -> None:
        self.__qualname__, self.__module__ = name, "numpy"


NDARRAY = _Name("ndarray")


def make_dtype(text: Any, align: Any = False, copy: Any = True) -> Any:
    """`numpy.dtype(text)` for plain kinds."""
    import numpy as np

    if type(text) is not str or not _PLAIN.match(text):
        raise UnpicklingError(f"numpy.dtype: only numbers, bool and text are read from files, got {text!r:.40}")
    return np.dtype(text, False, True)


def _checked_dtype(dtype: Any) -> Any:
    import numpy as np

    if not isinstance(dtype, np.dtype) or dtype.kind not in "biufcSU" or dtype.hasobject:
        raise UnpicklingError("numpy: expected a plain dtype")
    return dtype


def _checked_bytes(data: Any) -> bytes:
    if type(data) is str:  # protocol 2 spells bytes as latin-1 text in some writers
        data = data.encode("latin1")
    if type(data) not in (bytes, bytearray):
        raise UnpicklingError("numpy: expected bytes")
    return bytes(data)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple or len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**62 for n in shape):
        raise UnpicklingError("numpy: expected a shape")
    return shape


def _array(data: bytes, dtype: Any, shape: tuple[int, ...], order: str) -> Any:
    import numpy as np

    if math.prod(shape) * dtype.itemsize != len(data) or dtype.itemsize == 0:
        raise UnpicklingError(f"numpy: {len(data)} bytes do not make an array {dtype}{shape}")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order=order).copy(order=order)


def make_scalar(dtype: Any, data: Any) -> Any:
    """`numpy.core.multiarray.scalar`."""
    return _array(_checked_bytes(data), _checked_dtype(dtype), (), "C")[()]


def make_empty(cls: Any, shape: Any, kind: Any) -> Any:
    """`numpy.core.multiarray._reconstruct`: an empty array, filled by the BUILD that follows."""
    import numpy as np

    if cls is not NDARRAY or shape != (0,):
        raise UnpicklingError("numpy: only plain arrays are read from files")
    return np.empty(0, dtype=np.int8)


def make_from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C", *rest: Any) -> Any:
    """`numpy.core.numeric._frombuffer` (pickle protocol 5)."""
    if order not in ("C", "F"):
        raise UnpicklingError("numpy: order must be C or F")
    return _array(_checked_bytes(data), _checked_dtype(dtype), _checked_shape(shape), order)


def build_numpy(instance: Any, state: Any) -> bool:
    """Fill a NumPy array or dtype in place; False when `instance` is neither."""
    import sys

    np = sys.modules.get("numpy")
    if np is None or type(state) is not tuple:
        return False
    if type(instance) is np.ndarray and len(state) == 5 and instance.size == 0:
        _, shape, dtype, fortran, data = state
        shape, dtype, data = _checked_shape(shape), _checked_dtype(dtype), _checked_bytes(data)
        _array(data, dtype, shape, "C")  # the lengths fit, or this raises
        instance.__setstate__((1, shape, dtype, bool(fortran), data))
        return True
    if isinstance(instance, np.dtype) and len(state) == 8:
        version, order, sub, names, fields, size, alignment, flags = state
        sizes_fit = size in (-1, instance.itemsize) and alignment in (-1, instance.alignment)
        if order not in ("<", ">", "|", "=") or (sub, names, fields) != (None, None, None) or not sizes_fit:
            raise UnpicklingError("numpy.dtype: only plain dtypes are read from files")
        instance.__setstate__((3, order, None, None, None, -1, -1, 0) if size == -1 else (3, order, None, None, None, size, alignment, 0))
        return True
    return False


NUMPY_GLOBALS: dict[str, tuple[Any, Any]] = {"numpy.dtype": (make_dtype, make_dtype), "numpy.ndarray": (NDARRAY, None)}
for _core_name in ("numpy.core", "numpy._core"):
    NUMPY_GLOBALS[f"{_core_name}.multiarray.scalar"] = (make_scalar, make_scalar)
    NUMPY_GLOBALS[f"{_core_name}.multiarray._reconstruct"] = (make_empty, make_empty)
    NUMPY_GLOBALS[f"{_core_name}.numeric._frombuffer"] = (make_from_buffer, make_from_buffer)
