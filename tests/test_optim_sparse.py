"""Optimizers with sparse gradients: what steps by rows matches torch, everything else refuses."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from optim_twins import CLASSES  # noqa: E402
from twins import array, assert_close  # noqa: E402

import minigrad as mg  # noqa: E402


def train(lib, name, options, steps=3):
    weight = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    table = lib.nn.Embedding.from_pretrained(lib.from_numpy(weight.copy()), freeze=False, sparse=True)
    optimizer = getattr(lib.optim, name)(table.parameters(), **options)
    for i in range(steps):
        optimizer.zero_grad()
        rows = lib.tensor([[1, 4, 1], [i, 5, 1]])
        (table(rows) ** 2).sum().backward()
        assert table.weight.grad.is_sparse
        optimizer.step()
    return table.weight, optimizer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "maximize": True}), ("SGD", {"lr": 0.1, "momentum": 0.9}),
                                  ("Adagrad", {"lr": 0.1}), ("Adagrad", {"lr": 0.1, "lr_decay": 0.1}), ("SparseAdam", {"lr": 0.1}),
                                  ("SparseAdam", {"betas": (0.5, 0.7), "maximize": True})], ids=str)  # fmt: skip
def test_rows_match_torch(case):
    (mine, a), (theirs, b) = train(mg, *case), train(torch, *case)
    assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    for key, value in b.state_dict()["state"].get(0, {}).items():
        ours = a.state_dict()["state"][0][key]
        if isinstance(value, torch.Tensor):
            np.testing.assert_allclose(array(ours), array(value.to_dense()), rtol=1e-5, atol=1e-6)
        else:
            assert ours == value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in CLASSES if n not in ("SGD", "Adagrad", "LBFGS")])
def test_others_refuse(name):
    texts = []
    for lib in (mg, torch):
        with pytest.raises(RuntimeError, match="does not support sparse gradients") as error:
            train(lib, name, {})
        texts.append(str(error.value))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("lib", [mg, torch], ids=["minigrad", "torch"])
def test_sparse_adam_refuses_dense(lib):
    p = lib.nn.Parameter(lib.ones(2))
    p.grad = lib.ones(2)
    with pytest.raises(RuntimeError, match="does not support dense gradients"):
        lib.optim.SparseAdam([p]).step()
    with pytest.raises(ValueError, match="Invalid learning rate"):
        lib.optim.SparseAdam([p], lr=0)
