"""Optimizers and schedules against torch; the fused step against the plain formulas; the Optimizer contract."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twins import array, assert_close, ours  # noqa: E402

import minigrad as mg  # noqa: E402

BOTH = pytest.mark.parametrize("lib", [mg, torch], ids=["minigrad", "torch"])

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "maximize": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05, "maximize": True}),
    *((name, {"lr": 0.05, "amsgrad": a, "weight_decay": w, "maximize": m}) for name in ("Adam", "AdamW")
      for a, w, m in itertools.product((False, True), (0.0, 0.1), (False, True))),
    ("Adam", {"betas": (0.7, 0.9), "eps": 1e-3}),
    ("AdamW", {}),
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.5, "centered": True, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
]  # fmt: skip
SHAPES = [(3, 4), (5,), (), (0, 2), (2, 3, 4)]


def label(case):
    return case[0] + "".join(f"-{k}={v}" for k, v in case[1].items()).replace(" ", "")


def values(seed):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape), dtype=np.float32) for shape in SHAPES]


def parameters(lib, seed=0, dtype="float32"):
    make = ours if lib is mg else lambda a: torch.from_numpy(a.copy())
    return [lib.nn.Parameter(make(v).to(getattr(lib, dtype))) for v in values(seed)]


def give_gradients(lib, params, seed, skip=()):
    make = ours if lib is mg else lambda a: torch.from_numpy(a.copy())
    for i, (p, v) in enumerate(zip(params, values(seed), strict=True)):
        p.grad = None if i in skip else make(v).to(p.dtype)


@pytest.mark.parametrize("plain", [False, True], ids=["default", "foreach=False"])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=label)
def test_steps_match_torch(case, plain):
    name, options = case
    mine, theirs = parameters(mg), parameters(torch)
    extra = {"foreach": False} if plain else {}
    a = getattr(mg.optim, name)(mine, **options, **extra)
    b = getattr(torch.optim, name)(theirs, **options)
    for step in range(5):
        skip = (1,) if step in (0, 3) else ()  # state begins late, and a missing gradient leaves it alone
        give_gradients(mg, mine, 10 + step, skip)
        give_gradients(torch, theirs, 10 + step, skip)
        a.step()
        b.step()
    for p, q in zip(mine, theirs, strict=True):
        assert_close(p, q, rtol=1e-5, atol=1e-6)
    sa, sb = a.state_dict(), b.state_dict()
    assert list(sa["state"]) == list(sb["state"])
    for key, expected in sb["state"].items():
        assert list(sa["state"][key]) == list(expected), key
        for entry, value in expected.items():
            assert_close(sa["state"][key][entry], value, f"state[{key}][{entry}]", rtol=1e-5, atol=1e-6)
    for ga, gb in zip(sa["param_groups"], sb["param_groups"], strict=True):
        assert list(ga) == list(gb)
        assert {k: v for k, v in ga.items() if k != "foreach"} == {k: v for k, v in gb.items() if k != "foreach"}


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_other_dtypes(name, dtype):
    options = {"lr": 0.05, "weight_decay": 0.1, **({"momentum": 0.9} if name == "SGD" else {})}
    mine, theirs = parameters(mg, dtype=dtype), parameters(torch, dtype=dtype)
    a, b = getattr(mg.optim, name)(mine, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(3):
        give_gradients(mg, mine, step)
        give_gradients(torch, theirs, step)
        a.step()
        b.step()
    tolerance = {"float64": 1e-12, "float16": 5e-3, "bfloat16": 4e-2}[dtype]
    for p, q in zip(mine, theirs, strict=True):
        assert str(p.dtype).endswith(dtype)
        np.testing.assert_allclose(array(p.double()), array(q.double()), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_strided_parameters_take_the_plain_path(name):
    base = mg.zeros(4, 3)
    p = mg.nn.Parameter(base.t())
    p.grad = mg.ones(3, 4)
    getattr(mg.optim, name)([p], lr=0.1).step()
    assert float(base.max()) < 0  # the strided memory itself was updated
    np.testing.assert_allclose(array(p), -0.1, rtol=1e-4)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=label)
def test_state_dict_resumes_exactly(case):
    name, options = case
    mine = parameters(mg)
    first = getattr(mg.optim, name)(mine, **options)
    for step in range(3):
        give_gradients(mg, mine, step)
        first.step()
    saved, weights = copy.deepcopy(first.state_dict()), [p.detach().clone() for p in mine]
    other_params = [mg.nn.Parameter(w) for w in weights]
    second = getattr(mg.optim, name)(other_params, lr=123.0)
    second.load_state_dict(saved)
    for params, optimizer in ((mine, first), (other_params, second)):
        give_gradients(mg, params, 7)
        optimizer.step()
    for p, q in zip(mine, other_params, strict=True):
        np.testing.assert_array_equal(array(p), array(q))
    assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"]


def test_torch_checkpoint_loads():
    mine, theirs = parameters(mg), parameters(torch)
    b = torch.optim.Adam(theirs, lr=0.05)
    give_gradients(torch, theirs, 1)
    b.step()

    def convert(value):
        if isinstance(value, torch.Tensor):
            return ours(value)
        if isinstance(value, dict):
            return {k: convert(v) for k, v in value.items()}
        return value

    a = mg.optim.Adam(mine)
    a.load_state_dict(convert(b.state_dict()))
    for p, q in zip(mine, theirs, strict=True):
        p.data = ours(q)
    for params, optimizer, lib in ((mine, a, mg), (theirs, b, torch)):
        give_gradients(lib, params, 2)
        optimizer.step()
    for p, q in zip(mine, theirs, strict=True):
        assert_close(p, q)


@BOTH
def test_groups_and_defaults(lib):
    w, v, u = (lib.nn.Parameter(lib.ones(2)) for _ in range(3))
    optimizer = lib.optim.SGD([{"params": [w]}, {"params": v, "lr": 1.0}], lr=0.1)
    optimizer.add_param_group({"params": [u], "lr": 2.0, "weight_decay": 0.5})
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 1.0, 2.0]
    for p in (w, v, u):
        p.grad = lib.ones(2)
    optimizer.step()
    np.testing.assert_allclose([array(p)[0] for p in (w, v, u)], [0.9, 0.0, -2.0], rtol=1e-6)
    named = lib.optim.SGD([("w", w), ("v", v)], lr=0.1)
    assert named.param_groups[0]["param_names"] == ["w", "v"]
    text = repr(lib.optim.SGD([w], lr=0.1))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n") and "    lr: 0.1\n" in text


def test_errors_are_torchs():
    def cases(lib):
        p, q = lib.nn.Parameter(lib.ones(2)), lib.nn.Parameter(lib.ones(2))
        yield lambda: lib.optim.SGD([], lr=0.1)
        yield lambda: lib.optim.SGD(p, lr=0.1)
        yield lambda: lib.optim.SGD([p * 1], lr=0.1)
        yield lambda: lib.optim.SGD([3], lr=0.1)
        yield lambda: lib.optim.SGD([{"params": {p}}], lr=0.1)
        yield lambda: lib.optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1)
        yield lambda: lib.optim.SGD([p], lr=-1)
        yield lambda: lib.optim.SGD([p], lr=0.1, momentum=-1)
        yield lambda: lib.optim.SGD([p], lr=0.1, weight_decay=-1)
        yield lambda: lib.optim.SGD([p], lr=0.1, nesterov=True)
        yield lambda: lib.optim.Adam([p], lr=-1)
        yield lambda: lib.optim.Adam([p], eps=-1)
        yield lambda: lib.optim.Adam([p], betas=(1.0, 0.9))
        yield lambda: lib.optim.Adam([p], weight_decay=-1)
        yield lambda: lib.optim.Adam([p]).add_param_group([q])
        yield lambda: lib.optim.Adam([p]).load_state_dict(lib.optim.Adam([p, q]).state_dict())
        yield lambda: lib.optim.Adam([p]).load_state_dict(
            lib.optim.Adam([{"params": [p]}, {"params": [q]}]).state_dict()
        )
        yield lambda: lib.optim.lr_scheduler.LambdaLR(lib.optim.SGD([p], lr=1), [abs, abs])
        yield lambda: lib.optim.lr_scheduler.StepLR(lib.optim.SGD([p], lr=1), 1, last_epoch=3)

    for i, (mine, theirs) in enumerate(zip(cases(mg), cases(torch), strict=True)):
        with pytest.raises(Exception) as a:  # noqa: PT011  compared below
            mine()
        with pytest.raises(Exception) as b:  # noqa: PT011
            theirs()
        assert type(a.value).__name__ == type(b.value).__name__, i
        if not isinstance(b.value, KeyError):  # torch's text there is a paragraph of advice
            assert str(a.value).replace("minigrad", "torch") == str(b.value), i


@BOTH
def test_closure_zero_grad_and_hooks(lib):
    w = lib.nn.Parameter(lib.ones(2))
    optimizer = lib.optim.SGD([w], lr=0.5)
    log = []
    handle = optimizer.register_step_pre_hook(lambda o, args, kwargs: log.append("pre"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: log.append("post"))

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with lib.no_grad():  # the closure still records
        assert float(optimizer.step(closure)) == 2.0
    assert log == ["pre", "post"] and float(w.sum()) == 0.0
    handle.remove()
    optimizer.step()
    assert log == ["pre", "post", "post"]
    optimizer.zero_grad(set_to_none=False)
    assert float(w.grad.abs().sum()) == 0.0
    optimizer.zero_grad()
    assert w.grad is None
    assert type(pickle.loads(pickle.dumps(optimizer))).__name__ == "SGD"
    assert copy.deepcopy(optimizer).param_groups[0]["lr"] == 0.5


@BOTH
def test_third_party_subclass(lib):
    class Sign(lib.optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, dict(lr=lr))

        @lib.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    self.state[p]["seen"] = self.state[p].get("seen", 0) + 1
                    p.add_(p.grad.sign(), alpha=-group["lr"])

    w = lib.nn.Parameter(lib.ones(2))
    w.grad = lib.ones(2) * 3
    optimizer = Sign([w], 0.25)
    optimizer.step()
    assert float(w[0]) == 0.75 and optimizer.state_dict()["state"] == {0: {"seen": 1}}


def test_step_updates_are_seen_by_autograd():
    w = mg.nn.Parameter(mg.ones(2))
    y = w * w
    w.grad = mg.ones(2)
    version = w._version
    for options in ({}, {"momentum": 0.9}):
        mg.optim.SGD([w], lr=0.1, **options).step()
    assert w._version > version and w.requires_grad and w.is_leaf
    with pytest.raises(RuntimeError, match="modified by an inplace|in-place|inplace"):
        y.sum().backward()


SCHEDULES = {
    "StepLR": (2, 0.5),
    "MultiStepLR": ([2, 4, 4], 0.5),
    "ConstantLR": (0.3, 3),
    "LinearLR": (0.25, 1.0, 4),
    "ExponentialLR": (0.8,),
    "CosineAnnealingLR": (4, 0.01),
    "LambdaLR": (lambda epoch: 0.9**epoch,),
    "OneCycleLR": (0.5, 12),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_match_torch(name):
    rates = {}
    for lib in (mg, torch):
        p = lib.nn.Parameter(lib.ones(1))
        groups = [{"params": [p]}, {"params": [lib.nn.Parameter(lib.ones(1))], "lr": 0.3}]
        optimizer = lib.optim.SGD(groups, lr=0.1, momentum=0.9)
        schedule = getattr(lib.optim.lr_scheduler, name)(optimizer, *SCHEDULES[name])
        seen = rates[lib.__name__] = []
        for _ in range(11):
            seen.append([g["lr"] for g in optimizer.param_groups] + [g["momentum"] for g in optimizer.param_groups])
            assert schedule.get_last_lr() == [g["lr"] for g in optimizer.param_groups]
            optimizer.step()
            schedule.step()
        saved = schedule.state_dict()
        again = getattr(lib.optim.lr_scheduler, name)(optimizer, *SCHEDULES[name])
        again.load_state_dict(saved)
        assert again.last_epoch == 11
    np.testing.assert_allclose(rates["minigrad"], rates["torch"], rtol=1e-9, atol=1e-15)


def test_plateau_matches_torch():
    losses = [5, 4, 4, 4, 4, 3.9, 3.9, 3.9, 3.9, 1, 1, 1, 1, 1, 1]
    rates = {}
    for lib in (mg, torch):
        optimizer = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=1.0)
        schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, cooldown=1, min_lr=1e-3)
        rates[lib.__name__] = []
        for loss in losses:
            schedule.step(loss)
            rates[lib.__name__].append(optimizer.param_groups[0]["lr"])
    assert rates["minigrad"] == rates["torch"]


@BOTH
def test_schedule_before_step_warns(lib):
    schedule = lib.optim.lr_scheduler.StepLR(lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=1.0), 1)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        schedule.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.step()


@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
def test_clip_grad(norm_type):
    mine, theirs = parameters(mg), parameters(torch)
    for lib, params in ((mg, mine), (torch, theirs)):
        params.pop(3)  # torch has no infinity norm of an empty tensor
        for p, v in zip(params, [v for v in values(4) if v.size], strict=True):
            p.grad = ours(v) if lib is mg else torch.from_numpy(v.copy())
    a = mg.nn.utils.clip_grad_norm_(mine, 0.7, norm_type)
    b = torch.nn.utils.clip_grad_norm_(theirs, 0.7, norm_type)
    assert_close(a, b)
    mg.nn.utils.clip_grad_value_(mine, 0.05)
    torch.nn.utils.clip_grad_value_(theirs, 0.05)
    for p, q in zip(mine, theirs, strict=True):
        assert_close(p.grad, q.grad)
    mine[0].grad.fill_(math.inf)
    with pytest.raises(RuntimeError, match="non-finite"):
        mg.nn.utils.clip_grad_norm_(mine, 1.0, error_if_nonfinite=True)


def test_parameter_vectors():
    params = parameters(mg)
    vector = mg.nn.utils.parameters_to_vector(params)
    assert vector.numel() == sum(p.numel() for p in params)
    mg.nn.utils.vector_to_parameters(vector * 2, params)
    for p, v in zip(params, values(0), strict=True):
        np.testing.assert_allclose(array(p), v * 2)
