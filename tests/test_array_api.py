"""The Array API namespace against array-api-strict, the standard's executable reference (extra `reference`).

Walked from the reference: every name exists with the same parameters; element-wise functions agree on special values, dtypes and
broadcasting; the others on shapes, axes and options drawn by hypothesis. tests/test_array_api_interop.py has the libraries that
consume the namespace.
"""

from __future__ import annotations

import inspect
import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import minigrad as mg

strict = pytest.importorskip("array_api_strict", reason="array-api-strict (extra `reference`) is not installed")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

xp = mg.ones(1).__array_namespace__()
NOT_OURS = {
    "__version__", "Device", "ArrayAPIStrictFlags", *(f"{v}_array_api_strict_flags" for v in ("get", "set", "reset")),
}  # fmt: skip
# Known gaps, each with its reason; a name that appears must be taken out.
MISSING = {
    n: "no such dtype yet"
    for n in ("uint16", "uint32", "uint64", "complex64", "complex128")
    if not isinstance(getattr(mg, n, None), mg.dtype)
}
FLOATS, INTS = ("float32", "float64"), ("int8", "int16", "int32", "int64", "uint8")
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 3.0, np.inf, -np.inf, np.nan, 1e-30, 100.0, -100.0, 1e30]


def ours(a: np.ndarray) -> Any:
    return mg.from_numpy(np.array(a))


def theirs(a: np.ndarray) -> Any:
    return strict.asarray(np.array(a))


def name_of(dtype: Any) -> str:
    return str(dtype).rsplit(".", 1)[-1]


def check(a: Any, b: Any, rtol: float = 2e-6, kind_only: bool = False, atol: float = 1e-30) -> None:
    """A tensor of ours equals an array of the reference: dtype, shape, values."""
    if isinstance(b, tuple):
        assert isinstance(a, tuple) and len(a) == len(b)
        for x, y in zip(a, b):
            check(x, y, rtol, kind_only, atol)
        return
    assert isinstance(a, mg.Tensor)
    expected = np.asarray(b._array)
    assert tuple(a.shape) == expected.shape
    if kind_only:
        assert np.dtype(name_of(a.dtype)).kind == expected.dtype.kind
    else:
        assert name_of(a.dtype) == str(expected.dtype)
    got = a.detach().numpy()
    if expected.dtype.kind in "fc":
        rtol = rtol if expected.dtype.itemsize <= 4 or expected.dtype == np.complex64 else max(rtol * 1e-6, 1e-12)
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-6 if kind_only else atol)
    else:
        np.testing.assert_array_equal(got, expected)


def reference_names(module: Any) -> list[str]:
    return [n for n in module.__all__ if n not in NOT_OURS and not n.endswith("Result")]


@pytest.mark.parametrize("name", [n for n in reference_names(strict) if n not in ("linalg", "fft")])
def test_name(name: str) -> None:
    if name in MISSING:
        assert not hasattr(xp, name), f"{name} exists now: take it out of MISSING"
        pytest.skip(MISSING[name])
    assert hasattr(xp, name)
    _same_parameters(getattr(xp, name), getattr(strict, name))


@pytest.mark.parametrize("name", [n for n in strict.linalg.__all__ if not n.endswith("Result")])
def test_linalg_name(name: str) -> None:
    _same_parameters(getattr(xp.linalg, name), getattr(strict.linalg, name))


@pytest.mark.parametrize("name", strict.fft.__all__)
def test_fft_name(name: str) -> None:
    if not hasattr(xp, "fft"):
        pytest.skip("minigrad.fft does not exist in this build")
    if name != "__all__":
        _same_parameters(getattr(xp.fft, name), getattr(strict.fft, name))


