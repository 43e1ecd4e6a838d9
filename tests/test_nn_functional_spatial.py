"""nn.functional of images against PyTorch: convolution, pooling, resampling and grid sampling over 1 to 3 dims, with gradients of
first and second order.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F

torch = pytest.importorskip("torch", reason="PyTorch is the reference of these tests")
T = torch.nn.functional
SIZES = {1: (7,), 2: (7, 6), 3: (7, 6, 5)}
KERNELS = {1: (3,), 2: (3, 2), 3: (3, 2, 3)}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def as_tuple(x):
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def gradients(module, leaves, out, seed, order):
    """First gradients of out, or those of their squares' sum (by the leaves and the seed)."""
    first = module.autograd.grad(out, leaves, seed, create_graph=order == 2, allow_unused=True)
    if order == 1:
        return first
    total = sum((g * g).sum() for g in first if g is not None)
    return module.autograd.grad(total, [*leaves, seed], allow_unused=True)


def check(function, *arrays, tol=1e-9, order=2):
    """function(F or torch.nn.functional, module, *tensors) gives equal values and gradients."""
    results = []
    for module, namespace in ((mg, F), (torch, T)):
        tensors = [module.from_numpy(a.copy()) for a in arrays]
        leaves = [t.requires_grad_() for t, a in zip(tensors, arrays, strict=True) if a.dtype.kind == "f"]
        outs = as_tuple(function(namespace, module, *tensors))
        seed_values = np.random.default_rng(1).standard_normal(tuple(outs[0].shape)).astype(arrays[0].dtype)
        found = [o.detach() for o in outs]
        for k in range(1, order + 1):
            seed = module.from_numpy(seed_values.copy()).requires_grad_(k == 2)
            if k == 1:
                found += module.autograd.grad(outs[0], leaves, seed, retain_graph=True, allow_unused=True)
            else:
                found += gradients(module, leaves, outs[0], seed, 2)
        results.append([None if x is None else x.detach().numpy() for x in found])
    for ours, theirs in zip(*results, strict=True):
        shape = np.shape(theirs if theirs is not None else ours)
        ours, theirs = (np.zeros(shape) if x is None else x for x in (ours, theirs))
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=tol, atol=tol)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), itertools.product((1, 2), (0, 1), (1, 2), (1, 2)))
def test_conv(rng, dims, stride, padding, dilation, groups):
    x, k = rng.standard_normal((2, 4, *SIZES[dims])), KERNELS[dims]
    w, v = rng.standard_normal((6, 4 // groups, *k)), rng.standard_normal((4, 3, *k))
    check(lambda f, m, *a: getattr(f, f"conv{dims}d")(*a, stride, padding, dilation, groups), x, w, rng.standard_normal(6))
    check(
        lambda f, m, *a: getattr(f, f"conv_transpose{dims}d")(*a, stride, padding, stride - 1, groups, dilation),
        x,
        v,
        rng.standard_normal(3 * groups),
    )


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_conv_larger(rng, dims):
    x = rng.standard_normal((2, 16, *(12, 11, 13)[:dims]))
    w, depthwise = rng.standard_normal((24, 16, *KERNELS[dims])), rng.standard_normal((32, 1, *KERNELS[dims]))
    conv = f"conv{dims}d"
    check(lambda f, m, x, w: getattr(f, conv)(x, w, None, 2, 1), x, w, order=1)
    check(lambda f, m, x, w: getattr(f, conv)(x, w, None, 1, 1, 1, 16), x, depthwise, order=1)
    check(lambda f, m, x, w: getattr(f, conv)(x, w), x.astype(np.float32), w.astype(np.float32), tol=2e-3, order=1)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_conv_padding_names(rng, dims):
    x, w = rng.standard_normal((4, *SIZES[dims])), rng.standard_normal((6, 4, *KERNELS[dims]))
    for module in (F, mg):
        conv = getattr(module, f"conv{dims}d")
        expected = getattr(T, f"conv{dims}d")(*map(torch.from_numpy, (x, w)), padding="same")
        np.testing.assert_allclose(conv(*map(mg.from_numpy, (x, w)), padding="same").numpy(), expected.numpy(), atol=1e-9)
        with pytest.raises(RuntimeError, match="strided"):
            conv(*map(mg.from_numpy, (x, w)), stride=2, padding="same")
        with pytest.raises(RuntimeError, match="padding string"):
            conv(*map(mg.from_numpy, (x, w)), padding="full")


def test_conv_int64_and_wrong_ranks():
    x, w = mg.arange(9).view(1, 1, 3, 3), mg.ones(1, 1, 2, 2, dtype=mg.int64)
    assert mg.conv2d(x, w).tolist() == [[[[8, 12], [20, 24]]]]
    for bad in (lambda: mg.conv1d(x.float(), w.float()), lambda: mg.conv2d(mg.ones(3), w.float())):
        with pytest.raises(RuntimeError, match="expected"):
            bad()
    with pytest.raises(TypeError):
        mg.conv2d(x.float(), None)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("stride", "padding", "ceil_mode"), itertools.product((None, 1, 2), (0, 1), (False, True)))
def test_pools(rng, dims, stride, padding, ceil_mode):
    x = rng.standard_normal((2, 3, *SIZES[dims]))
    for dilation in (1, 2):
        check(lambda f, m, x, d=dilation: getattr(f, f"max_pool{dims}d")(x, 2, stride, padding, d, ceil_mode, True), x)
    for count in (False, True):
        check(lambda f, m, x, c=count: getattr(f, f"avg_pool{dims}d")(x, 3, stride, padding, ceil_mode, c), x)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_other_pools(rng, dims):
    x = rng.standard_normal((2, 3, *SIZES[dims]))
    for size in (1, 2, 3, (4,) * dims, (None,) * (dims - 1) + (2,) if dims > 1 else 5):
        check(lambda f, m, x, s=size: getattr(f, f"adaptive_avg_pool{dims}d")(x, s), x)
        check(lambda f, m, x, s=size: getattr(f, f"adaptive_max_pool{dims}d")(x, s, True), x)
    check(lambda f, m, x: getattr(f, f"lp_pool{dims}d")(x * x, 3, 2), x)
    values, indices = (t.numpy() for t in getattr(T, f"max_pool{dims}d")(torch.from_numpy(x), 2, return_indices=True))
    check(lambda f, m, v, i: getattr(f, f"max_unpool{dims}d")(v, i, 2, output_size=SIZES[dims]), values, indices)
    if dims > 1:
        samples = rng.random((2, 3, dims))
        check(
            lambda f, m, x: getattr(f, f"fractional_max_pool{dims}d")(
                x, 2, 3, return_indices=True, _random_samples=m.from_numpy(samples)
            ),
            x,
        )
        check(lambda f, m, x: getattr(f, f"avg_pool{dims}d")(x, 2, divisor_override=3), x)


def test_adaptive_pools_of_no_elements():
    x = mg.ones(2, 3, 4, 5, requires_grad=True)
    assert F.adaptive_avg_pool2d(x, (0, 2)).shape == F.adaptive_max_pool2d(x, (0, 2)).shape == (2, 3, 0, 2)
    assert F.avg_pool2d(mg.ones(0, 3, 4, 5), 2).shape == (0, 3, 2, 2)
    with pytest.raises(RuntimeError, match="non-empty"):
        F.avg_pool2d(mg.ones(2, 0, 4, 5), 2)


def test_unpool_refuses_positions_outside():
    x, good = mg.ones(1, 1, 2), mg.tensor([[[0, 2]]])
    assert F.max_unpool1d(x, good, 2).tolist() == [[[1.0, 0.0, 1.0, 0.0]]]
    for bad in (mg.tensor([[[0, 4]]]), mg.tensor([[[-1, 0]]]), good.int(), good[:, :, :1]):
        with pytest.raises(RuntimeError, match="max_unpool1d"):
            F.max_unpool1d(x, bad, 2)
    with pytest.raises(ValueError, match="output_size"):
        F.max_unpool1d(x, good, 2, output_size=(9,))


MODES = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,), "bilinear": (2,), "bicubic": (2,),
         "trilinear": (3,)}  # fmt: skip
