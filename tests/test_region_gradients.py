"""Gradients of parts (narrow, select, slices) of one tensor are added into their region, without tensors of full size in between."""

import numpy as np
import pytest

import minigrad as mg

PROGRAMS = {
    "split": lambda x: sum((p * (i + 1)).sin().sum() for i, p in enumerate(x.split(2, dim=1))),
    "unbind": lambda x: sum((p * (i + 1)).cos().sum() for i, p in enumerate(x.unbind(0))),
    "slices": lambda x: (x[:, ::2] * 2).exp().sum() + (x[1:, 1:3] * 3).sin().sum() + x[-1].sum(),
    "overlap": lambda x: (x[0:3] * x[1:4]).sum() + x.narrow(0, 1, 2).square().sum(),
    "whole and part": lambda x: (x * 2).sum() + x[0].exp().sum() + (x * x).sum(),
    "nested": lambda x: sum(q.sin().sum() * (i + j + 1) for i, p in enumerate(x.split(2, 1)) for j, q in enumerate(p.split(1, 0))),
    "transposed": lambda x: sum((p.t() * (i + 1)).sin().sum() for i, p in enumerate(x.t().split(3, 0))),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_same_as_torch(name, dtype):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).standard_normal((4, 6))
    grads = []
    for m in (mg, torch):
        leaf = m.tensor(values.tolist(), dtype=getattr(m, dtype), requires_grad=True)
        PROGRAMS[name](leaf * 1).backward()
        grads.append(np.array(leaf.grad.float().tolist()))
    np.testing.assert_allclose(grads[0], grads[1], rtol=0.05 if dtype == "bfloat16" else 1e-5, atol=0.05 if dtype == "bfloat16" else 1e-6)


@pytest.mark.parametrize("name", PROGRAMS)
def test_same_with_a_graph(name):
    """create_graph takes the way of ordinary ops; both agree."""
    leaf = mg.tensor(np.random.default_rng(1).standard_normal((4, 6)), requires_grad=True)
    (plain,) = mg.autograd.grad(PROGRAMS[name](leaf * 1), leaf)
    (graph,) = mg.autograd.grad(PROGRAMS[name](leaf * 1), leaf, create_graph=True)
    assert mg.allclose(plain, graph)


def test_nobody_else_sees_the_sum_grow():
    """A gradient that a hook or a capture holds is not written to."""
    leaf = mg.ones(4, 2, requires_grad=True)
    x = leaf * 1
    seen = []
    parts = x.split(2)
    parts[0].register_hook(seen.append)
    grads = mg.autograd.grad((parts[0] * 2).sum() + (parts[1] * 3).sum() + (x * 5).sum(), (leaf, parts[1], x))
    assert seen[0].tolist() == [[2, 2], [2, 2]]
    assert grads[1].tolist() == [[3, 3], [3, 3]]
    assert grads[0].tolist() == grads[2].tolist() == [[7, 7], [7, 7], [8, 8], [8, 8]]
