"""What a plan keeps of weights (packed, transformed) is never older than the weight, gives the same bits, and goes when it should."""

import gc
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn

CASES = {
    "linear": (lambda: nn.Linear(128, 96), (20, 128)),  # packed by the tasks that own columns
    "linear, many rows": (lambda: nn.Linear(300, 200, bias=False), (250, 300)),
    "linear, small": (lambda: nn.Linear(64, 64), (12, 64)),
    "linear, few columns": (lambda: nn.Linear(1000, 40), (150, 1000)),
    "linear, blocks": (lambda: nn.Linear(1100, 200), (150, 1100)),
    "linear, vectors": (lambda: nn.Linear(128, 96), (1, 128)),
    "conv": (lambda: nn.Conv2d(24, 40, 3), (1, 24, 5, 5)),
    "conv, channels of one": (lambda: nn.Conv2d(64, 70, 1, bias=False), (2, 64, 6, 6)),
    "conv, groups": (lambda: nn.Conv2d(64, 64, 3, groups=2), (1, 64, 7, 7)),
    "winograd": (lambda: nn.Conv2d(32, 48, 3, padding=1), (1, 32, 12, 12)),
    "winograd, strided": (lambda: nn.Conv2d(32, 48, 3, 2, padding=1), (1, 32, 24, 24)),
    "turned": (lambda: nn.Conv2d(32, 32, 5, padding=2), (1, 32, 9, 9)),
    "transposed": (lambda: nn.ConvTranspose2d(32, 40, 4, 2, 1), (1, 32, 7, 7)),
    "transposed, winograd": (lambda: nn.ConvTranspose2d(32, 40, 3, 1, 1), (1, 32, 12, 12)),
    "1d": (lambda: nn.Conv1d(32, 48, 5), (2, 32, 30)),
    "3d": (lambda: nn.Conv3d(20, 24, 3), (1, 20, 5, 6, 7)),
}


def pair(name, dtype=mg.float32, last=False, **options):
    mg.manual_seed(0)
    make, shape = CASES[name]
    module = make().to(dtype)
    if last:
        module = module.to(memory_format=mg.channels_last)
    x = mg.randn(*shape).to(dtype)
    compiled = mg.compile(lambda v: module(v), options=options or None)
    return module, compiled, x


def plan_of(compiled):
    return compiled.entries[0].plan


def run(compiled, x, times=1):
    with mg.no_grad():
        for _ in range(times):
            out = compiled(x)
    return out


@pytest.fixture(autouse=True)
def always_the_plan():
    mg.use_deterministic_algorithms(True)  # no trial: every call goes to the plan
    yield
    mg.use_deterministic_algorithms(False)


def values(t):
    return np.array(t.detach().double().numpy())


def same(a, b):
    """The same bits (but NaN is NaN) and layout."""
    return a.dtype == b.dtype and a.stride() == b.stride() and np.array_equal(*map(values, (a, b)), equal_nan=True)


def check(module, compiled, x):
    with mg.no_grad():
        want = module(x)
    assert same(run(compiled, x), want)


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64, mg.bfloat16, mg.float16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_same_bits(name, dtype):
    module, compiled, x = pair(name, dtype)
    for _ in range(4):
        check(module, compiled, x)
    with mg.no_grad():
        other = mg.randn(*x.shape).to(dtype)
    check(module, compiled, other)
    if dtype == mg.float32 and name not in ("linear, vectors", "3d"):
        assert plan_of(compiled).prepared_bytes >= module.weight.numel() * 4


@pytest.mark.parametrize("name", ["winograd", "turned", "conv, channels of one", "transposed"])
def test_channels_last(name):
    module, compiled, x = pair(name, last=True)
    for image in (x, x.to(memory_format=mg.channels_last)):
        for _ in range(4):
            check(module, compiled, image)


