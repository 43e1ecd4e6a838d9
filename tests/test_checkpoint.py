"""utils.checkpoint and autograd.graph (hooks on saved tensors, on nodes, on several gradients) against PyTorch."""

import gc
import weakref

import numpy as np
import pytest
from by_device import device_type

import minigrad as mg

torch = pytest.importorskip("torch")
pytest.importorskip("torch.utils.checkpoint")
pytestmark = pytest.mark.filterwarnings("ignore:torch.utils.checkpoint")


def net_of(lib, sizes=(6, 8, 8, 4)):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [lib.nn.Linear(a, b), lib.nn.Tanh()]
    return lib.nn.Sequential(*layers)


def grads_of(net, run, x):
    net.zero_grad()
    x = x.detach().requires_grad_()
    out = run(x)
    (out**2).sum().backward()
    return [out.detach()] + [p.grad.clone() for p in net.parameters()] + [x.grad]


def all_equal(a, b):
    for u, v in zip(a, b, strict=True):
        assert mg.equal(u, v)


@pytest.mark.parametrize("reentrant", [True, False])
def test_same_gradients(reentrant):
    mg.manual_seed(0)
    net, x = net_of(mg), mg.randn(3, 6)
    calls = []
    net[0].register_forward_hook(lambda *a: calls.append(1))
    want = grads_of(net, net, x)
    calls.clear()
    all_equal(grads_of(net, lambda v: mg.utils.checkpoint.checkpoint(net, v, use_reentrant=reentrant), x), want)
    assert len(calls) == 2
    for segments in (1, 2, 3):
        all_equal(
            grads_of(net, lambda v, n=segments: mg.utils.checkpoint.checkpoint_sequential(net, n, v, use_reentrant=reentrant), x), want
        )


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("preserve", [True, False])
def test_random_numbers(reentrant, preserve):
    def piece(x):
        return x * mg.rand(1000)

    mg.manual_seed(1)
    x = mg.ones(1000, requires_grad=True)
    y = mg.utils.checkpoint.checkpoint(piece, x, use_reentrant=reentrant, preserve_rng_state=preserve)
    after = mg.rand(3)
    y.sum().backward()
    assert bool(mg.equal(x.grad, y.detach())) is preserve
    if preserve:  # backward left the generator alone
        mg.manual_seed(1)
        mg.rand(1000)
        assert mg.equal(mg.rand(3), after)


def test_memory_is_given_back():
    seen = []

    def piece(x):
        y = x.exp()
        seen.append(weakref.ref(y))
        return y.sin()

    x = mg.ones(4, requires_grad=True)
    y = mg.utils.checkpoint.checkpoint(piece, x, use_reentrant=False)
    gc.collect()
    packed = y.grad_fn.next_functions[0][0]
    assert packed.name() == "ExpBackward0" and seen[0]() is None
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cos(np.e) * np.e * np.ones(4), rtol=1e-5)


def test_structures_kwargs_nested_and_second_derivative():
    def inner(x):
        return x.sin().exp()

    def piece(x, scale, *, extra):
        y = mg.utils.checkpoint.checkpoint(inner, x * scale, use_reentrant=False)
        return {"a": y * extra["w"], "b": [x.cos()]}

    def loss(f):
        out = f()
        return (out["a"] * out["b"][0]).sum()

    x, w = mg.rand(5, dtype=mg.float64, requires_grad=True), mg.rand(5, dtype=mg.float64, requires_grad=True)
    plain = loss(lambda: {"a": (x * 2).sin().exp() * w, "b": [x.cos()]})
    checked = loss(lambda: mg.utils.checkpoint.checkpoint(piece, x, 2, use_reentrant=False, extra={"w": w}))
    a = mg.autograd.grad(plain, (x, w), create_graph=True)
    b = mg.autograd.grad(checked, (x, w), create_graph=True)
    for u, v in zip(a, b):
        np.testing.assert_allclose(u.detach().numpy(), v.detach().numpy(), rtol=1e-12)
    for u, v in zip(mg.autograd.grad(a[0].sum(), (x, w)), mg.autograd.grad(b[0].sum(), (x, w))):
        np.testing.assert_allclose(u.numpy(), v.numpy(), rtol=1e-12)


def test_backward_twice_and_early_stop():
    ran = []

    def piece(x):
        y = x.sin().exp()
        ran.append("half")
        z = y.clone()  # saves nothing
        ran.append("all")
        return z

    for stop, want in ((True, 0), (False, 2)):
        x = mg.rand(3, requires_grad=True)
        with mg.utils.checkpoint.set_checkpoint_early_stop(stop):
            y = mg.utils.checkpoint.checkpoint(piece, x, use_reentrant=False).sum()
        ran.clear()
        y.backward(retain_graph=True)
        first = x.grad.clone()
        assert ran.count("half") == (0 if stop else 1)
        x.grad = None
        y.backward()
        assert mg.equal(x.grad, first) and ran.count("all") == want


