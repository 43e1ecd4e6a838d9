"""GradScaler against torch's on the CPU: growth and backoff, its contract, every optimizer, a training loop with autocast."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from by_device import device_type  # noqa: E402
from optim_twins import CLASSES, give, option_sets, parameters, shapes_of  # noqa: E402
from twins import array  # noqa: E402

import minigrad as mg  # noqa: E402

BOTH = pytest.mark.parametrize("lib", [mg, torch], ids=["minigrad", "torch"])


def scaler_of(lib, **options):
    return lib.amp.GradScaler(device_type(lib), **options)


@BOTH
def test_scaler_grows_and_backs_off(lib):
    w = lib.nn.Parameter(lib.ones(2))
    optimizer = lib.optim.SGD([w], lr=0.5)
    scaler = scaler_of(lib, init_scale=8.0, growth_interval=2)
    scales, values = [], []
    for i in range(6):
        optimizer.zero_grad()
        loss = (w * (float("inf") if i == 3 else 1.0)).sum()
        scaled = scaler.scale(loss)
        assert float(scaled) == float(loss) * scaler.get_scale()
        scaled.backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
        values.append(float(w[0].detach()))
    assert scales == [8.0, 16.0, 16.0, 8.0, 8.0, 16.0]
    assert values == [0.5, 0.0, -0.5, -0.5, -1.0, -1.5]  # the step with an infinite gradient was left out
    state = scaler.state_dict()
    assert state == {"scale": 16.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2, "_growth_tracker": 0}
    other = scaler_of(lib)
    other.load_state_dict(state)
    assert other.state_dict() == state
    assert pickle.loads(pickle.dumps(scaler)).state_dict() == state
    assert copy.deepcopy(scaler).get_scale() == 16.0


@BOTH
def test_scaler_contract(lib):
    w = lib.nn.Parameter(lib.ones(2))
    optimizer = lib.optim.SGD([w], lr=0.5)
    scaler = scaler_of(lib)
    for call in (lambda: scaler.step(optimizer), lambda: scaler.unscale_(optimizer), scaler.update):
        with pytest.raises(AssertionError, match="_scale is None"):
            call()
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    np.testing.assert_array_equal(array(w.grad), [1.0, 1.0])
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    with pytest.raises(AssertionError, match="only be pickled"):
        pickle.dumps(scaler)
    with pytest.raises(RuntimeError, match="after step"):
        scaler.unscale_(optimizer)
    scaler.update(7.0)
    assert scaler.get_scale() == 7.0
    with pytest.raises(AssertionError, match="No inf checks"):
        scaler.update()
    with pytest.raises(RuntimeError, match="Closure"):
        scaler.step(optimizer, closure=lambda: 1)
    with pytest.raises(ValueError, match="outputs must be"):
        scaler.scale(3)
    nested = scaler.scale([w.detach(), (w.detach(),)])
    assert isinstance(nested, list) and isinstance(nested[1], tuple) and float(nested[1][0][0]) == 7.0 * float(w[0].detach())
    half = lib.nn.Parameter(lib.ones(2).half())
    of_half = lib.optim.SGD([half], lr=0.5)
    scaler.scale(half.sum()).backward()
    with pytest.raises(ValueError, match="unscale FP16"):
        scaler.unscale_(of_half)
    with pytest.raises(AssertionError, match="growth factor"):
        scaler_of(lib, growth_factor=1.0)
    with pytest.raises(AssertionError, match="backoff factor"):
        scaler_of(lib, backoff_factor=1.0)
    with pytest.raises(RuntimeError, match="source state dict is empty"):
        scaler.load_state_dict({})
    off = scaler_of(lib, enabled=False)
    assert off.scale(3) == 3 and off.get_scale() == 1.0 and off.state_dict() == {} and not off.is_enabled()
    off.unscale_(optimizer), off.step(optimizer), off.update(), off.load_state_dict({})


@BOTH
def test_optimizers_that_unscale_themselves(lib):
    seen = {}

    class Own(lib.optim.SGD):
        _step_supports_amp_scaling = True

        def step(self, closure=None):
            seen.update(scale=float(self.grad_scale), found=float(self.found_inf))

    w = lib.nn.Parameter(lib.ones(2))
    optimizer, scaler = Own([w], lr=0.1), scaler_of(lib, init_scale=4.0)
    scaler.scale(w.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert seen == {"scale": 4.0, "found": 0.0} and not hasattr(optimizer, "grad_scale")


@pytest.mark.parametrize("name", [n for n in CLASSES if n != "LBFGS"])
def test_scaler_with_every_optimizer(name):
    """Scaled and unscaled by a power of two, a step is the plain step."""
    plain, scaled = parameters(mg, shapes_of(name)), parameters(mg, shapes_of(name))
    options = option_sets(name)[-1]
    a, b = getattr(mg.optim, name)(plain, **options), getattr(mg.optim, name)(scaled, **options)
    scaler = scaler_of(mg, init_scale=1024.0)
    for i in range(3):
        give(mg, plain, i)
        give(mg, scaled, i)
        for p in scaled:
            p.grad.mul_(1024.0)
        scaler.scale(mg.ones(()))
        a.step()
        scaler.step(b)
        scaler.update()
    for p, q in zip(plain, scaled, strict=True):
        np.testing.assert_array_equal(array(p), array(q))


@BOTH
def test_a_training_loop(lib):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaler = lib.cuda.amp.GradScaler(enabled=False)
    lib.manual_seed(0)
    net = lib.nn.Sequential(lib.nn.Linear(4, 16), lib.nn.ReLU(), lib.nn.Linear(16, 1))
    optimizer = lib.optim.AdamW(net.parameters(), lr=0.02)
    scaler = scaler_of(lib)
    x = lib.randn(64, 4)
    y = x[:, :1] * 2 - x[:, 1:2]
    losses = []
    for _ in range(60):
        optimizer.zero_grad(set_to_none=True)
        with lib.autocast(device_type=device_type(lib), dtype=lib.bfloat16):
            loss = lib.nn.functional.mse_loss(net(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        lib.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        scaler.step(optimizer)
        scaler.update()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.15 * losses[0]
