"""Writing one Python number into a tensor: what does not fit into the dtype is refused before anything is written, as in PyTorch."""

from __future__ import annotations

import math

import pytest

import minigrad as mg

torch = pytest.importorskip("torch", reason="the rule is compared with PyTorch's")

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
NUMBERS = (0, -1, 127, 128, -128, -129, 255, 256, -255, -256, 2**31, -(2**31) - 1, 2**62, 2.5, -2.5, -0.5, 127.5, 65504.0, 65505.0, 1e30,
           -3.5e38, 1e300, math.inf, -math.inf, math.nan, True)  # fmt: skip


def _set(x, key, value):
    x[key] = value
    return x


WRITES = {
    "full": lambda m, d, v: m.full((2,), v, dtype=d),
    "fill_": lambda m, d, v: m.ones(2, dtype=d).fill_(v),
    "full_like": lambda m, d, v: m.full_like(m.ones(2, dtype=d), v),
    "new_full": lambda m, d, v: m.ones(1, dtype=d).new_full((2,), v),
    "masked_fill": lambda m, d, v: m.ones(2, dtype=d).masked_fill(m.tensor([True, False]), v),
    "index_fill_": lambda m, d, v: m.ones(2, dtype=d).index_fill_(0, m.tensor([1]), v),
    "scatter": lambda m, d, v: m.ones(2, dtype=d).scatter(0, m.tensor([1]), v),
    "x[0] = v": lambda m, d, v: _set(m.ones(2, dtype=d), 0, v),
    "x[[0]] = v": lambda m, d, v: _set(m.ones(2, dtype=d), m.tensor([0]), v),
    "x[mask] = v": lambda m, d, v: _set(m.ones(2, dtype=d), m.tensor([True, False]), v),
    "tensor": lambda m, d, v: m.tensor([v], dtype=d),
    "new_tensor": lambda m, d, v: m.ones(1, dtype=d).new_tensor([v]),
    "masked_fill by a tensor": lambda m, d, v: m.ones(2, dtype=d).masked_fill(m.tensor([True, False]), m.tensor(v)),
    "fill_ by a tensor": lambda m, d, v: m.ones(2, dtype=d).fill_(m.tensor(float(v), dtype=m.float64)) if d != m.bool and abs(v) < 2**31
    else m.ones(1),
}


def _outcome(write, module, dtype, value):
    try:
        return write(module, getattr(module, dtype), value).tolist()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WRITES)
def test_number_into_dtype(name: str, dtype: str) -> None:
    for value in NUMBERS:
        ours, theirs = (_outcome(WRITES[name], m, dtype, value) for m in (mg, torch))
        assert str(ours) == str(theirs), (name, dtype, value)  # as text: NaN equals NaN


def test_refused_write_leaves_the_tensor_alone() -> None:
    x = mg.ones(3, dtype=mg.int8)
    for write in (lambda: x.fill_(300), lambda: x.masked_fill_(mg.tensor([True, False, True]), math.nan), lambda: _set(x, slice(1), 1e9)):
        with pytest.raises(RuntimeError, match="without overflow"):
            write()
    assert x.tolist() == [1, 1, 1] and x._version == 0
