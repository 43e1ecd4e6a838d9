"""Compiled functions on the simulated CUDA device: groups run as Triton kernels, here in the interpreter; the launches that a GPU would be
given are looked at in a process of their own (compile_worker.py), and so is what the compiler makes of generated kernels (compile_aot.py).
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install 'triton>=3.6,<3.10'", allow_module_level=True)

import minigrad as mg
from minigrad import nn
from minigrad.compiler.codegen import on_cuda
from minigrad.kernels import _launch
from minigrad.nn import functional as F

HERE = pathlib.Path(__file__).parent
simulated = pytest.mark.skipif(not mg.cuda.is_simulated(), reason="needs the simulated device: MINIGRAD_CUDASIM=1 and MINIGRAD_CUDA=SIM")


def in_process(script: str, environment: dict[str, str], cache: pathlib.Path) -> dict | list:
    environment = {**environment, "MINIGRAD_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, str(HERE / script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def launched(monkeypatch, tmp_path_factory):
    names: list[str] = []
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(_launch._state, "observer", lambda entry: names.append(entry.kernel.__name__))
    return names


def values(*shape, seed=0, dtype="float32"):
    return mg.randn(*shape, generator=mg.Generator().manual_seed(seed)).to(getattr(mg, dtype))


FUNCTIONS = {
    "chain": (lambda x, y: (F.gelu(x * y) + x).tanh() * 0.5, [(9, 33), (33,)], 1),
    "several": (lambda x, y: ((x * y).exp(), (x * y).sum(-1), x > y), [(6, 5), (6, 1)], 1),
    "turned": (lambda x, y: (x.T * y).relu() + 1, [(7, 40), (40, 7)], 1),
    "norm": (lambda x, w: (x - x.mean(-1, keepdim=True)) * (x.var(-1, keepdim=True) + 1e-5).rsqrt() * w, [(12, 50), (50,)], None),
    "softmax": (lambda x, y: (x - x.amax(-1, keepdim=True)).exp() / (x - x.amax(-1, keepdim=True)).exp().sum(-1, keepdim=True) * y,
                [(5, 3, 70), (70,)], None),
    "columns": (lambda x, y: (x * y).sum(0), [(40, 9), (40, 9)], None),
    "loss": (lambda x, y: ((x - y) ** 2).mean(), [(30, 11), (30, 11)], None),
}  # fmt: skip


@simulated
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name, dtype, launched):
    """Values and gradients are those of the plain function on the CPU."""
    function, shapes, kernels = FUNCTIONS[name]
    inputs = [values(*s, seed=k, dtype=dtype) for k, s in enumerate(shapes)]

    def run(f, device):
        moved = [x.to(device).requires_grad_() for x in inputs]
        with mg.no_grad():
            plain = f(*moved)
        results = f(*moved)
        results = results if isinstance(results, tuple) else (results,)
        total = sum(r.float().sum() for r in results if r.is_floating_point())
        return [t.cpu() for t in (*(plain if isinstance(plain, tuple) else (plain,)), *mg.autograd.grad(total, moved))]

    got = run(mg.compile(function), "cuda")
    assert any(n.startswith("fused_") for n in launched), launched
    if kernels is not None:
        assert launched[0].startswith("fused_") and sum(n.startswith("fused_") for n in launched[:kernels]) == kernels
    for a, b in zip(got, run(function, "cpu")):
        if b.is_floating_point():
            eps = mg.finfo(b.dtype).eps
            assert a.dtype == b.dtype and mg.allclose(a.double(), b.double(), rtol=16 * eps, atol=16 * eps), (a - b).abs().max()
        else:
            assert mg.equal(a, b)


@simulated
def test_training_step(launched):
    """Forward, backward and optimizer in one graph: the same losses and parameters as eagerly."""

    def steps(compiled):
        mg.manual_seed(1)
        model = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.LayerNorm(24), nn.Linear(24, 5)).cuda()
        opt = mg.optim.AdamW(model.parameters(), lr=0.01)

        def step(x, y):
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            return loss

        step = mg.compile(step) if compiled else step
        losses = [step(values(6, 12, seed=k).cuda(), mg.tensor([0, 1, 2, 3, 4, 0]).cuda()).item() for k in range(4)]
        return losses, [p.detach().cpu() for p in model.parameters()]

    losses, parameters = steps(True)
    assert any(n.startswith("fused_") for n in launched), launched
    want, others = steps(False)
    assert all(abs(a - b) < 1e-5 for a, b in zip(losses, want)), (losses, want)
    for p, q in zip(parameters, others):
        assert mg.allclose(p, q, rtol=1e-4, atol=1e-5)


@simulated
def test_switched_off(launched):
    """Without Triton the calls of a group are ordinary kernels."""
    x = values(5, 7).cuda()
    on_cuda.install(False)
    try:
        assert mg.equal(mg.compile(lambda x: (x * 2).relu())(x), (x * 2).relu())
    finally:
        on_cuda.install()
    assert launched == []
    assert mg.equal(mg.compile(lambda x: (x * 2).relu() + 0)(x), (x * 2).relu())
    assert len(launched) == 1


@simulated
def test_debug_names_the_source(launched, monkeypatch, capfd):
    monkeypatch.setenv("MINIGRAD_DEBUG", "4")
    mg.compile(lambda x: (x * 9).relu())(values(5, 7).cuda())
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("code: ")]
    text = pathlib.Path(line.removeprefix("code: ")).read_text()
    assert "def fused_mul_relu(" in text and "test_compile_cuda.py" in text


@pytest.fixture(scope="module")
def facts(compiling, tmp_path_factory):
    return in_process("compile_aot.py", compiling, tmp_path_factory.mktemp("cache"))


def test_compiled_for_gpus(facts):
    """Parameters in the PTX are those that are packed; no spills; shared memory fits; rows of even sizes are loaded 16 bytes at a time."""
    assert len({f["op"] for f in facts}) >= 13 and {f["arch"] for f in facts} == {80, 90}
    assert [(f["op"], f["arch"], f["problems"]) for f in facts if f["problems"]] == []
    wide = {f["op"] for f in facts if f["vector_loads"]}
    assert {"adamw", "gelu_backward", "norm_384", "norm_8192", "bias_gradient", "mean_of_everything", "softmax_50304", "turned"} <= wide
    assert max(f["registers"] for f in facts) <= 160


LINES = (HERE / "compile_worker.py").read_text().splitlines()
CHECKS = [line.split("(")[0].removeprefix("def ") for line in LINES if line.startswith("def check_")]


@pytest.fixture(scope="module")
def results(compiling, tmp_path_factory):
    return in_process("compile_worker.py", compiling, tmp_path_factory.mktemp("cache"))


@simulated
@pytest.mark.parametrize("name", CHECKS)
def test_launches(name, results):
    assert not results[name], results[name]