def _same_parameters(a: Any, b: Any) -> None:
    """The reference's parameters, by kind and name, are a prefix of ours (positional-only names are free)."""
    if not inspect.isfunction(b):
        return
    P = inspect.Parameter
    mine, wanted = inspect.signature(a).parameters, inspect.signature(b).parameters
    positional = lambda ps: [p for p in ps.values() if p.kind in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)]
    assert len(positional(mine)) >= len(positional(wanted))
    for p in wanted.values():
        if p.kind in (P.KEYWORD_ONLY, P.POSITIONAL_OR_KEYWORD):
            assert p.name in mine, f"parameter {p.name} is missing"
            assert mine[p.name].kind != P.POSITIONAL_ONLY
            undefined = type(p.default).__name__ == "Undef"
            assert undefined or mine[p.name].default == p.default


# --- element-wise ------------------------------------------------------------------------------------------------------
def _elementwise() -> tuple[list[str], list[str]]:
    from array_api_strict import _elementwise_functions as module

    one, two = [], []
    for n in [n for n in strict.__all__ if hasattr(module, n) and inspect.isfunction(getattr(strict, n))]:
        count = len(inspect.signature(getattr(strict, n)).parameters)
        if n not in ("clip", "asarray", "broadcast_to", "iinfo") and count <= 2:
            (one if count == 1 else two).append(n)
    return one, two


UNARY, BINARY = _elementwise()
ULPS = {"tan": 1e-5, "pow": 1e-5, "expm1": 1e-5, "sinh": 1e-5, "cosh": 1e-5, "exp": 1e-5, "logaddexp": 1e-5}


def values_of(dtype: str) -> np.ndarray:
    if dtype == "bool":
        return np.array([True, False, True])
    if dtype in FLOATS:
        return np.array(SPECIAL, dtype)
    if dtype.startswith("complex"):
        return np.array([1 + 2j, -0.5 + 0.25j, 0j, 3 - 1j], dtype)
    info = np.iinfo(dtype)
    return np.array([0, 1, 2, 3, 7, info.max, info.min] + ([-1, -5] if info.min else []), dtype)


DTYPES = ("bool", *INTS, *FLOATS, *(("complex64", "complex128") if hasattr(mg, "complex64") else ()))


def defined(name: str, *dtypes: str) -> bool:
    """Whether the standard has this function for these dtypes."""
    if "shift" in name and not all(d in INTS for d in dtypes):
        return False
    try:
        with np.errstate(all="ignore"):
            getattr(strict, name)(*(theirs(np.ones(1, d)) for d in dtypes))
    except TypeError:
        return False
    return True


@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n in UNARY for d in DTYPES if defined(n, d)])
def test_unary(name: str, dtype: str) -> None:
    v = values_of(dtype)
    with np.errstate(all="ignore"):
        for shaped in (v, v.reshape(1, -1), v[:1].reshape(()), v[:0]):
            check(getattr(xp, name)(ours(shaped)), getattr(strict, name)(theirs(shaped)), ULPS.get(name, 2e-6))


@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n in BINARY for d in DTYPES if defined(n, d, d)])
def test_binary(name: str, dtype: str) -> None:
    v = values_of(dtype)
    a, b = (np.array(c) for c in zip(*itertools.product(v, v)))
    if name == "pow" and dtype in INTS:
        a, b = np.array([0, 1, 2, 3, 5], dtype)[:, None], np.array([0, 1, 2, 3], dtype)
    if "shift" in name:
        a, b = v[:, None], np.array([0, 1, 3], dtype)
    if name in ("floor_divide", "remainder") and dtype in INTS:
        keep = (b != 0) & ~((b == -1) & (a == np.iinfo(dtype).min if dtype != "uint8" else False))
        a, b = a[keep], b[keep]
    rtol = ULPS.get(name, 2e-6)
    with np.errstate(all="ignore"):
        check(getattr(xp, name)(ours(a), ours(b)), getattr(strict, name)(theirs(a), theirs(b)), rtol)
        if a.ndim == 1:  # broadcasting, 0-d, zero-size
            for x, y in ((a[:6].reshape(2, 1, 3), b[:3]), (a[3:4].reshape(()), b[:4]), (a[:0], b[:1])):
                check(getattr(xp, name)(ours(x), ours(y)), getattr(strict, name)(theirs(x), theirs(y)), rtol)


