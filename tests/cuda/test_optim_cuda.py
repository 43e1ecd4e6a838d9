"""Optimizers, gradient clipping and GradScaler on the device: many tensors in one launch, against the same steps on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree

import minigrad as mg

# More tensors than one launch takes (64), one of several pieces, one empty, one that does not end on 16 bytes.
SHAPES = [(3,), (17, 5), (20000,), (0, 4), (1,)] + [(2, 3)] * 66
OPTIMIZERS = {
    "sgd": lambda p: mg.optim.SGD(p, 0.1, weight_decay=0.01),
    "momentum": lambda p: mg.optim.SGD(p, 0.1, momentum=0.9, dampening=0.1, maximize=True),
    "nesterov": lambda p: mg.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: mg.optim.Adam(p, 0.01, weight_decay=0.1),
    "amsgrad": lambda p: mg.optim.AdamW(p, 0.01, amsgrad=True),
    "rmsprop": lambda p: mg.optim.RMSprop(p, 0.01),
    "rmsprop_all": lambda p: mg.optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: mg.optim.Adagrad(p, 0.1, lr_decay=0.1),
    "adadelta": lambda p: mg.optim.Adadelta(p),
    "adamax": lambda p: mg.optim.Adamax(p),
    "nadam": lambda p: mg.optim.NAdam(p, decoupled_weight_decay=True, weight_decay=0.1),
    "radam": lambda p: mg.optim.RAdam(p, 0.01),
    "rprop": lambda p: mg.optim.Rprop(p, 0.01),
}


def array(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def parameters(put: Any, shapes: list[tuple[int, ...]], dtype: Any) -> list[mg.Tensor]:
    return [put(array(*shape, seed=k), dtype, True) for k, shape in enumerate(shapes)]


def give_gradients(params: list[mg.Tensor], put: Any, step: int) -> None:
    for k, p in enumerate(params):
        p.grad = put(array(*p.shape, seed=1000 * (step + 1) + k), p.dtype)


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps(name: str, dtype: Any) -> None:
    def compute(put: Any) -> list[Any]:
        params = parameters(put, SHAPES, dtype)
        optimizer = OPTIMIZERS[name](params)
        for step in range(3):
            give_gradients(params, put, step)
            optimizer.step()
        return [p.detach() for p in params]

    # RAdam and Rprop divide and compare: a last bit of difference grows.
    agree(compute, 1e-5 if dtype == mg.float32 else 1e-12)


def test_the_device_steps_in_one_call() -> None:
    p = mg.ones(100, device="cuda").requires_grad_()
    optimizer = mg.optim.Adam([p])
    p.grad = mg.ones(100, device="cuda")
    optimizer.step()
    state = optimizer.state[p]
    rows = [[p], [p.grad], [state["exp_avg"]], [state["exp_avg_sq"]]]
    assert mg._core.adam_step(*rows, None, [state["step"]], 0.1, 0.9, 0.99, 1e-8, 0.0, False, False, False, None)
    mixed = [p, mg.ones(3).requires_grad_()]
    assert not mg._core.sgd_step(mixed, mixed, [None, None], 0.1, 0.0, 0.0, 0.0, False, False)


@pytest.mark.parametrize("dtype", [mg.float16, mg.bfloat16], ids=str)
def test_half_types(dtype: Any) -> None:
    def compute(put: Any) -> list[Any]:
        params = parameters(put, [(3, 5), (300,)], dtype)
        optimizer = mg.optim.SGD(params, 0.01, momentum=0.9)
        give_gradients(params, put, 0)
        optimizer.step()
        return [p.detach() for p in params]

    agree(compute)


@pytest.mark.parametrize("order", [2.0, float("inf"), 1.0])
@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clipping(order: float, limit: float) -> None:
    def compute(put: Any) -> list[Any]:
        params = parameters(put, SHAPES[:-60], mg.float32)
        give_gradients(params, put, 0)
        if order == 1.0:  # no single pass for it; the norm of nothing
            params = params[:2]
        total = mg.nn.utils.clip_grad_norm_(params, limit, order)
        found = [total, [p.grad.clone() for p in params]]
        mg.nn.utils.clip_grad_value_(params, 0.25)
        return [*found, [p.grad for p in params]]

    agree(compute, 1e-6)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_norm_of_bad_gradients(bad: float) -> None:
    def compute(put: Any) -> list[Any]:
        a = array(40000)
        a[123] = bad
        p = put(array(40000), mg.float32, True)
        p.grad = put(a, mg.float32)
        return [mg.nn.utils.get_total_norm([p.grad]), mg.nn.utils.get_total_norm([p.grad], float("inf"))]

    agree(compute)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_grad_scaler(device: str) -> None:
    weight = mg.ones(5, device=device).requires_grad_()
    optimizer = mg.optim.SGD([weight], 0.1)
    scaler = mg.amp.GradScaler(device, init_scale=8.0, growth_interval=1)
    scaler.scale((weight * 2).sum()).backward()
    assert weight.grad.cpu().tolist() == [16.0] * 5
    scaler.unscale_(optimizer)
    assert weight.grad.cpu().tolist() == [2.0] * 5
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 16.0
    np.testing.assert_allclose(weight.detach().cpu().numpy(), 0.8, rtol=1e-6)
    weight.grad[2] = float("inf")
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 8.0
    np.testing.assert_allclose(weight.detach().cpu().numpy(), 0.8, rtol=1e-6)
