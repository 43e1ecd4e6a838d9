"""A program that writes to a tensor after saving it is an error in backward, and no more than that: the tensor and its history do not keep
each other alive. References: PyTorch's error; weak references for the lifetimes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest

import minigrad as mg
from minigrad import Tensor


class Square(mg.autograd.Function):
    """Saves its input."""

    @staticmethod
    def forward(ctx: mg.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: mg.autograd.function.FunctionCtx, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * g


class ExpInPlace(mg.autograd.Function):
    """Writes its input and saves what it became."""

    @staticmethod
    def forward(ctx: mg.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        x.exp_()
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: mg.autograd.function.FunctionCtx, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g * y


def _itself(x: Tensor) -> Tensor:
    y = x * 2
    y.mul_(y)
    return y


def _saved_result(x: Tensor) -> Tensor:
    y = x.exp()
    y.add_(y)
    return y


def _through_another(x: Tensor) -> Tensor:
    y = x * 2
    z = (y * y).sin()
    y.add_(z)
    return y


def _twice(x: Tensor) -> Tensor:
    y = x * 2
    z = y * y
    y.add_(1)
    y.add_(z)
    return y


def _view_saved(x: Tensor) -> Tensor:
    y = x * 2
    z = y[1:] * y[1:]
    y[:-1].add_(z)
    return y


def _base_saved(x: Tensor) -> Tensor:
    y = x * 2
    z = y * y
    v = y[:2]
    v.add_(z[:2])
    return y


def _without_gradient_before(x: Tensor) -> Tensor:
    y = mg.ones(4)
    z = x * y
    y.add_(z)
    return y


def _custom(x: Tensor) -> Tensor:
    y = x * 2
    y.add_(Square.apply(y))
    return y


def _compiled(x: Tensor) -> Tensor:
    y = x * 2
    y.add_(mg.compile(lambda t: t.sin() * t)(y))
    return y


def _recomputed(x: Tensor) -> Tensor:
    """gelu's result is not saved but made again from y."""
    y = x.expand(1 << 17, 4) * 2
    z = mg.nn.functional.gelu(y)
    y.add_(z * z)
    return y


ERRORS = [_itself, _saved_result, _through_another, _twice, _view_saved, _base_saved, _without_gradient_before, _custom, _compiled,
          _recomputed]  # fmt: skip


@pytest.mark.parametrize("program", ERRORS, ids=lambda f: f.__name__[1:])
def test_written_after_saving(program: Callable[[Tensor], Tensor]) -> None:
    x = mg.arange(4.0, requires_grad=True)
    y = program(x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    alive = weakref.ref(y)
    del y
    gc.collect()
    assert alive() is None


def test_without_backward() -> None:
    x = mg.arange(4.0, requires_grad=True)
    for program in ERRORS:
        y = program(x)
        alive = weakref.ref(y)
        del y
        gc.collect()
        assert alive() is None, program.__name__


def test_sizes_outlive_a_write() -> None:
    """cat needs only the sizes of what it joined: writing to it afterwards is no error, and no cycle."""
    x = mg.arange(4.0, requires_grad=True)
    y = x * 2
    y.add_(mg.cat([y, y])[4:])
    y.sum().backward()
    assert x.grad.tolist() == [4.0] * 4
    alive = weakref.ref(y)
    del y
    gc.collect()
    assert alive() is None


def test_saved_list_is_checked() -> None:
    """What a formula reads of a list of tensors is checked as a single tensor is."""
    x = mg.arange(4.0, requires_grad=True)
    a, b = x.reshape(2, 2) * 1, x.reshape(2, 2) * 1
    y = mg.block_diag(a, b).sum() + mg.linalg.multi_dot([a, b]).sum() + mg.einsum("ij,jk->ik", a, b).sum()
    b.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_dirty_result_saved() -> None:
    x = mg.arange(4.0, requires_grad=True)
    y = x * 2
    z = ExpInPlace.apply(y)
    (g,) = mg.autograd.grad(z.sum(), x, create_graph=True)
    assert mg.allclose(g, 2 * (2 * x).exp())
    (gg,) = mg.autograd.grad(g.sum(), x)
    assert mg.allclose(gg, 4 * (2 * x).exp())
    alive = weakref.ref(y)
    del y, z, g
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("program", ERRORS[:8], ids=lambda f: f.__name__[1:])
def test_traced(program: Callable[[Tensor], Tensor]) -> None:
    """Nothing of a trace stays alive either: as long as a handler lives, plans run call by call."""
    gc.collect()
    before = mg._core.handlers_alive()

    def step(x: Tensor) -> Tensor:
        y = program(x)
        y.sum().backward()
        return y

    gc.disable()  # and none has to be collected
    try:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            mg.compile(step)(mg.arange(4.0, requires_grad=True))
        compiled = mg.compile(program)
        for _ in range(3):
            compiled(mg.arange(4.0, requires_grad=True))
        assert mg._core.handlers_alive() == before
    finally:
        gc.enable()


def test_saved_index_is_checked() -> None:
    x, i = mg.arange(4.0, requires_grad=True), mg.tensor([0, 1])
    y = x[i]
    i.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