PAIRS = (("float32", "float64"), ("int8", "int32"), ("uint8", "int16"), ("uint8", "int8"))


@pytest.mark.parametrize(("name", "left", "right"), [(n, *p) for n in BINARY for p in PAIRS if defined(n, *p)])
def test_binary_promotion(name: str, left: str, right: str) -> None:
    a, b = np.array([1, 2, 3], left), np.array([3, 1, 2], right)
    for x, y in ((a, b), (b, a), (a, b[:1].reshape(())), (b[:1].reshape(()), a), (a[:1].reshape(()), b)):
        check(getattr(xp, name)(ours(x), ours(y)), getattr(strict, name)(theirs(x), theirs(y)))


@pytest.mark.parametrize("name", BINARY)
def test_binary_with_a_number(name: str) -> None:
    for dtype, number in (("float32", 2.5), ("float64", 3), ("int16", 2), ("bool", True)):
        v = np.array([1, 0, 1], dtype)
        for swap in (False, True):
            arrays = [(ours(v), number), (theirs(v), number)]
            if name in ("floor_divide", "remainder") and swap:
                continue  # division by zero
            try:
                with np.errstate(all="ignore"):
                    expected = getattr(strict, name)(*(reversed(arrays[1]) if swap else arrays[1]))
            except TypeError:
                continue
            check(getattr(xp, name)(*(reversed(arrays[0]) if swap else arrays[0])), expected)


# --- shapes, axes, options ---------------------------------------------------------------------------------------------
shapes = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)
full_shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
quick = settings(max_examples=40, deadline=None)


def data_of(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype in INTS:
        return rng.integers(0, 5, shape).astype(dtype)
    return np.round(rng.uniform(-3, 3, shape), 1).astype(dtype)


def draw_axis(data: Any, ndim: int) -> Any:
    if ndim == 0:
        return data.draw(st.sampled_from([None, ()]))
    one = st.integers(-ndim, ndim - 1)
    many = st.lists(st.integers(0, ndim - 1), unique=True, max_size=ndim).map(tuple)
    return data.draw(st.one_of(st.none(), one, many))


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "std", "var", "max", "min", "all", "any", "count_nonzero"])
@quick
@given(data=st.data(), shape=shapes, dtype=st.sampled_from((*FLOATS, "int32", "uint8", "bool")))
def test_reduction(name: str, data: Any, shape: tuple[int, ...], dtype: str) -> None:
    a, axis = data_of(shape, dtype), draw_axis(data, len(shape))
    options = {"axis": axis, "keepdims": data.draw(st.booleans())}
    if name in ("std", "var"):
        options["correction"] = data.draw(st.sampled_from([0.0, 1.0, 1]))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mean of nothing
        try:
            expected = getattr(strict, name)(theirs(a), **options)
        except (TypeError, ValueError):
            return  # not defined for the dtype, or an empty maximum
    if dtype == "uint8" and name in ("sum", "prod"):
        assert getattr(xp, name)(ours(a), **options).shape == expected.shape  # no uint64: the sum is int64
        return
    check(getattr(xp, name)(ours(a), **options), expected, rtol=1e-5, kind_only=dtype in FLOATS)


