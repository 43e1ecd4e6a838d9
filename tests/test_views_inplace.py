"""Views and in-place writes: data, version counters and gradients follow PyTorch's rules exactly."""

from __future__ import annotations

import pytest
from twins_engine import leaf, same

import minigrad as mg

torch = pytest.importorskip("torch", reason="needs torch==2.13.0 as reference")


def write_through_view(m):
    x = leaf(m, [[1.0, 2.0], [3.0, 4.0]])
    y = x * 1
    v = y[0]
    v.mul_(10)
    (y * y).sum().backward()
    return [y, v, x.grad]


def write_base_seen_by_view(m):
    x = leaf(m, [[1.0, 2.0], [3.0, 4.0]])
    y = x * 1
    v = y[:, 1]
    y.mul_(3)
    (v * v).sum().backward()
    return [v, x.grad]


def sibling_views(m):
    x = leaf(m, [1.0, 2.0, 3.0, 4.0])
    y = x.clone()
    a, b = y[:3], y[1:]
    a.mul_(2)
    b.add_(a[0])
    (y * b.sum()).sum().backward()
    return [y, a, b, x.grad]


def view_of_view(m):
    x = leaf(m, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    y = x * 2
    v = y.t()[1:].reshape(4)[::3] if m is None else y.t()[1:]
    w = v[0]
    w.sub_(1)
    v.mul_(w.sum().detach())
    (y.sum() * v.sum()).backward()
    return [y, v, w, x.grad]


def constant_base_gets_history(m):
    w = leaf(m, [5.0, 6.0])
    z = m.zeros(2, 2, dtype=m.float64)
    z[0] = w
    z[1, 1] = w[0] * 2
    (z * z).sum().backward()
    return [z, w.grad, z.requires_grad]


def setitem_of_masks_and_lists(m):
    w = leaf(m, [5.0, 6.0])
    z = m.ones(4, dtype=m.float64) * w[0]
    z[[0, 2]] = w * 3
    z[z > 14.5] = 1.0
    z.sum().backward()
    return [z, w.grad]


def inplace_on_saved_output_is_fine_when_formula_uses_it_later(m):
    x = leaf(m, [1.0, -2.0])
    y = (x * 2).relu_()
    y.sum().backward()
    return [x.grad, y]


def inplace_mul_saves_the_old_value(m):
    x, w = leaf(m, [1.0, 2.0]), leaf(m, [3.0, 4.0])
    y = x * 1
    y.mul_(w)
    y.sum().backward()
    return [x.grad, w.grad]


def inplace_chain(m):
    x = leaf(m, [0.1, 0.2, 0.3])
    y = x * 2
    y.mul_(2).add_(x).div_(3).sub_(1).sigmoid_()
    y.sum().backward()
    return [y, x.grad]


def operators_in_place(m):
    x = leaf(m, [1.0, 2.0])
    y = x * 1
    y += x
    y *= 2
    y -= 1
    y /= x
    y **= 2
    y.sum().backward()
    return [y, x.grad]


def copy_broadcasts_and_casts(m):
    x = leaf(m, [1.0, 2.0], "float32")
    z = m.zeros(3, 2, dtype=m.float64)
    z.copy_(x)
    z.sum().backward()
    return [z, x.grad.double()]


def fill_and_zero_cut_history(m):
    x = leaf(m, [[1.0, 2.0], [3.0, 4.0]])
    y = x * 2
    y[0].fill_(7)
    y[1, 0:1].zero_()
    (y * y).sum().backward()
    return [y, x.grad]


def write_in_no_grad(m):
    x = leaf(m, [1.0, 2.0])
    with m.no_grad():
        x.add_(1)
        x[0] = 5
    (x * x).sum().backward()
    return [x, x.grad, x._version]


def versions(m):
    x = m.zeros(4)
    v, d = x[1:], x.detach()
    seen = [x._version]
    v.add_(1)
    seen += [x._version, v._version, d._version]
    x.data.add_(1)
    seen += [x._version]
    d.mul_(2)
    seen += [x._version]
    return seen


def double_backward_through_in_place_view(m):
    x = leaf(m, [0.5, 1.5, 2.5])
    y = x * x
    y[1:].mul_(x[:2])
    (g,) = m.autograd.grad((y**2).sum(), x, create_graph=True)
    (g2,) = m.autograd.grad(g.sum(), x)
    return [g, g2]


def unsqueeze_expand_permute(m):
    x = leaf(m, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    y = x.clone()
    v = y.permute(1, 0).unsqueeze(0)
    v.mul_(m.tensor([2.0, 3.0], dtype=m.float64))
    w = y.expand(4, 2, 3)
    (w * w).sum().backward()
    return [y, x.grad, v.is_contiguous(), w.is_contiguous()]


def leaf_views_need_no_grad(m):
    x = leaf(m, [1.0, 2.0])
    v = x[0:1]
    return [v.requires_grad, v.is_leaf, x.is_leaf, (v * 2).is_leaf]


PROGRAMS = [
    write_through_view, write_base_seen_by_view, sibling_views, view_of_view, constant_base_gets_history,
    setitem_of_masks_and_lists, inplace_on_saved_output_is_fine_when_formula_uses_it_later,
    inplace_mul_saves_the_old_value, inplace_chain, operators_in_place, copy_broadcasts_and_casts,
    fill_and_zero_cut_history, write_in_no_grad, versions, double_backward_through_in_place_view,
    unsqueeze_expand_permute, leaf_views_need_no_grad,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_program_matches_torch(program):
    """Values, gradients, flags and versions agree with torch."""
    same(program)


def stale_input(m):
    x = leaf(m, [1.0, 2.0])
    y = x * 1
    z = y * y
    y.add_(1)
    z.sum().backward()


def stale_through_view(m):
    x = leaf(m, [1.0, 2.0])
    y = x * 1
    z = (y * y).sum()
    y[0] = 3
    z.backward()


def leaf_view(m):
    leaf(m, [1.0, 2.0])[0].add_(1)


def no_grad_view(m):
    x = leaf(m, [1.0, 2.0])
    y = x * 1
    with m.no_grad():
        v = y[0]
    v.add_(1)


def expanded(m):
    m.zeros(1).expand(3).add_(m.ones(3))


def broadcast_into_smaller(m):
    m.zeros(3).add_(m.ones(2, 3))


def float_into_int(m):
    m.zeros(3, dtype=m.int64).add_(1.5)


def out_requires_grad(m):
    m.add(leaf(m, [1.0]), 1, out=m.empty(1, dtype=m.float64))


REFUSED = [stale_input, stale_through_view, leaf_view, no_grad_view, expanded, broadcast_into_smaller, float_into_int]


@pytest.mark.parametrize("program", [*REFUSED, out_requires_grad], ids=lambda p: p.__name__)
def test_refused_by_both(program):
    """RuntimeError in both libraries."""
    for m in (mg, torch):
        with pytest.raises(RuntimeError):
            program(m)


def test_failed_in_place_leaves_everything_as_it_was():
    """Division by zero half-way: data and version are untouched."""
    x = mg.arange(1, 5000)
    divisor = mg.ones(4999, dtype=mg.int64)
    divisor[4000] = 0
    before, version = x.clone(), x._version
    with pytest.raises(RuntimeError, match="ZeroDivision"):
        x.floor_divide_(divisor)
    assert (x == before).all() and x._version == version


def test_overlapping_in_place_reads_the_old_values():
    """x[1:] += x[:-1] must not chase its own writes."""
    x = mg.arange(10)
    x[1:] += x[:-1]
    assert x.tolist() == [0, 1, 3, 5, 7, 9, 11, 13, 15, 17]
    y = mg.arange(10)
    y[1:].copy_(y[:-1])
    assert y.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_out_resizes_and_casts():
    """out= of another shape is resized, of a wider dtype is cast into."""
    out = mg.empty(0, dtype=mg.float64)
    got = mg.add(mg.tensor([1.0, 2.0]), 1, out=out)
    assert got is out and out.tolist() == [2.0, 3.0] and out.dtype == mg.float64
    with pytest.raises(RuntimeError, match="can't be cast"):
        mg.add(mg.tensor([1.0]), 1, out=mg.empty(1, dtype=mg.int32))
