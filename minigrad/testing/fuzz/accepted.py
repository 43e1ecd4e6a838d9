"""Differences from PyTorch that are meant: each entry says why. A finding that matches one is dropped.

Keep it short: an entry here is a promise that somebody looked.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from minigrad.testing.fuzz.execute import Outcome
from minigrad.testing.fuzz.program import Call, Make, Program

# (pattern on PyTorch's error text, reason): minigrad gives a result where PyTorch raises
LENIENT = (
    (r"not implemented for|nsupported|only support|not support|must be on float", "more dtypes"),
    (r"single memory location|written-to tensor|partial overlap", "overlap goes through a temporary"),
    (r"expected .* dtype|same dtype|Expected object of scalar type|dtypes? (.* )?match|out tensor to have", "we promote"),
    (r"unexpected keyword argument 'out'", "every op of ours has out="),
    (r"has no attribute '\w+_?'", "a method or in-place form that PyTorch lacks"),
    (r"must be bool, not int|keepdim=int|must be float, not int|bool keepdim", "0 and 1 are taken for flags"),
    (r"derivative for .* is not implemented|not differentiable", "we have a gradient"),
    (r"Trying to resize storage that is not resizable", "our storages can always grow"),
    (r"Found dtype|expected scalar type|for tensors with different dtypes", "we promote, or cast into out="),
    (r"must be tuple of ints, not int", "one int is taken for a tuple of one"),
    (r"must be in range|got NoneType", "PyTorch checks an argument that is not used"),
    (r"through the graph a second time|modified by an inplace operation", "the formula saved nothing that was freed or written"),
    (r"value cannot be converted to type (float|c10::Half|c10::BFloat16)", "as an operand a number too large for the dtype is infinite"),
    (r"cannot be represented as a SymInt", "slices are clamped as Python's"),
    (r"mixed dtype", "we promote"),
    (r"missing 1 required positional arguments: .size|received an invalid combination of arguments", "we take more forms of a call"),
    (r"must be bool, not|don't support automatic differentiation", "None counts as False; out= of a composite is a copy"),
    (r"MKL FFT error|Expected size for first two dimensions|Calculated output|shape \[\] doesn't match", "it refuses some zero-size calls"),
    (r"Storage size calculation overflowed|split expects split_size be non-negative", "Python's meaning of a huge step or count"),
    (r"Long, Int; but got|at least one index must be provided|step must be nonzero", "small or no indices are fine"),
    (r"must be tuple of ints, but found element of type NoneType", "None keeps the input's size"),
    (r"Can't detach views in-place", "ours refuses where there is a gradient to cut"),
    (r"invalid gradient at index", "an index smaller than its source: the gradient is zero outside"),
    (r"undefined Tensor", "PyTorch's internal error for an empty index list"),
    (r"cannot do hardtanh on an unsigned type", "the limits are clamped to the dtype"),
)
# (pattern on our error text, reason): minigrad raises where PyTorch gives a result
STRICT = (
    (r"more than one element of the written-to tensor refers to a single memory location", "no op writes to an expanded tensor"),
    (r"not implemented|no \w+ kernel|has no gradient", "fewer dtypes (the conformance report lists them)"),
    (r"through the graph a second time", "the formula saved something where PyTorch's did not"),
    (r"index \S+ is out of bounds for dimension", "PyTorch does not check every index and reads past the end"),
    (r"view: size .* is not compatible|desired output type bool", "PyTorch copies first, or casts into out="),
    (r"don't support automatic differentiation", "PyTorch has no gradient for the op, so out= is free"),
    (r"low precision is not supported|expected a floating or complex tensor", "LAPACK has no such dtype"),
    (r"non-finite values", "LAPACK is not asked about NaN and inf"),
    (r"no such mode|weights of \d+ rows|too many sections|is a number of terms", "PyTorch reads beyond, broadcasts or never ends"),
    (r"unexpected keyword argument 'out'", "composites take no out= (the conformance report lists them)"),
    (r"does not fit into 64 bits", "Python integers beyond 64 bits are refused, not rounded"),
    (r"out of memory", "a matter of the limit set by the fuzzer"),
)
# Forms of a call that may be refused although the plain call is not (laws.py).
LAW_REFUSALS = (
    r"can't be cast to the desired output type",  # in place, an integer cannot hold a float
)
OTHER_VALUES = {
    "softsign": "PyTorch's abs overflows in small integers", "polar": "PyTorch's gradient has the wrong sign for a negative radius",
    "unique_consecutive": "PyTorch returns the counts for the inverse when dim is given",
    "trapezoid": "PyTorch's half ends overflow in small integers",
    "as_strided_scatter": "PyTorch's gradient of the input is not zero under the source",
    "lcm": "PyTorch's small integers overflow into int and are cut afterwards",
}  # fmt: skip
_ZERO_TIMES_INF = r"conv|matrix_power|interpolate|upsample|grid|pool|bessel|polynomial|fft|airy"
_WRITES_A_NUMBER = r"^(full|full_like|new_full|fill_?|masked_fill_?|index_fill_?|scatter_?|setitem)$"  # as strict as PyTorch
_COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge", "greater", "less", "not_equal", "greater_equal", "less_equal"}  # in place: no gradient
# Factors are unique up to signs, phases and bases of equal values; their products are tested elsewhere.
FACTORS = r"svd|eig|qr|lu_|lu$|geqrf|householder|ormqr|orgqr|lstsq|lobpcg|lowrank|pinv|inv|solve|det|cond|ldl|cholesky|matrix_rank|null"
# Positions among equal values are PyTorch's choice (and its unique_consecutive(dim=) gives counts for the inverse).
TIED_INDICES = {
    "unique_consecutive", "topk", "sort", "msort", "argsort", "median", "nanmedian", "mode", "kthvalue", "argmax", "argmin", "max", "min",
}  # fmt: skip
NO_GRADIENT = {
    "heaviside": "PyTorch marks it as needing grad and then has no derivative", "unique": "the same", "unique_consecutive": "the same",
    "histogramdd": "the same", "histogram": "the same",
    "detach_copy": "we cut the graph, as the name says",
}  # fmt: skip


def same_class(a: Outcome, b: Outcome) -> bool:
    """Whether two errors of different classes count as the same: both say that the argument cannot be used."""
    classes = {a.error, b.error}
    if "NotImplementedError" in classes or "OutOfMemoryError" in classes:
        return True
    # PyTorch reports Python ints beyond int64 by TypeError, RuntimeError or OverflowError, depending on the parser's path.
    if "OverflowError" in classes or "verflow" in b.text or "out of range" in a.text:
        return True
    return "NoneType" in a.text or "NoneType" in b.text  # an earlier step failed on both sides


def writes(step: Any) -> bool:
    """Whether a step writes into a tensor it was given."""
    return isinstance(step, Call) and (step.label.endswith("_") or step.label in ("setitem", "backward") or "out" in step.kwargs)


def ends_comparison(program: Program, index: int, theirs: Outcome) -> bool:
    """After a failed write PyTorch's tensors may be half written or resized; ours are untouched. Nothing to compare then."""
    if not theirs.error:
        return False
    return index >= len(program.steps) or writes(program.steps[index])


