"""`assert_close`: PyTorch's comparison of tensors, numbers, sequences and mappings, with messages of the same structure."""

from __future__ import annotations

import cmath
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import minigrad as mg

_PRECISIONS = {  # rtol, atol
    mg.float16: (1e-3, 1e-5), mg.bfloat16: (1.6e-2, 1e-5), mg.float32: (1.3e-6, 1e-5), mg.float64: (1e-7, 1e-7),
    mg.complex64: (1.3e-6, 1e-5), mg.complex128: (1e-7, 1e-7),
}  # fmt: skip
_NUMBERS = (bool, int, float, complex)


class _Options(NamedTuple):
    rtol: float | None
    atol: float | None
    equal_nan: bool
    check_device: bool
    check_dtype: bool
    check_layout: bool
    check_stride: bool
    msg: str | Callable[[str], str] | None


class _Mismatch(Exception):
    def __init__(self, kind: type, text: str, where: tuple[Any, ...]) -> None:
        self.kind, self.text, self.where = kind, text, where


def default_tolerances(*inputs: Any) -> tuple[float, float]:
    """The largest default rtol and atol among tensors, dtypes and numbers."""
    pairs = []
    for x in inputs:
        dtype = x.dtype if isinstance(x, mg.Tensor) else x
        if isinstance(x, (float, complex)):
            dtype = mg.float64
        pairs.append(_PRECISIONS.get(dtype, (0.0, 0.0)))
    return max(p[0] for p in pairs), max(p[1] for p in pairs)


def _tolerances(options: _Options, *inputs: Any) -> tuple[float, float]:
    return default_tolerances(*inputs) if options.rtol is None else (options.rtol, options.atol)  # type: ignore[return-value]


def _allowed(tolerance: float) -> str:
    return f" (up to {tolerance} allowed)"


def _title(what: str, rtol: float, atol: float) -> str:
    return f"{what} are not {'equal' if rtol == 0 and atol == 0 else 'close'}!\n\n"


def _compare_numbers(actual: Any, expected: Any, o: _Options, where: tuple[Any, ...]) -> None:
    if o.check_dtype and type(actual) is not type(expected):
        raise _Mismatch(AssertionError, f"The (d)types do not match: {type(actual)} != {type(expected)}.", where)
    rtol, atol = _tolerances(o, actual, expected)
    if actual == expected or (o.equal_nan and cmath.isnan(actual) and cmath.isnan(expected)):
        return
    difference = abs(actual - expected)
    tolerance = atol + rtol * abs(expected)
    if cmath.isfinite(difference) and difference <= tolerance:
        return
    raise _Mismatch(AssertionError, _scalar_text(actual, expected, rtol, atol), where)


def _scalar_text(actual: Any, expected: Any, rtol: float, atol: float) -> str:
    difference, exact = abs(actual - expected), rtol == 0 and atol == 0
    relative = difference / abs(expected) if expected != 0 else float("inf")
    text = _title("Scalars", rtol, atol) + f"Expected {expected} but got {actual}.\n"
    text += f"Absolute difference: {difference}" + ("" if exact else _allowed(atol)) + "\n"
    return text + f"Relative difference: {relative}" + ("" if exact else _allowed(rtol))


def _greatest(kind: str, difference: mg.Tensor, tolerance: float, exact: bool, shape: tuple[int, ...]) -> str:
    flat = int(difference.flatten().argmax())
    index = []
    rest = flat
    for size in reversed(shape):
        index.append(rest % size)
        rest //= size
    value = difference.flatten()[flat].item()
    return f"Greatest {kind} difference: {value} at index {tuple(reversed(index))}" + ("" if exact else _allowed(tolerance))


def _check_attributes(actual: mg.Tensor, expected: mg.Tensor, o: _Options, where: tuple[Any, ...]) -> None:
    def differ(name: str, a: Any, b: Any) -> None:
        raise _Mismatch(AssertionError, f"The values for attribute '{name}' do not match: {a} != {b}.", where)

    if actual.shape != expected.shape:
        differ("shape", actual.shape, expected.shape)
    if o.check_layout and actual.layout != expected.layout:
        differ("layout", actual.layout, expected.layout)
    if o.check_stride and actual.stride() != expected.stride():
        differ("stride()", actual.stride(), expected.stride())
    if o.check_device and actual.device != expected.device:
        differ("device", actual.device, expected.device)
    if o.check_dtype and actual.dtype != expected.dtype:
        differ("dtype", actual.dtype, expected.dtype)


