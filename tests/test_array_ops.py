"""Array ops whose subtleties the generated tests do not reach: NaN, ties, empty runs, masks, out= that is an argument."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch", reason="PyTorch is the reference of these tests")


def same(ours: mg.Tensor, theirs: torch.Tensor, rtol: float = 1e-12) -> None:
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=rtol, atol=1e-12, equal_nan=True)


def both(values: object) -> tuple[mg.Tensor, torch.Tensor]:
    a = np.asarray(values)
    return mg.tensor(a), torch.tensor(a)


# --- out= ------------------------------------------------------------------------------------------------------------
def test_out_that_is_an_argument_of_cat() -> None:
    # A (0,) input grew together with out= and was then copied behind the end of the storage.
    e, x = mg.empty(0), mg.ones(4, 6)
    with pytest.raises(RuntimeError, match="shares memory"):
        mg.cat([e, x], 0, out=e)
    assert tuple(e.shape) == (0,)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "complex64"])
@pytest.mark.parametrize("parts", [[16, 16], [384, 1, 383], [256, 0, 512], [1024, 1024, 64]])
def test_cat_inside_of_rows(parts: list[int], dtype: str) -> None:
    """Dense parts are joined row by row, large results around the caches; other layouts and dtypes part by part."""
    for rows in (1, 6, 2500):
        arrays = [np.random.default_rng(k).integers(-9, 9, (rows, n)).astype(dtype) for k, n in enumerate(parts)]
        tensors, want = [mg.from_numpy(a) for a in arrays], np.concatenate(arrays, 1)
        assert (mg.cat(tensors, 1).numpy() == want).all() and (mg.cat([t.t() for t in tensors], 0).numpy() == want.T).all()
        assert (mg.cat([t.clone(memory_format=mg.contiguous_format).t().contiguous().t() for t in tensors], -1).numpy() == want).all()
        out = mg.empty(rows * sum(parts) + 3, dtype=tensors[0].dtype)[3:].view(rows, -1)
        assert (mg.cat(tensors, 1, out=out).numpy() == want).all()


def test_out_that_is_the_input_of_a_reduction() -> None:
    x = mg.arange(12.0).reshape(3, 4).contiguous()
    expected = x.sum(0).tolist()
    assert mg.sum(x, 0, out=x).tolist() == expected
    assert tuple(x.shape) == (4,)


@pytest.mark.parametrize("size", [0, 2, 3, 9])
def test_bincount_out_of_another_size(size: int) -> None:
    out = mg.full((size,), 7)
    assert mg.bincount(mg.tensor([0, 2, 2]), out=out).tolist() == [1, 0, 2]
    assert out.tolist() == [1, 0, 2]


# --- order statistics ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "midpoint", "nearest"])
@pytest.mark.parametrize("name", ["quantile", "nanquantile"])
@pytest.mark.parametrize("dim", [None, 0, 1])
def test_quantiles_with_nan(name: str, interpolation: str, dim: int | None) -> None:
    x = np.random.default_rng(0).normal(size=(4, 7))
    x[1, 2] = x[3, 3] = np.nan
    x[2, :] = np.nan
    for q in (0.0, 0.3, 0.5, 1.0, np.array([0.1, 0.5, 0.9])):
        qa, qb = both(q) if isinstance(q, np.ndarray) else (q, q)
        a, b = both(x)
        ours = getattr(mg, name)(a, qa, dim, True, interpolation=interpolation)
        same(ours, getattr(torch, name)(b, qb, dim, True, interpolation=interpolation))


@pytest.mark.parametrize("dim", [None, 0, 1])
def test_nanmedian_skips_nan(dim: int | None) -> None:
    x = np.random.default_rng(1).normal(size=(5, 6))
    x[0, :5] = np.nan
    x[:, 2] = np.nan
    a, b = both(x)
    if dim is None:
        return same(mg.nanmedian(a), torch.nanmedian(b))
    same(mg.nanmedian(a, dim).values, torch.nanmedian(b, dim).values)
    assert type(mg.nanmedian(a, dim)).__name__ == "nanmedian"


def test_quantile_gradient_goes_to_two_elements() -> None:
    x = mg.tensor([4.0, 1.0, 3.0, 2.0], requires_grad=True)
    mg.quantile(x, 0.5).backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.5, 0.5]


# --- histograms, sets ------------------------------------------------------------------------------------------------
def test_histogram_edges_belong_where_they_should() -> None:
    x = np.array([0.0, 0.1, 0.2, 0.3, 0.30000000000000004, 1.0, 1.1, -0.1])
    a, b = both(x)
    ours, theirs = mg.histogram(a, 10, range=(0.0, 1.0)), torch.histogram(b, 10, range=(0.0, 1.0))
    same(ours.hist, theirs.hist)
    same(ours.bin_edges, theirs.bin_edges)
    edges = np.array([-1.0, 0.1, 0.3, 1.0])
    same(mg.histogram(a, mg.tensor(edges)).hist, torch.histogram(b, torch.tensor(edges)).hist)


@pytest.mark.parametrize("dim", [None, 0, 1, -1])
@pytest.mark.parametrize("name", ["unique", "unique_consecutive"])
def test_unique_with_inverse_and_counts(name: str, dim: int | None) -> None:
    a, b = both(np.array([[1, 1, 2, 1], [1, 1, 2, 1], [0, 0, 5, 0]]))
    ours = getattr(mg, name)(a, return_inverse=True, return_counts=True, dim=dim)
    theirs = getattr(torch, name)(b, return_inverse=True, return_counts=True, dim=dim)
    for o, t in zip(ours, theirs):
        same(o, t)


def test_unique_of_nothing() -> None:
    values, inverse, counts = mg.unique(mg.empty(3, 0, 2), return_inverse=True, return_counts=True, dim=1)
    assert (tuple(values.shape), tuple(inverse.shape), tuple(counts.shape)) == ((3, 0, 2), (0,), (0,))
    with pytest.raises(RuntimeError, match="0-sized"):
        mg.unique(mg.empty(3, 0, 2), dim=0)


@pytest.mark.parametrize("n", [2, 50])
def test_isin_small_and_large_sets(n: int) -> None:
    rng = np.random.default_rng(n)
    x, tests = rng.integers(0, 100, 40), rng.integers(0, 100, n)
    (a, b), (s, t) = both(x), both(tests)
    same(mg.isin(a, s), torch.isin(b, t))
    same(mg.isin(a, s, invert=True), torch.isin(b, t, invert=True))
    assert not mg.isin(mg.tensor([mg.nan]), mg.full((n,), mg.nan)).item()


# --- indexing --------------------------------------------------------------------------------------------------------
def test_index_put_with_masks() -> None:
    x = mg.zeros(3, 4)
    mask = mg.tensor([True, False, True])
    assert x.index_put((mask,), mg.ones(2, 4)).sum().item() == 8
    x.index_put_((mask, mg.tensor([1, 3])), mg.tensor([5.0, 6.0]))
    assert x.nonzero().tolist() == [[0, 1], [2, 3]]
    with pytest.raises(IndexError, match="mask"):
        x.index_put((mg.tensor([True, False]),), mg.ones(1, 4))


def test_take_along_dim_counts_from_the_end() -> None:
    (a, b), (i, j) = both(np.arange(6.0).reshape(2, 3)), both(np.array([[-1], [-3]]))
    same(a.take_along_dim(i, 1), b.take_along_dim(j, 1))


def test_gather_with_an_empty_index_of_any_dtype() -> None:
    assert tuple(mg.ones(5).gather(0, mg.empty(2, 0, dtype=mg.uint8)).shape) == (2, 0)


@pytest.mark.parametrize("reduce", ["add", "multiply"])
def test_scatter_with_reduce_has_gradients(reduce: str) -> None:
    x = mg.randn(3, 4, dtype=mg.float64).requires_grad_()
    src = mg.randn(5, 4, dtype=mg.float64).requires_grad_()
    index = mg.randint(0, 3, (5, 4))
    assert mg.autograd.gradcheck(lambda x, src: x.scatter(0, index, src, reduce=reduce), (x, src))
    y = x.detach().clone().scatter_(0, index, 2.0, reduce=reduce)
    t = torch.tensor(x.detach().numpy()).scatter_(0, torch.tensor(index.numpy()), 2.0, reduce=reduce)
    same(y, t)


@pytest.mark.parametrize("reduce", ["prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32"])
def test_index_reduce(reduce: str, include_self: bool, dtype: str) -> None:
    rng = np.random.default_rng(3)
    (x, tx), (s, ts) = both(rng.integers(1, 9, (4, 3)).astype(dtype)), both(rng.integers(1, 9, (6, 3)).astype(dtype))
    i, ti = both(np.array([0, 2, 2, 3, 0, 2]))
    theirs = tx.index_reduce(0, ti, ts, reduce, include_self=include_self)
    same(x.index_reduce(0, i, s, reduce, include_self=include_self), theirs, 1e-6)
    assert x.index_reduce_(0, i, s, reduce, include_self=include_self) is x
    same(x, theirs, 1e-6)


def test_index_reduce_checks_before_it_writes() -> None:
    x = mg.zeros(3)
    with pytest.raises(IndexError):
        x.index_reduce_(0, mg.tensor([0, 9]), mg.ones(2), "amax")
    assert x.tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(RuntimeError, match="reduce"):
        x.index_reduce(0, mg.tensor([0]), mg.ones(1), "sum")


@pytest.mark.parametrize("reduce", ["sum", "mean", "prod", "max", "min"])
@pytest.mark.parametrize("initial", [None, 2.0])
def test_segment_reduce_with_empty_runs(reduce: str, initial: float | None) -> None:
    data, tdata = both(np.random.default_rng(4).normal(size=(2, 6, 3)))
    lengths, tlengths = both(np.array([[2, 0, 4], [1, 5, 0]]))
    more = {} if initial is None else {"initial": initial}
    same(mg.segment_reduce(data, reduce, lengths=lengths, axis=1, **more),
         torch.segment_reduce(tdata, reduce, lengths=tlengths, axis=1, **more))  # fmt: skip


def test_index_add_of_bools_with_a_false_factor() -> None:
    x = mg.tensor([True, False])
    assert x.index_add(0, mg.tensor([1]), mg.tensor([True]), alpha=False).tolist() == [True, False]


# --- combinations, differences ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("initial", [None, 0.5])
@pytest.mark.parametrize("offset", [0, 3])
def test_segment_reduce_of_few_long_runs(reduce: str, initial: float | None, offset: int) -> None:
    """Runs of a thousand elements and more are reduced slice by slice."""
    values = 1 + np.random.default_rng(0).normal(size=(5000, 2)) / 100
    offsets = np.array([offset, 1500, 1500, 4000 + offset])
    data, theirs = mg.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    ours = mg.segment_reduce(data, reduce, offsets=mg.tensor(offsets), initial=initial)
    expected = torch.segment_reduce(theirs, reduce, offsets=torch.tensor(offsets), initial=initial)
    same(ours, expected)
    ours.nan_to_num().sum().backward()
    expected.nan_to_num().sum().backward()
    same(data.grad, theirs.grad)


@pytest.mark.parametrize("r", range(5))
@pytest.mark.parametrize("n", [0, 1, 4, 6])
def test_combinations_in_order(n: int, r: int) -> None:
    for replaced, reference in ((False, itertools.combinations), (True, itertools.combinations_with_replacement)):
        expected = [list(c) for c in reference(range(n), r)] if r else []
        assert mg.combinations(mg.arange(n), r, replaced).tolist() == expected


def test_gradient_on_an_uneven_grid() -> None:
    x = np.array([0.0, 1.0, 1.5, 4.0, 4.5])
    (a, b), (s, t) = both(x**2), both(x)
    for edge_order in (1, 2):
        same(mg.gradient(a, spacing=(s,), edge_order=edge_order)[0],
             torch.gradient(b, spacing=(t,), edge_order=edge_order)[0])  # fmt: skip


def test_roll_of_a_scalar_needs_no_dims() -> None:
    assert mg.tensor(3).roll(1).item() == 3
    with pytest.raises(IndexError):
        mg.tensor(3).roll(1, 0)


# --- masked ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["sum", "prod", "amax", "amin", "mean", "median", "var", "std", "softmax", "logsumexp"])
def test_masked_where_nothing_counts(name: str) -> None:
    x, mask = np.arange(6.0).reshape(2, 3), np.array([[True, False, True], [False, False, False]])
    (a, b), (m, tm) = both(x), both(mask)
    ours = getattr(mg.masked, name)(a, 1, mask=m)
    theirs = getattr(torch.masked, name)(b, 1, mask=tm)
    theirs = getattr(theirs, "to_dense", lambda: theirs)()
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), equal_nan=True)


def test_masked_wants_a_bool_mask() -> None:
    with pytest.raises(ValueError, match="bool"):
        mg.masked.sum(mg.ones(3), mask=mg.ones(3))


# --- random ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("count", "prob"), [(5, 0.3), (5, 0.9), (40, 0.5), (1000, 0.02), (1000, 0.7), (1e6, 0.4)])
def test_binomial_moments(count: float, prob: float) -> None:
    n = 40000
    x = mg.binomial(mg.full((n,), float(count), dtype=mg.float64), mg.tensor(prob, dtype=mg.float64),
                    mg.Generator().manual_seed(5))  # fmt: skip
    mean, var = count * prob, count * prob * (1 - prob)
    assert x.min().item() >= 0 and x.max().item() <= count
    assert abs(x.mean().item() - mean) < 5 * (var / n) ** 0.5
    assert abs(x.var().item() - var) < 0.05 * var


@pytest.mark.parametrize("draw", [
    lambda g: mg.binomial(mg.full((5000,), 50.0), mg.tensor(0.4), g),
    lambda g: mg.poisson(mg.full((5000,), 20.0), g),
    lambda g: mg.empty(50000).cauchy_(generator=g),
    lambda g: mg.empty(50000).geometric_(0.2, generator=g),
    lambda g: mg.empty(50000).log_normal_(generator=g),
    lambda g: mg.randperm(5000, generator=g),
    lambda g: mg.multinomial(mg.rand(9, generator=g), 500, True, generator=g),
])  # fmt: skip
def test_random_bits_do_not_depend_on_threads(draw: object) -> None:
    before, found = mg.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            mg.set_num_threads(threads)
            found.append(draw(mg.Generator().manual_seed(9)).tolist())
    finally:
        mg.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_log_normal_wants_a_positive_std() -> None:
    with pytest.raises(RuntimeError, match="std"):
        mg.empty(2).log_normal_(0, 0)
