"""nn.functional and nn.init beyond what the modules reach: every function against torch, and second derivatives."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nn_cases import LOSSES  # noqa: E402
from twins import array, assert_close, module_pair, ours, weighted_sum  # noqa: E402

import minigrad as mg  # noqa: E402

F, TF = mg.nn.functional, torch.nn.functional


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check(call, *inputs, rtol=1e-4, atol=1e-5):
    """`call(functional, *inputs)` gives torch's output and gradients; floating inputs take gradients."""
    mine = [ours(x, x.is_floating_point()) if isinstance(x, torch.Tensor) else x for x in inputs]
    theirs = [
        x.clone().requires_grad_(x.is_floating_point()) if isinstance(x, torch.Tensor) else x for x in inputs
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        actual, expected = call(F, *mine), call(TF, *theirs)
    assert_close(actual, expected, "output", rtol, atol)
    if isinstance(expected, torch.Tensor) and expected.requires_grad:
        weighted_sum(actual).backward()
        weighted_sum(expected).backward()
        for i, (a, e) in enumerate(zip(mine, theirs, strict=True)):
            if isinstance(e, torch.Tensor):
                assert_close(a.grad, e.grad, f"gradient {i}", rtol, atol)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("pad", [(1, 2), (0, 1, 2, 1), (1, 1, 1, 0, 0, 1)])
def test_pad(mode, pad):
    check(lambda f, x: f.pad(x, pad, mode), normal(2, 3, 4, 3, 4)[(slice(None),) * (2 + len(pad) // 2)]
          if len(pad) == 6 else normal(*(2, 3, 4, 3)[: 2 + len(pad) // 2]))  # fmt: skip


def test_pad_more():
    check(lambda f, x: f.pad(x, (1, -2), value=2.5), normal(3, 4))
    check(lambda f, x: f.pad(x, (-1, -1, 2, 0)), normal(3, 4))
    check(lambda f, x: f.pad(x, ()), normal(3, 4))
    check(lambda f, x: f.pad(x, (1, 2), value=3), torch.arange(4))
    for bad in ((1,), (1,) * 6):
        with pytest.raises(RuntimeError):
            F.pad(mg.zeros(3, 4), bad)
    with pytest.raises(RuntimeError):
        F.pad(mg.zeros(1, 3, 4), (4, 0), "reflect")
    with pytest.raises(NotImplementedError):
        F.pad(mg.zeros(4), (1, 1), "reflect")


def test_one_hot():
    index = torch.tensor([[0, 2], [3, 1]])
    for n in (-1, 4, 7):
        check(lambda f, x, n=n: f.one_hot(x, n), index)
    check(lambda f, x: f.one_hot(x, 3), torch.zeros(0, 2, dtype=torch.int64))
    for value, n in (([-1], -1), ([3], 3), ([1], 0)):
        with pytest.raises(RuntimeError):
            F.one_hot(mg.tensor(value), n)


@pytest.mark.parametrize("options", [{}, {"p": 1}, {"dim": 0}, {"dim": -1, "eps": 10.0}, {"p": math.inf, "dim": 2}])
def test_normalize(options):
    check(lambda f, x: f.normalize(x, **options), normal(3, 4, 5))


@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"scale": 0.3}, {"enable_gqa": True}, *({"mask": m} for m in ("bool", "float", "dead"))],
    ids=str,
)
def test_attention(options):
    options = dict(options)
    heads = 2 if options.get("enable_gqa") else 4
    q, k, v = normal(2, 4, 5, 6), normal(2, heads, 7, 6, seed=1), normal(2, heads, 7, 3, seed=2)
    kind = options.pop("mask", None)
    masks = {
        None: None,
        "bool": normal(5, 7, seed=3) > -0.5,
        "float": normal(2, 1, 5, 7, seed=3),
        "dead": torch.arange(5)[:, None].expand(5, 7) > 1,  # queries 0 and 1 see nothing
    }
    mask = masks[kind]
    mine = None if mask is None else ours(mask)

    def call(f, q, k, v):
        return f.scaled_dot_product_attention(q, k, v, attn_mask=mine if f is F else mask, **options)

    check(call, q, k, v)


def test_attention_errors_and_dropout():
    q = mg.zeros(2, 3, 4)
    with pytest.raises(RuntimeError):
        F.scaled_dot_product_attention(q, q, q, attn_mask=mg.zeros(3, 3), is_causal=True)
    with pytest.raises(RuntimeError):
        F.scaled_dot_product_attention(q, q.double(), q)
    with pytest.raises(RuntimeError):
        F.scaled_dot_product_attention(mg.zeros(3), q, q)
    dropped = F.scaled_dot_product_attention(mg.zeros(1, 400, 2), mg.zeros(1, 1, 2), mg.ones(1, 1, 1), dropout_p=0.5)
    assert set(np.unique(array(dropped))) == {0.0, 2.0}


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_softmax_without_dim(ndim):
    for name in ("softmax", "softmin", "log_softmax"):
        with pytest.warns(UserWarning, match="Implicit dimension"):
            getattr(F, name)(mg.zeros((2,) * ndim))
        check(lambda f, x, name=name: getattr(f, name)(x), normal(*(2, 3, 4, 2)[:ndim]))
    check(lambda f, x: f.softmax(x, -1, dtype=mg.float64 if f is F else torch.float64), normal(3, 4))


def test_misc_functions():
    check(lambda f, x, y: f.cosine_similarity(x, y, dim=-1), normal(3, 4), normal(4, seed=1))
    check(lambda f, x: f.glu(x, 1), normal(3, 4, 2))
    check(lambda f, x, w: f.rms_norm(x, (4,), w, 1e-4), normal(3, 4), normal(4, seed=1))
    check(lambda f, x, w, b: f.group_norm(x, 2, w, b), normal(3, 4, 5), normal(4, seed=1), normal(4, seed=2))
    check(lambda f, x: f.instance_norm(x), normal(3, 4, 5))
    check(lambda f, x: f.local_response_norm(x, 3), normal(2, 5, 4))
    check(lambda f, x: f.dropout(x, 0.5, training=False), normal(3, 4))
    check(lambda f, x: f.max_pool2d(x, 2, return_indices=True), normal(2, 3, 4, 4))
    check(lambda f, x: f.max_pool2d(x, 2, 1, ceil_mode=True), normal(3, 5, 4))
    with pytest.raises(RuntimeError):
        F.glu(mg.zeros(3))
    with pytest.raises(RuntimeError):
        F.group_norm(mg.zeros(2, 3), 2)
    with pytest.raises(ValueError):
        F.dropout(mg.zeros(2), 2.0)
    with pytest.raises(AttributeError):
        F.no_such_function  # noqa: B018


def test_mse_warns_about_broadcasting():
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        with pytest.warns(UserWarning, match="Using a target size"):
            getattr(F, name)(mg.zeros(3, 1), mg.zeros(3))


def test_deprecated_reduction_arguments():
    table = (({"size_average": False}, "sum"), ({"reduce": False}, "none"), ({"reduce": True}, "mean"))
    for options, expected in table:
        with pytest.warns(UserWarning, match=f"reduction='{expected}'"):
            assert mg.nn.L1Loss(**options).reduction == expected


def test_gumbel_softmax():
    mg.manual_seed(0)
    logits = mg.tensor([0.0, 1.0, 2.0]).expand(4000, 3).clone().requires_grad_(True)
    soft = F.gumbel_softmax(logits, tau=0.7)
    np.testing.assert_allclose(array(soft.sum(-1)), 1.0, rtol=1e-5)
    hard = F.gumbel_softmax(logits, hard=True)
    share = array(hard).mean(0)
    np.testing.assert_allclose(share, np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum(), atol=0.03)
    (hard * mg.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert float(logits.grad.abs().sum()) > 0


# torch has no second derivative of these
TORCH_HAS_NONE = ("L1Loss", "MultiLabelMarginLoss", "MultiMarginLoss")


@pytest.mark.parametrize(
    "case",
    [c for c in LOSSES if c.kwargs.get("reduction") == "mean" and c.name not in TORCH_HAS_NONE],
    ids=repr,
)
def test_losses_have_second_derivatives(case):
    module, reference = module_pair(case.name, *case.args, **case.kwargs)
    gradients = []
    for lib, loss in ((mg, module), (torch, reference)):
        inputs = [(ours(t, g) if lib is mg else t.requires_grad_(g), g) for t, g in case.inputs()]
        first = next(t for t, g in inputs if g)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = loss(*(t for t, _ in inputs))
        (slope,) = lib.autograd.grad(value, [first], create_graph=True)
        if not slope.requires_grad:  # piecewise linear losses: torch keeps no graph, ours is zero
            gradients.append(None)
            continue
        weighted_sum(slope).backward()
        gradients.append(first.grad)
    a, e = gradients
    if e is None or a is None:
        assert (a is None or float(a.abs().sum()) == 0) and (e is None or float(e.abs().sum()) == 0)
    else:
        assert_close(a, e, rtol=1e-3, atol=1e-5)


INITS = {
    "uniform_": ({"a": -1.0, "b": 2.0}, -1.0, 2.0),
    "xavier_uniform_": ({"gain": 2.0}, None, None),
    "kaiming_uniform_": ({"nonlinearity": "relu"}, None, None),
    "kaiming_normal_": ({"mode": "fan_out"}, None, None),
    "xavier_normal_": ({}, None, None),
    "normal_": ({"mean": 1.0, "std": 3.0}, None, None),
    "trunc_normal_": ({"mean": 0.5, "std": 1.0, "a": -1.0, "b": 1.5}, -1.0, 1.5),
}


@pytest.mark.parametrize("name", INITS)
def test_random_inits(name):
    options, low, high = INITS[name]
    torch.manual_seed(0)
    mg.manual_seed(0)
    mine = mg.empty(100, 40, 3, requires_grad=True)
    result = getattr(mg.nn.init, name)(mine, **options)
    assert result is mine and mine.grad_fn is None
    theirs = getattr(torch.nn.init, name)(torch.empty(100, 40, 3), **options)
    a, e = array(mine), array(theirs)
    assert abs(a.mean() - e.mean()) < 0.05 * e.std() + 1e-3
    assert abs(a.std() - e.std()) < 0.05 * e.std()
    if low is not None:
        assert a.min() >= low and a.max() <= high


def test_exact_inits():
    for name, shape, options in (
        ("constant_", (2, 3), {"val": 2.5}), ("ones_", (2, 3), {}), ("zeros_", (2, 3), {}), ("eye_", (3, 4), {}),
        ("dirac_", (4, 2, 3), {}), ("dirac_", (6, 2, 3, 5), {"groups": 3}),
    ):  # fmt: skip
        mine = getattr(mg.nn.init, name)(mg.empty(*shape), **options)
        assert_close(mine, getattr(torch.nn.init, name)(torch.empty(*shape), **options), name)
    sparse = array(mg.nn.init.sparse_(mg.empty(10, 6), 0.25))
    assert ((sparse == 0).sum(0) == 3).all()
    for gain in ("relu", "tanh", "sigmoid", "linear", "selu", "conv2d"):
        assert mg.nn.init.calculate_gain(gain) == torch.nn.init.calculate_gain(gain)
    assert mg.nn.init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)
    for bad in (
        lambda: mg.nn.init.calculate_gain("nope"),
        lambda: mg.nn.init.xavier_normal_(mg.empty(3)),
        lambda: mg.nn.init.eye_(mg.empty(3)),
        lambda: mg.nn.init.kaiming_normal_(mg.empty(3, 3), mode="nope"),
    ):
        with pytest.raises(ValueError):
            bad()


def test_orthogonal_init():
    for shape in ((4, 6), (6, 4), (3, 2, 4)):
        w = array(mg.nn.init.orthogonal_(mg.empty(*shape), gain=2.0)).reshape(shape[0], -1)
        gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-4)
