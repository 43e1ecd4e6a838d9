"""The autograd engine: small programs that must give what PyTorch gives, and what only the engine can get wrong."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from twins_engine import leaf, same

import minigrad as mg
from minigrad import _core

torch = pytest.importorskip("torch", reason="needs torch==2.13.0 as reference")


def shared_subexpression(m):
    x = leaf(m, [1.0, 2.0, 3.0])
    y = x * x
    z = (y + y * x).sum() + y.mean()
    z.backward()
    return [z, x.grad]


def accumulates(m):
    x = leaf(m, [1.0, 2.0])
    for _ in range(3):
        (x * x).sum().backward()
    return [x.grad]


def broadcast(m):
    a, b, c = leaf(m, [[1.0], [2.0]]), leaf(m, [3.0, 4.0, 5.0]), leaf(m, 2.0)
    (a * b + c * a).sum().backward()
    return [a.grad, b.grad, c.grad]


def several_roots(m):
    x = leaf(m, [1.0, 2.0])
    y, z = x * 2, x.exp()
    m.autograd.backward([y, z], [m.ones(2, dtype=m.float64), z.detach()])
    return [x.grad]


def grad_of_grad(m):
    x = leaf(m, [0.5, -1.5, 2.0])
    y = (x**3).sum()
    (g,) = m.autograd.grad(y, x, create_graph=True)
    (g2,) = m.autograd.grad((g * g).sum(), x, create_graph=True)
    (g3,) = m.autograd.grad(g2.sum(), x)
    return [g, g2, g3]


def grad_leaves_dot_grad_alone(m):
    x, w = leaf(m, [1.0, 2.0]), leaf(m, [3.0, 4.0])
    (gx,) = m.autograd.grad((x * w).sum(), x)
    return [gx, x.grad, w.grad]


def grad_of_intermediate(m):
    x = leaf(m, [1.0, 2.0])
    y = x * 3
    z = (y * y).sum()
    gy, gx = m.autograd.grad(z, [y, x])
    return [gy, gx]


def unused_input(m):
    x, u = leaf(m, [1.0]), leaf(m, [1.0])
    g = m.autograd.grad((x * 2).sum(), [x, u], allow_unused=True)
    h = m.autograd.grad((x * 2).sum(), [x, u], materialize_grads=True)
    return [g[0], g[1], h[1]]


def backward_inputs(m):
    x, w = leaf(m, [1.0, 2.0]), leaf(m, [3.0, 4.0])
    y = x * w
    y.sum().backward(inputs=[w])
    return [x.grad, w.grad]


def retain(m):
    x = leaf(m, [2.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return [x.grad]


def create_graph_accumulates(m):
    x = leaf(m, [2.0])
    (x**3).sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    g.sum().backward()
    return [g, x.grad]


def retains_grad(m):
    x = leaf(m, [1.0, 2.0])
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    return [y.grad, x.grad, y.retains_grad, x.is_leaf, y.is_leaf]


def hooks(m):
    x = leaf(m, [1.0, 2.0])
    x.register_hook(lambda g: g * 2)
    y = x * 3
    handle = y.register_hook(lambda g: g + 1)
    y.register_hook(lambda g: None)
    y.sum().backward(retain_graph=True)
    first = x.grad.clone()
    handle.remove()
    y.sum().backward()
    return [first, x.grad]


def post_accumulate(m):
    x = leaf(m, [1.0, 2.0])
    seen = []
    x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
    (x * x).sum().backward()
    return [seen[0], len(seen)]


def modes(m):
    x = leaf(m, [1.0])
    with m.no_grad():
        a = x * 2
        with m.enable_grad():
            b = x * 2
    with m.set_grad_enabled(False):
        c = x * 2

    @m.no_grad()
    def f():
        return x * 2

    with m.inference_mode():
        d = x * 2
    return [t.requires_grad for t in (a, b, c, f(), d, x * 2)]


def detach(m):
    x = leaf(m, [1.0, 2.0])
    y = x * 2
    (y.detach() * y).sum().backward()
    return [x.grad, y.detach().requires_grad]


def dtype_casts(m):
    x = leaf(m, [1.0, 2.0], "float32")
    w = leaf(m, [3.0, 4.0], "float64")
    (x * w).sum().backward()
    return [x.grad.double(), w.grad, str(x.grad.dtype).split(".")[1], str(w.grad.dtype).split(".")[1]]


def through_lists(m):
    x, y = leaf(m, [1.0, 2.0]), leaf(m, [3.0])
    z = m.cat([x, y, x * 2])
    (z * z).sum().backward()
    return [x.grad, y.grad]


def select_and_slice(m):
    x = leaf(m, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    (x[0] * x[1, 1:].sum() + x.t()[::2].sum()).sum().backward()
    return [x.grad]


PROGRAMS = [
    shared_subexpression, accumulates, broadcast, several_roots, grad_of_grad, grad_leaves_dot_grad_alone,
    grad_of_intermediate, unused_input, backward_inputs, retain, create_graph_accumulates, retains_grad, hooks,
    post_accumulate, modes, detach, dtype_casts, through_lists, select_and_slice,
]  # fmt: skip


@pytest.mark.parametrize("native", [True, False], ids=["native", "python"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_program_matches_torch(program, native):
    """Every program with the native formula twins and with the Python formulas they stand for."""
    before = _core.use_native_formulas(native)
    try:
        same(program)
    finally:
        _core.use_native_formulas(before)


@pytest.mark.parametrize(
    "program, error",
    [
        (lambda m: m.tensor([1.0, 2.0], requires_grad=True).backward(), RuntimeError),
        (lambda m: m.tensor(1.0).backward(), RuntimeError),
        (lambda m: m.tensor([1], requires_grad=True), RuntimeError),
        (lambda m: (m.tensor([1.0], requires_grad=True) * 2).requires_grad_(False), RuntimeError),
        (lambda m: m.autograd.grad(leaf(m, [1.0]).sum(), leaf(m, [1.0])), RuntimeError),
        (lambda m: m.tensor([1.0], requires_grad=True).add_(1), RuntimeError),
        (lambda m: setattr(leaf(m, [1.0, 2.0]), "grad", m.ones(3, dtype=m.float64)), RuntimeError),
        (lambda m: m.tensor([1.0]).register_hook(print), RuntimeError),
    ],
)
def test_errors_have_torchs_class(program, error):
    """What torch refuses, minigrad refuses with the same class."""
    for m in (mg, torch):
        with pytest.raises(error):
            program(m)


def test_second_backward_explains_itself():
    """A freed graph is named, with the remedy."""
    x = leaf(mg, [1.0])
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_million_node_chain_does_not_overflow_the_stack():
    """Destruction and backward are iterative."""
    x = leaf(mg, [1.0], "float32")
    y = x
    for _ in range(1_000_000):
        y = y + 1
    y.backward(mg.ones(1))
    assert x.grad.item() == 1.0
    del y


def test_graph_is_freed():
    """No cycle keeps tensors alive after the last reference goes."""
    x = leaf(mg, np.ones(1000).tolist())
    gc.collect()
    gc.disable()
    try:
        y = (x * 2).exp().relu()
        ref = weakref.ref(y)
        y.sum().backward()
        del y
        assert ref() is None
    finally:
        gc.enable()


def test_reentrant_backward_in_custom_function():
    """A backward inside a backward (activation checkpointing) sees consistent state."""

    class Checkpoint(mg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.x = x.detach()
            return (x * x).exp()

        @staticmethod
        def backward(ctx, g):
            with mg.enable_grad():
                x = ctx.x.requires_grad_()
                y = (x * x).exp()
            mg.autograd.backward(y, g)
            return x.grad

    a = leaf(mg, [0.1, 0.2])
    Checkpoint.apply(a * 2).sum().backward()
    b = leaf(mg, [0.1, 0.2])
    ((b * 2) * (b * 2)).exp().sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy())


def test_hook_may_drop_the_last_reference_to_its_leaf():
    """Removing a leaf from its own hook must not free it under the engine's feet."""
    box = [leaf(mg, [1.0, 2.0])]
    seen = []
    box[0].register_hook(lambda g: seen.append(g.tolist()) or box.clear())
    (box[0] + 1).sum().backward()  # add saves nothing: only `box` holds the leaf
    assert seen == [[1.0, 1.0]] and not box


