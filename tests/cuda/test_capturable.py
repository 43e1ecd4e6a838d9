"""capturable=True: optimizers whose counters are on the device, in and out of captured graphs, against the plain ones."""

from __future__ import annotations

import pytest

import minigrad as mg
from minigrad import cuda, nn, optim

MAKERS = {
    "Adam": dict(lr=0.05), "AdamW": dict(lr=0.05, weight_decay=0.1), "Adam amsgrad": dict(lr=0.05, amsgrad=True),
    "NAdam": dict(lr=0.05), "NAdam decoupled": dict(lr=0.05, weight_decay=0.1, decoupled_weight_decay=True), "RAdam": dict(lr=0.05),
    "Adamax": dict(lr=0.05), "RMSprop": dict(lr=0.02, momentum=0.5, centered=True), "Rprop": dict(lr=0.02), "Adadelta": dict(),
    "ASGD": dict(lr=0.05, t0=2.0),
}  # fmt: skip


def make(name: str, params, **more):
    return getattr(optim, name.split()[0])(params, **MAKERS[name], **more)


def parameters(dtype=mg.float32) -> list[mg.Tensor]:
    generator = mg.Generator().manual_seed(4)
    return [nn.Parameter(mg.randn(*s, generator=generator, dtype=mg.float64).to("cuda", dtype)) for s in ((5,), (3, 4), (0,), (33,))]


def gradients(k: int) -> list[mg.Tensor]:
    generator = mg.Generator().manual_seed(100 + k)
    return [mg.randn(*s, generator=generator, dtype=mg.float64) for s in ((5,), (3, 4), (0,), (33,))]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
def test_same_steps_as_plain(name: str, dtype) -> None:
    plain, counted, held = parameters(dtype), parameters(dtype), parameters(dtype)
    optimizers = [make(name, plain), make(name, counted, capturable=True), make(name, held, capturable=True)]
    for params in (plain, counted, held):
        for p in params:
            p.grad = mg.zeros_like(p)

    def feed(k: int) -> None:
        for params in (plain, counted, held):
            for p, g in zip(params, gradients(k)):
                p.grad.copy_(g.to(dtype))

    feed(0)
    for optimizer in optimizers:
        optimizer.step()
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        optimizers[2].step()
    for k in range(1, 8):
        feed(k)
        optimizers[0].step()
        optimizers[1].step()
        graph.replay()
    tolerance = dict(rtol=1e-5, atol=1e-6) if dtype == mg.float32 or name == "ASGD" else dict(rtol=1e-12, atol=1e-13)
    for a, b, c in zip(plain, counted, held):
        assert mg.allclose(a.cpu(), b.cpu(), **tolerance) and mg.allclose(a.cpu(), c.cpu(), **tolerance)
    step = optimizers[2].state[held[0]]["step"]
    assert step.is_cuda and step.item() == 8 and optimizers[0].state[plain[0]]["step"].device.type == "cpu"


def test_rate_on_the_device() -> None:
    p, q = (nn.Parameter(mg.ones(4, device="cuda")) for _ in range(2))
    lr = mg.tensor(0.1, device="cuda")
    ours, theirs = optim.Adam([p], lr=lr, capturable=True), optim.Adam([q], lr=0.1)
    p.grad, q.grad = mg.ones(4, device="cuda"), mg.ones(4, device="cuda")
    ours.step()
    theirs.step()
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        ours.step()
    for rate in (0.1, 0.03, 0.2):
        lr.fill_(rate)
        theirs.param_groups[0]["lr"] = rate
        g.replay()
        theirs.step()
    assert mg.allclose(p.detach().cpu(), q.detach().cpu())


def test_refusals() -> None:
    p = nn.Parameter(mg.ones(4, device="cuda"))
    p.grad = mg.ones_like(p)
    with pytest.raises(RuntimeError, match="capturable is False"), cuda.graph(cuda.CUDAGraph()):
        optim.AdamW([p]).step()
    with pytest.raises(RuntimeError, match="first step makes the state"), cuda.graph(cuda.CUDAGraph()):
        optim.AdamW([p], capturable=True).step()
    on_host = nn.Parameter(mg.ones(4))
    on_host.grad = mg.ones(4)
    with pytest.raises(AssertionError, match="capturable=True"):
        optim.AdamW([on_host], capturable=True).step()


def test_state_travels() -> None:
    p, q = (nn.Parameter(mg.ones(4, device="cuda")) for _ in range(2))
    a, b = optim.NAdam([p], capturable=True), optim.NAdam([q], capturable=True)
    for optimizer, x in ((a, p), (b, q)):
        x.grad = mg.ones(4, device="cuda")
        optimizer.step()
    b.load_state_dict(a.state_dict())
    assert b.state[q]["step"].is_cuda and b.state[q]["mu_product"].is_cuda
    a.step()
    b.step()
    assert mg.equal(p.detach().cpu(), q.detach().cpu())


def test_whole_training_step_in_a_graph() -> None:
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1)).cuda()
    optimizer = optim.AdamW(model.parameters(), lr=0.02, capturable=True)
    x, y = mg.randn(32, 4, device="cuda"), mg.zeros(32, 1, device="cuda")

    def step() -> mg.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        for _ in range(3):
            step()
    cuda.current_stream().wait_stream(side)
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        loss = step()
    losses = []
    for _ in range(40):
        x.copy_(mg.randn(32, 4))
        y.copy_(x.sum(1, keepdim=True))
        g.replay()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
