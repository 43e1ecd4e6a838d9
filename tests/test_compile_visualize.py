"""mg.compile.visualize: one page with both graphs, that needs nothing else; the function's state is left alone."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F


def test_page(tmp_path: Path) -> None:
    def chain(x: mg.Tensor, bias: mg.Tensor) -> mg.Tensor:
        return F.layer_norm(F.gelu(x + bias) * 2 + x, (64,))

    page = mg.compile.visualize(chain, path=tmp_path / "page.html")(mg.randn(32, 64), mg.randn(64))
    assert (tmp_path / "page.html").read_text() == page.html == page._repr_html_()
    assert [row.title for row in page.before] == ["add", "gelu_erf", "mul", "add", "_layer_norm"]
    assert len(page.after) < len(page.before) and any(row.title.startswith("fused") and len(row.parts) > 1 for row in page.after)
    for rows in (page.before, page.after):
        assert all(row.seconds > 0 and row.moved > 0 and row.flops > 0 for row in rows)
        assert all("test_compile_visualize.py" in row.line for row in rows)
    assert page.before[0].moved == 4 * (2 * 32 * 64 + 64) and page.before[0].flops == 32 * 64
    assert "float32[32, 64]" in page.html and "test_compile_visualize.py" in page.html and "in chain" in page.html
    assert not re.search(r"<script|<link|https?://(?!www\.w3\.org)", page.html)
    for svg in re.findall(r"<svg.*?</svg>", page.html, re.DOTALL):
        ET.fromstring(svg)
    assert "calls in" in str(page)


def test_a_training_step_is_not_taken() -> None:
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1))
    opt = mg.optim.AdamW(model.parameters(), lr=0.1)

    def step(x: mg.Tensor) -> mg.Tensor:
        opt.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        opt.step()
        return loss

    x = mg.randn(6, 4)
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, mg.get_rng_state()
    page = mg.compile.visualize(step)(x)
    shown = {(row.title, row.kind) for row in page.before}
    assert {("AdamW.step()", "step"), ("linear", "product")} <= shown
    assert all(mg.equal(v, before[k]) for k, v in model.state_dict().items()) and not opt.state
    assert mg.equal(mg.get_rng_state(), random) and all(p.grad is None for p in model.parameters())


def test_names_are_escaped() -> None:
    class Odd(nn.Module):
        def forward(self, x: mg.Tensor) -> mg.Tensor:
            return x.t() @ x

    Odd.__name__ = Odd.__qualname__ = "<b>&"
    page = mg.compile.visualize(Odd())(mg.randn(3, 2))
    assert "&lt;b&gt;&amp;" in page.html and "<b>&" not in page.html and page.before[0].moved == 0