def test_training_prepares_nothing():
    module, _, x = pair("linear")
    optimizer = mg.optim.SGD(module.parameters(), lr=0.1)
    plans = []

    @mg.compile
    def step(x):
        optimizer.zero_grad()
        loss = module(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(5):
        step(x)
    plans = [entry.plan for entry in step.entries]
    assert plans and all(plan.prepared_bytes == 0 for plan in plans)


def test_option():
    module, compiled, x = pair("winograd", prepack=False)
    for _ in range(4):
        check(module, compiled, x)
    assert plan_of(compiled).prepared_bytes == 0


def test_copies_go_with_the_weight():
    module, compiled, x = pair("winograd")
    for _ in range(3):
        check(module, compiled, x)
    plan = plan_of(compiled)
    assert plan.prepared_bytes > 0
    with mg.no_grad():
        module.weight.add_(1)
    run(compiled, x)  # it may be trained: nothing is kept before it was found unchanged
    assert plan.prepared_bytes == 0
    run(compiled, x)
    assert plan.prepared_bytes > 0


def test_copies_die_with_the_weight():
    compiled, x, w = mg.compile(lambda x, w: F.linear(x, w)), mg.randn(20, 128), mg.randn(96, 128)
    for _ in range(3):
        compiled(x, w)
    plan = plan_of(compiled)
    assert plan.prepared_bytes > 0
    del w
    assert plan.prepared_bytes == 0


def test_plans_share_copies():
    module, compiled, x = pair("conv")
    other = mg.compile(lambda v: module(v).relu())
    for _ in range(3):
        check(module, compiled, x)
        with mg.no_grad():
            assert same(other(x), module(x).relu())
    assert plan_of(compiled).prepared_bytes == plan_of(other).prepared_bytes > 0
    before = plan_of(other).prepared_bytes
    compiled.reset()
    gc.collect()
    assert plan_of(other).prepared_bytes == before
    with mg.no_grad():
        module.weight.add_(1)
        assert same(other(x), module(x).relu())


def test_views_of_one_storage():
    """Two weights in one piece of memory, and one read in two ways."""
    flat = mg.randn(2 * 64 * 64)
    a, b = flat[: 64 * 64].view(64, 64), flat[64 * 64 :].view(64, 64)
    x = mg.randn(12, 64)

    def f(x):
        return F.linear(F.linear(x, a), b) @ a + F.linear(x, a.t())

    compiled = mg.compile(f)
    with mg.no_grad():
        for _ in range(4):
            assert same(compiled(x), f(x))
        b.add_(1)
        for _ in range(4):
            assert same(compiled(x), f(x))


def test_weight_written_inside_of_the_function():
    weight, x = mg.randn(96, 128), mg.randn(20, 128)

    def f(x, w):
        y = F.linear(x, w)
        w.add_(1)
        return y + F.linear(x, w)

    compiled, twin = mg.compile(f), weight.clone()
    with mg.no_grad():
        for _ in range(5):
            assert same(compiled(x, weight), f(x, twin))


@pytest.mark.parametrize("seen", [True, False])
def test_weight_written_by_another_compiled_function(seen):
    """As a group of ops that stores into it, also through `.data`."""
    module, compiled, x = pair("linear")

    @mg.compile
    def move(t):
        return t.mul_(1.5).add_(1).tanh_().sum()

    for _ in range(5):
        for _ in range(3):
            check(module, compiled, x)
        with mg.no_grad():
            move(module.weight if seen else module.weight.data)


def test_explain_says_what_is_kept():
    module, compiled, x = pair("linear")
    for _ in range(3):
        check(module, compiled, x)
    with mg.no_grad():
        assert "MiB made of weights" in str(mg.compile.explain(compiled, x))


def test_other_weights_in_the_same_place():
    """A function of its weight: another tensor in each call, now and then where an earlier one lay."""
    compiled, x = mg.compile(lambda x, w: F.linear(x, w)), mg.randn(20, 128)
    with mg.no_grad():
        for k in range(12):
            w = mg.full((96, 128), float(k // 2))
            assert same(compiled(x, w), F.linear(x, w))
            del w


def test_threads():
    module, compiled, x = pair("winograd")
    with mg.no_grad():
        compiled(x)
        want = module(x)
    wrong = []

    def work():
        for _ in range(20):
            if not same(run(compiled, x), want):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.parametrize("name", ["linear", "linear, many rows", "conv", "winograd", "turned"])
def test_number_of_threads(name):
    module, compiled, x = pair(name)
    before, outs = mg.get_num_threads(), []
    try:
        for n in (1, 2, 3, 1):
            mg.set_num_threads(n)
            outs += [run(compiled, x) for _ in range(3)]
    finally:
        mg.set_num_threads(before)
    assert all(same(out, outs[0]) for out in outs)


def test_not_finite():
    """Winograd gives way where a result is not finite."""
    module, compiled, x = pair("winograd")
    for _ in range(3):
        check(module, compiled, x)
    x[0, 0, 0, 0] = float("inf")
    for _ in range(3):
        check(module, compiled, x)


def test_many_sizes():
    mg.manual_seed(0)
    module = nn.Conv2d(32, 32, 3, padding=1)
    compiled = mg.compile(module, dynamic=True)
    with mg.no_grad():
        for _ in range(3):
            for n in (1, 2, 3, 5):
                x = mg.randn(n, 32, 10, 10)
                for _ in range(3):
                    assert same(compiled(x), module(x))


def test_benchmark():
    """`python -m benchmarks.inference` on models shrunk to almost nothing."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks import inference

    rows = inference.main(["--tiny", "--threads", "1", "--rounds", "3", "--seconds", "0.05", "--against"])
    assert len(rows) == len(inference.CASES)
    assert all(row["compiled_s"] > 0 and row["ratio_eager"] > 0 for row in rows)


def test_a_tensor_that_escaped_from_a_transform_changes_nothing():
    """What a transform or a trace left behind is no reason to run a plan call by call: weights are prepared all the same."""
    escaped = []
    mg.func.vmap(lambda v: escaped.append(v) or v)(mg.ones(2, 3))
    assert mg._core.handlers_alive() > 0
    module, compiled, x = pair("linear")
    with mg.no_grad():
        assert mg.equal(run(compiled, x, 3), module(x))
    assert plan_of(compiled).prepared_bytes > 0
