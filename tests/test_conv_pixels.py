"""Convolutions of channels_last images as they lie: every geometry against float64, non-finite values, 1 and 2 threads alike."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")


def conv(m, x, w, b, case):
    return m.nn.functional.conv2d(x, w, b, case[5], case[6], case[8], case[7])


def arrays(case):
    n, c, spatial, o, k, _, _, groups, _ = case
    rng = np.random.default_rng(0)
    kernel = k if isinstance(k, tuple) else (k,) * 2
    w = rng.standard_normal((o, c // groups, *kernel)) / np.sqrt(c // groups * np.prod(kernel))
    return [a.astype(np.float32) for a in (rng.standard_normal((n, c, *spatial)), w, rng.standard_normal(o))]


def rms(a, b):
    return np.sqrt(np.mean(np.square(a - b))) / np.sqrt(np.mean(np.square(b)))


@pytest.fixture
def restored_threads():
    before = mg.get_num_threads()
    yield
    mg.set_num_threads(before)


# (N, C, spatial, O, kernel, stride, padding, groups, dilation)
PIXELS = [
    (2, 40, (9, 11), 40, 3, 1, 1, 40, 1),
    (2, 70, (12, 13), 70, 3, 2, 1, 70, 1),
    (1, 16, (20, 5), 16, (5, 3), (3, 1), (2, 0), 16, 2),
    (3, 17, (7, 7), 17, 7, 1, 3, 17, 1),
    (1, 33, (6, 30), 33, 1, 2, 0, 33, 1),
    (1, 20, (9, 140), 20, 3, 1, 4, 20, 1),
    (2, 3, (30, 31), 24, 7, 2, 3, 1, 1),
    (2, 12, (15, 17), 20, 1, 2, 0, 1, 1),
    (1, 200, (5, 6), 100, 1, 3, 0, 1, 1),
    (1, 12, (15, 17), 20, 3, 1, 2, 1, 2),
    (2, 5, (14, 19), 50, (4, 2), (2, 3), (1, 0), 1, (1, 2)),
    (1, 30, (9, 150), 9, 5, 1, 2, 1, 1),
    (2, 150, (6, 6), 20, 2, 2, 0, 1, 1),
    (2, 8, (8, 9), 8, 3, 1, 4, 1, 1),
    (1, 6, (12, 11), 7, 3, 4, 1, 1, 3),
    (2, 1, (8, 8), 5, 3, 1, 1, 1, 1),
    (2, 20, (12, 16), 40, 3, 1, 2, 1, 2),
    (1, 33, (18, 12), 17, 3, 1, 3, 1, 3),
    (2, 16, (16, 8), 16, 3, 1, 0, 1, 2),
    (1, 16, (13, 12), 16, 3, 1, 2, 1, 2),
]


@pytest.mark.parametrize("case", PIXELS, ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_channels_last_against_float64(case, transposed, restored_threads):
    """The kernels that read (N, H, W, C): forward and both gradients, any strides of the weight, 1 and 2 threads alike."""
    _, _, _, _, _, stride, padding, groups, dilation = case
    x, w, b = arrays(case)
    if transposed:  # the adjoint's shapes, and a row more than the forward's images
        w = w if groups > 1 else np.ascontiguousarray(w.transpose(1, 0, 2, 3))
    extra = tuple(int(s > 1 or d > 1) for s, d in zip(np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2), strict=True))

    def run(m, dtype, last):
        leaves = [m.tensor(a, dtype=dtype) for a in (x, w, b)]
        for k in last:
            leaves[k] = leaves[k].contiguous(memory_format=m.channels_last)
        for leaf in leaves:
            leaf.requires_grad_()
        f = m.nn.functional
        if transposed:
            y = f.conv_transpose2d(*leaves, stride, padding, extra, groups, dilation)
        else:
            y = f.conv2d(*leaves, stride, padding, dilation, groups)
        g = m.tensor(np.random.default_rng(1).standard_normal(tuple(y.shape)), dtype=dtype)
        y.backward(g.contiguous(memory_format=m.channels_last))
        return [t.detach().numpy() for t in (y, *(leaf.grad for leaf in leaves))]

    exact, theirs = run(torch, torch.float64, ()), run(torch, torch.float32, ())
    for last in ((), (0,), (1,), (0, 1)):
        mg.set_num_threads(1)
        ours = run(mg, mg.float32, last)
        for a, t, e in zip(ours, theirs, exact, strict=True):
            assert rms(a, e) <= 1.1 * rms(t, e) + 1e-7
        mg.set_num_threads(2)
        for a, b2 in zip(ours, run(mg, mg.float32, last), strict=True):
            assert a.tobytes() == b2.tobytes()


@pytest.mark.parametrize("case", [PIXELS[1], PIXELS[6], PIXELS[12], PIXELS[16]], ids=str)
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_channels_last_non_finite_values(case, value):
    x, w, b = arrays(case)
    x.flat[x.size // 2] = value
    found = []
    for m in (mg, torch):
        image, weight = m.tensor(x).contiguous(memory_format=m.channels_last).requires_grad_(), m.tensor(w).requires_grad_()
        y = conv(m, image, weight, m.tensor(b), case)
        y.backward(m.ones_like(y))
        found.append([y.detach().numpy(), image.grad.numpy(), weight.grad.numpy()])
    for a, t in zip(*found, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(t))
        np.testing.assert_array_equal(np.isinf(a), np.isinf(t))
