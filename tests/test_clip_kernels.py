"""Gradient clipping and optimizer steps over all tensors in one pass: against PyTorch, with odd sizes, shared memory and NaN."""

import math

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")
SIZES = [(1,), (17, 3), (16384,), (), (40000,)]


def grads(M, dtype, scale=1.0):
    rng = np.random.default_rng(0)
    made = []
    for shape in SIZES:
        p = M.zeros(shape, dtype=getattr(M, dtype), requires_grad=True)
        p.grad = M.tensor(rng.standard_normal(shape) * scale, dtype=p.dtype)
        made.append(p)
    return made


def same(ours, theirs, tolerance):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [2.0, math.inf, 1.0, 3.0])
@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clip_grad_norm(dtype, order, limit):
    ours, theirs = grads(mg, dtype), grads(torch, dtype)
    a, b = (M.nn.utils.clip_grad_norm_(p, limit, order) for M, p in ((mg, ours), (torch, theirs)))
    assert a.dtype == getattr(mg, dtype) and a.shape == ()
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert math.isclose(float(a), float(b), rel_tol=tolerance)
    same(ours, theirs, tolerance)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite(bad):
    ours, theirs = grads(mg, "float32"), grads(torch, "float32")
    for p in (ours[4], theirs[4]):
        p.grad[12345] = bad
    for order in (2.0, math.inf):
        a, b = (M.nn.utils.get_total_norm([p.grad for p in ps], order) for M, ps in ((mg, ours), (torch, theirs)))
        assert np.array_equal(a.numpy(), b.numpy(), equal_nan=True)
    with pytest.raises(RuntimeError):
        mg.nn.utils.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    for M, ps in ((mg, ours), (torch, theirs)):
        M.nn.utils.clip_grad_value_(ps, 0.25)
    same(ours, theirs, 0)
    for M, ps in ((mg, ours), (torch, theirs)):
        ps[4].grad[12345] = bad
        M.nn.utils.clip_grad_norm_(ps, 1.0)
    same(ours, theirs, 1e-6)


def test_no_elements():
    p = mg.zeros(0, requires_grad=True)
    p.grad = mg.zeros(0)
    assert float(mg.nn.utils.clip_grad_norm_([p], 1.0)) == 0.0 and float(mg.nn.utils.clip_grad_norm_([], 1.0)) == 0.0


def test_writes_are_seen_by_autograd():
    p = mg.ones(4, requires_grad=True)
    p.grad = mg.ones(4)
    version = p.grad._version
    mg.nn.utils.clip_grad_norm_([p], 1.0)
    mg.nn.utils.clip_grad_value_([p], 0.1)
    assert p.grad._version > version + 1


def test_other_tensors_go_one_by_one():
    ours, theirs = [], []
    for M, found in ((mg, ours), (torch, theirs)):
        shared = M.ones(6)
        for grad in (M.ones(4, 3).t(), shared, shared, shared[:3]):  # strided; the same memory several times
            p = M.zeros(grad.shape, requires_grad=True)
            p.grad = grad
            found.append(p)
        M.nn.utils.clip_grad_norm_(found, 1.0)
        M.nn.utils.clip_grad_value_(found, 0.01)
    same(ours, theirs, 1e-6)


def test_same_bits_for_one_and_two_threads():
    before, found = mg.get_num_threads(), []
    try:
        for threads in (1, 2):
            mg.set_num_threads(threads)
            params = grads(mg, "float32", 3.0)
            norm = mg.nn.utils.clip_grad_norm_(params, 1.0)
            optimizer = mg.optim.AdamW(params, lr=0.1)
            optimizer.step()
            found.append([norm.numpy(), *(p.grad.numpy() for p in params), *(p.detach().numpy() for p in params)])
    finally:
        mg.set_num_threads(before)
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_a_parameter_listed_twice_is_stepped_twice(name):
    results = []
    for M in (mg, torch):
        p = M.ones(5, requires_grad=True)
        p.grad = M.ones(5)
        with pytest.warns(UserWarning, match="duplicate"):
            optimizer = getattr(M.optim, name)([p, p], lr=0.1)
        optimizer.step()
        results.append(p.detach().numpy())
    np.testing.assert_allclose(*results, rtol=1e-5)
