"""Indexing, scatter, masks, embedding: values, order of duplicates, layouts, indices out of range."""

from __future__ import annotations

import pytest
from helpers import close, equal, layouts

import minigrad as mg

DTYPES = (mg.float32, mg.float64, mg.bfloat16, mg.int32, mg.int64, mg.bool, mg.complex64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_read(dtype: mg.dtype) -> None:
    x, i, j = (mg.arange(60).reshape(6, 10) % 7).to(dtype), mg.tensor([5, 0, 5, -1]), mg.tensor([[3], [9]])
    for d in layouts(x):
        equal(d[i.cuda()], x[i])
        equal(d[:, i.cuda()], x[:, i])
        equal(d[i.cuda(), j.cuda()], x[i, j])
        equal(d[i], x[i])  # an index list on the CPU
        equal(d.index_select(1, i.abs().cuda()), x.index_select(1, i.abs()))
        equal(d.gather(0, j.cuda().T % 6), x.gather(0, j.T % 6))
        equal(d[(x != 0).cuda()], x[x != 0])
        equal(mg.nonzero(d), mg.nonzero(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_written_in_order(dtype: mg.dtype) -> None:
    x, i, v = (mg.arange(24).reshape(6, 4) % 5).to(dtype), mg.tensor([2, 0, 2, 2, 5]), (mg.arange(20).reshape(5, 4) % 3).to(dtype)
    for d in layouts(x):
        equal(d.index_copy(0, i.cuda(), v.cuda()), x.index_copy(0, i, v))
        equal(d.index_add(0, i.cuda(), v.cuda()), x.index_add(0, i, v))
        equal(d.index_fill(1, i[:2].cuda(), 1), x.index_fill(1, i[:2], 1))
        equal(d.index_put((i.cuda(),), v.cuda(), accumulate=True), x.index_put((i,), v, accumulate=True))
        a, b = d.clone(), x.clone()
        a[i.cuda()], b[i] = v.cuda(), v
        equal(a, b)


@pytest.mark.parametrize("reduce", ("sum", "prod", "mean", "amax", "amin"))
@pytest.mark.parametrize("include_self", (True, False))
@pytest.mark.parametrize("dim", (0, 1))
def test_scatter_reduce(reduce: str, include_self: bool, dim: int) -> None:
    x, i, v = mg.randn(5, 6), mg.randint(0, 5, (4, 6)), mg.randn(4, 6)
    close(
        x.cuda().scatter_reduce(dim, i.cuda(), v.cuda(), reduce, include_self=include_self),
        x.scatter_reduce(dim, i, v, reduce, include_self=include_self),
    )


def test_scatter_layouts_and_many_columns() -> None:
    x, i, v = mg.zeros(3, 700), mg.randint(0, 3, (2, 700)), mg.randn(2, 700)
    equal(x.cuda().scatter(0, i.cuda(), v.cuda()), x.scatter(0, i, v))  # a thread a column
    equal(x.cuda().mT.scatter(1, i.cuda().mT, v.cuda().mT), x.mT.scatter(1, i.mT, v.mT))
    equal(mg.zeros(9).cuda().scatter(0, mg.tensor([4, 4, 1]).cuda(), 2.5), mg.zeros(9).scatter(0, mg.tensor([4, 4, 1]), 2.5))
    equal(mg.zeros(4).cuda().scatter_add(0, i[0].cuda(), v[0].cuda()), mg.zeros(4).scatter_add(0, i[0], v[0]))  # in order: the same bits


def test_gradients_repeat_exactly() -> None:
    w, i = mg.randn(10, 8), mg.randint(0, 10, (300,))
    results = []
    for where in ("cpu", "cuda", "cuda"):
        leaf = w.to(where).detach().requires_grad_()
        mg.nn.functional.embedding(i.to(where), leaf, padding_idx=3).square().sum().backward()
        results.append(leaf.grad)
    close(results[1], results[0])
    equal(results[2], results[1].cpu())


def test_masks_and_counts() -> None:
    x, m = mg.randn(5, 7), mg.randn(7) > 0
    equal(x.cuda().masked_fill(m.cuda(), 2.0), x.masked_fill(m, 2.0))
    equal(x.cuda().mT.masked_fill(m.cuda()[:, None], mg.tensor(3.0)), x.mT.masked_fill(m[:, None], 3.0))
    i, w = mg.randint(0, 9, (50,)), mg.randn(50)
    equal(mg.bincount(i.cuda(), minlength=12), mg.bincount(i, minlength=12))
    equal(mg.bincount(i.cuda(), w.cuda()), mg.bincount(i, w))
    equal(mg.repeat_interleave(i.cuda()), mg.repeat_interleave(i))
    equal(mg.nonzero(mg.zeros(0, 3).cuda()), mg.nonzero(mg.zeros(0, 3)))


@pytest.mark.parametrize(
    ("call", "error"),
    (
        (lambda x, i: x[i], IndexError),
        (lambda x, i: x.index_select(0, i), IndexError),
        (lambda x, i: x.index_add(0, i, mg.ones(1, 4).cuda()), IndexError),
        (lambda x, i: x.gather(0, i[:, None]), RuntimeError),
        (lambda x, i: x.scatter(0, i[:, None], 1.0), RuntimeError),
        (lambda x, i: mg.nn.functional.embedding(i, x), IndexError),
    ),
)
def test_out_of_range(call: object, error: type[Exception]) -> None:
    x = mg.arange(12.0).reshape(3, 4).cuda()
    result = call(x, mg.tensor([3]).cuda())  # type: ignore[operator]
    with pytest.raises(error, match="out of bounds"):
        result.cpu()
    equal(x, mg.arange(12.0).reshape(3, 4))
