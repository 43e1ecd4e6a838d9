"""minigrad.func: semantics of each transform, nesting, models, errors (vmap: test_func_vmap.py; torch: test_func_torch.py)."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from func_helpers import close, randn

import minigrad as mg
from minigrad import func
from minigrad.func import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap

F = mg.nn.functional


# --- grad -------------------------------------------------------------------------------------------------------------
def test_grad_argnums_aux_and_nests() -> None:
    x, y = randn(3), randn(3, seed=1)

    def f(a: Any, b: Any) -> Any:
        return (a * a * b).sum()

    close(grad(f)(x, y), 2 * x * y)
    close(grad(f, 1)(x, y), x * x)
    close(grad(f, -1)(x, y), x * x)
    close(grad(f, (1, 0))(x, y), (x * x, 2 * x * y))
    g, (value, aux) = grad_and_value(lambda a: ((a**2).sum(), {"twice": 2 * a}), has_aux=True)(x)
    close(g, 2 * x)
    close(value, (x * x).sum())
    close(aux["twice"], 2 * x)
    assert not aux["twice"].requires_grad and not value.requires_grad
    found = grad(lambda p: (p["w"] * p["b"][0]).sum())({"w": x, "b": [y]})
    close(found, {"w": y, "b": [x]})
    close(grad(f)(x, b=y), 2 * x * y)


def test_grad_leaves_nothing_behind() -> None:
    x = randn(3)
    g = grad(lambda a: (a**3).sum())(x)
    assert not g.requires_grad and not x.requires_grad and x.grad is None
    close(grad(lambda a: a.detach().sum() + 0 * a.sum())(x), mg.zeros_like(x))
    close(grad(lambda a: mg.ones((), dtype=mg.float64))(x), mg.zeros_like(x))


def test_grad_composes_with_backward() -> None:
    x = randn(3).requires_grad_()
    w = randn(3, seed=5).requires_grad_()
    g = grad(lambda a: (a**3 * w).sum())(x)
    assert g.requires_grad
    g.sum().backward()
    close(x.grad, 6 * x * w)
    close(w.grad, 3 * x * x)


def test_is_grads_batched() -> None:
    x = randn(3).requires_grad_()
    y = x**2
    (g,) = mg.autograd.grad(y, x, mg.eye(3, dtype=mg.float64), is_grads_batched=True, retain_graph=True)
    close(g, mg.diag(2 * x))
    unused = randn(2).requires_grad_()
    assert mg.autograd.grad(y, (x, unused), mg.eye(3, dtype=mg.float64), is_grads_batched=True, allow_unused=True)[1] is None


def test_grad_and_no_grad() -> None:
    x = randn(3).requires_grad_()
    with mg.no_grad():
        g = grad(lambda a: (a**2).sum())(x)
    close(g, 2 * x)
    assert not g.requires_grad

    def f(a: Any) -> Any:
        with mg.no_grad():
            c = a**2
        return (a * c).sum()

    close(grad(f)(x), x * x)


def test_no_perturbation_confusion() -> None:
    x = mg.tensor(3.0, dtype=mg.float64)
    close(grad(lambda a: a * grad(lambda b: a + b)(mg.tensor(1.0, dtype=mg.float64)))(x), 1.0)
    close(grad(lambda s: s * grad(lambda y: s * y * y)(s))(x), 6 * 9.0)  # inner: 2 s y at y = s; s * that: 2 s^3
    close(grad(lambda a: grad(lambda b: a * b * b)(a))(x), 4 * 3.0)
    close(grad(grad(grad(lambda a: a**4)))(x), 24 * 3.0)
    close(grad(lambda a: jvp(lambda b: a * b * b, (a,), (a * 0 + 1,))[1])(x), 4 * 3.0)


def test_grad_errors() -> None:
    x = randn(3)
    with pytest.raises(RuntimeError, match="scalar"):
        grad(lambda a: a)(x)
    with pytest.raises(RuntimeError, match="return a tensor"):
        grad(lambda a: (a.sum(), a))(x)
    with pytest.raises(RuntimeError, match="tuple"):
        grad(lambda a: a.sum(), has_aux=True)(x)
    with pytest.raises(RuntimeError, match="argnum"):
        grad(lambda a: a.sum(), 1)(x)
    with pytest.raises(ValueError, match="unique"):
        grad(lambda a, b: a.sum(), (0, 0))(x, x)
    with pytest.raises(RuntimeError, match="floating point"):
        grad(lambda a: a.sum())(mg.arange(3))
    with pytest.raises(ValueError, match="Tensor"):
        grad(lambda a: a)(2.0)
    assert mg.is_grad_enabled()


# --- vjp, jvp -----------------------------------------------------------------------------------------------------------
def test_vjp() -> None:
    x, y = randn(3), randn(3, seed=1)
    out, back = vjp(lambda a, b: {"p": a * b, "s": a.sin()}, x, y)
    close(out, {"p": x * y, "s": x.sin()})
    c, d = randn(3, seed=2), randn(3, seed=3)
    for _ in range(2):  # any number of times
        close(back({"p": c, "s": d}), (c * y + d * x.cos(), c * x))
    out, back, aux = vjp(lambda a: (a * a, 7), x, has_aux=True)
    assert aux == 7
    close(back(mg.ones(3, dtype=mg.float64)), (2 * x,))
    with pytest.raises(RuntimeError, match="structure"):
        back((x, x))
    with pytest.raises(RuntimeError, match="shape"):
        back(mg.ones(4, dtype=mg.float64))
    close(vmap(back)(mg.eye(3, dtype=mg.float64))[0], mg.diag(2 * x))


def test_jvp_and_linearize() -> None:
    x, t = randn(4), randn(4, seed=9)
    out, tangent = jvp(mg.sin, (x,), (t,))
    close(out, x.sin())
    close(tangent, x.cos() * t)
    assert not tangent.requires_grad
    out, tangents = jvp(lambda a, b: (a * b, a), (x, t), (t, x))
    close(tangents, (t * t + x * x, t))
    out, tangent, aux = jvp(lambda a: (a**2, "aux"), (x,), (t,), has_aux=True)
    assert aux == "aux"
    close(jvp(lambda a: mg.ones(2, dtype=mg.float64), (x,), (t,))[1], mg.zeros(2, dtype=mg.float64))
    with pytest.raises(RuntimeError, match="independent"):
        jvp(lambda a: mg.ones(2), (x,), (t,), strict=True)
    for wrong in ((x, (t,)), ((x,), (t, t)), ((), ()), ((x,), (t[:2],))):
        with pytest.raises(RuntimeError):
            jvp(mg.sin, *wrong)
    out, push = linearize(mg.exp, x)
    close(push(t), x.exp() * t)
    close(push(2 * t), 2 * x.exp() * t)
    close(vmap(push)(mg.eye(4, dtype=mg.float64)), mg.diag(x.exp()))


# --- Jacobians ----------------------------------------------------------------------------------------------------------
def net(w: mg.Tensor, x: mg.Tensor) -> mg.Tensor:
    return mg.tanh(x @ w).sum(0)


def finite_jacobian(f: Any, x: mg.Tensor, eps: float = 1e-6) -> np.ndarray:
    cols = []
    for k in range(x.numel()):
        d = np.zeros(x.numel())
        d[k] = eps
        d = mg.from_numpy(d).reshape(x.shape)
        cols.append(((f(x + d) - f(x - d)) / (2 * eps)).numpy())
    return np.moveaxis(np.stack(cols), 0, -1).reshape(cols[0].shape + tuple(x.shape))


@pytest.mark.parametrize("transform", [jacrev, jacfwd, lambda f: jacrev(f, chunk_size=2)])
def test_jacobian_against_finite_differences(transform: Any) -> None:
    w, x = randn(3, 2), randn(4, 3)
    close(transform(lambda v: net(v, x))(w), finite_jacobian(lambda v: net(v, x), w), 1e-6)
    close(transform(lambda v: v.prod())(x[0]), finite_jacobian(lambda v: v.prod(), x[0]), 1e-6)


def test_jacobian_structures() -> None:
    x, y = randn(2), randn(3)

    def f(a: Any, b: Any) -> Any:
        return {"outer": a[:, None] * b, "sum": b.sum()}

    for transform in (jacrev, jacfwd):
        j = transform(f, (0, 1))(x, y)
        assert [t.shape for t in j["outer"]] == [(2, 3, 2), (2, 3, 3)]
        close(j["sum"], (mg.zeros(2, dtype=mg.float64), mg.ones(3, dtype=mg.float64)))
        assert transform(f)(x, y)["outer"].shape == (2, 3, 2)
        j, aux = transform(lambda a: (a * 2, a), has_aux=True)(x)
        close(aux, x)


def test_hessian_and_nests() -> None:
    x = randn(3)

    def f(a: Any) -> Any:
        return (a.sin() * a[0]).sum()

    want = finite_jacobian(grad(f), x)
    for h in (hessian(f), jacrev(jacrev(f)), jacfwd(jacfwd(f)), jacrev(jacfwd(f)), jacrev(grad(f)), jacfwd(grad(f))):
        close(h(x), want, 1e-6)
    batch = randn(4, 3)
    close(vmap(hessian(f))(batch), mg.stack([hessian(f)(r) for r in batch]))
    third = jacrev(hessian(lambda a: (a**3).sum()))(x)
    assert third.shape == (3, 3, 3) and abs(float(third[1, 1, 1]) - 6) < 1e-9


# --- models ---------------------------------------------------------------------------------------------------------------
def small_net() -> Any:
    mg.manual_seed(0)
    return mg.nn.Sequential(mg.nn.Conv2d(1, 4, 3, padding=1), mg.nn.ReLU(), mg.nn.MaxPool2d(2), mg.nn.Flatten(), mg.nn.Linear(4 * 9, 16),
                            mg.nn.LayerNorm(16), mg.nn.Tanh(), mg.nn.Linear(16, 5)).double()  # fmt: skip


def test_per_sample_gradients() -> None:
    model, x = small_net(), randn(6, 1, 6, 6)
    target = mg.tensor([0, 1, 2, 3, 4, 0])
    params = {k: v.detach() for k, v in model.named_parameters()}

    def loss(p: Any, a: Any, t: Any) -> Any:
        return F.cross_entropy(func.functional_call(model, p, (a[None],)), t[None])

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no slow path
        got = vmap(grad(loss), in_dims=(None, 0, 0))(params, x, target)
    loop = [grad(loss)(params, a, t) for a, t in zip(x, target)]
    for name in params:
        close(got[name], mg.stack([g[name] for g in loop]))
    model.zero_grad()
    F.cross_entropy(model(x), target).backward()
    for name, p in model.named_parameters():
        close(got[name].mean(0), p.grad)


def test_ensembling() -> None:
    models = [mg.nn.Sequential(mg.nn.Linear(3, 4), mg.nn.ReLU(), mg.nn.Linear(4, 2)).double() for _ in range(3)]
    params, buffers = func.stack_module_state(models)
    assert all(p.requires_grad and p.is_leaf and p.shape[0] == 3 for p in params.values())
    x = randn(5, 3)
    out = vmap(lambda p, b, a: func.functional_call(models[0], (p, b), (a,)), in_dims=(0, 0, None))(params, buffers, x)
    close(out, mg.stack([m(x) for m in models]))
    out.sum().backward()
    assert params["0.weight"].grad.shape == (3, 4, 3)
    out = vmap(lambda p, b, a: func.functional_call(models[0], (p, b), (a,)))(params, buffers, mg.stack([x, 2 * x, 3 * x]))
    close(out[1], models[1](2 * x))
    with pytest.raises(RuntimeError, match="at least one"):
        func.stack_module_state([])
    with pytest.raises(RuntimeError, match="same class"):
        func.stack_module_state([models[0], models[0][0]])


def test_functional_call() -> None:
    layer = mg.nn.Linear(2, 2, bias=False).double()
    x = randn(3, 2)
    before = layer.weight
    w = randn(2, 2)
    close(func.functional_call(layer, {"weight": w}, x), x @ w.mT)
    assert layer.weight is before
    with pytest.raises(KeyError, match="nothing"):
        func.functional_call(layer, {"nothing": w}, x)
    with pytest.raises(ValueError, match="multiple"):
        func.functional_call(layer, ({"weight": w}, {"weight": w}), x)
    with pytest.raises(RuntimeError, match="Missing"):
        func.functional_call(layer, {}, x, strict=True)
    tied = mg.nn.Sequential(layer, layer)
    close(func.functional_call(tied, {"0.weight": w}, x), x @ w.mT @ w.mT)
    norm = mg.nn.BatchNorm1d(2).double()
    buffers = {k: v.clone() for k, v in norm.named_buffers()}
    func.functional_call(norm, buffers, (x,))
    assert not mg.equal(buffers["running_mean"], norm.running_mean) and norm.running_mean.abs().sum() == 0


def test_custom_function() -> None:
    class Cube(mg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * 5 * x**2  # not the true derivative: shows that it is used

    x = randn(2, 3)
    close(grad(lambda a: Cube.apply(a).sum())(x), 5 * x**2)
    close(grad(lambda a: grad(lambda b: Cube.apply(b).sum())(a).sum())(x), 10 * x)
    close(vmap(grad(lambda a: Cube.apply(a).sum()))(x), 5 * x**2)
    close(vmap(Cube.apply)(x), x**3)
    close(grad(lambda a: vmap(Cube.apply)(a).sum())(x), 5 * x**2)
    close(grad(lambda a: grad(lambda b: vmap(Cube.apply)(b).sum())(a).sum())(x), 10 * x)
    close(vmap(grad(lambda a: vmap(Cube.apply)(a).sum()))(x), 5 * x**2)
    with pytest.raises(RuntimeError, match="both inside and outside"):
        grad(lambda a: vmap(grad(lambda b: Cube.apply(b).sum()))(a).sum())(x)


def test_custom_function_with_two_outputs_and_a_shared_input() -> None:
    class Both(mg.autograd.Function):
        @staticmethod
        def forward(x: Any, w: Any) -> Any:
            return (x * w).exp(), x + w

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs, output[0])

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            x, w, y = ctx.saved_tensors
            return g * y * w + h, g * y * x + h

    x, w = randn(2, 3), randn(3)
    plain = lambda a, b: ((a * b).exp(), a + b)  # noqa: E731
    custom = lambda a, b: vmap(Both.apply, in_dims=(0, None))(a, b)  # noqa: E731
    product = lambda f: lambda a, b: (f(a, b)[0] * f(a, b)[1]).sum()  # noqa: E731
    square = lambda f: lambda a, b: f(a, b)[0].square().sum()  # noqa: E731
    for loss in (product, square):
        for k in (0, 1):
            close(grad(loss(custom), k)(x, w), grad(loss(plain), k)(x, w))
            close(hessian(loss(custom), k)(x, w), hessian(loss(plain), k)(x, w))
    leaf = w.clone().requires_grad_()
    custom(x, leaf)[0].sum().backward()
    close(leaf.grad, grad(lambda b: plain(x, b)[0].sum())(w))


def test_hypergradient_through_everything() -> None:
    x = randn(3)
    f = lambda a: vmap(grad(lambda s, c: (s * c).sin().sum()), in_dims=(0, None))(mg.outer(a, a), a).sum()  # noqa: E731
    close(grad(f)(x), finite_jacobian(f, x), 1e-5)
    g = lambda a: jacrev(lambda b: vmap(lambda s: (s * a).cumsum(0))(mg.outer(b, b)).sum(0))(a).sum()  # noqa: E731
    close(grad(g)(x), finite_jacobian(g, x), 1e-5)
    assert math.isfinite(float(grad(g)(x).sum()))


# --- autograd.functional --------------------------------------------------------------------------------------------------
def test_autograd_functional() -> None:
    af = mg.autograd.functional
    x, y, v = randn(3), randn(3, seed=1), randn(3, seed=2)
    f = lambda a, b: (a * b.sin(), (a**2).sum())  # noqa: E731
    loop = af.jacobian(f, (x, y))
    close(af.jacobian(f, (x, y), vectorize=True), loop)
    close(af.jacobian(f, (x, y), vectorize=True, strategy="forward-mode"), loop)
    close(loop[0][0], mg.diag(y.sin()))
    s = lambda a: (a**3).sum() * a[0]  # noqa: E731
    h = af.hessian(s, x)
    close(h, hessian(s)(x))
    close(af.hessian(s, x, vectorize=True, outer_jacobian_strategy="forward-mode"), h)
    close(af.vhp(s, x, v)[1], v @ h)
    close(af.hvp(s, x, v), (s(x), h @ v))
    close(af.vjp(lambda a: a**2, x, v)[1], 2 * x * v)
    close(af.jvp(lambda a: a**2, x, v)[1], 2 * x * v)
    leaf = randn(3).requires_grad_()
    assert not af.jacobian(lambda a: a**2, leaf).requires_grad
    af.jacobian(lambda a: a**2, leaf, create_graph=True).sum().backward()
    close(leaf.grad, mg.full((3,), 2.0, dtype=mg.float64))
    with pytest.raises(RuntimeError, match="strict"):
        af.jacobian(lambda a: mg.ones(2), x, strict=True)
    with pytest.raises(RuntimeError, match="single element"):
        af.hessian(lambda a: a, x)
    with pytest.raises(TypeError, match="outputs"):
        af.jacobian(lambda a: "x", x)
    with pytest.raises(RuntimeError, match="invalid size"):
        af.vjp(lambda a: a**2, x, v[:2])
