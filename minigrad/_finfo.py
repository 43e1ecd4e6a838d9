"""`finfo` and `iinfo`: the limits of number formats, with PyTorch's attributes. No numpy needed."""

from __future__ import annotations

from minigrad import _core

# name: (bits of exponent, bits of fraction)
_FORMATS = {"float16": (5, 10), "bfloat16": (8, 7), "float32": (8, 23), "float64": (11, 52)}
# Formats without tensors (minigrad._legacy.AbsentDtype): largest value where it is not the one of the rule (no infinities), by name
_FORMATS.update({"float8_e4m3fn": (4, 3), "float8_e5m2": (5, 2)})
_LARGEST = {"float8_e4m3fn": 448.0}
_INTEGERS = {"uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64, "int8": 8, "int16": 16, "int32": 32, "int64": 64}


def _name(dtype: _core.dtype) -> str:
    return str(dtype).rsplit(".", 1)[-1]


class finfo:
    """Limits of a floating dtype; of the parts of a complex one.

    Args:
        type: a floating or complex dtype (the default dtype when None).
    Attributes:
        bits, eps (spacing above 1), max, min (= -max), tiny = smallest_normal, resolution (of decimal digits),
        dtype (name).
    Raises:
        TypeError for an integer or bool dtype.
    Example:
        >>> mg.finfo(mg.float32).max
        3.4028234663852886e+38
    """

    def __init__(self, type: _core.dtype | None = None) -> None:
        name = _name(_core.get_default_dtype() if type is None else type.to_real())
        if name not in _FORMATS:
            raise TypeError(
                f"finfo: not a floating dtype: got {type}, expected one of {', '.join(_FORMATS)}. Try iinfo."
            )
        exponent, fraction = _FORMATS[name]
        top = 2.0 ** (2 ** (exponent - 1) - 1)
        self.dtype = name
        self.bits = 1 + exponent + fraction
        self.eps = 2.0**-fraction
        self.max = _LARGEST.get(name, top * (2 - self.eps))
        self.min = -self.max
        self.tiny = self.smallest_normal = 2.0 ** (2 - 2 ** (exponent - 1))
        self.resolution = 10.0 ** -int(fraction * 0.30103)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype.

    Args:
        type: an integer dtype.
    Attributes:
        bits, max, min, dtype (name).
    Raises:
        TypeError for a floating or bool dtype.
    Example:
        >>> mg.iinfo(mg.uint8).max
        255
    """

    def __init__(self, type: _core.dtype) -> None:
        name = _name(type)
        if name not in _INTEGERS:
            raise TypeError(
                f"iinfo: not an integer dtype: got {type}, expected one of {', '.join(_INTEGERS)}. Try finfo."
            )
        signed = not name.startswith("u")
        self.dtype = name
        self.bits = _INTEGERS[name]
        self.max = 2 ** (self.bits - signed) - 1
        self.min = -(2 ** (self.bits - 1)) if signed else 0

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
