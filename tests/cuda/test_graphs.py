"""CUDA graphs: random numbers that go on at every replay, graphed callables with gradients, whole training steps."""

from __future__ import annotations

import pytest

import minigrad as mg
from minigrad import cuda, nn
from minigrad.nn import functional as F


def captured(work):
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        out = work()
    return g, out


DRAWS = {
    "rand": lambda: mg.rand(37, device="cuda"),
    "randn double": lambda: mg.randn(11, device="cuda", dtype=mg.float64),
    "randint": lambda: mg.randint(0, 1000, (21,), device="cuda"),
    "dropout": lambda: F.dropout(mg.ones(50, device="cuda"), 0.3),
    "bernoulli": lambda: mg.full((40,), 0.4, device="cuda").bernoulli(),
    "poisson": lambda: mg.poisson(mg.full((9,), 5.0, device="cuda")),
    "multinomial": lambda: mg.multinomial(mg.ones(12, device="cuda"), 5),
    "exponential": lambda: mg.empty(9, device="cuda").exponential_(),
}


@pytest.mark.parametrize("name", DRAWS)
def test_replays_draw_what_eager_calls_would(name: str) -> None:
    draw = DRAWS[name]
    g, out = captured(lambda: (draw(), draw()))
    cuda.manual_seed(7)
    expected = [(draw().cpu(), draw().cpu()) for _ in range(3)]
    cuda.manual_seed(7)
    for first, second in expected:
        g.replay()
        assert mg.equal(out[0].cpu(), first) and mg.equal(out[1].cpu(), second)
    state = cuda.get_rng_state()
    g.replay()
    again = out[0].cpu()
    cuda.set_rng_state(state)
    assert mg.equal(draw().cpu(), again)  # the generator has moved on with the replays


def test_capture_leaves_the_generator_alone() -> None:
    cuda.manual_seed(3)
    before = cuda.get_rng_state()
    g, out = captured(lambda: mg.rand(5, device="cuda"))
    assert mg.equal(cuda.get_rng_state(), before)
    with pytest.raises(RuntimeError, match="being captured"), cuda.graph(cuda.CUDAGraph()):
        cuda.manual_seed(1)
    with pytest.raises(RuntimeError, match="same capture"), cuda.graph(cuda.CUDAGraph()):
        cuda.set_rng_state(before)
    with pytest.raises(RuntimeError, match="randperm: not allowed"), cuda.graph(cuda.CUDAGraph()):
        mg.randperm(5, device="cuda")
    g.replay()
    cuda.manual_seed(3)
    assert mg.equal(mg.rand(5, device="cuda").cpu(), out.cpu())


def test_generators_of_ones_own() -> None:
    mine = mg.Generator(device="cuda").manual_seed(11)
    with pytest.raises(RuntimeError, match="register_generator_state"):
        captured(lambda: mg.rand(4, device="cuda", generator=mine))
    g = cuda.CUDAGraph()
    g.register_generator_state(mine)
    with cuda.graph(g):
        x = mg.rand(4, device="cuda", generator=mine)
    other = mg.Generator(device="cuda").manual_seed(11)
    for _ in range(2):
        g.replay()
        assert mg.equal(x.cpu(), mg.rand(4, device="cuda", generator=other).cpu())


def test_same_numbers_twice_in_a_capture() -> None:
    """As checkpoints draw them: state taken and set back."""

    def work():
        state = cuda.get_rng_state()
        a = mg.rand(6, device="cuda")
        after = cuda.get_rng_state()
        cuda.set_rng_state(state)
        b = mg.rand(6, device="cuda")
        cuda.set_rng_state(after)
        return a, b, mg.rand(6, device="cuda")

    g, (a, b, c) = captured(work)
    seen = []
    for _ in range(2):
        g.replay()
        assert mg.equal(a.cpu(), b.cpu()) and not mg.equal(a.cpu(), c.cpu())
        seen.append(a.cpu())
    assert not mg.equal(*seen)


def test_attention_dropout_in_a_graph() -> None:
    q, k, v = (mg.randn(1, 2, 5, 4, device="cuda") for _ in range(3))
    g, out = captured(lambda: F.scaled_dot_product_attention(q, k, v, dropout_p=0.5))
    cuda.manual_seed(5)
    expected = [F.scaled_dot_product_attention(q, k, v, dropout_p=0.5).cpu() for _ in range(2)]
    cuda.manual_seed(5)
    for one in expected:
        g.replay()
        assert mg.equal(out.cpu(), one)


