"""FlopCounterMode against PyTorch's."""

from __future__ import annotations

import pytest

import minigrad as mg


def test_counts_are_torchs():
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode as Reference

    from minigrad.utils.flop_counter import FlopCounterMode

    def count(m, mode):
        linear, conv, back = m.nn.Linear(8, 4), m.nn.Conv2d(3, 5, 3), m.nn.ConvTranspose2d(5, 2, 3)
        x, image = m.ones(2, 8, requires_grad=True), m.ones(2, 3, 9, 9, requires_grad=True)
        with mode(display=False) as counter:
            linear(x).matmul(m.ones(4, 6)).sum().backward()
            back(conv(image)).sum().backward()
            m.bmm(m.ones(2, 3, 4), m.ones(2, 4, 5))
        return counter

    ours, theirs = count(mg, FlopCounterMode), count(torch, Reference)
    assert ours.get_total_flops() == theirs.get_total_flops()
    assert sum(ours.get_flop_counts()["Global"].values()) == ours.get_total_flops()
    assert "Global" in ours.get_table()


def test_nvtx_says_what_it_needs():
    from minigrad.autograd.profiler import emit_itt, emit_nvtx

    for tool in (emit_nvtx, emit_itt):
        with tool(enabled=False):
            pass
        with pytest.raises(NotImplementedError, match="needs"), tool():
            pass