SCALINGS = [{"size": 3}, {"size": 11}, {"size": 1}, {"scale_factor": 1.7}, {"scale_factor": 0.6}, {"scale_factor": 2},
            {"scale_factor": 1.3, "recompute_scale_factor": True}]  # fmt: skip


@pytest.mark.parametrize(("mode", "dims"), [(m, n) for m, all_dims in MODES.items() for n in all_dims])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_interpolate(rng, mode, dims, dtype):
    x = rng.standard_normal((2, 3, *(6, 5, 7)[:dims])).astype(dtype)
    for align in (None,) if mode in ("nearest", "nearest-exact", "area") else (False, True):
        for scaling in SCALINGS:
            for antialias in (False, True) if mode in ("bilinear", "bicubic") else (False,):
                check(
                    lambda f, m, x, a=align, s=scaling, aa=antialias: f.interpolate(
                        x, mode=mode, align_corners=a, antialias=aa, **s
                    ),
                    x,
                    tol=1e-8 if dtype == np.float64 else 1e-4,
                    order=2 if dtype == np.float64 else 1,
                )


def test_interpolate_bytes_and_halves():
    image = np.arange(48, dtype=np.uint8).reshape(1, 1, 6, 8)
    ours, theirs = mg.from_numpy(image), torch.from_numpy(image)
    assert F.interpolate(ours, (3, 5)).tolist() == T.interpolate(theirs, (3, 5)).tolist()
    assert F.interpolate(ours, (3, 4), mode="bilinear").dtype == mg.uint8
    half = F.interpolate(ours.bfloat16(), (3, 5), mode="bilinear")
    assert half.dtype == mg.bfloat16
    np.testing.assert_allclose(half.float().numpy(), T.interpolate(theirs.float(), (3, 5), mode="bilinear").numpy(), rtol=1e-2)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("mode", "padding", "align"),
    itertools.product(("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (False, True)),
)
def test_grid_sample(rng, dims, mode, padding, align):
    if dims == 3 and mode == "bicubic":
        pytest.skip("images only")
    x, grid = rng.standard_normal((2, 3, *(4, 5, 3)[:dims])), rng.standard_normal((2, *(3, 4, 2)[:dims], dims))
    check(lambda f, m, x, g: f.grid_sample(x, g, mode, padding, align), x, grid, order=1)
    ours = [mg.from_numpy(a).requires_grad_() for a in (x, grid)]
    out = F.grid_sample(*ours, mode, padding, align)
    seed = mg.from_numpy(rng.standard_normal(tuple(out.shape)))
    fast = mg.autograd.grad(out, ours, seed, retain_graph=True)
    plain = mg.autograd.grad(out, ours, seed, create_graph=True)
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-9)


