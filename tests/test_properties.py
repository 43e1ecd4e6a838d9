"""Properties over generated inputs (hypothesis): broadcasting, strides, indexing against NumPy, views and in-place
laws, random DAGs.

Examples are derandomised (tests/conftest.py): a run repeats exactly, and hypothesis prints the smallest failing case.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from by_device import fewer

import minigrad as mg
from minigrad.autograd._gradcheck import gradcheck

pytest.importorskip("hypothesis", reason="the property tests need hypothesis")
from hypothesis import assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
FEW = settings(max_examples=fewer(60, 15))
MANY = settings(max_examples=fewer(150, 30))


def grid(shape: tuple[int, ...], start: float = 0.0) -> np.ndarray:
    """Distinct values."""
    return np.arange(start, start + int(np.prod(shape)), dtype=np.float64).reshape(shape)


def tensor(a: np.ndarray) -> Any:
    return mg.from_numpy(np.array(a, order="C"))


def view_ops(draw: Any, x: Any, a: np.ndarray) -> tuple[Any, np.ndarray]:
    """One random view op applied to a tensor and, alike, to a NumPy view of the same data."""
    kinds = ["transpose", "slice", "unsqueeze", "flatten"] if a.ndim else ["unsqueeze"]
    kind = draw(st.sampled_from(kinds))
    if kind == "transpose":
        i, j = draw(st.integers(0, a.ndim - 1)), draw(st.integers(0, a.ndim - 1))
        return x.transpose(i, j), a.swapaxes(i, j)
    if kind == "slice":
        dim = draw(st.integers(0, a.ndim - 1))
        start, step = draw(st.integers(0, a.shape[dim])), draw(st.integers(1, 3))
        key = (slice(None),) * dim + (slice(start, None, step),)
        return x[key], a[key]
    if kind == "unsqueeze":
        if a.ndim >= 5:
            return x, a
        dim = draw(st.integers(0, a.ndim))
        return x.unsqueeze(dim), np.expand_dims(a, dim)
    return (x.view(-1), a.reshape(-1)) if x.is_contiguous() else (x, a)


@st.composite
def views(draw: Any, min_side: int = 0) -> tuple[Any, np.ndarray, Any, np.ndarray]:
    """(base tensor, its array, a view reached by a few view ops, the same view of the array)."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=min_side, max_side=5))
    a = grid(shape, 1.0)
    x = tensor(a)
    base_x, base_a = x, a
    for _ in range(draw(st.integers(1, 4))):
        x, a = view_ops(draw, x, a)
    return base_x, base_a, x, a


# --- layout -----------------------------------------------------------------------------------------------------------
@MANY
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4, min_side=0), st.data())
def test_broadcasting_agrees_with_numpy(shapes: Any, data: Any) -> None:
    arrays = []
    for shape in shapes.input_shapes:
        base = grid(tuple(reversed(shape)), 1.0)
        arrays.append(
            (tensor(base).permute(tuple(reversed(range(base.ndim)))), base.T)
            if data.draw(st.booleans())
            else (tensor(base.T.copy()), base.T)
        )
    (x, a), (y, b) = arrays
    np.testing.assert_array_equal((x + y).numpy(), a + b)
    np.testing.assert_array_equal((x * y - x).numpy(), a * b - a)
    np.testing.assert_array_equal((x < y).numpy(), a < b)
    assert tuple((x + y).shape) == shapes.result_shape


@FEW
@given(SHAPES, SHAPES)
def test_shapes_that_do_not_broadcast_raise(s: tuple[int, ...], t: tuple[int, ...]) -> None:
    try:
        np.broadcast_shapes(s, t)
    except ValueError:
        with pytest.raises(RuntimeError):
            mg.zeros(s) + mg.zeros(t)
    else:
        assert tuple((mg.zeros(s) + mg.zeros(t)).shape) == np.broadcast_shapes(s, t)


@MANY
@given(views())
def test_pointwise_and_reductions_on_any_view(case: Any) -> None:
    _, _, x, a = case
    np.testing.assert_allclose(mg.exp(x * 0.1).numpy(), np.exp(a * 0.1), rtol=1e-14)
    np.testing.assert_allclose(float(x.sum()), a.sum(), rtol=1e-14)
    np.testing.assert_array_equal(x.contiguous().numpy(), a)
    np.testing.assert_array_equal(x.clone().numpy(), a)
    np.testing.assert_array_equal(x.to(mg.float32).numpy(), a.astype(np.float32))
    for dim in range(a.ndim):
        np.testing.assert_allclose(x.sum(dim).numpy(), a.sum(dim), rtol=1e-14)


DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
MIXED = ["add", "mul", "true_divide", "maximum", "eq", "lt", "where", "logical_xor", "atan2", "copysign"]


