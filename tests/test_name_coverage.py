"""minigrad.compat.coverage: PyTorch's public names, the reasons of the absent ones, and equal signatures of the shared ones."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch's names come from PyTorch")

from minigrad.compat import coverage  # noqa: E402

if not torch.__version__.startswith("2.13."):
    pytest.skip("the lists are those of torch 2.13", allow_module_level=True)

FOUND = coverage.measure()
EXCEPTIONS = Path(__file__).with_name("signature_exceptions.txt")


@pytest.mark.parametrize("namespace", coverage.TARGETS)
def test_target(namespace: str) -> None:
    present, absent = FOUND[namespace]
    share = len(present) / (len(present) + len(absent))
    assert share >= 0.97, f"{namespace}: {100 * share:.1f} % of the names; absent: {absent}"


def test_every_absent_name_has_a_reason() -> None:
    reasons = coverage.absent_reasons()
    left = [f"{space}.{n}" for space, (_, absent) in FOUND.items() for n in absent if coverage.reason_of(f"{space}.{n}", reasons) is None]
    assert not left, f"absent without a line in absent_names.txt: {left}"


def test_the_list_of_absent_names_only_shrinks() -> None:
    from fnmatch import fnmatchcase

    absent = [f"{space}.{name}" for space, (_, names) in FOUND.items() for name in names]
    idle = [p for p, _ in coverage.absent_reasons() if not any(fnmatchcase(name, p) for name in absent)]
    assert not idle, f"lines of absent_names.txt that fit nothing any more; take them out: {idle}"


def parameters(value: Any) -> list[tuple[str, Any]] | None:
    """(name, default) of the parameters, self left out; None when there is no signature to compare."""
    try:
        found = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return None
    found = [p for p in found if p.name not in ("self", "cls", "_stacklevel") and not p.name.startswith("_")]
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in found):
        return None
    return [(p.name, p.default) for p in found]


def plain(default: Any) -> str:
    """A default as text in which both libraries look alike."""
    text = repr(default)
    if inspect.isfunction(default) or inspect.isclass(default) or inspect.isbuiltin(default):
        text = getattr(default, "__name__", text)
    text = re.sub(r"\b(torch|minigrad)(\.[a-z_0-9]+)*\.", "", text)
    text = f"{float(text)}" if re.fullmatch(r"-?\d+", text) else text
    return "object" if " object at 0x" in text else text


def differences() -> dict[str, str]:
    """{torch name: what differs} over all shared names whose signatures Python can tell."""
    found = {}
    for namespace, (present, _) in FOUND.items():
        mine, its = coverage.ours(namespace), coverage.theirs(namespace)
        for name in present:
            a, b = getattr(its, name, None), getattr(mine, name, None)
            if not callable(a) or not callable(b):
                continue
            expected, got = parameters(a), parameters(b)
            if namespace == "torch.Tensor" and got and expected is not None and len(got) > len(expected):
                got = got[1:]  # a method that is also a function calls its first argument `input`
            if expected is None or got is None:
                continue
            wanted, have = [(n, plain(d)) for n, d in expected], [(n, plain(d)) for n, d in got]
            if wanted != have:
                found[f"{namespace}.{name}"] = f"torch {wanted}, minigrad {have}"
    return found


def test_signatures() -> None:
    from fnmatch import fnmatchcase

    lines = [line.split("#")[0].strip() for line in EXCEPTIONS.read_text().splitlines()]
    patterns = [line.partition(":")[0].strip() for line in lines if line]
    found = differences()
    wrong = {name: text for name, text in found.items() if not any(fnmatchcase(name, p) for p in patterns)}
    assert not wrong, "\n".join(f"{name}: {text}" for name, text in sorted(wrong.items()))
    idle = [p for p in patterns if not any(fnmatchcase(name, p) for name in found)]
    assert not idle, f"lines of {EXCEPTIONS.name} that fit nothing any more; take them out: {idle}"
