"""The fast paths of convolution and pooling: every geometry against float64, non-finite values in place, 1 and 2 threads alike.

Errors are compared with those of torch in float32: a fast path may not lose more than a tenth more, and 1e-7 (Winograd rounds in its
transforms; its shorter sums pay for that).
"""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")

# (N, C, spatial, O, kernel, stride, padding, groups, dilation)
WINOGRAD = [
    (2, 16, (8, 8), 16, 3, 1, 1, 1, 1),
    (1, 17, (9, 11), 33, 3, 1, 1, 1, 1),
    (3, 64, (12, 12), 70, 3, 1, 1, 1, 1),
    (2, 20, (7, 7), 40, 3, 1, 1, 1, 1),
    (2, 32, (10, 6), 48, 3, 1, 0, 1, 1),
    (2, 32, (10, 6), 48, 3, 1, 2, 1, 1),
    (2, 32, (10, 7), 48, 3, 1, (0, 2), 1, 1),
    (9, 16, (4, 4), 16, 3, 1, 1, 1, 1),
    (25, 130, (4, 4), 65, 3, 1, 1, 1, 1),
    (1, 16, (6, 200), 16, 3, 1, 1, 1, 1),
    (1, 16, (2, 70), 80, 3, 1, 1, 1, 1),
    (2, 16, (16, 16), 32, 3, 2, 1, 1, 1),
    (1, 17, (21, 23), 33, 3, 2, 1, 1, 1),
    (3, 64, (12, 24), 70, 3, 2, 1, 1, 1),
    (2, 20, (23, 16), 40, 3, 2, 1, 1, 1),
    (9, 130, (8, 7), 65, 3, 2, 1, 1, 1),
    (1, 16, (4, 200), 16, 3, 2, 1, 1, 1),
]
DEPTHWISE = [
    (2, 5, (7, 7), 5, 3, 1, 1, 5, 1),
    (1, 3, (20, 35), 3, 3, 1, 1, 3, 1),
    (2, 4, (17, 40), 4, 3, 2, 1, 4, 1),
    (1, 6, (33, 34), 6, 5, 1, 2, 6, 1),
    (1, 4, (16, 18), 4, 7, 1, 3, 4, 1),
    (1, 4, (19, 18), 4, 3, 1, 2, 4, 2),
    (1, 4, (19, 37), 8, 3, 2, 0, 4, 1),
    (2, 6, (9, 10), 3, 3, 1, 1, 3, 1),
    (1, 4, (5, 50), 4, (3, 5), (1, 3), (1, 0), 4, 1),
    (2, 4, (70,), 4, 5, 1, 2, 4, 1),
    (1, 3, (4, 6, 20), 3, 3, 1, 1, 3, 1),
    (2, 40, (6, 6), 40, 3, 1, 1, 40, 1),
]
OTHER = [
    (2, 3, (20, 20), 24, 7, 2, 3, 1, 1),
    (2, 12, (16, 18), 20, 3, 2, 1, 1, 1),
    (2, 12, (15, 17), 20, 1, 2, 0, 1, 1),
    (1, 12, (15, 17), 20, 3, 1, 2, 1, 2),
    (2, 12, (15, 34), 24, 3, (1, 2), 1, 3, 1),
    (2, 8, (60,), 20, 5, 1, 2, 1, 1),
    (2, 8, (61,), 20, 4, 2, 1, 1, 1),
    (1, 8, (6, 8, 20), 12, 3, 1, 1, 1, 1),
    (1, 8, (6, 9, 20), 12, 3, 2, 1, 1, 1),
    (2, 16, (5, 8, 12), 20, 3, 1, 1, 1, 1),
    (1, 20, (7, 10, 9), 33, 3, 1, (0, 1, 1), 1, 1),
    (1, 16, (9, 8, 8), 16, 3, (2, 1, 1), (1, 1, 1), 1, (2, 1, 1)),
    (1, 16, (4, 12, 12), 16, (2, 3, 3), 1, (1, 1, 1), 1, 1),
    (1, 16, (6, 12, 12), 16, 3, 2, 1, 1, 1),
    (40, 70, (3, 3), 70, 3, 2, 1, 1, 1),
    (3, 20, (9, 7), 33, 1, 1, 0, 1, 1),
]


def conv(m, x, w, b, case):
    return getattr(m.nn.functional, f"conv{len(case[2])}d")(x, w, b, case[5], case[6], case[8], case[7])


