"""Judges a program: minigrad's record against PyTorch's (if installed), or against NumPy and the laws, which need no other library.

Without PyTorch, or for an op that it lacks, NumPy is asked where the op has a reference (reference.py). The law: the same values give
the same results in every memory layout (the program is run once more with all leaves contiguous). PyTorch is loaded by name, so that
no file of ours imports it.
"""

from __future__ import annotations

import importlib
import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.op import registry
from minigrad.testing.fuzz import accepted, laws
from minigrad.testing.fuzz.execute import Outcome, Record, Snapshot, compiled, run
from minigrad.testing.fuzz.program import Call, Make, Program
from minigrad.testing.fuzz.reference import reference_record

RTOL = {"float64": 1e-7, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2, "complex64": 1e-4, "complex128": 1e-7}


@dataclass(frozen=True)
class Finding:
    """A difference: kind (value, dtype, shape, refuses, accepts, class, final, grad, law, internal, crash, hang, sanitizer), op, text."""

    kind: str
    op: str
    text: str

    @property
    def group(self) -> tuple[str, str]:
        """Findings of one group count as one."""
        return self.op, self.kind


def torch_or_none() -> Any:
    """The torch module, or None where it is not installed."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        return None


def judge(program: Program, torch: Any, mark: Any = lambda phase: None, code: Any = None) -> Finding | None:
    """Run the program everywhere it makes sense and compare.

    Args:
        program: what to run.
        torch: the torch module or None.
        mark: called with "minigrad" or "torch" before that library runs, so that a crash can be blamed.
        code: the compiled text where there is only that (a corpus file).
    Returns:
        the first difference, or None.
    """
    code = compiled(program.render()) if code is None else code
    mark("minigrad")
    ours = run(code, mg, light=torch is None and program.private)
    for o in ours.outcomes:
        if o.error and (o.error in ("SystemError", "RecursionError", "UnboundLocalError") or "bug in minigrad" in o.text):
            return Finding("internal", o.label, f"{o.error}: {o.text}")
        if o.error and not o.text and o.error not in ("AssertionError",):
            return Finding("internal", o.label, f"{o.error} without a text")
    if torch is not None and not program.private:
        mark("torch")
        theirs = run(code, torch)
        mark("minigrad")
        return compare(program, ours, theirs) or broken_law(program, ours)
    reference = reference_record(program, ours)
    if reference is not None:
        found = compare(program, ours, reference)
        if found is not None:
            return Finding("reference", found.op, found.text.replace("PyTorch", "NumPy"))
    if law_applies(program):
        plain = run(compiled(program.render(plain=True)), mg, light=program.private)
        found = compare(program, ours, plain, law=True)
        if found is not None:
            return found
    return broken_law(program, ours)


def broken_law(program: Program, ours: Record) -> Finding | None:
    """A difference between the program and the same call in another form (laws.py)."""
    for law, form in laws.other_forms(program, ours):
        other = run(compiled(form.render()), mg)
        a, b = ours.outcomes[-1], other.outcomes[-1]
        if other.stopped:
            continue
        if b.error:
            found = Finding("law", a.label, f"{b.error}: {b.text[:200]}")
            text = b.text
            if any(re.search(p, text) for p in accepted.LAW_REFUSALS):
                continue
        else:
            value = replace(b.value, requires_grad=a.value.requires_grad) if isinstance(b.value, Snapshot) else b.value
            found = _values("", a.label, a.value, value, program, magnitude(ours))
        if found is not None:
            return Finding("law", program.op, f"{law}: {found.text.replace('PyTorch', 'that form')}")
    return None


def law_applies(program: Program) -> bool:
    """Whether a contiguous copy of the leaves must give the same: nothing looks at the storage itself, or writes to what may be a view."""
    if all(s.layout == "contiguous" for s in program.steps if isinstance(s, Make)):
        return False
    return not any(s.label.startswith("as_strided") or (accepted.writes(s) and s.label != "backward") for s in program.steps)


def compare(program: Program, ours: Record, theirs: Record, law: bool = False) -> Finding | None:
    """First difference between two records of one program; with `law` an error on one side only may be a view's right."""
    scale = magnitude(ours)
    for k, (a, b) in enumerate(zip(ours.outcomes, theirs.outcomes)):
        if a.error or b.error:
            if law:
                return None
            found = _errors(program, a, b)
            if found is not None or bool(a.error) != bool(b.error) or accepted.ends_comparison(program, k, b):
                return found
            continue
        if a.value == "large" or b.value == "large":
            return None
        found = _values("", a.label, a.value, b.value, program, scale)
        if found is not None:
            return None if law and found.kind == "grad_flag" else accepted.filter_finding(found, program, a, b)
    if ours.stopped or theirs.stopped:
        return None
    for kind, left, right in (("final", ours.final, theirs.final), ("grad", ours.grads, theirs.grads)):
        for k, (x, y) in enumerate(zip(left, right)):
            if kind == "grad" and (ours.outcomes[k].label != "make" or accepted.same_gradient(x, y)):
                continue
            if kind == "grad" and x is not None and y is not None:
                accepted.forget_gradients_at_nan(ours.outcomes[k].value, x, y)
            last = [o.label for o in ours.outcomes if o.label != "make"] or ["make"]
            label = program.op if program.op != "sequence" else last[0] if kind == "final" else "backward"
            found = _values(f"{kind} state of step {k} ({ours.outcomes[k].label}): ", label, x, y, program, scale)
            if found is not None:
                return accepted.filter_finding(Finding(kind, label, found.text), program, None, None)
    return None


