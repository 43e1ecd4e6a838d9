"""minigrad.testing.assert_close and make_tensor against torch.testing: the same verdicts, error classes and texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
import minigrad.testing

torch = pytest.importorskip("torch")
N = float("nan")

CASES: list[tuple[Any, ...]] = [
    # builders of (actual, expected), options
    (lambda m: (m.tensor([1.0, 2.0]), m.tensor([1.0, 2.0])), {}),
    (lambda m: (m.tensor([1.0, 2.0]), m.tensor([1.0, 2.5])), {}),
    (lambda m: (m.tensor([[1.0, 2.0], [4.0, 0.0]]), m.tensor([[1.0, 2.5], [3.0, 1.0]])), dict(rtol=0.1, atol=0.01)),
    (lambda m: (m.tensor([1, 2, 3]), m.tensor([1, 5, 3])), {}),
    (lambda m: (m.tensor([True, False]), m.tensor([True, True])), {}),
    (lambda m: (m.tensor(1.0), m.tensor(2.0)), {}),
    (lambda m: (m.tensor([1.0]), m.tensor([1.0, 2.0])), {}),
    (lambda m: (m.tensor([1.0]), m.tensor([1])), {}),
    (lambda m: (m.tensor([1.0]), m.tensor([1])), dict(check_dtype=False)),
    (lambda m: (m.tensor([1.0], dtype=m.float64), m.tensor([1 + 1e-6])), dict(check_dtype=False)),
    (lambda m: (m.tensor([1.0]).to(m.bfloat16), m.tensor([1.01]).to(m.bfloat16)), {}),
    (lambda m: (m.tensor([N]), m.tensor([N])), {}),
    (lambda m: (m.tensor([N]), m.tensor([N])), dict(equal_nan=True)),
    (lambda m: (m.tensor([float("inf")]), m.tensor([float("inf")])), {}),
    (lambda m: (m.ones(2, 3).t(), m.ones(3, 2)), dict(check_stride=True)),
    (lambda m: (1.0, 1.0 + 1e-9), {}), (lambda m: (1.0, 2.0), {}), (lambda m: (1, 2), {}), (lambda m: (1, 1.0), {}),
    (lambda m: (1, 1.0), dict(check_dtype=False)), (lambda m: (2.0, 0.0), {}), (lambda m: (1 + 2j, 1 + 3j), {}),
    (lambda m: ([1.0, m.tensor(2.0)], [1.0, m.tensor(2.5)]), {}), (lambda m: ((1.0,), (1.0, 2.0)), {}),
    (lambda m: ({"a": 1.0, "b": [2.0, 3.0]}, {"a": 1.0, "b": [2.0, 4.0]}), {}),
    (lambda m: ({"a": 1.0}, {"b": 1.0}), {}), (lambda m: ("a", 1), {}), (lambda m: (1.0, 1.0), dict(rtol=0.1)),
    (lambda m: (1.0, 2.0), dict(msg="own")), (lambda m: (1.0, 2.0), dict(msg=lambda text: "own: " + text)),
    (lambda m: (m.tensor([1.0]), np.array([2.0], dtype=np.float32)), {}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_assert_close(case: tuple[Any, ...]) -> None:
    build, options = case
    results = []
    for module in (mg, torch):
        try:
            module.testing.assert_close(*build(module), **options)
            results.append(None)
        except Exception as error:  # the class and the text are what is compared
            results.append((type(error), str(error).replace("minigrad.", "torch.").replace("torch._core.Tensor", "torch.Tensor")))
    if results[1] is not None and results[1][0] in (TypeError, ValueError):
        assert results[0] is not None and results[0][0] is results[1][0]
    else:
        assert results[0] == results[1]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool", "complex64", "bfloat16"])
@pytest.mark.parametrize("options", [{}, dict(noncontiguous=True), dict(low=1, high=3), dict(exclude_zero=True)], ids=str)
def test_make_tensor(dtype: str, options: dict[str, Any]) -> None:
    if dtype == "bool" and "low" in options:
        return
    mg.manual_seed(1)
    ours = minigrad.testing.make_tensor(20, 30, dtype=getattr(mg, dtype), device="cpu", **options)
    theirs = torch.testing.make_tensor(20, 30, dtype=getattr(torch, dtype), device="cpu", **options)
    assert tuple(ours.shape) == tuple(theirs.shape) and ours.dtype == getattr(mg, dtype)
    assert ours.is_contiguous() == theirs.is_contiguous()
    a, b = ours.to(mg.complex128).abs(), theirs.to(torch.complex128).abs()
    assert abs(float(a.max()) - float(b.max())) <= 1 + 0.05 * float(b.max())
    assert not options.get("exclude_zero") or bool((ours != 0).all())


def test_make_tensor_errors() -> None:
    make = minigrad.testing.make_tensor
    with pytest.raises(ValueError, match="requires_grad"):
        make(2, dtype=mg.int64, device="cpu", requires_grad=True)
    with pytest.raises(ValueError, match="low"):
        make(2, dtype=mg.float32, device="cpu", low=3, high=1)
    assert make((), dtype=mg.float32, device="cpu", requires_grad=True).requires_grad
    assert tuple(make((2, 0), dtype=mg.float32, device="cpu").shape) == (2, 0)