def arrays(case, seed=0):
    n, c, spatial, o, k, _, _, groups, _ = case
    rng = np.random.default_rng(seed)
    kernel = k if isinstance(k, tuple) else (k,) * len(spatial)
    w = rng.standard_normal((o, c // groups, *kernel)) / np.sqrt(c // groups * np.prod(kernel))
    return [a.astype(np.float32) for a in (rng.standard_normal((n, c, *spatial)), w, rng.standard_normal(o))]


def results(m, dtype, case, data):
    x, w, b = (m.tensor(a, dtype=dtype).requires_grad_() for a in data)
    y = conv(m, x, w, b, case)
    g = np.random.default_rng(1).standard_normal(tuple(y.shape)).astype(np.float32)
    y.backward(m.tensor(g, dtype=dtype))
    return [t.detach().numpy() for t in (y, x.grad, w.grad, b.grad)]


def rms(a, b):
    return np.sqrt(np.mean(np.square(a - b))) / np.sqrt(np.mean(np.square(b)))


@pytest.fixture
def restored_threads():
    before = mg.get_num_threads()
    yield
    mg.set_num_threads(before)


@pytest.mark.parametrize("case", WINOGRAD + DEPTHWISE + OTHER, ids=str)
def test_against_float64(case, restored_threads):
    data = arrays(case)
    exact, theirs = results(torch, torch.float64, case, data), results(torch, torch.float32, case, data)
    mg.set_num_threads(1)
    ours = results(mg, mg.float32, case, data)
    for name, a, t, e in zip(("out", "input", "weight", "bias"), ours, theirs, exact, strict=True):
        assert rms(a, e) <= 1.1 * rms(t, e) + 1e-7, name
    for a, e in zip(results(mg, mg.float64, case, data), exact, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-12)
    mg.set_num_threads(2)
    for a, b in zip(ours, results(mg, mg.float32, case, data), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("case", [WINOGRAD[1], WINOGRAD[12], DEPTHWISE[1], OTHER[1], OTHER[9]], ids=str)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 2e38])
def test_non_finite_values_stay_where_the_definition_puts_them(case, value):
    for which in range(2):
        data = arrays(case)
        taps = 9 if len(case[2]) == 2 else 27  # of the weight a middle tap, which never meets padding
        data[which].flat[data[which].size // (2 * taps) * taps + taps // 2] = value
        ours, theirs = results(mg, mg.float32, case, data), results(torch, torch.float32, case, data)
        for a, t in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(np.isnan(a), np.isnan(t))
            np.testing.assert_array_equal(np.isposinf(a), np.isposinf(t))
            np.testing.assert_allclose(
                a[np.isfinite(t)], t[np.isfinite(t)], rtol=1e-4, atol=1e-4 * (1 if abs(value) > 3e38 or value != value else 1e38)
            )


@pytest.mark.parametrize("case", [WINOGRAD[0], WINOGRAD[11], DEPTHWISE[0], OTHER[1]], ids=str)
def test_strides_of_the_input_do_not_matter(case):
    data = arrays(case)
    x, w, b = map(mg.tensor, data)
    y = conv(mg, x, w, b, case)
    for other in (x.transpose(-1, -2).contiguous().transpose(-1, -2), x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)):
        if case in OTHER and other.is_contiguous(memory_format=mg.channels_last):  # sums channels first, then taps
            np.testing.assert_allclose(conv(mg, other, w, b, case).numpy(), y.numpy(), rtol=1e-4, atol=1e-6)
        else:
            assert mg.equal(conv(mg, other, w, b, case), y)
    assert mg.equal(conv(mg, x, w.transpose(0, 1).contiguous().transpose(0, 1), b, case), y)
    out = conv(mg, x[0], w, b, case)
    np.testing.assert_allclose(out.numpy(), y[0].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", [c for c in WINOGRAD + DEPTHWISE + OTHER if len(c[2]) == 2], ids=str)
@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)], ids=str)
def test_channels_last_in_channels_last_out(case, which):
    data = arrays(case)
    outs = []
    for m in (mg, torch):
        x, w, b = map(m.tensor, data)
        x, w = (t.contiguous(memory_format=m.channels_last) if k in which else t for k, t in enumerate((x, w)))
        for t in (x, w, b):
            t.requires_grad_()
        y = conv(m, x, w, b, case)
        g = m.tensor(np.random.default_rng(1).standard_normal(tuple(y.shape)).astype(np.float32))
        y.backward(g.contiguous(memory_format=m.channels_last))
        outs.append([y.stride(), y.detach().numpy(), x.grad.numpy(), w.grad.numpy()])
    assert outs[0][0] == outs[1][0]
    for a, t in zip(outs[0][1:], outs[1][1:], strict=True):
        assert rms(a, t) < 2e-6