@MANY
@given(
    st.sampled_from(MIXED), st.sampled_from(DTYPES), st.sampled_from(DTYPES),
    hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4, min_side=0), st.booleans(),
)  # fmt: skip
def test_mixed_dtypes_on_broadcast_views_agree_with_torch(op: str, a: str, b: str, shapes: Any, flip: bool) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the reference of this test")
    found = []
    for module in (mg, torch):
        operands = []
        for name, shape in zip((a, b), shapes.input_shapes, strict=True):
            values = np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape) % 7 + 1
            t = module.from_numpy(np.array(values)).to(getattr(module, name))
            operands.append(t.permute(tuple(reversed(range(len(shape))))).contiguous().permute(
                tuple(reversed(range(len(shape))))) if flip else t)  # fmt: skip
        if op == "where":
            operands.insert(0, operands[0] > 3)
        found.append(getattr(module, op)(*operands))
    ours, theirs = found
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
    assert tuple(ours.shape) == tuple(theirs.shape)
    if all(shape == shapes.result_shape for shape in shapes.input_shapes) and ours.numel():
        assert ours.stride() == theirs.stride()
    np.testing.assert_allclose(
        ours.to(mg.float64).numpy(), theirs.to(torch.float64).numpy(), rtol=1e-2 if "float16" in f"{a}{b}" else 1e-6
    )


# --- views and in-place -----------------------------------------------------------------------------------------------
@MANY
@given(views())
def test_writing_through_a_view_is_seen_by_the_base_and_back(case: Any) -> None:
    x, a, view, a_view = case
    before = x._version
    view.mul_(2)
    a_view *= 2
    np.testing.assert_array_equal(x.numpy(), a)
    assert x._version == view._version > before
    x.add_(1)
    a += 1
    np.testing.assert_array_equal(view.numpy(), a_view)
    assert x._version == view._version


@FEW
@given(views(), st.sampled_from(["add", "mul", "sub", "neg", "exp", "clamp", "sigmoid", "relu", "copy"]))
def test_in_place_equals_out_of_place(case: Any, op: str) -> None:
    _, _, x, a = case
    arguments = {"add": (1.5,), "mul": (0.5,), "sub": (2.0,), "clamp": (2.0, 5.0), "copy": (mg.ones_like(x) * 3,)}.get(
        op, ()
    )
    expected = (mg.ones_like(x) * 3) if op == "copy" else getattr(mg, op)(x, *arguments)
    expected = expected.clone()
    result = getattr(x, op + "_")(*arguments)
    assert result is x
    np.testing.assert_array_equal(x.numpy(), expected.numpy())


@FEW
@given(views(min_side=1))
def test_gradient_through_in_place_on_a_view(case: Any) -> None:
    """y = x * 1; y[view] *= 3; the gradient of sum(y * w) is w, times 3 inside the view."""
    base, a, view, a_view = case
    leaf = tensor(a).requires_grad_()
    y = leaf * 1
    target = y.as_strided(tuple(view.shape), view.stride(), view.storage_offset())
    target.mul_(3)
    weights = grid(a.shape, 5.0)
    (y * tensor(weights)).sum().backward()
    inside = np.ones_like(a)
    np.lib.stride_tricks.as_strided(
        inside.reshape(-1)[view.storage_offset() :], a_view.shape, [s * 8 for s in view.stride()]
    )[...] = 3 if a_view.size else 1
    np.testing.assert_allclose(leaf.grad.numpy(), weights * inside)


@FEW
@given(views())
def test_a_saved_tensor_changed_in_place_is_reported(case: Any) -> None:
    _, _, view, _ = case
    assume(view.numel() > 0)
    leaf = mg.ones_like(view).requires_grad_()
    loss = (leaf * view).sum()  # saves view
    view.add_(1)
    with pytest.raises(RuntimeError, match="version"):
        loss.backward()


# --- indexing ---------------------------------------------------------------------------------------------------------
@st.composite
def keys(draw: Any, shape: tuple[int, ...]) -> Any:
    """A random key: ints, slices, None, Ellipsis, integer arrays and masks, as NumPy understands them."""
    key: list[Any] = []
    dims = list(shape)
    advanced = draw(st.booleans())
    length = draw(st.integers(1, 3))
    ellipsis_at = draw(st.integers(0, len(dims))) if draw(st.booleans()) else None
    used = draw(st.integers(0, len(dims)))
    for position, size in enumerate(dims[:used]):
        if position == ellipsis_at:
            key.append(Ellipsis)
            break
        kinds = ["int", "slice", "none"] if not advanced else ["int", "slice", "none", "array", "mask"]
        kind = draw(st.sampled_from(kinds))
        if kind == "none":
            key.append(None)
            kind = "slice"
        if kind == "int" and size:
            key.append(draw(st.integers(-size, size - 1)))
        elif kind == "array" and size:
            key.append(np.array(draw(st.lists(st.integers(-size, size - 1), min_size=length, max_size=length))))
        elif kind == "mask" and size >= length:
            mask = np.zeros(size, bool)
            mask[:length] = True
            key.append(mask)
        else:
            start, stop = draw(st.integers(-6, 6)), draw(st.one_of(st.none(), st.integers(-6, 6)))
            key.append(slice(start, stop, draw(st.integers(1, 3))))
    return tuple(key)