def magnitude(record: Record) -> float:
    """Largest finite number in the program's leaves."""
    largest = 1.0
    for o in record.outcomes:
        if o.label == "make" and isinstance(o.value, Snapshot) and o.value.values is not None and o.value.values.size:
            with np.errstate(all="ignore"):
                a = np.abs(o.value.values.astype(np.complex128 if o.value.dtype.startswith("complex") else np.float64))
            finite = a[np.isfinite(a)]
            if finite.size:
                largest = max(largest, float(finite.max()))
    return largest


def _errors(program: Program, a: Outcome, b: Outcome) -> Finding | None:
    if a.error and b.error:
        if a.error == b.error or accepted.same_class(a, b):
            return None
        return Finding("class", a.label, f"minigrad raises {a.error}: {a.text[:160]}; PyTorch {b.error}: {b.text[:160]}")
    if a.error:
        found = Finding("refuses", a.label, f"minigrad raises {a.error}: {a.text[:300]}; PyTorch gives {_brief(b.value)}")
    else:
        found = Finding("accepts", a.label, f"minigrad gives {_brief(a.value)}; PyTorch raises {b.error}: {b.text[:300]}")
    return accepted.filter_finding(found, program, a, b)


def _brief(value: Any) -> str:
    if isinstance(value, Snapshot):
        return f"{value.dtype}{list(value.shape)} {np.array2string(value.values, threshold=8, max_line_width=10**6)[:160]}"
    return repr(value)[:160]


def _values(where: str, label: str, a: Any, b: Any, program: Program, scale: float) -> Finding | None:
    """Compare snapshots recursively."""
    if isinstance(a, Snapshot) and isinstance(b, Snapshot):
        return _tensors(where, label, a, b, program, scale)
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return Finding("shape", label, f"{where}{len(a)} results, PyTorch has {len(b)}")
        for x, y in zip(a, b):
            found = _values(where, label, x, y, program, scale)
            if found is not None:
                return found
        return None
    if isinstance(a, (bool, int, float, complex)) and isinstance(b, (bool, int, float, complex)):
        same = a == b or (a != a and b != b) or (isinstance(a, (float, complex)) and abs(a - b) <= 1e-4 * abs(b))
        return None if same or not accepted.compares_values(program) else Finding("value", label, f"{where}minigrad {a!r}, PyTorch {b!r}")
    if isinstance(a, str) and isinstance(b, str):  # names of types that are each library's own
        return None
    return None if a == b else Finding("type", label, f"{where}minigrad {_brief(a)}, PyTorch {_brief(b)}")


def _tensors(where: str, label: str, a: Snapshot, b: Snapshot, program: Program, scale: float) -> Finding | None:
    if a.shape != b.shape:
        return Finding("shape", label, f"{where}minigrad {a.dtype}{list(a.shape)}, PyTorch {b.dtype}{list(b.shape)}")
    if a.dtype != b.dtype:
        return Finding("dtype", label, f"{where}minigrad {a.dtype}, PyTorch {b.dtype}")
    if a.requires_grad != b.requires_grad:
        return Finding("grad_flag", label, f"{where}requires_grad: minigrad {a.requires_grad}, PyTorch {b.requires_grad}")
    if a.values is None or a.values.size == 0 or not accepted.compares_values(program):
        return None
    index = worst(a.values, b.values, _loosest(program, a.dtype), scale, pointwise=_exact_scale(label))
    if index is None:
        return None
    return Finding("value", label, f"{where}{a.dtype}{list(a.shape)} at {index}: minigrad {a.values[index]!r}, PyTorch {b.values[index]!r}")


def _loosest(program: Program, dtype: str) -> str:
    """With out= of a wider dtype, PyTorch may compute in that one, we compute in the operands'."""
    if dtype not in RTOL or not any(isinstance(s, Call) and "out" in s.kwargs for s in program.steps):
        return dtype
    made = [s.dtype for s in program.steps if isinstance(s, Make) and s.dtype in RTOL]
    return max([dtype, *made], key=lambda d: RTOL[d])


def _exact_scale(label: str) -> bool:
    info = registry.get(label.rstrip("_"))
    return info is not None and info.pointwise


def worst(a: np.ndarray, b: np.ndarray, dtype: str, scale: float, pointwise: bool) -> tuple[int, ...] | None:
    """Index of an element outside the tolerance, or None.

    Sums of large terms may overflow or cancel in another order, so non-pointwise results of large inputs are compared where both are
    finite, against the scale of the inputs.
    """
    if dtype not in RTOL:
        bad = a != b
    else:
        wide = np.complex128 if dtype.startswith("complex") else np.float64
        with np.errstate(all="ignore"):
            x, y = a.astype(wide), b.astype(wide)
            rtol = RTOL[dtype]
            slack = rtol * min(scale, 1e150) ** (1 if pointwise else 2) if not pointwise or scale < 1e4 else 0.0
            close = np.abs(x - y) <= rtol * np.maximum(np.abs(x), np.abs(y)) + slack * 0.1 + _smallest(dtype)
        same = close | (x == y) | (np.isnan(x) & np.isnan(y))
        if dtype.startswith("complex"):
            same |= ~np.isfinite(x) & ~np.isfinite(y)
        loose = not pointwise and scale > 1e4
        bad = ~same & (np.isfinite(x) & np.isfinite(y)) if loose else ~same
    if not bad.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))


def _smallest(dtype: str) -> float:
    return {"float64": 1e-300, "float32": 1e-37, "float16": 1e-6, "bfloat16": 1e-37}.get(dtype, 1e-37 if math.isfinite(1.0) else 0.0)
