"""Ops of the registry on CUDA tensors run their Triton kernel (kernels/_overrides.py), here in the interpreter on the simulated device;
values and gradients are those of the CPU, and what a kernel is not made for is left to the plain one.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install 'triton>=3.6,<3.10'", allow_module_level=True)

import minigrad as mg
import minigrad.nn.functional as F
from minigrad.kernels import _launch, _overrides

if not mg.cuda.is_simulated():
    pytest.skip("needs the simulated device: MINIGRAD_CUDASIM=1 and a build with MINIGRAD_CUDA=SIM", allow_module_level=True)


def rows(*shape, seed=0):
    return mg.randn(*shape, generator=mg.Generator().manual_seed(seed))


def seeded(function, *args, **options):
    """The same random numbers on every device."""
    mg.manual_seed(5)
    mg.rand(3, device=args[0].device)  # not at the beginning of the stream
    return function(*args, **options)


TARGET = mg.tensor([3, 0, -100, 32, 7, 7])
RUNS = {  # op, function of (tensors on a device), tensors, whether a Triton kernel is expected
    "softmax": (lambda x: F.softmax(x, -1), [rows(6, 33)], True),
    "softmax_strided": (lambda x: F.softmax(x.T, 1), [rows(33, 6)], True),
    "softmax_inner_dim": (lambda x: F.softmax(x, 0), [rows(6, 33)], False),
    "softmax_float64": (lambda x: F.softmax(x.double(), -1), [rows(6, 33)], False),
    "softmax_empty": (lambda x: F.softmax(x, -1), [rows(0, 33)], False),
    "log_softmax": (lambda x: F.log_softmax(x, -1), [rows(2, 3, 33)], True),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (33,), w, b), [rows(6, 33), rows(33), rows(33, seed=1)], True),
    "layer_norm_two_dims": (lambda x, w, b: F.layer_norm(x, (3, 11), w, b), [rows(6, 3, 11), rows(3, 11), rows(3, 11, seed=1)], True),
    "layer_norm_plain": (lambda x: F.layer_norm(x, (33,)), [rows(6, 33)], True),
    "rms_norm": (lambda x, w: F.rms_norm(x, (33,), w), [rows(6, 33), rows(33)], True),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), [rows(2, 4, 3, 5), rows(4), rows(4, seed=1)], True),
    "group_norm_plain": (lambda x: F.group_norm(x, 4), [rows(2, 4, 7)], True),
    "cross_entropy": (lambda x: F.cross_entropy(x, TARGET.to(x.device)), [rows(6, 33)], True),
    "cross_entropy_sum": (lambda x: F.cross_entropy(x, TARGET.to(x.device), reduction="sum"), [rows(6, 33)], True),
    "cross_entropy_smooth": (
        lambda x: F.cross_entropy(x, TARGET.to(x.device), reduction="none", label_smoothing=0.1), [rows(6, 33)], True
    ),
    "attention": (F.scaled_dot_product_attention, [rows(2, 3, 7, 20), rows(2, 3, 9, 20, seed=1), rows(2, 3, 9, 20, seed=2)], True),
    "attention_causal_gqa": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        [rows(1, 4, 9, 16), rows(1, 2, 9, 16, seed=1), rows(1, 2, 9, 16, seed=2)], True,
    ),
    "attention_masked": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, (mg.arange(9, device=q.device) < 7).expand(7, 9)),
        [rows(2, 3, 7, 20), rows(2, 3, 9, 20, seed=1), rows(2, 3, 9, 20, seed=2)], True,
    ),
    "attention_nothing_seen": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, (mg.arange(7, device=q.device) > 2).view(7, 1)),
        [rows(2, 3, 7, 20), rows(2, 3, 9, 20, seed=1), rows(2, 3, 9, 20, seed=2)], True,
    ),
    "attention_added_mask": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mg.arange(18, device=q.device).to(q.dtype).view(2, 1, 1, 9) / 9),
        [rows(2, 3, 7, 20), rows(2, 3, 9, 20, seed=1), rows(2, 3, 9, 20, seed=2)], True,
    ),
    "attention_mask_with_gradient": (
        F.scaled_dot_product_attention,
        [rows(2, 3, 7, 20), rows(2, 3, 9, 20, seed=1), rows(2, 3, 9, 20, seed=2), rows(3, 7, 9, seed=3)], True,
    ),
    "attention_dropout": (
        lambda q, k, v: seeded(F.scaled_dot_product_attention, q, k, v, dropout_p=0.4),
        [rows(2, 3, 70, 20), rows(2, 3, 9, 20, seed=1), rows(2, 3, 9, 20, seed=2)], True,
    ),
    "attention_dropout_gqa_causal": (
        lambda q, k, v: seeded(F.scaled_dot_product_attention, q, k, v, dropout_p=0.1, is_causal=True, enable_gqa=True),
        [rows(1, 4, 9, 16), rows(1, 2, 9, 16, seed=1), rows(1, 2, 9, 16, seed=2)], True,
    ),
    "attention_all_dropped": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=1.0),
        [rows(2, 3, 7, 20), rows(2, 3, 9, 20, seed=1), rows(2, 3, 9, 20, seed=2)], True,
    ),
    "cross_entropy_weighted": (lambda x, w: F.cross_entropy(x, TARGET.to(x.device), w.detach().exp()), [rows(6, 33), rows(33)], False),
}  # fmt: skip


@pytest.fixture
def launched(monkeypatch):
    names: list[str] = []
    monkeypatch.setattr(_launch._state, "observer", lambda entry: names.append(entry.kernel.__name__))
    return names


def run(function, tensors, device):
    moved = [t.to(device).requires_grad_() for t in tensors]
    y = function(*moved)
    g = mg.linspace(-1, 1, y.numel()).reshape(y.shape).to(device, y.dtype)
    found = mg.autograd.grad(y, moved, g, allow_unused=True)
    return [t.detach().cpu() for t in (y, *found) if t is not None]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", RUNS)
def test_equals_the_cpu(name, dtype, launched):
    function, tensors, expected = RUNS[name]
    tensors = [t.to(getattr(mg, dtype)) for t in tensors]
    got = run(function, tensors, "cuda")
    assert bool(launched) == expected, launched
    for a, b in zip(got, run(function, tensors, "cpu")):
        eps = mg.finfo(b.dtype).eps
        assert mg.allclose(a.double(), b.double(), rtol=8 * eps, atol=8 * eps), (a - b).abs().max()


def test_out_in_place_and_versions(launched):
    x = rows(6, 33)
    y = mg.empty(6, 33, device="cuda")
    assert mg.softmax(x.cuda(), -1, out=y) is y
    assert mg.allclose(y.cpu(), x.softmax(-1))
    w = x.cuda().requires_grad_()
    y = w.softmax(-1)
    y.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        y.sum().backward()
    assert launched == ["softmax_v1_row"] * 2


def test_second_derivative(launched):
    def second(device):
        x = rows(3, 7).to(device).requires_grad_()
        (g,) = mg.autograd.grad((x.softmax(-1) ** 2).sum(), x, create_graph=True)
        return mg.autograd.grad((g**2).sum(), x)[0].cpu()

    assert mg.allclose(second("cuda"), second("cpu"), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", [None, "match_rms_adamw"])
def test_muon_steps_all_matrices_together(how, launched):
    def stepped(device):
        params = [rows(*s, seed=k).to(device).requires_grad_() for k, s in enumerate([(33, 20), (16, 40), (1, 3)])]
        optimizer = mg.optim.Muon(params, lr=0.1, adjust_lr_fn=how)
        versions = [p._version for p in params]
        for n in range(2):
            for k, p in enumerate(params):
                p.grad = rows(*p.shape, seed=10 * n + k).to(device)
            optimizer.step()
        assert all(p._version > v for p, v in zip(params, versions))
        return [p.detach().cpu() for p in params]

    for a, b in zip(stepped("cuda"), stepped("cpu")):
        assert mg.allclose(a, b, rtol=0.02, atol=0.02), (a - b).abs().max()  # the iterations are bfloat16's in both
    assert launched.count("muon_apply") == 2 and launched.count("muon_product") == 30


def test_muon_leaves_what_the_kernels_do_not_take(launched):
    p = rows(5, 4).double().cuda().requires_grad_()
    p.grad = rows(5, 4, seed=1).double().cuda()
    mg.optim.Muon([p]).step()
    assert launched == []


def test_dropout_takes_as_many_numbers_as_the_plain_kernel(launched):
    q, k, v = rows(2, 3, 7, 20).cuda(), rows(2, 3, 9, 20, seed=1).cuda(), rows(2, 3, 9, 20, seed=2).cuda()

    def after():
        out = seeded(F.scaled_dot_product_attention, q, k, v, dropout_p=0.4)
        return out.cpu(), mg.rand(4, device="cuda").cpu()

    ours, next_ours = after()
    assert launched == ["attention_forward"]
    with _overrides.disabled():
        plain, next_plain = after()
    assert mg.allclose(ours, plain, rtol=1e-5, atol=1e-5) and mg.equal(next_ours, next_plain)


def test_numbers_drawn_in_a_captured_graph_are_new_at_each_replay():
    from minigrad.cuda._door import backend

    rng = mg.zeros(2, dtype=mg.int64, device="cuda")
    graph = mg.cuda.CUDAGraph()
    with mg.cuda.graph(graph):
        backend.draw_range(rng.data_ptr(), None, 9, 0)
    drawn = []
    for _ in range(2):
        graph.replay()
        drawn.append(rng.cpu().tolist())
    assert drawn[0][0] == drawn[1][0] and drawn[1][1] == drawn[0][1] + 3  # three blocks of four numbers


def test_switches(launched):
    with _overrides.disabled():
        rows(2, 3).cuda().softmax(-1)
    assert launched == []
    rows(2, 3).cuda().softmax(-1)
    assert launched == ["softmax_v1_row"]
    code = "import sys, minigrad as mg; mg.ones(2, 3, device='cuda').softmax(-1); sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "MINIGRAD_TRITON": "0"}).returncode == 0


def test_importing_minigrad_imports_no_triton():
    code = "import sys, minigrad, minigrad.kernels; minigrad.cuda.is_available(); sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