def test_channels_last_of_other_dtypes_and_pools():
    for m in (mg, torch):
        x = m.tensor(np.random.default_rng(0).standard_normal((2, 16, 9, 8)).astype(np.float32)).contiguous(memory_format=m.channels_last)
        w, f = m.ones(16, 16, 3, 3), m.nn.functional
        last = lambda t: t.is_contiguous(memory_format=m.channels_last)  # noqa: E731, B023
        for dtype in (m.float64, m.bfloat16, m.complex64):
            assert last(f.conv2d(x.to(dtype), w.to(dtype))) and last(f.conv_transpose2d(x.to(dtype), w.to(dtype)))
        assert last(f.conv_transpose2d(x, w)) and last(f.conv2d(x[:, :8], w[:, :8]))
        assert all(map(last, f.max_pool2d(x, 3, 2, 1, return_indices=True)))
        assert last(f.avg_pool2d(x, 2)) and last(f.adaptive_avg_pool2d(x, 3)) and last(f.adaptive_max_pool2d(x, 3))
    x = mg.tensor(np.random.default_rng(0).standard_normal((2, 16, 9, 8)).astype(np.float32))
    y = x.contiguous(memory_format=mg.channels_last)
    for pool in (lambda t: mg.nn.functional.max_pool2d(t, 2), lambda t: mg.nn.functional.avg_pool2d(t, 3, 1)):
        assert mg.equal(pool(x), pool(y))
    for dtype in (mg.float64, mg.complex64):
        a, b, w = (t.to(dtype) * (1 + 2j if dtype.is_complex else 1) for t in (x, y, mg.randn(16, 16, 3, 3)))
        assert mg.equal(mg.nn.functional.conv2d(a, w), mg.nn.functional.conv2d(b, w))
        assert mg.equal(mg.nn.functional.conv_transpose2d(a, w), mg.nn.functional.conv_transpose2d(b, w))
    out = mg.empty(2, 16, 9, 8).contiguous(memory_format=mg.channels_last)
    w = mg.ones(16, 16, 3, 3)
    assert mg.equal(mg.op.functions["_conv"](y, w, None, 1, 1, out=out), mg.nn.functional.conv2d(y, w, None, 1, 1))
    bad = y.clone()
    bad[0, 0, 0, 0] = float("inf")  # Winograd gives up; what the definition says comes out
    np.testing.assert_array_equal(
        mg.nn.functional.conv2d(bad, w).isinf().numpy(), mg.nn.functional.conv2d(bad.contiguous(), w).isinf().numpy()
    )
    assert mg.nn.functional.conv2d(bad, w).isinf().sum().item() == 16


@pytest.mark.parametrize("extra", [0, 1, 4])
def test_transposed_by_winograd(extra):
    """Stride 2: output_padding adds rows that no tap reaches, or one that padding had cut off."""
    x, w, b = arrays((2, 32, (9, 12), 20, 3, 2, 1, 1, 1))
    last = mg.tensor(x).contiguous(memory_format=mg.channels_last)
    w = np.ascontiguousarray(w.transpose(1, 0, 2, 3))
    fn = mg.nn.functional.conv_transpose2d
    if extra < 2:
        want = torch.nn.functional.conv_transpose2d(*(torch.tensor(a).double() for a in (x, w, b)), 2, 1, extra).numpy()
    else:  # torch wants output_padding below the stride
        want = fn(*(mg.tensor(a).double() for a in (x, w, b)), 2, 1, extra).numpy()
    for t in (mg.tensor(x), last):
        assert rms(fn(t, mg.tensor(w), mg.tensor(b), 2, 1, extra).numpy(), want) < 4e-7