def test_reentrant_backward_over_the_same_graph():
    """A hook that walks nodes of the outer pass leaves the outer pass intact."""
    x = leaf(mg, [3.0])
    y = x * x
    z = y * y
    inner = []
    z.register_hook(lambda g: inner.append(mg.autograd.grad(y, x, mg.ones(1, dtype=mg.float64), retain_graph=True)[0]))
    z.sum().backward()
    assert inner[0].item() == 6.0 and x.grad.item() == 4 * 27.0


def test_backward_from_threads():
    """Threads share leaves; gradients add up."""
    w = leaf(mg, [1.0, 2.0])

    def work():
        for _ in range(50):
            (w * w).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    np.testing.assert_allclose(w.grad.numpy(), [400.0, 800.0])


def test_retain_grad_keeps_what_the_hooks_made_of_the_gradient() -> None:
    for first in (True, False):
        x = mg.ones(3, requires_grad=True)
        y = x * 2
        if first:
            y.retain_grad()
        y.register_hook(lambda g: g * 3)
        if not first:
            y.retain_grad()
        y.sum().backward()
        assert y.grad.tolist() == [3.0] * 3 and x.grad.tolist() == [6.0] * 3


def test_a_hook_may_add_hooks_to_its_own_tensor() -> None:
    x = mg.ones(3, requires_grad=True)
    y = x * 2
    seen = []

    def hook(g: mg.Tensor) -> None:
        for _ in range(50):
            y.register_hook(lambda g: seen.append(1))
        y.retain_grad()

    y.register_hook(hook)
    y.sum().backward()
    assert x.grad.tolist() == [2.0] * 3