CALLS: dict[str, Any] = {
    "argmax": lambda m, x, d: m.argmax(x, axis=d, keepdims=True),
    "argmin": lambda m, x, d: m.argmin(x, axis=d),
    "argmax_all": lambda m, x, d: m.argmax(x),
    "sort": lambda m, x, d: m.sort(x, axis=d, descending=True),
    "argsort": lambda m, x, d: m.argsort(x, axis=d),
    "argsort_descending": lambda m, x, d: m.argsort(x, axis=d, descending=True, stable=True),
    "cumulative_sum": lambda m, x, d: m.cumulative_sum(x, axis=d, include_initial=True),
    "cumulative_prod": lambda m, x, d: m.cumulative_prod(x, axis=d),
    "diff": lambda m, x, d: m.diff(x, axis=d, n=1, append=x),
    "concat": lambda m, x, d: m.concat([x, x], axis=d),
    "concat_flat": lambda m, x, d: m.concat((x, x), axis=None),
    "stack": lambda m, x, d: m.stack([x, x], axis=d),
    "unstack": lambda m, x, d: m.unstack(x, axis=d),
    "expand_dims": lambda m, x, d: m.expand_dims(x, axis=d),
    "flip": lambda m, x, d: m.flip(x, axis=d),
    "flip_all": lambda m, x, d: m.flip(x),
    "roll": lambda m, x, d: m.roll(x, 2, axis=d),
    "roll_flat": lambda m, x, d: m.roll(x, 1),
    "repeat": lambda m, x, d: m.repeat(x, 2, axis=d),
    "repeat_flat": lambda m, x, d: m.repeat(x, 3),
    "tile": lambda m, x, d: m.tile(x, (2, 1)),
    "moveaxis": lambda m, x, d: m.moveaxis(x, d, 0),
    "permute_dims": lambda m, x, d: m.permute_dims(x, tuple(reversed(range(len(x.shape))))),
    "reshape": lambda m, x, d: m.reshape(x, (-1,), copy=True),
    "squeeze": lambda m, x, d: m.squeeze(m.expand_dims(x, axis=d), axis=d),
    "take": lambda m, x, d: m.take(x, m.asarray([0, 0]), axis=d),
    "take_along_axis": lambda m, x, d: m.take_along_axis(x, m.argsort(x, axis=d), axis=d),
    "nonzero": lambda m, x, d: m.nonzero(x),
    "tril": lambda m, x, d: m.tril(m.stack([x, x]), k=-1),
    "triu": lambda m, x, d: m.triu(m.stack([x, x]), k=1),
    "where": lambda m, x, d: m.where(x > 0, x, 0),
    "clip": lambda m, x, d: m.clip(x, 0, 2),
    "unique_values": lambda m, x, d: m.sort(m.unique_values(x)),
    "unique_counts": lambda m, x, d: tuple(m.unique_counts(x)),
    "unique_inverse": lambda m, x, d: tuple(m.unique_inverse(x)),
    "unique_all": lambda m, x, d: tuple(m.unique_all(x)),
    "searchsorted": lambda m, x, d: m.searchsorted(m.sort(m.reshape(x, (-1,))), m.reshape(x, (-1,)), side="right"),
    "broadcast_to": lambda m, x, d: m.broadcast_to(x, (2, *x.shape)),
    "matrix_transpose": lambda m, x, d: m.matrix_transpose(m.stack([x, x])),
    "zeros_like": lambda m, x, d: m.zeros_like(x),
    "full_like": lambda m, x, d: m.full_like(x, 3),
    "astype": lambda m, x, d: m.astype(x, m.float64),
    "tensordot": lambda m, x, d: m.tensordot(x, x, axes=len(x.shape)),
    "vecdot": lambda m, x, d: m.vecdot(x, x, axis=-1),
    "outer": lambda m, x, d: m.linalg.outer(m.reshape(x, (-1,)), m.reshape(x, (-1,))),
    "trace": lambda m, x, d: m.linalg.trace(m.stack([x, x]), offset=1),
    "diagonal": lambda m, x, d: m.linalg.diagonal(m.stack([x, x]), offset=-1),
    "vector_norm": lambda m, x, d: m.linalg.vector_norm(m.astype(x, m.float64), axis=d, ord=3, keepdims=True),
}


@pytest.mark.parametrize("name", CALLS)
@quick
@given(data=st.data(), shape=full_shapes, dtype=st.sampled_from(("float32", "float64", "int64", "int8")))
def test_call(name: str, data: Any, shape: tuple[int, ...], dtype: str) -> None:
    a, axis = data_of(shape, dtype), data.draw(st.integers(-len(shape), len(shape) - 1))
    try:
        expected = CALLS[name](strict, theirs(a), axis)
    except (TypeError, ValueError):
        return  # the reference refuses it
    check(CALLS[name](xp, ours(a), axis), expected, rtol=1e-5, atol=1e-5)  # sums of terms near 3