@pytest.mark.parametrize("stride", [1, 2])
def test_gradient_of_the_gradient(stride):
    """Through Winograd's kernels, whose double backward is made of the same three ops."""
    data = arrays((2, 16, (12, 16), 16, 3, stride, 1, 1, 1))

    def second(m, dtype):
        x, w = (m.tensor(a, dtype=dtype).requires_grad_() for a in data[:2])
        y = m.nn.functional.conv2d(x, w, None, stride, 1).square().sum()
        gx, gw = m.autograd.grad(y, (x, w), create_graph=True)
        (gx.square().sum() + gw.square().sum()).backward()
        return x.grad.numpy(), w.grad.numpy()

    for a, e in zip(second(mg, mg.float32), second(torch, torch.float64), strict=True):
        assert rms(a, e) < 2e-6


POOLS = [
    ((2, 3, 8, 9), 2, {}),
    ((2, 3, 33, 70), 3, {"stride": 2, "padding": 1}),
    ((1, 2, 20, 37), 3, {"stride": 1, "padding": 1}),
    ((1, 2, 20, 37), (2, 5), {"stride": (3, 2), "padding": (1, 2)}),
    ((1, 2, 9, 50), 3, {"stride": 3}),
    ((2, 2, 7, 7), 2, {"ceil_mode": True}),
    ((2, 40), 4, {"stride": 2}),
    ((1, 2, 6, 7, 40), 2, {"stride": (1, 2, 2)}),
]


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("shape, kernel, options", POOLS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_pooling(kind, shape, kernel, options, dtype):
    rng = np.random.default_rng(0)
    values = rng.integers(-4, 5, shape).astype(np.float32)  # many equal ones: the first counts
    if kind == "max":
        values.flat[3], values.flat[-1], values.flat[-2] = np.nan, np.nan, np.nan
        values.flat[5:7] = -np.inf
    if (kind, len(shape), dtype) == ("avg", 5, "bfloat16"):
        pytest.skip("torch has no avg_pool3d of bfloat16")
    name = f"{kind}_pool{max(len(shape) - 2, 1)}d"
    outs = []
    for m in (mg, torch):
        x = m.tensor(values, dtype=getattr(m, dtype)).requires_grad_()
        y = getattr(m.nn.functional, name)(x, kernel, **options)
        y.backward(m.arange(1, y.numel() + 1).reshape(y.shape).to(y.dtype) / 4)
        outs.append([t.detach().float().numpy() for t in (y, x.grad)])
    np.testing.assert_array_equal(outs[0][0], outs[1][0]) if kind == "max" else np.testing.assert_allclose(
        outs[0][0], outs[1][0], rtol=1e-6
    )
    np.testing.assert_allclose(outs[0][1], outs[1][1], rtol=1e-5 if dtype != "bfloat16" else 2e-2)


def test_dilated_max_pool_positions():
    x = np.random.default_rng(0).standard_normal((2, 3, 20, 45)).astype(np.float32)
    for stride in (1, 2, 3):
        ours, places = mg.nn.functional.max_pool2d(mg.tensor(x), 3, stride, 1, 2, return_indices=True)
        theirs, expected = torch.nn.functional.max_pool2d(torch.tensor(x), 3, stride, 1, 2, return_indices=True)
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
        np.testing.assert_array_equal(places.numpy(), expected.numpy())


def channels_last_cases(m):
    """name -> (function, operands): ops whose results and gradients lie as PyTorch's do."""
    f, rng = m.nn.functional, np.random.default_rng(0)

    def t(*shape):
        return m.tensor(rng.standard_normal(shape).astype(np.float32))

    x, w, b = t(3, 20, 9, 10).contiguous(memory_format=m.channels_last), t(20), t(20)
    v, kernel = t(2, 6, 5, 6, 7).contiguous(memory_format=m.channels_last_3d), t(8, 6, 3, 3, 3)
    cases = {
        "conv": (f.conv2d, (x, t(7, 20, 3, 3).contiguous(memory_format=m.channels_last))),
        "1x1": (lambda a, k: f.conv2d(a, k, None, 2), (x, t(7, 20, 3, 3)[:, :, :1, :1])),
        "conv3d": (lambda a, k: f.conv3d(a, k, None, 1, 1), (v, kernel)),
        "conv3d of a kernel": (f.conv3d, (v.contiguous(), kernel.contiguous(memory_format=m.channels_last_3d))),
        "group_norm": (lambda *a: f.group_norm(a[0], 4, *a[1:]), (x, w, b)),
        "max_pool3d": (lambda a: f.max_pool3d(a, 2), (v,)),
        "avg_pool3d": (lambda a: f.avg_pool3d(a, 2), (v,)),
        "batch_norm of volumes": (lambda a: f.batch_norm(a, None, None, None, None, True), (v,)),
        "dilated ceil": (lambda a: f.max_pool2d(a, 3, 1, 1, 2, True), (x,)),
        "positions": (lambda a: f.max_unpool2d(*f.max_pool2d(a, 2, return_indices=True), 2).contiguous(), (x,)),
        "cat": (lambda a: m.cat([a, a], 1), (x,)),
        "cat of both": (lambda a: m.cat([a, a.contiguous()], 2), (x,)),
        "flip": (lambda a: a.flip(2), (x,)),
        "clone": (lambda a: a.clone(memory_format=m.channels_last_3d), (v.contiguous(),)),
        "transposed leaf": (lambda a: a * 2, (t(4, 5).t(),)),
    }
    for dtype in (m.float32, m.float64, m.bfloat16):
        y, scale, shift = x.to(dtype), w.to(dtype), b.to(dtype)
        cases |= {
            f"batch_norm {dtype}": (lambda *a: f.batch_norm(a[0], None, None, *a[1:], True), (y, scale, shift)),
            f"max {dtype}": (lambda a: f.max_pool2d(a, 3, 2, 1), (y,)),
            f"avg {dtype}": (lambda a: f.avg_pool2d(a, 3, 2, 1, count_include_pad=False), (y,)),
            f"adaptive avg {dtype}": (lambda a: f.adaptive_avg_pool2d(a, 4), (y,)),
            f"adaptive max {dtype}": (lambda a: f.adaptive_max_pool2d(a, 4), (y,)),
        }
    return {name.replace("torch.", "").replace("minigrad.", ""): case for name, case in cases.items()}


@pytest.mark.parametrize("name", channels_last_cases(mg))
def test_channels_last_is_kept(name, restored_threads):
    found = []
    for m, threads in ((torch, 1), (mg, 1), (mg, 2)):
        m.set_num_threads(threads) if m is mg else None
        fn, operands = channels_last_cases(m)[name]
        leaves = [a.detach().requires_grad_() for a in operands]
        y = fn(*leaves)
        y.backward(m.arange(y.numel()).reshape(y.shape).to(y.dtype).sin())
        parts = [y.detach(), *(leaf.grad for leaf in leaves)]
        found.append(([tuple(p.stride()) for p in parts if 1 not in p.shape], [p.double().numpy() for p in parts]))
    assert found[0][0] == found[1][0]
    for theirs, one, two in zip(*(part for _, part in found), strict=True):
        np.testing.assert_allclose(one, theirs, rtol=0, atol=(2e-2 if "bfloat16" in name else 2e-5) * np.abs(theirs).max())
        assert one.tobytes() == two.tobytes()


def test_channels_last_pools_meet_nan_and_unbatched_volumes():
    values = np.random.default_rng(0).integers(-3, 4, (2, 17, 8, 9)).astype(np.float32)
    values[0, 3, 2:4, 2:4], values[1, 5, 0, 0], values[1, 6, :2, :2] = np.nan, np.inf, -np.inf
    for m in (mg.nn.functional.max_pool2d, mg.nn.functional.avg_pool2d):
        rows, last = mg.tensor(values), mg.tensor(values).contiguous(memory_format=mg.channels_last)
        np.testing.assert_array_equal(m(rows, 3, 2, 1).numpy(), m(last, 3, 2, 1).numpy())
    ours, places = mg.nn.functional.max_pool2d(last, 2, return_indices=True)
    theirs, expected = torch.nn.functional.max_pool2d(torch.tensor(values), 2, return_indices=True)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    np.testing.assert_array_equal(places.numpy(), expected.numpy())
    volume = mg.tensor(np.random.default_rng(0).standard_normal((6, 5, 6, 7))).contiguous(memory_format=mg.channels_last)
    assert mg.equal(mg.nn.functional.max_pool3d(volume, 2), mg.nn.functional.max_pool3d(volume.contiguous(), 2))
    assert mg.allclose(mg.nn.functional.avg_pool3d(volume, 2), mg.nn.functional.avg_pool3d(volume.contiguous(), 2))
    assert volume.is_contiguous(memory_format=mg.channels_last) and not volume.is_contiguous(memory_format=mg.channels_last_3d)
    with pytest.raises(RuntimeError, match="required rank 5"):
        volume.contiguous(memory_format=mg.channels_last_3d)
