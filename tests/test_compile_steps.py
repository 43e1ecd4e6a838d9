"""Optimizers inside of a plan: stepped without Python, and like their own step() whatever happens to them in between."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiler import CompiledFunction
from minigrad.compiler._steps import describe
from minigrad.nn import functional as F

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: mg.optim.SGD(p, lr=0.1),
    "momentum": lambda p: mg.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: mg.optim.Adam(p, lr=1e-2, weight_decay=0.1),
    "adamw": lambda p: mg.optim.AdamW(p, lr=1e-2, betas=(0.8, 0.99), maximize=True),
    "amsgrad": lambda p: mg.optim.AdamW(p, lr=1e-2, amsgrad=True),
    "reference": lambda p: mg.optim.Adam(p, lr=1e-2, foreach=False),
    "rmsprop": lambda p: mg.optim.RMSprop(p, lr=1e-2),
}


def train(name: str, compiled: bool, disturb: Callable[[int, nn.Module, Any], None], scheduled: bool = False) -> list[mg.Tensor]:
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = OPTIMIZERS[name](model.parameters())
    scheduler = mg.optim.lr_scheduler.ExponentialLR(optimizer, 0.9) if scheduled else None

    def step(x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    run = CompiledFunction(step) if compiled else step
    for k in range(8):
        x = mg.randn(16, 3)
        run(x, x.sum(1, keepdim=True))
        if scheduler is not None:
            scheduler.step()
        disturb(k, model, optimizer)
    return [p.detach().clone() for p in model.parameters()]


def same(a: list[mg.Tensor], b: list[mg.Tensor]) -> bool:
    return all(mg.allclose(x, y, rtol=1e-5, atol=1e-6) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_plan_steps_like_step(name: str, scheduled: bool) -> None:
    still = lambda k, model, optimizer: None  # noqa: E731
    assert same(train(name, True, still, scheduled), train(name, False, still, scheduled))


def change_rate(k: int, model: nn.Module, optimizer: Any) -> None:
    optimizer.param_groups[0]["lr"] = 0.02 / (k + 1)


def reload_state(k: int, model: nn.Module, optimizer: Any) -> None:
    if k == 4:
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def replace_state(k: int, model: nn.Module, optimizer: Any) -> None:
    for own in optimizer.state.values():
        for key in own:
            if k == 5 and key in ("exp_avg", "momentum_buffer"):
                own[key] = own[key] * 0


def replace_data(k: int, model: nn.Module, optimizer: Any) -> None:
    if k == 3:
        for p in model.parameters():
            p.data = p.data * 0.5


def switch_amsgrad(k: int, model: nn.Module, optimizer: Any) -> None:
    if k == 4 and "amsgrad" in optimizer.param_groups[0]:
        optimizer.param_groups[0]["maximize"] = not optimizer.param_groups[0]["maximize"]


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("disturb", [change_rate, reload_state, replace_state, replace_data, switch_amsgrad])
def test_what_changes_between_steps_is_seen(name: str, disturb: Callable[[int, nn.Module, Any], None]) -> None:
    assert same(train(name, True, disturb), train(name, False, disturb))


def test_hooks_are_called() -> None:
    calls: list[int] = []

    def hook(k: int, model: nn.Module, optimizer: Any) -> None:
        if k == 3:
            optimizer.register_step_post_hook(lambda *_: calls.append(k))

    train("adam", True, hook)
    assert len(calls) == 4


def test_who_takes_part() -> None:
    weight = nn.Parameter(mg.randn(3))
    plain = mg.optim.SGD([weight], lr=0.1)
    assert describe(plain) is not None
    assert describe(mg.optim.Adam([weight])) is None  # no state before the first step
    adam = mg.optim.Adam([weight])
    weight.grad = mg.ones(3)
    adam.step()
    assert describe(adam) is not None
    adam.param_groups[0]["amsgrad"] = True
    assert describe(adam) is None

    class Mine(mg.optim.SGD):
        pass

    assert describe(Mine([weight], lr=0.1)) is None
    plain.register_step_pre_hook(lambda *_: None)
    assert describe(plain) is None