def test_checkpoint_draws_the_same_mask() -> None:
    from minigrad.utils.checkpoint import checkpoint

    x = mg.ones(64, device="cuda", requires_grad=True)
    for reentrant in (False, True):
        x.grad = None
        y = checkpoint(lambda t: F.dropout(t, 0.5), x, use_reentrant=reentrant)
        kept = y.detach().cpu()
        mg.rand(3, device="cuda")
        y.sum().backward()
        assert mg.equal(x.grad.cpu(), kept)


# --- graphed callables ---------------------------------------------------------------------------------------------------------------


def test_graphed_function_has_gradients() -> None:
    x, w = (mg.randn(3, 4, device="cuda", requires_grad=True) for _ in range(2))
    f = cuda.make_graphed_callables(lambda a, b: (a * b).tanh() + a, (x, w))
    for _ in range(3):
        a, b = (mg.randn(3, 4, device="cuda", requires_grad=True) for _ in range(2))
        a2, b2 = (t.detach().clone().requires_grad_() for t in (a, b))
        scale = mg.randn(3, 4, device="cuda")
        (f(a, b) * scale).sum().backward()
        (((a2 * b2).tanh() + a2) * scale).sum().backward()
        assert mg.allclose(a.grad.cpu(), a2.grad.cpu()) and mg.allclose(b.grad.cpu(), b2.grad.cpu())
    with pytest.raises(RuntimeError, match="shape"):
        f(mg.ones(2, device="cuda"), w)


def test_graphed_modules_train_like_plain_ones() -> None:
    mg.manual_seed(0)
    first, second = nn.Sequential(nn.Linear(4, 8), nn.ReLU()).cuda(), nn.Linear(8, 2).cuda()
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).cuda()
    with mg.no_grad():
        for to, from_ in zip(plain.parameters(), [*first.parameters(), *second.parameters()]):
            to.copy_(from_)
    x = mg.randn(6, 4, device="cuda")
    hidden = mg.randn(6, 8, device="cuda", requires_grad=True)
    cuda.make_graphed_callables((first, second), ((x,), (hidden,)))
    parameters = [*first.parameters(), *second.parameters()]
    ours, theirs = mg.optim.SGD(parameters, lr=0.1), mg.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(4):
        batch = mg.randn(6, 4, device="cuda")
        for optimizer, model in ((ours, lambda t: second(first(t))), (theirs, plain)):
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()
    assert all(mg.allclose(a.cpu(), b.cpu(), atol=1e-6) for a, b in zip(parameters, plain.parameters()))
    first.eval()
    assert first(mg.randn(3, 4, device="cuda")).shape == (3, 8)  # another mode than the captured one: eager


def test_graphed_callable_structures_and_refusals() -> None:
    x = mg.randn(4, device="cuda", requires_grad=True)
    f = cuda.make_graphed_callables(lambda a: {"sum": a.sum(), "index": a.argmax()}, (x,))
    out = f(x)
    out["sum"].backward()
    assert x.grad.cpu().tolist() == [1.0] * 4 and not out["index"].requires_grad and out["index"].item() == x.argmax().item()
    with pytest.raises(TypeError, match="tensors only"):
        cuda.make_graphed_callables(lambda a: a, (3.0,))
    module = nn.Linear(2, 2).cuda()
    module.register_forward_hook(lambda *a: None)
    with pytest.raises(RuntimeError, match="hooks"):
        cuda.make_graphed_callables(module, (mg.ones(1, 2, device="cuda"),))


def test_graphed_dropout_goes_on() -> None:
    x = mg.ones(200, device="cuda", requires_grad=True)
    f = cuda.make_graphed_callables(lambda a: F.dropout(a, 0.5), (x,))
    seen = []
    for _ in range(2):
        x.grad = None
        y = f(x)
        seen.append(y.detach().cpu().clone())
        y.sum().backward()
        assert mg.equal(x.grad.cpu(), seen[-1])  # backward has the mask of its own forward pass
    assert not mg.equal(*seen)


def test_interpolate_in_a_graph() -> None:
    x = mg.rand(1, 2, 4, 4, device="cuda")
    for mode in ("nearest", "bilinear"):
        g, y = captured(lambda mode=mode: F.interpolate(x, scale_factor=2, mode=mode))
        x.copy_(mg.rand(1, 2, 4, 4))
        g.replay()
        assert mg.allclose(y.cpu(), F.interpolate(x.cpu(), scale_factor=2, mode=mode))
