"""cuda.memory_by_module: who holds the memory, by module path."""

from __future__ import annotations

import pytest

import minigrad as mg
from minigrad import cuda, nn


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.broken = nn.Linear(64, 64), False

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        if self.broken:
            raise ValueError("broken")
        return self.attention(x).softmax(-1)


def test_holders_have_paths() -> None:
    model = nn.Sequential(Block(), Block()).cuda()
    x = mg.randn(32, 64, device="cuda")
    with cuda.memory_by_module(model, "net"):
        y = model(x)
        y.sum().backward()
    tags = {tag for tag, *_ in cuda.memory_holders()}
    assert any(tag.startswith("net.1: ") and "softmax" in tag for tag in tags), tags
    model[1].broken = True
    with cuda.memory_by_module(model), pytest.raises(ValueError, match="broken"):
        model(x)
    z = x * 2
    assert "mul" in {tag for tag, *_ in cuda.memory_holders()}
    assert not model[0]._forward_hooks and not model[0]._forward_pre_hooks
    del y, z
