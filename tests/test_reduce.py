"""Reductions, scans, softmax, norms, sorting and losses beyond the generated checks: against PyTorch at edge values, in accuracy, and
that results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import functions

torch = pytest.importorskip("torch")
NAN, INF = float("nan"), float("inf")


def both(values: Any, dtype: str = "float64") -> tuple[Any, Any]:
    array = np.asarray(values)
    t = torch.tensor(array, dtype=getattr(torch, dtype))
    return t, mg.tensor(array.tolist(), dtype=getattr(mg, dtype)).reshape(tuple(array.shape))


def same(ours: Any, theirs: Any, tol: float = 1e-12) -> None:
    ours, theirs = (x if isinstance(x, tuple) else (x,) for x in (ours, theirs))
    for a, b in zip(ours, theirs, strict=True):
        assert str(a.dtype).split(".")[-1] == str(b.dtype).split(".")[-1]
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(np.asarray(a.tolist(), float), np.asarray(b.tolist(), float), rtol=tol, atol=tol)


@pytest.mark.parametrize("name", ["amax", "amin", "max", "min", "argmax", "argmin", "sum", "nansum", "nanmean", "median",
                                  "any", "all", "count_nonzero", "var", "mean", "prod"])  # fmt: skip
def test_nan_rules(name: str) -> None:
    for values in ([1.0, NAN, 3.0, NAN], [NAN], [INF, -INF, 1.0], [0.0, -0.0]):
        t, m = both(values)
        same(getattr(mg, name)(m), getattr(torch, name)(t))


@pytest.mark.parametrize("name", ["amax", "amin", "prod", "std", "var", "norm"])
@pytest.mark.parametrize("dim", [None, 0, 1])
def test_gradients_at_ties_and_zeros(name: str, dim: int | None) -> None:
    t, m = both([[1.0, 2, 2], [3, 3, 3], [0, 0, 0], [0, 5, 7]])
    t.requires_grad_()
    m.requires_grad_()
    kwargs = {} if dim is None else {"dim": dim}
    getattr(torch, name)(t, **kwargs).sum().backward()
    getattr(mg, name)(m, **kwargs).sum().backward()
    same(m.grad, t.grad)


@pytest.mark.parametrize("values", [[0.0, 2, 3], [0.0, 0, 3], [2.0, 0, 0.5, 4]])
@pytest.mark.parametrize("name", ["prod", "cumprod"])
def test_second_gradients_of_products_with_zeros(name: str, values: list[float]) -> None:
    result = []
    for lib, x in zip((torch, mg), both(values), strict=True):
        x.requires_grad_()
        y = getattr(x, name)(0)
        (g,) = lib.autograd.grad((y * y).sum(), [x], create_graph=True)
        result.append(lib.autograd.grad((g * g).sum(), [x])[0])
    same(result[1], result[0])


def test_logsumexp_of_minus_infinity_has_no_nan_gradient() -> None:
    m = mg.tensor([[-INF, -INF], [-INF, 1.0]], requires_grad=True)
    out = m.logsumexp(1)
    out.sum().backward()
    assert out.tolist() == [-INF, 1.0]
    assert m.grad.tolist() == [[0.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin", "argmax", "argmin", "aminmax", "median", "mode"])
def test_empty_reductions_raise_like_torch(name: str) -> None:
    calls: list[Callable[[Any, Any], Any]] = [lambda lib, x: getattr(lib, name)(x, dim=1)]
    if name not in ("median", "mode"):
        calls.append(lambda lib, x: getattr(lib, name)(x))
    for call in calls:
        with pytest.raises((RuntimeError, IndexError)) as wanted:
            call(torch, torch.empty(3, 0))
        with pytest.raises(wanted.type):
            call(mg, mg.empty(3, 0))


def test_forms_of_var_and_max() -> None:
    t, m = both(np.arange(12.0).reshape(3, 4) % 5)
    for call in (
        lambda x: x.var(False), lambda x: x.var(1, False, True), lambda x: x.std(unbiased=False),
        lambda x: x.var(dim=(0,), correction=2), lambda x: x.max(1), lambda x: x.min(0, True), lambda x: x.max(dim=1)[1],
    ):  # fmt: skip
        same(call(m), call(t))
    same(mg.max(m, m[0]), torch.max(t, t[0]))
    assert m.max(1)._fields == ("values", "indices")
    with pytest.raises(TypeError):
        mg.var(m, True, False)


def test_float32_sums_are_accurate_over_every_axis() -> None:
    rng = np.random.default_rng(0)
    array = (rng.random((300, 700)) + 1).astype(np.float32)
    m = mg.tensor(array)
    for view, exact in ((m, array), (m.t(), array.T), (m[:, ::2], array[:, ::2])):
        for dim in (None, 0, 1):
            want = exact.astype(np.float64).sum(dim)
            np.testing.assert_allclose(np.asarray(view.sum(dim).tolist()), want, rtol=2e-7)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(1)
    x = mg.tensor(rng.normal(size=(600, 1100)).astype(np.float32))
    target = mg.tensor(rng.integers(0, 1100, 600))
    calls: list[Callable[[], Any]] = [
        lambda: x.sum(), lambda: x.sum(0), lambda: x.t().sum(0), lambda: x.var(), lambda: x.norm(), lambda: x.argmax(),
        lambda: x.logsumexp(0), lambda: x.softmax(0), lambda: mg.nn.functional.cross_entropy(x, target),
        lambda: mg.nn.functional.mse_loss(x, x * 2), lambda: functions["_batch_norm"](x, None, None, 1e-5)[0],
        lambda: functions["_layer_norm_backward"](x, x, x[:, :1], x[:, :1], None, 1)[1],
    ]  # fmt: skip
    before = mg.get_num_threads()
    try:
        for call in calls:
            found = []
            for threads in (1, 2, 3):
                mg.set_num_threads(threads)
                found.append(call().numpy().tobytes())
            assert found[0] == found[1] == found[2]
    finally:
        mg.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("n, k", [(1024, 10), (1000, 64), (600, 64), (17, 2)])
def test_few_of_many_are_the_first_of_the_sorted(dtype: str, n: int, k: int) -> None:
    """The short way of topk, with NaN, infinities and ties."""
    x = (np.random.default_rng(n).standard_normal((23, n)) * 20).astype(dtype)
    if dtype != "int32":
        x[3, 5], x[4], x[5, 7], x[6, n - 1], x[7, :9] = NAN, NAN, INF, NAN, x[7, 0]
    for largest in (True, False):
        best, order = mg.topk(mg.from_numpy(x), k, largest=largest), mg.sort(mg.from_numpy(x), -1, largest)
        np.testing.assert_array_equal(best.indices.numpy(), order.indices.numpy()[:, :k])
        np.testing.assert_array_equal(best.values.numpy(), order.values.numpy()[:, :k])


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint8", "int32", "int64", "bool"])
@pytest.mark.parametrize("n", [5, 300, 5000])
def test_sort_and_topk_are_stable(dtype: str, n: int) -> None:
    rng = np.random.default_rng(n)
    t = torch.tensor(rng.normal(size=n) * 50).to(getattr(torch, dtype))
    if dtype in ("float32", "float64"):
        t[:5] = torch.tensor([NAN, INF, -INF, -0.0, 0.0], dtype=t.dtype)
    if dtype == "int64":
        t[:2] = torch.tensor([2**62, -(2**63)])
    m = mg.from_numpy(t.numpy())
    for descending in (False, True):
        order = torch.sort(t, stable=True, descending=descending).indices.tolist()
        assert mg.argsort(m, descending=descending).tolist() == order
        for k in (1, 3, n - 1):
            assert mg.topk(m, k, largest=descending).indices.tolist() == order[:k]


def test_unique_and_searching() -> None:
    for values in ([3, 1, 3, 2, 1], [[3, 1], [1, 3], [3, 1]], []):
        t, m = both(np.asarray(values, np.int64), "int64")
        same(mg.unique(m, return_inverse=True, return_counts=True), torch.unique(t, return_inverse=True, return_counts=True))
        if t.dim() == 2:
            same(mg.unique(m, dim=0, return_counts=True), torch.unique(t, dim=0, return_counts=True))
    (s, ms), (x, mx) = both([1.0, 2, 2, 5]), both([[0.0, 2, 6], [1, 5, 2]])
    for right in (False, True):
        same(mg.searchsorted(ms, mx, right=right), torch.searchsorted(s, x, right=right))
        same(mg.bucketize(mx, ms, right=right, out_int32=True), torch.bucketize(x, s, right=right, out_int32=True))


def test_batch_norm_updates_running_statistics_like_torch() -> None:
    rng = np.random.default_rng(2)
    t, m = both(rng.normal(size=(4, 3, 5)))
    stats = [both(rng.random(3) + 0.5) for _ in range(2)]
    want = torch.nn.functional.batch_norm(t, stats[0][0], stats[1][0], training=True, momentum=0.2)
    same(mg.nn.functional.batch_norm(m, stats[0][1], stats[1][1], training=True, momentum=0.2), want)
    for theirs, ours in stats:
        same(ours, theirs)


@pytest.mark.parametrize("row", [[math.inf, 0.0, 1.0], [-math.inf] * 3, [-math.inf, 0.0, 1.0], [math.nan, 0.0, 1.0]])
@pytest.mark.parametrize("target", [0, 1])
def test_cross_entropy_of_infinite_logits_is_that_of_log_softmax(row: list[float], target: int) -> None:
    found = []
    for m in (torch, mg):
        x = m.tensor([row, [1.0, 2.0, 3.0]], dtype=m.float64, requires_grad=True)
        loss = m.nn.functional.cross_entropy(x, m.tensor([target, 1]), reduction="none")
        loss.sum().backward()
        found.append((loss, x.grad))
    for want, got in zip(*found, strict=True):
        same(got, want)


def test_losses_with_nothing_that_counts_and_bad_classes() -> None:
    f = mg.nn.functional
    logits = mg.zeros(2, 3, requires_grad=True)
    loss = f.cross_entropy(logits, mg.tensor([-100, -100]))
    loss.backward()
    assert loss.isnan().item()
    assert logits.grad.tolist() == [[0.0] * 3] * 2
    for bad in ([0, 3], [-1, 0]):
        with pytest.raises(IndexError, match="out of bounds"):
            f.cross_entropy(logits, mg.tensor(bad))
    with pytest.raises(ValueError, match="batch_size"):
        f.nll_loss(logits, mg.tensor([0]))
    with pytest.raises(ValueError, match="reduction"):
        f.cross_entropy(logits, mg.tensor([0, 1]), reduction="average")