def _into_operand(program: Program) -> bool:
    calls = [s for s in program.steps if isinstance(s, Call) and "out" in s.kwargs]
    return any(repr(s.kwargs["out"]) in map(repr, s.args) for s in calls)


def compares_values(program: Program) -> bool:
    """Not with random numbers, and not where `out=` is an operand or a view: PyTorch may read what it has already written."""
    views = {s.name for s in program.steps if isinstance(s, Call) and s.target in ("getitem", ".as_strided")}
    outs = {repr(s.kwargs["out"]) for s in program.steps if isinstance(s, Call) and "out" in s.kwargs}
    if outs and (outs & views or _into_operand(program) or program.op == "sequence"):
        return False
    overlap = any(isinstance(s, Make) and s.layout == "overlap" for s in program.steps)
    # Writes to overlapping elements have no defined order; the copy that *_scatter makes keeps the overlap.
    return not program.tainted and not (overlap and any(s.label.endswith("_scatter") or writes(s) for s in program.steps))


def same_gradient(x: Any, y: Any) -> bool:
    """No gradient and a gradient of zeros are the same statement; we say it without a tensor."""
    present = y if x is None else x
    return (x is None or y is None) and (present is None or not present.values.any())


def forget_gradients_at_nan(leaf: Any, x: Any, y: Any) -> None:
    """Where the input is NaN, so is any answer: PyTorch's comparisons then choose a branch by accident."""
    if leaf.values.shape == x.values.shape == y.values.shape and leaf.values.dtype.kind == "f":
        hidden = np.isnan(leaf.values)
        if hidden.any():
            x.values[hidden] = y.values[hidden] = 0


def filter_finding(finding: Any, program: Program, a: Outcome | None, b: Outcome | None) -> Any:
    """The finding, or None when it is an accepted difference."""
    if finding.kind == "accepts" and _into_operand(program):
        return None  # PyTorch resizes out= before it looks at the operand that it is
    if finding.kind == "accepts" and b is not None and any(re.search(p, b.text) for p, _ in LENIENT):
        return finding if "cannot be converted to type" in b.text and re.search(_WRITES_A_NUMBER, finding.op) else None
    if finding.kind == "refuses" and a is not None and any(re.search(p, a.text) for p, _ in STRICT):
        return None
    if finding.kind == "grad_flag" and "True" in finding.text.split(",")[-1] and finding.op.rstrip("_") in _COMPARISONS:
        return None
    if finding.kind == "grad_flag" and (finding.op in NO_GRADIENT or ("bessel" in finding.op and "minigrad True" in finding.text)):
        return None
    if finding.kind in ("value", "grad") and re.search(FACTORS, finding.op):
        return None  # the random matrices are mostly singular: rounding decides
    if finding.kind == "value" and re.search(_ZERO_TIMES_INF, finding.op) and re.search(r"(inf|nan)j?\)", finding.text):
        return None  # 0 * inf: whether a zero weight is multiplied or skipped is each library's own
    if finding.kind == "value" and re.search("bessel|airy", finding.op):
        return None  # PyTorch's are off by up to 1e-6 beyond 5, ours agree with SciPy to 1e-15
    if finding.kind in ("value", "grad") and finding.op in OTHER_VALUES:
        return None
    if finding.kind == "grad" and finding.op == "ldexp":
        return None  # PyTorch's derivative computes 2 ** exponent in integers
    if finding.kind == "value" and finding.op.rstrip("_") in TIED_INDICES and "int64[" in finding.text:
        return None
    return finding
