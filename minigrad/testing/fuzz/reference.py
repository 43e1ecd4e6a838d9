"""The NumPy oracle: a program that is one plain call of an op with an `expr` or a `ref` is recomputed in float64.

Used when PyTorch is not installed (or lacks the op). Only unremarkable inputs are judged: finite, and no larger than 1e4.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from minigrad.op import OpInfo, registry
from minigrad.testing.calls import reference_function, spelled_out
from minigrad.testing.compare import cast_reference
from minigrad.testing.fuzz.execute import Outcome, Record, Snapshot
from minigrad.testing.fuzz.program import Call, Make, Program, Ref, Text

LARGEST, SMALLEST = 1e4, 1e-6
# References that hold for the op's samples only: floating inputs, distinct indices, positive sizes, small orders.
_WRITTEN_FOR_SAMPLES = (
    r"interpolate|upsample|embedding|pool|unfold|polygamma|round|"
    r"trapezoid|fft|quantile|dist|_norm|gradient|grid|hardtanh"
)


def _plain_call(program: Program) -> tuple[Call, OpInfo] | None:
    """The one call of the program and its op, if a reference can be asked about it."""
    calls = [s for s in program.steps if isinstance(s, Call)]
    if len(calls) != 1 or program.tainted or "out" in calls[0].kwargs or calls[0] is not program.steps[-1]:
        return None
    info = registry.get(program.op)
    if re.search(_WRITTEN_FOR_SAMPLES, program.op):
        return None
    if info is None or calls[0].label != info.name or "no_ref_reason" in info.info or (info.ref is None and info.expr is None):
        return None
    return calls[0], info


def _value(x: Any, inputs: dict[str, np.ndarray]) -> Any:
    if isinstance(x, Ref):
        return inputs[x.name]
    if isinstance(x, Text):
        raise LookupError(x.text)  # a dtype or something odd: the reference need not know it
    if isinstance(x, (int, float)) and not (x == 0 or SMALLEST <= abs(x) <= LARGEST):  # NaN too
        raise LookupError(str(x))
    return type(x)(_value(y, inputs) for y in x) if isinstance(x, (list, tuple)) else x


def expected(program: Program, record: Record) -> list[np.ndarray] | None:
    """float64 results of the program's call, or None where the reference has nothing to say."""
    found = _plain_call(program)
    if found is None or record.outcomes[-1].error:
        return None
    call, info = found
    inputs: dict[str, np.ndarray] = {}
    if len({s.dtype for s in program.steps if isinstance(s, Make)}) > 1:
        return None  # what they promote to decides about rounding and wrapping
    for step, outcome in zip(program.steps, record.outcomes):
        if isinstance(step, Make):
            values = outcome.value.values
            # Half types round on the way; NumPy computes functions of bools in float16.
            if values.dtype.kind in "cbu" or step.dtype in ("float16", "bfloat16"):
                return None
            values = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
            if values.size and not np.all(np.abs(values.astype(np.float64)) <= LARGEST):  # NaN too
                return None
            inputs[step.name] = values
    try:
        args, kwargs = [_value(a, inputs) for a in call.args], {k: _value(a, inputs) for k, a in call.kwargs.items()}
        if info.pointwise and any(isinstance(a, bool) or (isinstance(a, int) and not -128 <= a <= 127) for a in args):
            return None  # NumPy computes with a bool in float16; a large integer wraps into the tensor's dtype
        with np.errstate(all="ignore"):
            if info.ref is not None:
                result = reference_function(info)(*args, **kwargs)
            else:
                result = info.expr(*spelled_out(info, args, kwargs))  # type: ignore[misc]
    except Exception:  # the reference is written for the samples, not for every form of a call
        return None
    results = result if isinstance(result, (tuple, list)) else (result,)
    return [np.asarray(r) for r in results]


def reference_record(program: Program, record: Record) -> Record | None:
    """The record that the reference would leave: ours, with the call's values replaced."""
    results = expected(program, record)
    if results is None:
        return None
    last = record.outcomes[-1]
    given = last.value if isinstance(last.value, list) else [last.value]
    if len(given) != len(results) or not all(isinstance(g, Snapshot) for g in given):
        return None
    judged = []
    for g, r in zip(given, results):
        if g.dtype.startswith("complex") or r.dtype.kind not in "biuf":
            return None
        values = cast_reference(r, g.dtype).astype(g.values.dtype)
        if g.values.size == 0 or not np.isfinite(g.values.astype(np.float64)).all() or not np.isfinite(values.astype(np.float64)).all():
            return None  # which of inf and NaN comes out is a matter of order
        judged.append(Snapshot(g.dtype, tuple(values.shape), values, g.requires_grad))
    value = judged if isinstance(last.value, list) else judged[0]
    return Record(outcomes=[*record.outcomes[:-1], Outcome(last.label, value)], stopped=True)
