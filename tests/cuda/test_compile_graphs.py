"""mg.compile(mode="reduce-overhead"): a form that was recorded as a CUDA graph gives what the function gives, and what cannot be recorded
stays a plan. On the simulated device graphs are recorded launches.
"""

from __future__ import annotations

import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiler.codegen import on_cuda
from minigrad.kernels import _overrides
from minigrad.nn import functional as F

if not mg.cuda.is_available():
    pytest.skip("needs a CUDA device, or MINIGRAD_CUDASIM=1", allow_module_level=True)


@pytest.fixture(autouse=True)
def plain_kernels():
    """Triton's interpreter waits for the device, which a capture refuses."""
    if not mg.cuda.is_simulated():
        yield
        return
    on_cuda.install(False)
    with _overrides.disabled():
        yield
    on_cuda.install()


def batches(n: int) -> list:
    g = mg.Generator().manual_seed(0)
    return [(mg.randn(6, 8, generator=g).cuda(), mg.randint(0, 4, (6,), generator=g).cuda()) for _ in range(n)]


def training(kind: str):
    mg.manual_seed(3)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)).cuda()
    if kind == "sgd":
        opt = mg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scheduler = mg.optim.lr_scheduler.StepLR(opt, 4, 0.5)
    else:
        opt, scheduler = mg.optim.AdamW(model.parameters(), lr=0.01, capturable=kind == "capturable"), None

    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        if scheduler is not None:
            scheduler.step()
        return loss

    return model, opt, step


@pytest.mark.parametrize("kind, recorded", [("sgd", "recorded"), ("capturable", "recorded 1 times"), ("adamw", "no CUDA graph")])
def test_training_step(kind, recorded):
    (model, opt, step), (other, other_opt, plain) = training(kind), training(kind)
    compiled = mg.compile(step, mode="reduce-overhead")
    for x, y in batches(11):
        assert compiled(x, y).item() == plain(x, y).item()
        assert opt.param_groups[0]["lr"] == other_opt.param_groups[0]["lr"]
    for p, q in zip((*model.parameters(), *model.buffers()), (*other.parameters(), *other.buffers())):
        assert mg.equal(p, q)
    for p, q in zip(model.parameters(), other.parameters()):
        assert mg.equal(p.grad, q.grad)
    assert any(recorded in entry.verdict for entry in compiled.entries), [entry.verdict for entry in compiled.entries]


def compiled_form(function):
    compiled = mg.compile(function, mode="reduce-overhead")
    return compiled, lambda: compiled.entries[0].verdict


def test_results_are_not_overwritten():
    compiled, verdict = compiled_form(lambda x: (x * 2, x.sum()))
    inputs = [mg.full((5,), float(k), device="cuda") for k in range(6)]
    results = [compiled(x) for x in inputs]
    assert "recorded" in verdict()
    for k, (double, total) in enumerate(results):
        assert double.tolist() == [2.0 * k] * 5 and total.item() == 5.0 * k


def test_arguments_written_in_place():
    compiled, verdict = compiled_form(lambda x, y: x.add_(y))
    x = mg.zeros(4, device="cuda")
    for k in range(6):
        version = x._version
        assert compiled(x, mg.full((4,), float(k), device="cuda")) is x
        assert x._version > version
    assert x.tolist() == [15.0] * 4 and "recorded" in verdict()
    other = mg.ones(4, device="cuda")
    assert compiled(other, mg.ones(4, device="cuda")) is other and other.tolist() == [2.0] * 4


def test_random_numbers_go_on():
    compiled, verdict = compiled_form(lambda x: F.dropout(x, 0.5))
    x = mg.ones(64, device="cuda")
    results = [compiled(x).tolist() for _ in range(6)]
    assert "recorded" in verdict()
    assert len({tuple(r) for r in results}) == 6


def test_a_parameter_with_other_memory():
    layer = nn.Linear(3, 2, bias=False, device="cuda").requires_grad_(False)
    compiled, verdict = compiled_form(lambda x: layer(x))
    x = mg.ones(1, 3, device="cuda")
    for _ in range(4):
        compiled(x)
    assert verdict() == "; a CUDA graph, recorded 1 times"
    layer.weight.data = mg.full((2, 3), 2.0, device="cuda")
    assert compiled(x).tolist() == [[6.0, 6.0]]


def test_gradients_apart_stay_a_plan():
    w = mg.ones(3, device="cuda").requires_grad_()
    compiled, verdict = compiled_form(lambda x: (w * x).sum())
    for k in range(4):
        (g,) = mg.autograd.grad(compiled(mg.full((3,), float(k), device="cuda")), w)
        assert g.tolist() == [float(k)] * 3
    assert "no CUDA graph" in verdict()
