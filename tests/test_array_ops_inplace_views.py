"""squeeze_, t_, as_strided_, resize_ …: the tensor changes its geometry, and gradients follow (compared with PyTorch)."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch", reason="PyTorch is the reference of these tests")

CHANGES = {
    "squeeze_": lambda x: x.squeeze_(0),
    "squeeze_all": lambda x: x.squeeze_(),
    "unsqueeze_": lambda x: x.unsqueeze_(1),
    "transpose_": lambda x: x.transpose_(1, 2),
    "swapaxes_": lambda x: x.swapaxes_(0, 2),
    "swapdims_": lambda x: x.swapdims_(0, 1),
    "as_strided_": lambda x: x.as_strided_((2, 2), (1, 2)),
    "two": lambda x: x.squeeze_(0).t_(),
}


def run(module: object, values: np.ndarray, change: object, where: str) -> list[np.ndarray]:
    leaf = module.tensor(values, requires_grad=True)
    x = leaf * 2
    if where == "view":
        base = x.reshape(-1).clone()
        x = base.view(x.shape)
    sibling = x.view(-1)
    y = change(x)
    assert y is x
    weights = module.tensor(np.linspace(1.0, 2.0, x.numel()).reshape(tuple(x.shape)))
    loss = (x * weights).sum()
    if where == "view":
        loss = loss + base.sum() * 3
    if where == "sibling":
        loss = loss + (sibling * sibling).sum()
    if where == "written":
        x.mul_(3)
        loss = (x * weights).sum() + sibling.sum()
    (grad,) = module.autograd.grad(loss, leaf)
    return [x.detach().numpy(), grad.numpy()]


@pytest.mark.parametrize("where", ["plain", "view", "sibling", "written"])
@pytest.mark.parametrize("name", list(CHANGES))
def test_gradients_follow(name: str, where: str) -> None:
    values = np.random.default_rng(0).normal(size=(1, 3, 4))
    if where == "written" and name == "as_strided_":
        where = "plain"
    ours, theirs = (run(m, values, CHANGES[name], where) for m in (mg, torch))
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_second_derivative() -> None:
    x = mg.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    y = (x * x).squeeze_().mul_(2)
    (g,) = mg.autograd.grad((y * y).sum(), x, create_graph=True)
    (h,) = mg.autograd.grad(g.sum(), x)
    assert h.tolist() == [[48 * v * v for v in (1.0, 2.0, 3.0)]]


def test_leaf_that_requires_grad_raises() -> None:
    x = mg.zeros(1, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        x.squeeze_()
    with pytest.raises(RuntimeError, match="leaf"):
        x[0].unsqueeze_(0)
    with mg.no_grad():
        x.squeeze_()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_saved_tensor_is_noticed() -> None:
    x = mg.randn(2, 3, requires_grad=True) * 1
    y = x * x
    x.t_()
    with pytest.raises(RuntimeError, match="modified"):
        y.sum().backward()


def test_views_without_gradients() -> None:
    base = mg.arange(6)
    v = base.view(2, 3)
    assert v.t_().tolist() == [[0, 3], [1, 4], [2, 5]]
    v[0, 1] = 9
    assert base.tolist() == [0, 1, 2, 9, 4, 5]
    w = base[2:].unsqueeze_(0)
    assert w.tolist() == [[2, 9, 4, 5]]
    base.unsqueeze_(0)
    assert v.tolist() == [[0, 9], [1, 4], [2, 5]]


def test_errors_leave_the_tensor_alone() -> None:
    x = mg.zeros(2, 3)
    for change in (lambda: x.transpose_(0, 5), lambda: x.unsqueeze_(9), lambda: x.as_strided_((9, 9), (9, 9))):
        with pytest.raises((IndexError, RuntimeError)):
            change()
        assert tuple(x.shape) == (2, 3)


def test_resize_grows_the_storage_for_all_its_views() -> None:
    base = mg.arange(4)
    view = base[2:]
    view.resize_(4)
    assert view.tolist()[:2] == [2, 3]
    view[0] = 7
    assert base.tolist() == [0, 1, 7, 3]
    base.resize_(2, 1)
    assert base.tolist() == [[0], [1]]
    assert base.resize_as_(mg.zeros(3)).tolist() == [0, 1, 7]
    with pytest.raises(RuntimeError, match="require"):
        mg.zeros(2, requires_grad=True).resize_(3)
    with pytest.raises(RuntimeError):
        base.resize_(-1)


DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool")


@pytest.mark.parametrize("target", DTYPES[:-1])  # bytes other than 0 and 1 make no bool
@pytest.mark.parametrize("source", DTYPES)
def test_view_as_another_dtype(source: str, target: str) -> None:
    values = np.arange(48).reshape(2, 3, 8) % 2
    for part in (lambda x: x, lambda x: x[1:], lambda x: x[:, :, 4:], lambda x: x[:, 1], lambda x: x[0, 0, 1:]):
        a, b = part(mg.tensor(values, dtype=getattr(mg, source))), part(torch.tensor(values, dtype=getattr(torch, source)))
        try:
            theirs = b.view(getattr(torch, target))
        except RuntimeError:
            with pytest.raises(RuntimeError):
                a.view(getattr(mg, target))
            continue
        ours = a.view(getattr(mg, target))
        assert tuple(ours.shape) == tuple(theirs.shape) and ours.stride() == theirs.stride()
        assert ours.storage_offset() == theirs.storage_offset()
        assert bytes(ours.contiguous().numpy().tobytes()) == theirs.contiguous().numpy().tobytes()


def test_view_dtype_shares_memory_and_stops_gradients() -> None:
    x = mg.zeros(2)
    x.view(mg.int32)[0] = 0x3F800000
    assert x.tolist() == [1.0, 0.0]
    assert x.view(dtype=mg.uint8).shape == (8,)
    y = mg.ones(2, requires_grad=True) * 2
    assert not y.view(mg.int32).requires_grad
    with pytest.raises(RuntimeError):
        mg.tensor(1.0).view(mg.float64)


def test_inside_vmap() -> None:
    x = mg.arange(6.0).view(3, 1, 2)
    ours = mg.func.vmap(lambda row: (row * 1).squeeze_(0).mul_(2))(x)
    assert ours.tolist() == [[0.0, 2.0], [4.0, 6.0], [8.0, 10.0]]
    with pytest.raises(RuntimeError, match="vmap"):
        mg.func.vmap(lambda row: (row * 1).resize_(1))(x)
