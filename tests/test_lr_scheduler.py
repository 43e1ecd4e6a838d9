"""Every schedule of torch.optim.lr_scheduler and swa_utils: rates and momenta over 200 steps, state_dict, resuming, warnings, errors."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twins import array, assert_close, ours  # noqa: E402

import minigrad as mg  # noqa: E402

BOTH = pytest.mark.parametrize("lib", [mg, torch], ids=["minigrad", "torch"])
ADAM = {"CyclicLR-adam", "OneCycleLR-adam"}


class Halving:
    """A callable object: its attributes belong to the state."""

    def __init__(self):
        self.calls = 0

    def __call__(self, epoch):
        self.calls += 1
        return 0.5 ** (epoch // 30)


SCHEDULES = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, [lambda e: 0.98**e, Halving()]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.97 if e % 3 else 1.01),
    "StepLR": lambda s, o: s.StepLR(o, 30, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [10, 20, 20, 150], 0.3),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.3, 17),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.1, 0.7, 60),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.97),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 120, 1.7),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 37, 0.001),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 9, 2, 0.002),
    "CosineAnnealingWarmRestarts-1": lambda s, o: s.CosineAnnealingWarmRestarts(o, 9),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, [0.1, 0.2], 13, 7),
    "CyclicLR-2": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 10, mode="triangular2"),
    "CyclicLR-exp": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 10, mode="exp_range", gamma=0.99),
    "CyclicLR-fn": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 10, scale_fn=lambda x: 1 / (x + 1), cycle_momentum=False),
    "CyclicLR-adam": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 10),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, [0.5, 0.2], 200),
    "OneCycleLR-3": lambda s, o: s.OneCycleLR(o, 0.5, epochs=10, steps_per_epoch=20, three_phase=True, anneal_strategy="linear"),
    "OneCycleLR-adam": lambda s, o: s.OneCycleLR(o, 0.5, 200, pct_start=0.2, div_factor=10.0),
    "SequentialLR": lambda s, o: s.SequentialLR(o, [
        s.LinearLR(o, 0.1, total_iters=20), s.CosineAnnealingLR(o, 100), s.ExponentialLR(o, 0.9)], [20, 120]),
    "SequentialLR-chained": lambda s, o: s.SequentialLR(
        o, [s.ChainedScheduler([s.StepLR(o, 7), s.ExponentialLR(o, 0.99)]), s.ConstantLR(o, 0.1, 5)], [50]),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 40), s.ExponentialLR(o, 0.98), s.StepLR(o, 50)]),
    "SWALR": lambda s, o: s.SWALR(o, [0.01, 0.05], 20),
    "SWALR-linear": lambda s, o: s.SWALR(o, 0.01, 0, "linear"),
}  # fmt: skip


def home(lib, name):
    return lib.optim.swa_utils if name.startswith("SWALR") else lib.optim.lr_scheduler


def make(lib, name, tensor_lr=False):
    p, q = lib.nn.Parameter(lib.ones(1)), lib.nn.Parameter(lib.ones(1))
    lr = lib.tensor(0.1) if tensor_lr else 0.1
    groups = [{"params": [p]}, {"params": [q], "lr": 0.3}]
    optimizer = lib.optim.Adam(groups, lr=lr) if name in ADAM else lib.optim.SGD(groups, lr=lr, momentum=0.9)
    return optimizer, SCHEDULES[name](home(lib, name), optimizer)


def row(optimizer):
    return [float(x) for g in optimizer.param_groups for x in (g["lr"], g.get("momentum", g.get("betas", [0])[0]))]


def run(optimizer, schedule, steps):
    rows = []
    for _ in range(steps):
        rows.append(row(optimizer))
        assert [float(x) for x in schedule.get_last_lr()] == [float(g["lr"]) for g in optimizer.param_groups]
        optimizer.step()
        schedule.step()
    return rows


def test_every_schedule_is_tried():
    tried = {name.split("-")[0] for name in SCHEDULES} | {"ReduceLROnPlateau", "LRScheduler"}
    assert set(torch.optim.lr_scheduler.__all__) <= tried


@pytest.mark.parametrize("name", SCHEDULES)
def test_two_hundred_steps(name):
    steps = 199 if name.startswith("OneCycle") else 200
    rows = {lib.__name__: run(*make(lib, name), steps) for lib in (mg, torch)}
    np.testing.assert_allclose(rows["minigrad"], rows["torch"], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
def test_tensor_rates(name):
    rows = {}
    for lib in (mg, torch):
        optimizer, schedule = make(lib, name, tensor_lr=True)
        tensor = optimizer.param_groups[0]["lr"]
        rows[lib.__name__] = run(optimizer, schedule, 60)
        if name not in ("SequentialLR", "SequentialLR-chained"):  # torch may put another tensor there
            assert optimizer.param_groups[0]["lr"] is tensor
    np.testing.assert_allclose(rows["minigrad"], rows["torch"], rtol=2e-4, atol=1e-8)


@pytest.mark.parametrize("name", SCHEDULES)
def test_state_dict_matches_and_resumes(name):
    states = {}
    for lib in (mg, torch):
        optimizer, schedule = make(lib, name)
        run(optimizer, schedule, 45)
        states[lib] = schedule.state_dict()
        if lib is torch:
            break
        saved = copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))
        rest = run(optimizer, schedule, 60)
        other, again = make(lib, name)
        again.load_state_dict(saved[1])
        other.load_state_dict(saved[0])
        for group, before in zip(other.param_groups, rest[0][::2], strict=True):
            assert group["lr"] == before
        assert run(other, again, 60) == rest
    compare_states(states[mg], states[torch])


def compare_states(mine, theirs):
    assert list(mine) == list(theirs)
    for key, value in theirs.items():
        if isinstance(value, dict) and key not in ("milestones",):
            compare_states(mine[key], value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for a, b in zip(mine[key], value, strict=True):
                compare_states(a, b)
        elif isinstance(value, (float, list)) and not (
            isinstance(value, list) and any(not isinstance(v, (int, float)) for v in value)
        ):
            np.testing.assert_allclose(mine[key], value, rtol=1e-9, err_msg=key)
        else:
            assert mine[key] == value, key


@pytest.mark.parametrize("name", SCHEDULES)
def test_torch_state_loads(name):
    optimizer, schedule = make(torch, name)
    run(optimizer, schedule, 45)
    mine, again = make(mg, name)
    again.load_state_dict(copy.deepcopy(schedule.state_dict()))
    for a, b in zip(mine.param_groups, optimizer.param_groups, strict=True):
        a.update({k: v for k, v in b.items() if k != "params"})
    np.testing.assert_allclose(run(mine, again, 60), run(optimizer, schedule, 60), rtol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_resume_by_last_epoch(name):
    if name.split("-")[0] in ("SequentialLR", "ChainedScheduler", "SWALR"):
        pytest.skip("no last_epoch argument in the table's call")
    cls = name.split("-")[0]
    rates = {}
    for lib in (mg, torch):
        optimizer, schedule = make(lib, name)
        run(optimizer, schedule, 15)
        source = {
            "LambdaLR": dict(lr_lambda=lambda e: 0.98**e), "MultiplicativeLR": dict(lr_lambda=lambda e: 0.97), "StepLR": dict(step_size=30),
            "MultiStepLR": dict(milestones=[10, 20]), "ConstantLR": dict(total_iters=17), "LinearLR": dict(total_iters=60),
            "ExponentialLR": dict(gamma=0.97), "PolynomialLR": dict(total_iters=120), "CosineAnnealingLR": dict(T_max=37),
            "CosineAnnealingWarmRestarts": dict(T_0=9), "CyclicLR": dict(base_lr=0.01, max_lr=0.1, step_size_up=10),
            "OneCycleLR": dict(max_lr=0.5, total_steps=200),
        }[cls]  # fmt: skip
        again = getattr(lib.optim.lr_scheduler, cls)(optimizer, last_epoch=14, **source)
        rates[lib.__name__] = run(optimizer, again, 20)
    np.testing.assert_allclose(rates["minigrad"], rates["torch"], rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"mode": "max", "threshold_mode": "abs", "threshold": 0.1, "factor": 0.5},
                                     {"patience": 1, "cooldown": 2, "min_lr": [1e-3, 1e-2], "eps": 1e-3}])  # fmt: skip
def test_plateau(options):
    losses = np.random.default_rng(1).normal(size=200).cumsum() * 0.1
    rows, states = {}, {}
    for lib in (mg, torch):
        p, q = lib.nn.Parameter(lib.ones(1)), lib.nn.Parameter(lib.ones(1))
        optimizer = lib.optim.SGD([{"params": [p]}, {"params": [q], "lr": 0.2}], lr=1.0)
        schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **{"patience": 3, **options})
        assert isinstance(schedule, lib.optim.lr_scheduler.LRScheduler)
        rows[lib.__name__] = []
        for loss in losses:
            schedule.step(loss)
            rows[lib.__name__].append([g["lr"] for g in optimizer.param_groups])
        states[lib.__name__] = schedule.state_dict()
    assert rows["minigrad"] == rows["torch"]
    assert states["minigrad"] == states["torch"] and list(states["minigrad"]) == list(states["torch"])


ERRORS = [
    lambda s, o: s.StepLR(3, 1),
    lambda s, o: s.ReduceLROnPlateau(3),
    lambda s, o: s.LambdaLR(o(), [abs]),
    lambda s, o: s.MultiplicativeLR(o(), [abs]),
    lambda s, o: s.ConstantLR(o(), 2),
    lambda s, o: s.LinearLR(o(), 2.0),
    lambda s, o: s.LinearLR(o(), 0.0),
    lambda s, o: s.LinearLR(o(), 0.1, 3),
    lambda s, o: s.CosineAnnealingWarmRestarts(o(), 0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o(), 1.5),
    lambda s, o: s.CosineAnnealingWarmRestarts(o(), 2, 0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o(), 2, 1, "x"),
    lambda s, o: s.CosineAnnealingWarmRestarts(o(), 2).step(-1),
    lambda s, o: s.CyclicLR(o(), 0.1, 0.2, mode="x"),
    lambda s, o: s.CyclicLR(o(), [0.1], 0.2),
    lambda s, o: s.CyclicLR(3, 0.1, 0.2),
    *(lambda s, o, kw=kw: s.OneCycleLR(o(), **{"max_lr": 0.5, **kw}) for kw in (
        {}, {"total_steps": -1}, {"total_steps": 1.5}, {"epochs": 2}, {"epochs": 2, "steps_per_epoch": 0},
        {"epochs": 0, "steps_per_epoch": 1},
        {"total_steps": 5, "pct_start": 3.0}, {"total_steps": 5, "pct_start": 1}, {"total_steps": 5, "anneal_strategy": "x"},
        {"total_steps": 3, "max_lr": [0.1]})),
    lambda s, o: s.SequentialLR(o(), [], []),
    lambda s, o: (lambda x: s.SequentialLR(x, [s.StepLR(x, 1)], [1, 2]))(o()),
    lambda s, o: (lambda x: s.SequentialLR(x, [s.ReduceLROnPlateau(x), s.StepLR(x, 1)], [1]))(o()),
    lambda s, o: s.SequentialLR(o(), [3, 4], [1]),
    lambda s, o: s.ChainedScheduler([]),
    lambda s, o: s.ReduceLROnPlateau(o(), factor=1.0),
    lambda s, o: s.ReduceLROnPlateau(o(), mode="x"),
    lambda s, o: s.ReduceLROnPlateau(o(), threshold_mode="x"),
    lambda s, o: s.ReduceLROnPlateau(o(), min_lr=[1]),
]  # fmt: skip


@pytest.mark.parametrize("case", ERRORS, ids=range(len(ERRORS)))
def test_errors(case):
    texts = []
    for lib in (mg, torch):

        def optimizer(lib=lib):
            groups = [{"params": [lib.nn.Parameter(lib.ones(1))]} for _ in range(2)]
            return lib.optim.SGD(groups, lr=0.1, momentum=0.9)

        with pytest.raises(Exception) as error:  # noqa: B017  compared below
            case(lib.optim.lr_scheduler, optimizer)
        texts.append((type(error.value).__name__, str(error.value)))
    assert texts[0] == texts[1]


@BOTH
def test_warnings(lib):
    def fresh():
        optimizer = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=1.0)
        return optimizer, lib.optim.lr_scheduler.StepLR(optimizer, 1)

    _, schedule = fresh()
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        schedule.step()
    optimizer, schedule = fresh()
    optimizer.step = lambda: None
    with pytest.warns(UserWarning, match="has been overridden"):
        schedule.step()
    optimizer, schedule = fresh()
    with pytest.warns(UserWarning, match="get_last_lr"):
        schedule.get_lr()
    optimizer.step()
    with pytest.warns(UserWarning, match="epoch parameter"):
        schedule.step(5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer, schedule = fresh()
        lib.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        optimizer.register_step_post_hook(lambda *a: None)
        optimizer.step()
        schedule.step()


@BOTH
def test_own_schedule(lib):
    class Warmup(lib.optim.lr_scheduler._LRScheduler):
        def __init__(self, optimizer, steps, last_epoch=-1):
            self.steps = steps
            super().__init__(optimizer, last_epoch)

        def get_lr(self):
            return [base * min(1.0, (self.last_epoch + 1) / self.steps) for base in self.base_lrs]

    optimizer = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=1.0)
    schedule = Warmup(optimizer, 4)
    seen = []
    for _ in range(5):
        seen.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert seen == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert "steps" in schedule.state_dict() and "optimizer" not in schedule.state_dict()


def test_a_scheduled_optimizer_is_freed_and_copied():
    optimizer = mg.optim.SGD([mg.nn.Parameter(mg.ones(1))], lr=1.0)
    schedule = mg.optim.lr_scheduler.StepLR(optimizer, 1)
    pickle.loads(pickle.dumps(optimizer)).step()
    copy.deepcopy(optimizer).step()
    ref = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer, schedule
        assert ref() is None  # by reference counting alone
    finally:
        gc.enable()


@BOTH
@pytest.mark.parametrize("kind", ["swa", "ema", "ema-multi", "swa-multi", "own"])
def test_averaged_model(lib, kind):
    swa = lib.optim.swa_utils
    options = {
        "swa": {}, "ema": {"avg_fn": swa.get_ema_avg_fn(0.9)},
        "ema-multi": {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.9), "use_buffers": True},
        "swa-multi": {"multi_avg_fn": swa.get_swa_multi_avg_fn()}, "own": {"avg_fn": lambda a, p, n: a * 0.5 + p * 0.5},
    }[kind]  # fmt: skip
    net = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.BatchNorm1d(3))
    average = swa.AveragedModel(net, **options)
    assert list(average.state_dict())[0] == "n_averaged" and "module.0.weight" in average.state_dict()
    for i in range(4):
        with lib.no_grad():
            for p in net.parameters():
                p.fill_(float(i**2))
            net[1].running_mean.fill_(float(i))
        average.update_parameters(net)
    expected = {"swa": 3.5, "swa-multi": 3.5, "own": 5.625}.get(kind, 0.0)
    if kind.startswith("ema"):
        for v in (1, 4, 9):
            expected = 0.9 * expected + 0.1 * v
    assert float(average.module[0].weight[0, 0]) == pytest.approx(expected, rel=1e-5)
    mean = 0.0
    for v in (1, 2, 3):
        mean = 0.9 * mean + 0.1 * v
    assert float(average.module[1].running_mean[0]) == pytest.approx(mean if kind == "ema-multi" else 3.0, rel=1e-5)
    assert int(average.n_averaged) == 4
    assert tuple(average(lib.ones(2, 2)).shape) == (2, 3)
    with pytest.raises(ValueError, match="Invalid decay"):
        swa.get_ema_avg_fn(1.5)


def test_update_bn():
    torch.manual_seed(0)
    batches = [torch.randn(4, 3) for _ in range(3)]
    theirs, mine = torch.nn.BatchNorm1d(3), mg.nn.BatchNorm1d(3)
    theirs.eval(), mine.eval()
    torch.optim.swa_utils.update_bn([(b, 0) for b in batches], theirs)
    mg.optim.swa_utils.update_bn([(ours(b), 0) for b in batches], mine)
    assert_close(mine.running_mean, theirs.running_mean)
    assert_close(mine.running_var, theirs.running_var)
    assert mine.momentum == 0.1 and not mine.training and array(mine.num_batches_tracked) == 3


def test_a_chain_can_follow_in_a_sequence():  # torch raises NotImplementedError there
    optimizer = mg.optim.SGD([mg.nn.Parameter(mg.ones(1))], lr=1.0)
    s = mg.optim.lr_scheduler
    chain = s.ChainedScheduler([s.StepLR(optimizer, 2), s.ExponentialLR(optimizer, 0.5)])
    schedule = s.SequentialLR(optimizer, [s.ConstantLR(optimizer, 0.5, 2), chain], [2])
    np.testing.assert_allclose([r[0] for r in run(optimizer, schedule, 6)], [0.5, 0.5, 1.0, 0.5, 0.025, 0.0125])