@pytest.mark.parametrize("lib", [mg, torch])
def test_errors(lib):
    ck = lib.utils.checkpoint
    x = lib.ones(3, requires_grad=True)
    count = [0]

    def changing(short_first):
        def piece(v):
            count[0] += 1
            return v.sin() if (count[0] == 1) == short_first else v.sin().sin()

        return piece

    def backward(piece, **options):
        count[0] = 0
        ck.checkpoint(piece, x, use_reentrant=False, **options).sum().backward()

    with pytest.raises(ck.CheckpointError, match="different number of tensors"):
        backward(changing(False))
    with pytest.raises(ck.CheckpointError, match="different number|more tensors"):
        backward(changing(True), early_stop=False)
    with pytest.raises(ck.CheckpointError, match="different metadata"):
        backward(lambda v: (v if count.append(0) or len(count) == 2 else v[:1]).sin())
    for bad in (
        lambda: ck.checkpoint(lib.sin, x, use_reentrant=True, foo=1),
        lambda: ck.checkpoint(lib.sin, x, use_reentrant=True, debug=True),
        lambda: ck.checkpoint(lib.sin, x, use_reentrant=False, determinism_check="maybe"),
        lambda: ck.checkpoint_sequential([lib.sin], 1, x, use_reentrant=True, foo=1),
    ):
        with pytest.raises(ValueError):
            bad()
    with pytest.raises(RuntimeError, match="use_reentrant=True"):
        lib.autograd.grad(ck.checkpoint(lib.sin, x, use_reentrant=True).sum(), x)
    with pytest.warns(UserWarning, match="None of the inputs"):
        ck.checkpoint(lib.sin, x.detach(), use_reentrant=True)
    with pytest.raises(ZeroDivisionError):  # an error of the second run comes through, and nothing stays switched
        backward(lambda v: v.sin() / (1 if count.append(0) or len(count) == 3 else 1 // 0))
    backward(lambda v: v.sin())


def test_context_fn_and_no_grad():
    log = []

    class Note:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            log.append(self.name)

        def __exit__(self, *exc):
            log.append("/" + self.name)

    x = mg.ones(2, requires_grad=True)
    y = mg.utils.checkpoint.checkpoint(mg.sin, x, use_reentrant=False, context_fn=lambda: (Note("one"), Note("two")))
    y.sum().backward()
    assert log == ["one", "/one", "two", "/two"]
    with mg.no_grad():
        assert not mg.utils.checkpoint.checkpoint(mg.sin, x, use_reentrant=False).requires_grad


# --- autograd.graph -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lib", [mg, torch])
def test_saved_tensors_hooks_see_what_is_saved(lib):
    packed, unpacked = [], []

    def pack(t):
        packed.append(tuple(t.shape))
        return t.numpy().copy()

    def unpack(array):
        unpacked.append(array.shape)
        return lib.tensor(array)

    a = lib.ones(3, requires_grad=True)
    b = lib.full((3,), 2.0, requires_grad=True)
    with lib.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = (a * b).exp()
    z = y * 2
    assert packed == [(3,)] * 3
    z.sum().backward()
    assert sorted(unpacked) == [(3,)] * 3
    np.testing.assert_allclose(a.grad.numpy(), 2 * 2 * np.exp(2) * np.ones(3), rtol=1e-6)
    np.testing.assert_allclose(b.grad.numpy(), 2 * np.exp(2) * np.ones(3), rtol=1e-6)


@pytest.mark.parametrize("lib", [mg, torch])
def test_saved_tensors_hooks_second_derivative_and_functions(lib):
    class Cube(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * x
            ctx.save_for_backward(x, y)
            return y * x

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g * 3 * x * x

    x = lib.tensor([1.5, 2.0], dtype=lib.float64, requires_grad=True)
    counts = [0, 0]

    def pack(t):
        counts[0] += 1
        return [t]

    def unpack(p):
        counts[1] += 1
        return p[0]

    with lib.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = Cube.apply(x).exp()
        (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
    (gg,) = lib.autograd.grad(g.sum(), x)
    v = x.detach().numpy()
    np.testing.assert_allclose(gg.numpy(), np.exp(v**3) * (6 * v + 9 * v**4), rtol=1e-10)
    assert counts[0] >= counts[1] > 0 or counts[1] > 0


@pytest.mark.parametrize("lib", [mg, torch])
def test_saved_tensors_hooks_errors(lib):
    hooks = lib.autograd.graph.saved_tensors_hooks
    x = lib.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="in.place|inplace"), hooks(lambda t: t.add_(1), lambda t: t):
        x.exp()
    with hooks(lambda t: 5, lambda p: p):
        y = x.exp()
    with pytest.raises(TypeError, match="Tensor"):
        y.sum().backward()
    with lib.autograd.graph.disable_saved_tensors_hooks("not here"), pytest.raises(RuntimeError, match="not here"), hooks(id, id):
        pass

    def boom(t):
        raise KeyError("pack")

    with pytest.raises(KeyError), hooks(boom, lambda t: t):
        x.exp()
    x.exp().sum().backward()  # nothing stays behind
    y = lib.cat([x, x])
    with hooks(lambda t: t, lambda t: t), lib.no_grad():
        (y * y).sum()


def test_hooks_on_lists_inplace_and_save_on_cpu():
    for lib in (mg, torch):
        x = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
        with lib.autograd.graph.save_on_cpu():
            y = lib.stack([x, x.exp()]).prod(0)
            z = y.clone()
            z.mul_(y)
            z[0].mul_(3)
            w = lib.einsum("i,i->", z, x)
        w.backward()
        if lib is mg:
            got = x.grad.numpy()
    np.testing.assert_allclose(got, x.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("lib", [mg, torch])
def test_nodes(lib):
    x = lib.ones(2, requires_grad=True)
    y = x.exp() * 3
    node = y.grad_fn
    assert type(node).__name__ == node.name() == "MulBackward0" and repr(node).startswith("<MulBackward0 object at")
    assert isinstance(node, lib.autograd.graph.Node)
    (exp, number), _ = node.next_functions
    assert exp.name() == "ExpBackward0" and number == 0
    assert type(exp.next_functions[0][0]).__name__ == "AccumulateGrad" and exp.next_functions[0][0].variable is x
    assert lib.equal(exp._saved_result, x.exp()) and lib.equal(x.sin().grad_fn._saved_self, x)
    node.metadata["k"] = 1
    assert y.grad_fn.metadata == {"k": 1}
    log = []
    exp.register_prehook(lambda grads: log.append("before") or (grads[0] * 2,))
    handle = exp.register_hook(lambda into, out: log.append((len(into), len(out))) or (into[0] + 1,))
    exp.next_functions[0][0].register_hook(lambda into, out: log.append((len(into), len(out))))
    y.sum().backward(retain_graph=True)
    assert log == ["before", (1, 1), (0, 1)]
    np.testing.assert_allclose(x.grad.numpy(), 6 * np.exp(np.ones(2)) + 1, rtol=1e-6)
    handle.remove()
    x.grad = None
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * np.exp(np.ones(2)), rtol=1e-6)
    with pytest.raises(RuntimeError, match="freed"):
        _ = exp._saved_result
    edge = lib.autograd.graph.get_gradient_edge(x)
    assert type(edge.node).__name__ == "AccumulateGrad" and edge.output_nr == 0
    with pytest.raises(AttributeError):
        _ = node._saved_nothing


@pytest.mark.parametrize("lib", [mg, torch])
def test_multi_grad_hook(lib):
    a, b, c = (lib.ones(2, requires_grad=True) for _ in range(3))
    seen = []
    handle = lib.autograd.graph.register_multi_grad_hook((a, b, c), lambda grads: seen.append([g is not None for g in grads]))
    (a * b).sum().backward()
    (a * b * c).sum().backward()
    assert seen == [[True, True, False], [True, True, True]]
    handle.remove()
    first = []
    lib.autograd.graph.register_multi_grad_hook((a, b), lambda g: first.append(g), mode="any")
    (a * b).sum().backward()
    assert len(first) == 1 and len(seen) == 2


@pytest.mark.parametrize("lib", [mg, torch])
def test_mutation_allowed(lib):
    x = lib.ones(2, requires_grad=True)
    with lib.autograd.graph.allow_mutation_on_saved_tensors():
        y = x.clone()
        z = y.sin()
        y.mul_(2)
        z.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cos(np.ones(2)), rtol=1e-6)
    y = x.exp()
    lib.autograd.graph.increment_version(y)
    with pytest.raises(RuntimeError, match="inplace"):
        y.sum().backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_autocast_is_the_same_in_the_second_run(reentrant):
    mg.manual_seed(0)
    layer, x = mg.nn.Linear(4, 4), mg.randn(2, 4)
    seen = []

    def piece(v):
        y = layer(v)
        seen.append(y.dtype)
        return y.tanh()

    v = x.detach().requires_grad_()
    with mg.autocast(device_type(), dtype=mg.bfloat16):
        y = mg.utils.checkpoint.checkpoint(piece, v, use_reentrant=reentrant)
    y.float().sum().backward()
    assert seen == [mg.bfloat16, mg.bfloat16]


def test_inside_function_transforms():
    def piece(v):
        return v.sin().exp().sum()

    x = mg.rand(3, 4)
    checked = lambda v: mg.utils.checkpoint.checkpoint(piece, v, use_reentrant=False)  # noqa: E731
    for transform in (
        lambda f: mg.func.grad(f)(x[0]),
        lambda f: mg.vmap(mg.func.grad(f))(x),
        lambda f: mg.func.hessian(f)(x[0]),
        lambda f: mg.autograd.functional.jacobian(f, x[0]),
    ):
        np.testing.assert_allclose(transform(checked).numpy(), transform(piece).numpy(), rtol=1e-6)