def test_grid_sample_far_outside_and_nan():
    image = mg.ones(1, 1, 3, 3)
    for padding in ("zeros", "border", "reflection"):
        for value in (float("nan"), 1e30, -1e30, float("inf")):
            grid = mg.full((1, 1, 1, 2), value)
            theirs = T.grid_sample(torch.ones(1, 1, 3, 3), torch.full((1, 1, 1, 2), value), "bilinear", padding, False)
            found = F.grid_sample(image, grid, "bilinear", padding, False)
            assert found.shape == (1, 1, 1, 1)
            if abs(value) == 1e30 and padding != "reflection":
                assert found.tolist() == theirs.tolist()


@pytest.mark.parametrize("align", [False, True])
def test_affine_grid(rng, align):
    check(lambda f, m, t: f.affine_grid(t, (2, 1, 3, 4), align), rng.standard_normal((2, 2, 3)))
    check(lambda f, m, t: f.affine_grid(t, (2, 1, 3, 1, 2), align), rng.standard_normal((2, 3, 4)))


@pytest.mark.parametrize(("kernel", "dilation", "padding", "stride"), [(2, 1, 0, 1), ((2, 3), 1, 1, 2), (2, (2, 1), (0, 1), 1)])
def test_fold_and_unfold(rng, kernel, dilation, padding, stride):
    image = rng.standard_normal((2, 3, 6, 7))
    check(lambda f, m, x: f.unfold(x, kernel, dilation, padding, stride), image)
    columns = F.unfold(mg.from_numpy(image), kernel, dilation, padding, stride).numpy()
    check(lambda f, m, x: f.fold(x, (6, 7), kernel, dilation, padding, stride), columns)
    check(lambda f, m, x: f.fold(x[0], (6, 7), kernel, dilation, padding, stride), columns)
    with pytest.raises(RuntimeError, match="columns"):
        F.fold(mg.from_numpy(columns), (9, 9), kernel, dilation, padding, stride)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "constant"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_pad(rng, mode, dims):
    sides = (1, 2, 2, 0, 1, 1)[: 2 * dims]
    for batch in ((2, 3), (3,)):
        check(lambda f, m, x: f.pad(x, sides, mode), rng.standard_normal((*batch, 4, 5, 6)[: len(batch) + dims]))
