"""The lab's page: one HTML file without anything from elsewhere. Source on the left, the chosen stage on the right; pointing at a line
lights up what it became, and the other way round.
"""

from __future__ import annotations

import html
import pathlib
from typing import Any

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; background: #fff }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin-top: 2rem }
pre, .code { font: 12px/1.45 ui-monospace, monospace; white-space: pre; margin: 0 }
.panes { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem }
.pane { overflow: auto; max-height: 75vh; border: 1px solid #ccc; padding: .4rem }
.code div { padding: 0 .3rem } .code div.on { background: #ffe9a8 } .code .n { color: #999 }
.wrong { color: #b00020 } .tabs button { margin-right: .3rem } .tabs button.on { font-weight: bold }
table { border-collapse: collapse } td, th { padding: .1rem .6rem; border: 1px solid #ddd; text-align: left }
"""
_SCRIPT = """
for (const panes of document.querySelectorAll('.panes')) {
  panes.addEventListener('mouseover', e => {
    const line = e.target.closest('[data-line]')
    if (!line || line.dataset.line === '0') return
    for (const d of panes.querySelectorAll('[data-line]')) d.classList.toggle('on', d.dataset.line === line.dataset.line)
    const own = line.closest('.pane')
    for (const pane of panes.querySelectorAll('.pane')) {
      const first = pane !== own && pane.querySelector('.stage:not([hidden]) .on, .source .on')
      if (first) pane.scrollTop = first.offsetTop - pane.offsetTop - 60
    }
  })
}
for (const tabs of document.querySelectorAll('.tabs')) {
  tabs.addEventListener('click', e => {
    if (!e.target.dataset.stage) return
    for (const b of tabs.children) b.classList.toggle('on', b === e.target)
    for (const s of tabs.parentNode.querySelectorAll('.stage')) s.hidden = s.dataset.stage !== e.target.dataset.stage
  })
}
"""


def _code(lines: list[tuple[str, int]], numbered: bool = False) -> str:
    def one(text: str, line: int) -> str:
        number = f'<span class="n">{line:4} </span>' if numbered else ""
        return f'<div data-line="{line}">{number}{html.escape(text) or " "}</div>'

    return "".join(one(text, line) for text, line in lines)


def _source(variant: dict[str, Any]) -> list[tuple[str, int]]:
    used = {line for lines in variant["listings"].values() for _, line in lines if line}
    text = pathlib.Path(variant["file"]).read_text().splitlines()
    first, last = max(min(used, default=1) - 4, 1), max(used, default=len(text))
    return [(text[k - 1], k) for k in range(first, last + 1)]


def _variant(variant: dict[str, Any]) -> str:
    names = ("arch", "registers", "spills", "shared", "warps", "tensor_core", "vector_loads")
    head = "".join(f"<th>{n}</th>" for n in names)
    cells = "".join(f"<td>{html.escape(str(variant[n]))}</td>" for n in names)
    tabs = "".join(f'<button data-stage="{s}" class="{"on" if s == "sass" else ""}">{s}</button>' for s in variant["listings"])
    stages = "".join(
        f'<div class="stage code" data-stage="{s}" {"" if s == "sass" else "hidden"}>{_code(lines)}</div>'
        for s, lines in variant["listings"].items()
    )
    wrong = "".join(f'<p class="wrong">{html.escape(p)}</p>' for p in variant["problems"])
    return (
        f"<h2>{html.escape(variant['variant'])}</h2><table><tr>{head}</tr><tr>{cells}</tr></table>{wrong}"
        f'<div><div class="tabs">{tabs}</div><div class="panes"><div class="pane"><div class="source code">'
        f'{_code(_source(variant), True)}</div></div><div class="pane">{stages}</div></div></div>'
    )


def _launch(one: dict[str, Any]) -> str:
    wrong = "".join(f'<p class="wrong">{html.escape(w)}</p>' for w in one["wrong"])
    return f"<h2>{html.escape(one['title'])}</h2><pre>{html.escape(chr(10).join(one['rows']))}</pre>{wrong}"


def page(facts: dict[str, Any]) -> str:
    """The whole page."""
    body = "".join(map(_launch, facts["launches"])) + "".join(map(_variant, facts["variants"]))
    title = html.escape(facts["schema"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>'
        f"<p>case {html.escape(facts['case'])}: {html.escape(facts['said'])}</p><p>{html.escape(facts['roofline'])}</p>{body}"
        f"<script>{_SCRIPT}</script></html>"
    )
