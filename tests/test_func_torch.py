"""The same programs in minigrad.func and torch.func give the same numbers (and both refuse the same mistakes)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")

DATA = {
    "x": np.random.default_rng(1).standard_normal((4, 3)),
    "y": np.random.default_rng(2).standard_normal((4, 3)),
    "w": np.random.default_rng(3).standard_normal((3, 5)),
    "v": np.random.default_rng(4).standard_normal(3),
    "img": np.random.default_rng(5).standard_normal((4, 2, 6, 6)),
    "k": np.random.default_rng(6).standard_normal((3, 2, 3, 3)),
    "t": np.array([0, 4, 2, 1]),
}


def f(m: Any, a: Any) -> Any:
    return (m.sin(a) * a.exp()).sum()


def g(m: Any, a: Any, b: Any) -> Any:
    return m.tanh(a * b) + a.pow(2).mean()


def logits(m: Any, w: Any, a: Any) -> Any:
    return m.nn.functional.log_softmax(a @ w, -1)


def nll(m: Any, w: Any, a: Any, t: Any) -> Any:
    return -logits(m, w, a).gather(-1, t[..., None]).sum()


PROGRAMS = {
    "grad": lambda m, F, d: F.grad(lambda a: f(m, a))(d.x),
    "grad_argnums": lambda m, F, d: F.grad(lambda a, b: g(m, a, b).sum(), (0, 1))(d.x, d.y),
    "grad_and_value": lambda m, F, d: F.grad_and_value(lambda a: f(m, a))(d.x),
    "grad_aux": lambda m, F, d: F.grad(lambda a: (f(m, a), {"s": a * 2}), has_aux=True)(d.x),
    "grad_grad": lambda m, F, d: F.grad(lambda a: F.grad(lambda b: f(m, b))(a).sum())(d.x),
    "vjp": lambda m, F, d: F.vjp(lambda a: g(m, a, d.y), d.x)[1](d.y)[0],
    "vjp_tuple": lambda m, F, d: F.vjp(lambda a, b: (a * b, a.sum(0)), d.x, d.y)[1]((d.y, d.v)),
    "jvp": lambda m, F, d: F.jvp(lambda a: g(m, a, d.y), (d.x,), (d.y,)),
    "jvp_two": lambda m, F, d: F.jvp(lambda a, b: {"o": g(m, a, b), "p": a}, (d.x, d.y), (d.y, d.x)),
    "jvp_of_grad": lambda m, F, d: F.jvp(F.grad(lambda a: f(m, a)), (d.x,), (d.y,))[1],
    "linearize": lambda m, F, d: F.linearize(lambda a: m.sin(a), d.x)[1](d.y),
    "jacrev": lambda m, F, d: F.jacrev(lambda a: g(m, a, d.v))(d.v),
    "jacrev_nest": lambda m, F, d: F.jacrev(lambda a, b: {"o": a.outer(b), "s": (a.sum(), b)}, (0, 1))(d.v, d.x[0]),
    "jacrev_dict": lambda m, F, d: F.jacrev(lambda p: p["a"] * p["b"])({"a": d.v, "b": d.x[1]}),
    "jacrev_chunk": lambda m, F, d: F.jacrev(lambda a: g(m, a, d.v), chunk_size=2)(d.v),
    "jacfwd": lambda m, F, d: F.jacfwd(lambda a: g(m, a, d.v))(d.v),
    "jacfwd_two": lambda m, F, d: F.jacfwd(lambda a, b: (a * b, a), (1, 0))(d.v, d.x[0]),
    "hessian": lambda m, F, d: F.hessian(lambda a: f(m, a))(d.v),
    "hessian_two": lambda m, F, d: F.hessian(lambda a, b: (a * b.exp()).sum(), (0, 1))(d.v, d.x[0]),
    "jacrev_jacrev": lambda m, F, d: F.jacrev(F.jacrev(lambda a: f(m, a)))(d.v),
    "third": lambda m, F, d: F.jacfwd(F.hessian(lambda a: f(m, a)))(d.v),
    "vmap_hessian": lambda m, F, d: F.vmap(F.hessian(lambda a: f(m, a)))(d.x),
    "vmap_dims": lambda m, F, d: F.vmap(lambda a, b: a @ b, in_dims=(0, 1), out_dims=0)(d.x[:3], d.w[:, :3]),
    "vmap_out": lambda m, F, d: F.vmap(lambda a: (a, a.sum()), out_dims=(1, 0))(d.x),
    "vmap_none": lambda m, F, d: F.vmap(lambda a, w: a @ w, in_dims=(0, None))(d.x, d.w),
    "vmap_vmap": lambda m, F, d: F.vmap(F.vmap(m.mul, in_dims=(0, None)), in_dims=(None, 0))(d.v, d.x[:, 0]),
    "vmap_pytree": lambda m, F, d: F.vmap(lambda p, z: p["a"] + p["b"][0] * z, in_dims=({"a": 0, "b": [None]}, 1))(
        {"a": d.x, "b": [d.v]}, d.x.T
    ),
    "vmap_chunk": lambda m, F, d: F.vmap(lambda a: a.cumsum(0), chunk_size=3)(d.x),
    "vmap_conv": lambda m, F, d: F.vmap(lambda a: m.nn.functional.conv2d(a, d.k, padding=1))(d.img),
    "vmap_conv_weight": lambda m, F, d: F.vmap(lambda k: m.nn.functional.conv2d(d.img, k))(m.stack([d.k, 2 * d.k])),
    "vmap_conv_both": lambda m, F, d: F.vmap(lambda a, k: m.nn.functional.conv2d(a[None], k))(
        d.img, m.stack([d.k, d.k * 2, d.k * 3, d.k * 4])
    ),
    "per_sample": lambda m, F, d: F.vmap(F.grad(lambda w, a, t: nll(m, w, a, t)), in_dims=(None, 0, 0))(d.w, d.x, d.t),
    "per_sample_conv": lambda m, F, d: F.vmap(
        F.grad(lambda k, a: m.nn.functional.max_pool2d(m.nn.functional.conv2d(a, k), 2).square().sum()), in_dims=(None, 0)
    )(d.k, d.img),
    "vmap_jvp": lambda m, F, d: F.vmap(lambda t: F.jvp(m.sin, (d.v,), (t,))[1])(d.x),
    "vmap_vjp": lambda m, F, d: F.vmap(F.vjp(lambda a: m.sin(a) * a, d.v)[1])(d.x),
    "vmap_jacrev": lambda m, F, d: F.vmap(F.jacrev(lambda a: a * a.sum()))(d.x),
    "vmap_jacfwd": lambda m, F, d: F.vmap(F.jacfwd(lambda a: a * a.sum()))(d.x),
    "grad_of_vmap": lambda m, F, d: F.grad(lambda a: F.vmap(lambda r: f(m, r))(a).sum())(d.x),
    "grad_of_vmap_grad": lambda m, F, d: F.grad(
        lambda a: F.vmap(F.grad(lambda r, s: (r * s).sin().sum()), in_dims=(0, None))(a, a[0]).sum()
    )(d.x),
    "jacrev_of_vmap": lambda m, F, d: F.jacrev(lambda a: F.vmap(lambda r: r * a)(d.x))(d.v),
    "cross_entropy": lambda m, F, d: F.vmap(
        F.grad(lambda w, a, t: m.nn.functional.cross_entropy((a @ w)[None], t[None])), in_dims=(None, 0, 0)
    )(d.w, d.x, d.t),
    "softmax_attention": lambda m, F, d: F.vmap(lambda q: m.softmax(q @ d.x.T, -1) @ d.x)(m.stack([d.x, d.y])),
    "layer_norm": lambda m, F, d: F.vmap(
        F.grad(lambda a, w: (m.nn.functional.layer_norm(a, (3,), w) ** 3).sum(), argnums=1), in_dims=(0, None)
    )(d.x, d.v),
    "sort_topk": lambda m, F, d: F.vmap(lambda a: (a.sort()[0], a.topk(2)[0], a.argmax(), a.max(0)[0]))(d.x),
    "inplace": lambda m, F, d: F.vmap(lambda a, b: a.clone().add_(b).mul_(2))(d.x, d.y),
    "index": lambda m, F, d: F.vmap(lambda a, t: a[:, t % 2])(d.img, d.t),
    "autograd_jacobian": lambda m, F, d: m.autograd.functional.jacobian(lambda a, b: (a * b, a.sum()), (d.v, d.x[0])),
    "autograd_hessian": lambda m, F, d: m.autograd.functional.hessian(lambda a, b: (a * b.exp()).sum(), (d.v, d.x[0])),
    "autograd_vjp": lambda m, F, d: m.autograd.functional.vjp(lambda a: a.exp() * a, d.v, d.x[0]),
    "autograd_jvp": lambda m, F, d: m.autograd.functional.jvp(lambda a: a.exp() * a, d.v, d.x[0]),
    "autograd_hvp": lambda m, F, d: m.autograd.functional.hvp(lambda a: f(m, a), d.v, d.x[0]),
    "autograd_vhp": lambda m, F, d: m.autograd.functional.vhp(lambda a: f(m, a), d.v, d.x[0]),
}

MISTAKES = {
    "not_scalar": lambda m, F, d: F.grad(m.sin)(d.x),
    "tuple_result": lambda m, F, d: F.grad(lambda a: (a.sum(), a))(d.x),
    "argnum": lambda m, F, d: F.grad(lambda a: a.sum(), argnums=3)(d.x),
    "integers": lambda m, F, d: F.grad(lambda a: a.sum())(d.t),
    "cotangent_structure": lambda m, F, d: F.vjp(m.sin, d.x)[1]((d.x, d.x)),
    "jvp_structure": lambda m, F, d: F.jvp(m.sin, (d.x,), (d.x, d.x)),
    "jvp_no_tuple": lambda m, F, d: F.jvp(m.sin, d.x, d.x),
    "vmap_no_batch": lambda m, F, d: F.vmap(m.sin, in_dims=None)(d.x),
    "vmap_in_dims": lambda m, F, d: F.vmap(m.sin, in_dims=(0, 0))(d.x),
    "vmap_dim_range": lambda m, F, d: F.vmap(m.sin, in_dims=2)(d.x),
    "vmap_sizes": lambda m, F, d: F.vmap(m.add)(d.x, d.v),
    "vmap_number": lambda m, F, d: F.vmap(m.add)(d.x, 2),
    "vmap_out_dims": lambda m, F, d: F.vmap(m.sin, out_dims=(0, 0))(d.x),
    "vmap_out_none": lambda m, F, d: F.vmap(m.sin, out_dims=None)(d.x),
    "vmap_result": lambda m, F, d: F.vmap(lambda a: 2)(d.x),
    "vmap_bool": lambda m, F, d: F.vmap(lambda a: a if a.sum() > 0 else -a)(d.x),
    "vmap_item": lambda m, F, d: F.vmap(lambda a: a.sum().item())(d.x),
    "vmap_random": lambda m, F, d: F.vmap(lambda a: a + m.randn(3))(d.x),
    "vmap_randomness": lambda m, F, d: F.vmap(m.sin, randomness="some")(d.x),
    "vmap_inplace": lambda m, F, d: F.vmap(lambda a, b: b.add_(a), in_dims=(0, None))(d.x, d.v),
    "vmap_nonzero": lambda m, F, d: F.vmap(lambda a: a.nonzero())(d.x),
    "vmap_chunk": lambda m, F, d: F.vmap(m.sin, chunk_size=0)(d.x),
    "jacrev_chunk": lambda m, F, d: F.jacrev(m.sin, chunk_size=0)(d.v),
}  # fmt: skip


class _Data:
    def __init__(self, make: Any) -> None:
        for name, values in DATA.items():
            setattr(self, name, make(values.copy()))


def _compare(a: Any, b: Any, path: str) -> None:
    assert type(b) in (dict, list) or isinstance(b, (tuple, torch.Tensor)), f"{path}: {type(b)}"
    if isinstance(b, dict):
        assert set(a) == set(b), path
        for k in b:
            _compare(a[k], b[k], f"{path}.{k}")
    elif isinstance(b, (tuple, list)):
        assert isinstance(a, (tuple, list)) and len(a) == len(b), path
        for k, (x, y) in enumerate(zip(a, b)):
            _compare(x, y, f"{path}[{k}]")
    else:
        assert tuple(a.shape) == tuple(b.shape) and str(a.dtype).split(".")[1] == str(b.dtype).split(".")[1], (
            f"{path}: {a.shape} {a.dtype}, {b.shape} {b.dtype}"
        )
        assert a.requires_grad == b.requires_grad, f"{path}: requires_grad {a.requires_grad}"
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-8, atol=1e-8, err_msg=path)


@pytest.mark.parametrize("name", PROGRAMS)
def test_same_numbers(name: str) -> None:
    ours = PROGRAMS[name](mg, mg.func, _Data(mg.from_numpy))
    _compare(ours, PROGRAMS[name](torch, torch.func, _Data(torch.from_numpy)), name)


@pytest.mark.parametrize("name", MISTAKES)
def test_same_refusals(name: str) -> None:
    with pytest.raises(Exception) as theirs:
        MISTAKES[name](torch, torch.func, _Data(torch.from_numpy))
    with pytest.raises(theirs.type):
        MISTAKES[name](mg, mg.func, _Data(mg.from_numpy))
