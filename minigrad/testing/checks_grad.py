"""Gradient checks of every op: first and second order against finite differences, fast and native formulas against the
plain ones.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad.autograd._gradcheck import GradcheckError, gradcheck, gradgradcheck
from minigrad.testing.calls import Skip, accepted_dtypes, as_tuple, has_floating_output, is_inexact, same, tensors, writes
from minigrad.testing.compare import message
from minigrad.testing.samples import Sample, samples

MAX_ELEMENTS = 40  # the full Jacobian of more costs too much for every op on every run
MAX_SAMPLES = 8


def _subjects(info: Any) -> list[Sample]:
    """Small float64 samples whose floating inputs have elements."""
    reason = info.info.get("no_grad_reason")
    if reason:
        raise Skip(reason)
    if not has_floating_output(info):
        raise Skip("no floating output for floating inputs")
    if not info.differentiable:
        raise AssertionError(f"{info.name}: no gradient formula and no no_grad_reason=")
    if not {"float64", "complex128"} & set(accepted_dtypes(info)):
        raise Skip("takes no floats")
    small = []
    for sample in samples(info, "float64"):
        grown = [s for s in sample.specs() if s.grad]
        if sample.numeric and grown and all(0 < s.values.size <= MAX_ELEMENTS for s in sample.specs()):
            small.append(sample)
    if not small:
        raise Skip(info.info.get("no_samples_reason") or "no small floating samples")
    step = max(1, -(-len(small) // MAX_SAMPLES))
    return small[::step]


def _function_of_leaves(info: Any, sample: Sample) -> tuple[Any, list[Any]]:
    """(f, leaves): f maps the differentiable tensors to the differentiable outputs, the other arguments being fixed."""
    args, kwargs, leaves = tensors(info, sample, requires_grad=True)
    copies = writes(info)
    position = {id(t): k for k, t in enumerate(leaves)}

    def f(*moved: Any) -> Any:
        def swap(v: Any) -> Any:
            if id(v) in position:  # an op that writes into its argument gets a copy: leaves are not writable
                return moved[position[id(v)]].clone() if copies else moved[position[id(v)]]
            return type(v)(swap(x) for x in v) if type(v) in (list, tuple) else v

        result = info.function(*[swap(a) for a in args], **{k: swap(v) for k, v in kwargs.items()})
        outputs = as_tuple(result)
        kept = [
            o for o, name in zip(outputs, info.outputs or [""] * len(outputs), strict=False) if name not in info.nondiff
        ]
        return tuple(o for o in kept if is_inexact(o))

    return f, leaves


def gradients(info: Any) -> None:
    """backward() against central differences, on every small sample."""
    for sample in _subjects(info):
        f, leaves = _function_of_leaves(info, sample)
        if not f(*leaves):
            raise Skip("no floating output")
        try:
            gradcheck(f, leaves, check_undefined_grad=False)
        except GradcheckError as error:
            raise AssertionError(message(info.name, sample, "float64", "grad", str(error))) from error


def second_gradients(info: Any) -> None:
    """backward() of backward() against central differences."""
    if "no_gradgrad_reason" in info.info:
        raise Skip(info.info["no_gradgrad_reason"])
    for sample in _subjects(info)[:4]:
        f, leaves = _function_of_leaves(info, sample)
        try:
            gradgradcheck(f, leaves, check_undefined_grad=False, fast_mode=sum(x.numel() for x in leaves) > 12)
        except GradcheckError as error:
            raise AssertionError(message(info.name, sample, "float64", "gradgrad", str(error))) from error


def complex_gradients(info: Any) -> None:
    """First and second gradients of ops that take complex numbers, against central differences of both parts."""
    reason = info.info.get("no_grad_reason") or info.info.get("no_complex_reason")
    if reason:
        raise Skip(reason)
    found = [
        s for s in samples(info, "complex128")
        if s.numeric and any(x.grad for x in s.specs()) and all(0 < x.values.size <= MAX_ELEMENTS for x in s.specs())
    ]  # fmt: skip
    checked = 0
    for sample in found[:: max(1, -(-len(found) // 3))]:
        f, leaves = _function_of_leaves(info, sample)
        try:
            outputs = f(*leaves)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise Skip(f"takes no complex numbers: {error}") from error
        if not outputs or not any(x.is_complex() for x in leaves):
            continue
        checked += 1
        try:
            gradcheck(f, leaves, check_undefined_grad=False, fast_mode=True)
            if "no_gradgrad_reason" not in info.info:
                gradgradcheck(f, leaves, check_undefined_grad=False, fast_mode=True)
        except GradcheckError as error:
            raise AssertionError(message(info.name, sample, "complex128", "complex", str(error))) from error
    if not checked:
        raise Skip("no small complex samples")


def fast_gradients(info: Any) -> None:
    """Native and one-pass gradient formulas agree with the plain Python formula."""
    if info.composite or not (info.fast_grads or _core.has_native_formula(info.name)):
        raise Skip("no fast twin of the formula")
    for sample in _subjects(info):
        found = []
        for native in (True, False):
            before = _core.use_native_formulas(native)
            try:
                f, leaves = _function_of_leaves(info, sample)
                ys = f(*leaves)
                seeds = [mg.ones_like(y) * 0.75 for y in ys]
                found.append(mg.autograd.grad(ys, leaves, seeds, allow_unused=True))
            finally:
                _core.use_native_formulas(before)
        for k, (a, b) in enumerate(zip(*found, strict=True)):
            if a is None or b is None:
                assert a is b, message(
                    info.name, sample, "float64", "fast_grad", f"gradient {k} is None in one form only"
                )
            elif not same(a, b):
                worst = (a - b).abs().max().item()
                assert worst <= 1e-12 * max(1.0, b.abs().max().item()), message(
                    info.name,
                    sample,
                    "float64",
                    "fast_grad",
                    f"gradient {k}: fast and plain formula differ by {worst:.3g}",
                )