def as_tensor_key(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(mg.from_numpy(k.copy()) if isinstance(k, np.ndarray) else k for k in key)


@MANY
@given(st.data())
def test_indexing_agrees_with_numpy(data: Any) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    key = data.draw(keys(shape))
    a = grid(shape, 1.0)
    x = tensor(a)
    np.testing.assert_array_equal(x[as_tensor_key(key)].numpy(), a[key])
    expected, value = a.copy(), a[key] * -1.0
    expected[key] = value
    x[as_tensor_key(key)] = tensor(np.asarray(value)) if np.asarray(value).ndim else float(value)
    np.testing.assert_array_equal(x.numpy(), expected)
    expected[key] = 0
    x[as_tensor_key(key)] = 0
    np.testing.assert_array_equal(x.numpy(), expected)


@FEW
@given(st.data())
def test_gradient_of_indexing_counts_the_reads(data: Any) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    key = data.draw(keys(shape))
    a = grid(shape, 1.0)
    x = tensor(a).requires_grad_()
    picked = x[as_tensor_key(key)]
    picked.sum().backward()
    counts = np.zeros(shape)
    np.add.at(counts, key, 1.0)
    np.testing.assert_array_equal(x.grad.numpy(), counts)


@FEW
@given(st.data())
def test_out_of_range_ints_raise_index_error(data: Any) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    dim = data.draw(st.integers(0, len(shape) - 1))
    bad = data.draw(st.sampled_from([shape[dim], -shape[dim] - 1, shape[dim] + 7]))
    with pytest.raises(IndexError):
        mg.zeros(shape)[(slice(None),) * dim + (bad,)]


# --- gradients of random expressions ----------------------------------------------------------------------------------
UNARY = ["sin", "tanh", "sigmoid", "exp", "square", "neg", "relu", "abs"]
BINARY = ["add", "mul", "sub", "maximum", "hypot"]


@st.composite
def programs(draw: Any) -> list[tuple[str, int, int, int]]:
    """A DAG: each step applies an op to earlier results (and sometimes transposes or sums a dim), so values are
    shared.
    """
    steps = []
    for k in range(draw(st.integers(2, 8))):
        op = draw(st.sampled_from([*UNARY, *BINARY, "sum0", "transpose", "slice"]))
        steps.append((op, draw(st.integers(0, k + 1)), draw(st.integers(0, k + 1)), draw(st.integers(0, 1))))
    return steps


def run_program(module: Any, steps: list[tuple[str, int, int, int]], x: Any, y: Any) -> Any:
    values = [x, y]
    for op, i, j, _ in steps:
        a, b = values[i], values[j]
        if op in UNARY:
            r = getattr(module, op)(a * 0.5 if op == "exp" else a)
        elif op in BINARY:
            r = getattr(module, op)(a, b + 3 if op == "hypot" else b)
        elif op == "sum0":
            r = a.sum(0, keepdim=True)
        elif op == "transpose":
            r = a.transpose(0, 1).transpose(0, 1) * 1.25
        else:
            r = a[:, 1:2] + b
        values.append(module.tanh(r))
    return functools.reduce(lambda s, t: s + t, (v.sum() for v in values[2:]))


@MANY
@given(programs())
def test_gradient_of_random_dags(steps: Any) -> None:
    rng = np.random.default_rng(3)
    start = [rng.uniform(-1, 1, (3, 4)), rng.uniform(-1, 1, (3, 4))]
    try:
        import torch
    except ImportError:
        leaves = [tensor(a).requires_grad_() for a in start]
        assert gradcheck(lambda *t: run_program(mg, steps, *t), leaves, fast_mode=True)
        return
    grads = []
    for module in (mg, torch):
        leaves = [module.from_numpy(a.copy()).requires_grad_() for a in start]
        loss = run_program(module, steps, *leaves)
        first = module.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
        live = [g for g in first if g is not None]
        second = module.autograd.grad(sum((g * g).sum() for g in live), leaves, allow_unused=True)
        grads.append([g.detach().numpy() if g is not None else np.zeros((3, 4)) for g in (*first, *second)])
    for ours, theirs in zip(*grads, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
