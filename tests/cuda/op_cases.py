"""One op on the device against itself on the CPU, over the op's own samples (minigrad/testing/samples.py).

Three checks: `forward` (float32, every sample; other dtypes, a spread), `backward` (float64), `complex` (both).
An op, or a composite through one of its parts, that lacks a kernel raises NoKernel. Ops without samples or without tensors in
and out are Skipped with the reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad.op import registry
from minigrad.testing.calls import Skip, accepted_dtypes, as_tuple, is_inexact, sum_length, writes
from minigrad.testing.compare import assert_close, to_numpy
from minigrad.testing.samples import COMPLEX, FLOATS, Sample, Spec, build, samples
from minigrad.testing.tolerances import GRAD_F64

WITHOUT_KERNEL = Path(__file__).parent / "without_kernel.txt"
CHECKS = ("forward", "backward", "complex")


class NoKernel(Exception):
    """An op has no CUDA kernel for what it was asked."""


class _OnDevice:
    """Stands for the module `build` makes tensors with: bases go to the device, so layouts are made there."""

    bfloat16 = mg.bfloat16

    @staticmethod
    def from_numpy(array: Any) -> Any:
        return mg.from_numpy(array).to("cuda")


def listed() -> set[str]:
    """The cases `op-check` known to lack a kernel."""
    return {line for line in WITHOUT_KERNEL.read_text().splitlines() if line and not line.startswith("#")}


def arguments(info: Any, sample: Sample, where: str, grad: bool) -> tuple[list[Any], dict[str, Any], list[Any]]:
    """Built arguments and the leaves among them; an op that makes tensors gets `device=`."""
    leaves: list[Any] = []

    def make(spec: Spec) -> Any:
        t = build(spec, _OnDevice if where == "cuda" else mg)
        if grad and spec.grad and (spec.dtype in FLOATS or spec.dtype in COMPLEX):
            t = t.detach().requires_grad_()
            leaves.append(t)
        return t

    args, kwargs = sample.map(make)
    names = [a.name for a in info.args]
    if "batch_sizes" in names[: len(args)]:
        at = names.index("batch_sizes")
        args[at] = None if args[at] is None else args[at].cpu()  # sizes of packed sequences are on the CPU always
    if where == "cuda" and "device" in names[len(args) :] and kwargs.get("device") is None:
        kwargs["device"] = "cuda"
    return args, kwargs, leaves


def outcome(info: Any, sample: Sample, where: str, grad: bool = False) -> tuple[list[Any], list[Any]]:
    """(outputs, gradients of the leaves) of one call on one device; the random generators start anew."""
    mg.manual_seed(7)
    args, kwargs, leaves = arguments(info, sample, where, grad)
    if grad and writes(info):
        args = [a.clone() if any(a is leaf for leaf in leaves) else a for a in args]
    try:
        outputs = list(as_tuple(info.function(*args, **kwargs)))
        carrying = [o for o in outputs if o.requires_grad and is_inexact(o)]
        if not grad or not carrying or not leaves:
            return outputs, []
        # Not all alike, so that a permuted gradient is seen.
        seeds = [(mg.arange(o.numel()).reshape(o.shape) % 7 + 1).to(o.dtype).to(o.device) * 0.25 for o in carrying]
        return outputs, list(mg.autograd.grad(carrying, leaves, seeds, allow_unused=True))
    except NotImplementedError as error:
        if where == "cuda" and "no cuda kernel" in str(error):
            raise NoKernel(str(error)) from error
        raise


def compare(info: Any, sample: Sample, dtype: str, check: str) -> bool:
    """False when the CPU refuses the call (a dtype the op does not take)."""
    grad = check != "forward"
    try:
        expected, expected_grads = outcome(info, sample, "cpu", grad)
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
        return False
    if info.view and not grad and not expected:
        return False
    found, found_grads = outcome(info, sample, "cuda", grad)
    assert len(found) == len(expected), f"{info.name}: {len(found)} outputs on the device, {len(expected)} on the CPU"
    length, scale = sum_length(info, sample, expected) if expected else (1, 1.0)
    if grad or info.composite:  # a gradient or a chain of ops sums at most over the largest operand
        length = max(length, *(s.values.size for s in sample.specs()), 1) if sample.specs() else length
    pairs = [("output", f, e) for f, e in zip(found, expected, strict=True)]
    pairs += [("gradient", f, e) for f, e in zip(found_grads, expected_grads, strict=True)]
    for what, f, e in pairs:
        assert (f is None) == (e is None), f"{info.name}{sample!r}: {what} is None on one device only"
        if f is None:
            continue
        own = (tuple(f.shape), f.dtype)
        assert own == (tuple(e.shape), e.dtype), f"{info.name}{sample!r}: {what} {own}, on the CPU {(tuple(e.shape), e.dtype)}"
        if "no_value_reason" not in info.info:
            tol = GRAD_F64 if dtype == "complex128" else None
            assert_close(f.cpu(), to_numpy(e), op=info.name, sample=sample, check=f"cuda {what}", length=length, scale=scale, tol=tol)
    return True


def run_case(op: str, check: str) -> None:
    """Raises AssertionError, NoKernel or Skip."""
    info = registry[op]
    dtypes = accepted_dtypes(info) if check == "forward" else ("float64",) if check == "backward" else ("complex128", "complex64")
    if check == "complex" and info.composite:  # a recurrent net near tanh's poles makes much of the CPU's complex64 rounding
        dtypes = dtypes[:1]
    if check == "backward" and "no_grad_reason" in info.info:
        raise Skip(info.info["no_grad_reason"])
    ran = 0
    for dtype in dtypes:
        found = samples(info, dtype)
        if dtype != "float32" or check != "forward":
            found = found[:: max(1, len(found) // 6)]
        ran += sum(compare(info, sample, dtype, check) for sample in found)
    if not ran:
        raise Skip(f"no sample that the CPU runs in {', '.join(dtypes) or 'any dtype'}")


