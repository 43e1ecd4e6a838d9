"""No op may lack a reference, a doc, a gradient or samples without a written reason in its declaration (DESIGN 4)."""

from __future__ import annotations

import pytest

import minigrad as mg  # noqa: F401  fills the registry
from minigrad.op import registry
from minigrad.testing import samples
from minigrad.testing.calls import has_floating_output


def _lacking() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"ref": [], "doc": [], "gradient": [], "samples": [], "kernel": [], "example": []}
    from minigrad import _core

    for name, info in sorted(registry.items()):
        reasons = info.info
        if not (info.composite or info.expr or info.ref or "no_ref_reason" in reasons):
            found["ref"].append(name)
        if not info.doc.strip():
            found["doc"].append(name)
        elif info.namespace and ">>>" not in info.doc:
            found["example"].append(name)
        if not (info.differentiable or "no_grad_reason" in reasons or not has_floating_output(info)):
            found["gradient"].append(name)
        if not (samples(info) or "no_samples_reason" in reasons):
            found["samples"].append(name)
        if not (info.composite or info.view or info.pointwise or _core.op_kernels(name)):
            found["kernel"].append(name)
    return found


LACKING = _lacking()


@pytest.mark.parametrize("what", list(LACKING))
def test_every_op_has(what: str) -> None:
    names = LACKING[what]
    assert not names, (
        f"{len(names)} ops lack {what}: {', '.join(names)}. Add it to the declaration, or state why not "
        "(no_ref_reason=, no_grad_reason=, no_samples_reason=)."
    )


def test_reasons_are_sentences() -> None:
    for name, info in registry.items():
        for key, reason in info.info.items():
            if key.endswith("_reason"):
                assert isinstance(reason, str) and len(reason) >= 6, f"{name}: {key} should say why, got {reason!r}"