def _compare_tensors(actual: mg.Tensor, expected: mg.Tensor, o: _Options, where: tuple[Any, ...]) -> None:
    _check_attributes(actual, expected, o, where)
    rtol, atol = _tolerances(o, actual, expected)
    actual, expected = actual.detach(), expected.detach()
    if actual.dtype != expected.dtype:
        common = mg.promote_types(actual.dtype, expected.dtype)
        actual, expected = actual.to(common), expected.to(common)
    close = mg.isclose(actual, expected, rtol=rtol, atol=atol, equal_nan=o.equal_nan)
    if bool(close.all()):
        return
    if not actual.is_floating_point() and not actual.is_complex():
        actual, expected = actual.to(mg.int64), expected.to(mg.int64)
    if actual.dim() == 0:
        raise _Mismatch(AssertionError, _scalar_text(actual.item(), expected.item(), rtol, atol), where)
    wrong, total, exact = int((~close).sum()), actual.numel(), rtol == 0 and atol == 0
    shape = tuple(actual.shape)
    absolute = mg.where(close, 0, (actual - expected).abs())  # those that agree show no difference
    relative = mg.where(close, 0, (actual - expected).abs() / expected.abs())
    text = _title("Tensor-likes", rtol, atol) + f"Mismatched elements: {wrong} / {total} ({100 * wrong / total:.1f}%)\n"
    text += _greatest("absolute", absolute, atol, exact, shape) + "\n" + _greatest("relative", relative, rtol, exact, shape)
    raise _Mismatch(AssertionError, text, where)


def _as_tensor(x: Any) -> mg.Tensor | None:
    if isinstance(x, mg.Tensor):
        return x
    return mg.as_tensor(x) if hasattr(x, "__array__") else None


def _compare(actual: Any, expected: Any, o: _Options, where: tuple[Any, ...]) -> None:
    if all(isinstance(x, Sequence) and not isinstance(x, (str, bytes)) for x in (actual, expected)):
        if len(actual) != len(expected):
            raise _Mismatch(AssertionError, f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", where)
        for k, (a, b) in enumerate(zip(actual, expected)):
            _compare(a, b, o, (*where, k))
        return
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        missing, additional = sorted(set(expected) - set(actual), key=str), sorted(set(actual) - set(expected), key=str)
        if missing or additional:
            text = f"The keys of the mappings do not match:\nMissing keys in the actual mapping: {missing}\n"
            raise _Mismatch(AssertionError, text + f"Additional keys in the actual mapping: {additional}", where)
        for key in sorted(expected, key=str):
            _compare(actual[key], expected[key], o, (*where, key))
        return
    if isinstance(actual, _NUMBERS) and isinstance(expected, _NUMBERS):
        return _compare_numbers(actual, expected, o, where)
    a, b = _as_tensor(actual), _as_tensor(expected)
    related = isinstance(actual, type(expected)) or isinstance(expected, type(actual))
    if a is None or b is None or not related:
        text = f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}."
        raise _Mismatch(TypeError, text, where)
    _compare_tensors(a, b, o, where)


def assert_close(actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
                 equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
                 check_stride: bool = False, msg: str | Callable[[str], str] | None = None) -> None:  # fmt: skip
    """Asserts |actual - expected| <= atol + rtol |expected|, elementwise and through sequences and mappings.

    Args:
        actual, expected: tensors, numbers, arrays, or sequences and mappings of them.
        allow_subclasses: False asks for equal types.
        rtol, atol: both or none; by default by dtype (float32: 1.3e-6, 1e-5; float64: 1e-7, 1e-7; integers: 0).
        equal_nan: whether NaN equals NaN.
        check_device, check_dtype, check_layout, check_stride: which attributes must agree (the shape always).
        msg: text of the error, or a function of the text made.
    Raises:
        AssertionError where they differ. ValueError for one of rtol and atol. TypeError for what cannot be compared.
    """
    if (rtol is None) != (atol is None):
        missing = "rtol" if rtol is None else "atol"
        raise ValueError(f"rtol and atol must both be specified or both be unspecified, but got no {missing}.")
    if not allow_subclasses and type(actual) is not type(expected):
        raise TypeError(f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.")
    options = _Options(rtol, atol, equal_nan, check_device, check_dtype, check_layout, check_stride, msg)
    try:
        _compare(actual, expected, options, ())
    except _Mismatch as mismatch:
        text, kind = mismatch.text, mismatch.kind
        if mismatch.where:
            text += "\n\nThe failure occurred for item " + "".join(f"[{k!r}]" for k in mismatch.where)
        if kind is AssertionError and msg is not None:
            text = msg(text) if callable(msg) else msg
        raise kind(text) from None
