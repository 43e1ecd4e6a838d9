"""Sparse tensors on a device, with the default device left alone: their indices are made where they are. The rest: tests/test_sparse.py by
device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import minigrad as mg

DENSE = [[0.0, 2.0, 0.0, 1.0], [3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 4.0, 5.0]]
CALLS: dict[str, Callable[[Any], Any]] = {
    "dense": lambda x: x,
    "transpose": lambda x: x.t(),
    "permute": lambda x: x.permute(1, 0),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "cat": lambda x: mg.cat([x, x], 1),
    "index_select": lambda x: x.index_select(0, mg.tensor([2, 0, 2], device=x.device)),
    "select": lambda x: x.select(1, 3),
    "sum": lambda x: mg.sparse.sum(x, 0),
    "add": lambda x: x + x,
    "times dense": lambda x: x @ mg.ones(4, 2, device=x.device),
    "times sparse": lambda x: x @ x.t(),
    "csr": lambda x: x.to_sparse_csr(),
    "csr times dense": lambda x: x.to_sparse_csr() @ mg.ones(4, 2, device=x.device),
    "diagonals": lambda x: mg.sparse.spdiags(mg.ones(2, 3, device=x.device), mg.tensor([0, 1], device=x.device), (3, 3)),
}


@pytest.mark.parametrize("name", CALLS)
def test_same_as_on_the_cpu(name: str) -> None:
    found = []
    for where in ("cpu", "cuda"):
        result = CALLS[name](mg.tensor(DENSE, device=where).to_sparse())
        assert result.device.type == where
        found.append((result.to_dense() if result.layout is not mg.strided else result).tolist())
    assert found[0] == found[1]
    assert mg.tensor(DENSE, device="cuda").to_sparse().type() == "minigrad.cuda.sparse.FloatTensor"


def test_packed_sequences_and_gradcheck() -> None:
    x = mg.randn(3, 5, 2, device="cuda")
    packed = mg.nn.utils.rnn.pack_padded_sequence(x, [5, 3, 1], batch_first=True)
    padded, lengths = mg.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    assert packed.data.device.type == padded.device.type == "cuda" and lengths.tolist() == [5, 3, 1]
    assert mg.equal(padded[0], x[0])
    assert mg.autograd.gradcheck(mg.sin, mg.randn(3, dtype=mg.float64, device="cuda", requires_grad=True))
