"""PyTorch's deprecated positional orders (a scale before the tensors), which older optimizers call."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twins import array  # noqa: E402

import minigrad as mg  # noqa: E402

CALLS = {
    "add_": lambda t, x, y, z: x.clone().add_(0.5, y),
    "add": lambda t, x, y, z: t.add(x, 0.5, y),
    "sub": lambda t, x, y, z: x.sub(2, y),
    "addcmul_": lambda t, x, y, z: x.clone().addcmul_(0.5, y, z),
    "addcmul": lambda t, x, y, z: t.addcmul(x, 0.5, y, z),
    "addcdiv_": lambda t, x, y, z: x.clone().addcdiv_(-0.5, y, z),
    "addmm_": lambda t, x, y, z: x.clone().addmm_(0.5, 2, y, z),
    "addmm beta": lambda t, x, y, z: x.addmm(0.5, y, z),
    "addmm": lambda t, x, y, z: t.addmm(0.5, x, 2, y, z),
    "addmv": lambda t, x, y, z: x[0].addmv(0.5, 2, y, z[0]),
    "baddbmm": lambda t, x, y, z: x[None].baddbmm(0.5, 2, y[None], z[None]),
}


@pytest.mark.parametrize("name", CALLS)
def test_matches_torch(name):
    values = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine = CALLS[name](mg, *mg.from_numpy(values).unbind(0))
        theirs = CALLS[name](torch, *torch.from_numpy(values).unbind(0))
    np.testing.assert_allclose(array(mine), array(theirs), rtol=1e-5, atol=1e-5)


def test_gradients_pass():
    x, y = mg.ones(2, requires_grad=True), mg.ones(2, requires_grad=True)
    x.add(3, y).sum().backward()
    np.testing.assert_array_equal(array(y.grad), [3.0, 3.0])


@pytest.mark.parametrize("call", [
    lambda x: x.add(1, 2, 3), lambda x: x.add(x, x), lambda x: x.add(x, 2), lambda x: x.mul(1, x), lambda x: x.addcmul(x, 0.5, x),
    lambda x: mg.addmm(1, 2, 3, x, x, x), lambda x: x.addmm(1, 2, 3, x, x), lambda x: x.add(1, x, x),
])  # fmt: skip
def test_anything_else_is_refused(call):
    with pytest.raises(TypeError):
        call(mg.ones(2, 2))
