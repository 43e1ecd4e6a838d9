"""minigrad.func.vmap: dimensions, nests, what needs a value, in-place writes, randomness, indexing, the fallback."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import numpy as np
import pytest
from func_helpers import close, randn

import minigrad as mg
from minigrad.func import grad, jacfwd, jacrev, vmap

F = mg.nn.functional


# --- vmap -----------------------------------------------------------------------------------------------------------------
def test_vmap_dims() -> None:
    x, y = randn(2, 3, 4), randn(4, 3)
    close(vmap(lambda a, b: a + b, in_dims=(2, 0))(x, y), x.movedim(2, 0) + y[:, None])
    close(vmap(lambda a, b: a + b, in_dims=(-1, 0), out_dims=1)(x, y), (x.movedim(2, 0) + y[:, None]).movedim(0, 1))
    close(vmap(lambda a, b: a * b, in_dims=(0, None))(y, y[0]), y * y[0])
    a, b = vmap(lambda p: (p["x"], p["y"][0] * 2), in_dims=({"x": 0, "y": (1,)},), out_dims=(0, -1))({"x": y, "y": (randn(3, 4),)})
    assert a.shape == (4, 3) and b.shape == (3, 4)
    close(vmap(lambda a: mg.ones(2, dtype=mg.float64))(y), mg.ones(4, 2, dtype=mg.float64))
    assert vmap(lambda a: mg.ones(2), out_dims=None)(y).shape == (2,)
    close(vmap(lambda a, k=None: a + k)(y, k=y[0]), y + y[0])  # keyword arguments are not mapped
    close(vmap(vmap(mg.dot))(x, x), (x * x).sum(-1))
    close(vmap(vmap(lambda a, b: a * b, in_dims=(0, None)), in_dims=(None, 0))(y[:, 0], y[0]), y[0][:, None] * y[:, 0])
    close(vmap(vmap(lambda a: a.sum(), in_dims=1), in_dims=2)(x), x.sum(0).mT)
    for chunk in (1, 2, 3, 10):
        close(vmap(lambda a: (a * 2, a.sum()), out_dims=(1, 0), chunk_size=chunk)(y), ((2 * y).mT, y.sum(1)))
    assert vmap(lambda a: a * 2)(mg.zeros(0, 3)).shape == (0, 3)
    assert vmap(lambda a: a.sum())(mg.zeros(0, 3)).shape == (0,)


def test_vmap_errors() -> None:
    x = randn(2, 3)
    for bad, match in (
        (lambda: vmap(mg.sin)(), "no inputs"),
        (lambda: vmap(mg.sin, in_dims=(None,))(x), "at least one"),
        (lambda: vmap(mg.sin, in_dims=(0, 0))(x), "structure"),
        (lambda: vmap(mg.sin, in_dims=2)(x), "dimensionality"),
        (lambda: vmap(mg.add)(x, randn(3)), "same size"),
        (lambda: vmap(lambda a, b: a * b)(x, 2), "non-Tensor"),
        (lambda: vmap(mg.sin, in_dims="0")(x), "in_dims"),
        (lambda: vmap(lambda a: 3)(x), "must only return Tensors"),
        (lambda: vmap(mg.sin, out_dims=None)(x), "out_dim is None"),
        (lambda: vmap(mg.sin, out_dims=(0, 0))(x), "out_dims"),
        (lambda: vmap(mg.sin, chunk_size=0)(x), "chunk_size"),
    ):
        with pytest.raises(ValueError, match=match):
            bad()
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(mg.sin, randomness="maybe")


NEEDS_VALUE = {
    "if": lambda a: a if a.sum() > 0 else -a,
    "item": lambda a: a.sum().item(),
    "float": lambda a: float(a[0]),
    "int": lambda a: int(a[0]),
    "tolist": lambda a: a.tolist(),
    "numpy": lambda a: a.numpy(),
    "asarray": lambda a: np.asarray(a),
    "dlpack": lambda a: mg.from_dlpack(a),
    "data_ptr": lambda a: a.data_ptr(),
    "mask": lambda a: a[a > 0],
    "nonzero": lambda a: a.nonzero(),
    "unique": lambda a: mg.unique(a),
    "masked_select": lambda a: a.masked_select(a > 0),
    "tensor": lambda a: mg.tensor(a),
    "list": lambda a: mg.tensor([a[0], a[1]]),
    "in": lambda a: 1.0 in a,
    "index": lambda a: [1, 2, 3][a[0].long()],
    "pickle": lambda a: __import__("pickle").dumps(a),
    "allclose": lambda a: mg.allclose(a, a),
}


@pytest.mark.parametrize("name", NEEDS_VALUE)
def test_values_are_not_available_inside(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"vmap.*Try"):
        vmap(NEEDS_VALUE[name])(randn(2, 3))
    assert vmap(mg.sin)(randn(2, 3)).shape == (2, 3)  # nothing is left behind


def test_repr_and_escape() -> None:
    kept: list = []
    vmap(lambda a: kept.append(a) or a)(randn(2, 3))
    assert "BatchedTensor(lvl=1" in repr(kept[0])
    for use in (lambda t: t + 1, lambda t: t.sum(), lambda t: t[0]):
        with pytest.raises(RuntimeError, match="escaped"):
            use(kept[0])
    with pytest.raises(RuntimeError):
        kept[0][0].item()
    kept.clear()
    close(mg.ones(2) + 1, mg.full((2,), 2.0))


def test_no_handler_stays_alive() -> None:
    """A handler left over would send every later op the slow way."""
    x = randn(2, 3)
    gc.collect()
    before = mg._core.handlers_alive()
    vmap(vmap(lambda a: a * 2))(x)
    vmap(grad(lambda a: (a**2).sum()))(x)
    with pytest.raises(RuntimeError):
        vmap(lambda a: a.item())(x)
    with pytest.raises(RuntimeError):
        vmap(grad(lambda a: vmap(lambda b: float(b))(a)))(x)
    with pytest.raises(RuntimeError):
        vmap(lambda a: mg.tensor([a[0], a[1]]))(x)
    gc.collect()
    assert mg._core.handlers_alive() == before and mg._core.vmap_depth() == 0


def test_inplace() -> None:
    x, y = randn(2, 3), randn(2, 3, seed=4)

    def f(a: Any, b: Any) -> Any:
        c = a.clone()
        c += b
        c[0] = 7.0
        c[1:].mul_(b[1:])
        c[2] = b[0]
        return c

    want = mg.stack([f(a, b) for a, b in zip(x, y)])
    close(vmap(f)(x, y), want)
    z = x.clone()
    vmap(lambda a, b: a.add_(b))(z, y)  # the caller's tensor is written
    close(z, x + y)
    buffer = mg.zeros(3, dtype=mg.float64)
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        vmap(lambda a: buffer.add_(a))(x)
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        vmap(lambda a: buffer[0].copy_(a[0]))(x)
    close(vmap(lambda a: a.new_zeros(3).add_(mg.zeros_like(a).add_(a)))(x), x)
    with pytest.raises(RuntimeError, match="out="):
        vmap(lambda a: mg.add(a, a, out=mg.empty(3, dtype=mg.float64)))(x)

    def loss(a: Any) -> Any:
        c = a * 2
        c[1] = a[0] * a[2]
        c[2:].mul_(a[0])
        return (c * c).sum()

    close(vmap(grad(loss))(x), mg.stack([grad(loss)(r) for r in x]))
    close(grad(lambda v: vmap(loss)(v).sum())(x), mg.stack([grad(loss)(r) for r in x]))


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_gradients_of_writes_in_other_layouts(dim: int) -> None:
    """The gradient of a write walks the base's memory layout, whatever the batch dimension and the order of the base's dims."""
    x, c = randn(3, 4, 5), randn(5, 4, seed=7)

    def f(a: Any) -> Any:
        y = a.T * 2
        y[1] = a[:, 0] * a[:, 2]
        y[:, 2].mul_(a[0, 0])
        return y * y * c

    want = mg.stack([grad(lambda b: f(b).sum())(a) for a in x])
    moved = x.movedim(0, dim).contiguous()
    close(vmap(grad(lambda b: f(b).sum()), in_dims=dim)(moved), want)
    close(grad(lambda v: vmap(f, in_dims=dim)(v).sum())(moved).movedim(dim, 0), want)
    close(jacrev(f)(x[0]), jacfwd(f)(x[0]))
    close(jacrev(f)(x[0]).sum((0, 1)), want[0])


def test_randomness() -> None:
    x = mg.zeros(5, 8)
    for draw in (
        lambda a: mg.rand(3),
        lambda a: mg.randn(3),
        lambda a: mg.randint(1000000, (3,)),
        lambda a: mg.rand_like(a),
        lambda a: mg.randperm(50),
        lambda a: a.clone().uniform_(),
        lambda a: mg.bernoulli(mg.full((40,), 0.5)),
        lambda a: F.dropout(mg.ones(64)),
    ):
        with pytest.raises(RuntimeError, match="randomness"):
            vmap(draw)(x)
        same = vmap(draw, randomness="same")(x)
        different = vmap(draw, randomness="different")(x)
        assert same.shape == different.shape and same.shape[0] == 5
        assert all(mg.equal(same[0], r) for r in same)
        assert not any(mg.equal(different[0], r) for r in different[1:])
    dropped = vmap(lambda a: F.dropout(a + 1), randomness="same")(x)
    assert mg.equal(dropped[0], dropped[1]) and set(dropped.unique().tolist()) == {0.0, 2.0}
    with pytest.raises(RuntimeError, match="same for all"):
        vmap(lambda a: mg.zeros(3).uniform_(), randomness="different")(x)
    nested = vmap(vmap(lambda a: mg.rand(2), randomness="different"), randomness="same")(mg.zeros(3, 4))
    assert mg.equal(nested[0], nested[1]) and not mg.equal(nested[0, 0], nested[0, 1])


def test_fallback_warns_once() -> None:
    from minigrad.func import _batch

    _batch._warned.discard("_nll_loss")
    x, w, t = randn(3, 4, 5), randn(3, 5).abs(), mg.tensor([0, 1, 2, 4])
    loss = lambda a, b: F.nll_loss(a, t, b)  # noqa: E731
    with pytest.warns(UserWarning, match="performance drop"):
        got = vmap(loss)(x, w)
    close(got, mg.stack([loss(a, b) for a, b in zip(x, w)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vmap(loss)(x, w)


def test_indexing() -> None:
    x, i = randn(3, 4, 5), mg.tensor([[0, 1], [2, 2], [1, 1]])
    cases = (
        lambda a, k: a[k],
        lambda a, k: a[:, k],
        lambda a, k: a[k, k],
        lambda a, k: a[k[0]],
        lambda a, k: a[1:, k[0]],
        lambda a, k: a[None, k],
        lambda a, k: a[k[:, None], k],
        lambda a, k: mg.where(a > 0, a, 0.0),
        lambda a, k: a[[0, 2]],
        lambda a, k: a[..., [1, 2]],
        lambda a, k: a[[0, 1], :, None],
        lambda a, k: a.take_along_dim(k[:, None], 0),
        lambda a, k: a.index_select(1, k),
        lambda a, k: x[k[0]],
        lambda a, k: x[:, k, k[0]],
        lambda a, k: x[k, :, k],
    )
    for f in cases:
        close(vmap(f)(x, i), mg.stack([f(a, k) for a, k in zip(x, i)]))
        scalar = lambda a, k, f=f: (f(a, k) ** 2).sum()  # noqa: E731
        close(vmap(grad(scalar))(x, i), mg.stack([grad(scalar)(a, k) for a, k in zip(x, i)]))

    def put(a: Any, k: Any) -> Any:
        b = a.clone()
        b[k] = 0.0
        b[:, k] = a[0, 0]
        return b

    close(vmap(put)(x, i), mg.stack([put(a, k) for a, k in zip(x, i)]))
