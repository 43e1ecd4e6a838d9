"""What every op must satisfy. A check takes an OpInfo, loops over the op's samples, and raises AssertionError (or Skip,
with a reason).

Values: value, dtypes, special, layouts. Writing: inplace, out (with canary bytes around it). Declaration: meta,
   errors, example.
Gradients are in checks_grad.py, the meta device in checks_meta.py, the compiler in checks_compile.py. `run_check(name,
   check)` is the one entry; tests/test_ops.py loops over registry x CHECKS.
"""

from __future__ import annotations

import doctest
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import _core
from minigrad.op import namespaces, registry
from minigrad.testing.calls import (
    Skip,
    accepted_dtypes,
    as_tuple,
    reference,
    same,
    spelled_out,
    sum_length,
    tensors,
    writes,
)
from minigrad.testing.checks_compile import compiled, compiled_llvm
from minigrad.testing.checks_grad import complex_gradients, fast_gradients, gradients, second_gradients
from minigrad.testing.checks_meta import meta_device
from minigrad.testing.compare import assert_close, dtype_name, message, to_numpy
from minigrad.testing.samples import FLOATS, Sample, Sampler, samples
from minigrad.testing.tolerances import Tolerance, tolerance


def _require_samples(info: Any, dtype: str = "float64") -> list[Sample]:
    found = samples(info, dtype)
    if not found:
        raise Skip(info.info.get("no_samples_reason") or "no samples: neither a known family nor samples=")
    return found


def _base_dtype(info: Any) -> str:
    _require_samples(info)
    dtypes = accepted_dtypes(info)
    return "float32" if "float32" in dtypes else dtypes[0]


def _compare_sample(info: Any, sample: Sample, check: str, dtype: str) -> None:
    args, kwargs, _ = tensors(info, sample)
    results = as_tuple(info.function(*args, **kwargs))
    if not results:
        raise Skip("the result is not a tensor; its example shows it")
    expected = reference(info, sample, dtype_name(results[0].dtype))
    assert len(expected) == len(results), message(
        info.name, sample, dtype, check, f"{len(results)} outputs, reference has {len(expected)}"
    )
    length, scale = sum_length(info, sample, results)
    own = info.info.get("tol", {})
    for r, e in zip(results, expected, strict=True):
        name = dtype_name(r.dtype)
        tol = Tolerance(own[name], own[name]) if name in own else None
        if tol is None and info.composite and name in ("float16", "bfloat16"):
            # Each part rounds its result: allow three roundings of terms as large as the largest input.
            usual = tolerance(name, length, scale)
            tol = Tolerance(3 * usual.rtol, 3 * usual.rtol * scale)
        assert_close(r, e, op=info.name, sample=sample, check=check, length=length, scale=scale, tol=tol)


def value(info: Any) -> None:
    """Every sample, in float64 and float32 (or the op's first dtype), against the reference."""
    dtypes = accepted_dtypes(info)
    for dtype in [d for d in ("float64", "float32") if d in dtypes] or dtypes[:1]:
        for sample in _require_samples(info, dtype):
            _compare_sample(info, sample, "value", dtype)


def dtypes(info: Any) -> None:
    """A spread of samples in every other dtype the op takes."""
    _require_samples(info)
    for dtype in accepted_dtypes(info):
        if dtype in ("float64", "float32"):
            continue
        found = samples(info, dtype)
        for sample in found[:: max(1, len(found) // 8)]:
            _compare_sample(info, sample, "dtypes", dtype)


def sweep(info: Any) -> None:
    """Exhaustive form of `value` and `dtypes` (marker `slow`): every sample in every dtype and every layout."""
    for dtype in accepted_dtypes(info):
        for sample in _require_samples(info, dtype):
            _compare_sample(info, sample, "sweep", dtype)
            if "no_layouts_reason" not in info.info and info.pointwise:
                for layout in ("transposed", "expanded", "offset", "step"):
                    _compare_sample(info, sample.with_layout(layout), "sweep", dtype)


SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, -3.0, 6.0, 1e-30, -1e-7, 20.0, -20.0, 100.0, -100.0, 1e30,
           float("inf"), float("-inf"), float("nan"))  # fmt: skip


def special(info: Any) -> None:
    """Zeros, kinks, infinities, NaN, large and tiny numbers, in every combination of the operands."""
    if "no_special_reason" in info.info:
        raise Skip(info.info["no_special_reason"])
    if not info.pointwise or "float64" not in accepted_dtypes(info):
        raise Skip("special values are for pointwise ops on floats")
    operands = [a for a in info.args if a.kind in ("tensor", "operand")]
    attrs = {k: v[0] for k, v in info.info.get("attrs", {}).items()}
    choice = SPECIAL if len(operands) < 3 else SPECIAL[::2]
    skipped = info.info.get("special_skip", ())
    grid = np.array(
        [row for row in itertools.product(choice, repeat=len(operands)) if not any(v in skipped for v in row)]
    )
    # Mixed lanes, then whole vectors of one row: a vector's fast path is taken only when all its lanes allow it.
    grid = np.concatenate([grid, np.repeat(grid, 33, axis=0)])
    for dtype in ("float64", "float32"):
        s = Sampler(info.name, dtype)
        columns = [
            s.of(grid[:, i] > 0, dtype="bool") if a.name == "condition" else s.of(grid[:, i])
            for i, a in enumerate(operands)
        ]
        _compare_sample(info, Sample(tuple(columns), attrs), "special", dtype)


def layouts(info: Any) -> None:
    """Transposed, expanded, offset and strided inputs give what contiguous ones give; so do results of zero-size
    inputs.
    """
    if "no_layouts_reason" in info.info:
        raise Skip(info.info["no_layouts_reason"])
    dtype = _base_dtype(info)
    for sample in [s for s in _require_samples(info, dtype) if any(len(x.shape) > 1 for x in s.specs())][:4]:
        for layout in (
            ("transposed", "offset", "step") if writes(info) else ("transposed", "expanded", "offset", "step")
        ):
            moved = sample.with_layout(layout)
            plain = Sample(*_tupled(moved.map(lambda x: type(x)(np.array(x.values), x.dtype, "contiguous", x.grad))))
            results = []
            for variant in (plain, moved):
                args, kwargs, _ = tensors(info, variant)
                try:
                    results.append(as_tuple(info.function(*args, **kwargs)))
                except RuntimeError as error:
                    if not (variant is moved and (info.view or "view" in str(error))):
                        raise  # only a view may refuse a layout
            if len(results) < 2:
                continue
            length, scale = sum_length(info, plain, results[0])
            for b, a in zip(*results, strict=True):
                assert_close(a, to_numpy(b), op=info.name, sample=moved, check="layouts", length=length, scale=scale)


def _tupled(mapped: tuple[list[Any], dict[str, Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(mapped[0]), mapped[1]


def _twin(info: Any) -> Callable[..., Any]:
    for space in info.namespace:
        if info.name + "_" in namespaces.get(space, {}):
            return namespaces[space][info.name + "_"]
    raise Skip("no in-place twin")


def inplace(info: Any) -> None:
    """`op_` writes the out-of-place result into its first argument, returns it, bumps its version once, and passes
    gradients.
    """
    if not info.inplace:
        raise Skip("no in-place twin")
    twin, dtype, tried = _twin(info), _base_dtype(info), 0
    for sample in _require_samples(info, dtype):
        if not sample.args or not hasattr(sample.args[0], "shape"):
            continue
        if sample.args[0].layout == "expanded":
            continue
        args, kwargs, _ = tensors(info, sample)
        expected = info.function(*args, **kwargs)
        if tuple(expected.shape) != tuple(args[0].shape) or not mg.can_cast(expected.dtype, args[0].dtype):
            continue
        before = args[0]._version
        result = twin(*args, **kwargs)
        where = message(info.name, sample, dtype, "inplace", "in-place result differs from the out-of-place one")
        assert result is args[0], message(info.name, sample, dtype, "inplace", "did not return its first argument")
        assert same(result, expected.to(args[0].dtype)), where
        assert result._version > before, message(info.name, sample, dtype, "inplace", "version was not bumped")
        tried += 1
    if not tried:
        raise Skip("no sample keeps shape and dtype")
    _inplace_broadcast(info, twin, dtype)
    if "no_grad_reason" not in info.info and dtype in FLOATS:
        _inplace_gradient(info, twin)


def _inplace_gradient(info: Any, twin: Callable[..., Any]) -> None:
    """The in-place form passes the same gradients, to its target and to the other operands."""
    for sample in [s for s in samples(info, "float64") if s.specs() and s.specs()[0] is s.args[0]][:6]:
        if any(s.layout == "expanded" for s in sample.specs()):
            continue
        found = []
        for function in (info.function, twin):
            args, kwargs, leaves = tensors(info, sample, requires_grad=True)
            result = function(args[0] * 1, *args[1:], **kwargs)
            if not result.requires_grad or tuple(result.shape) != tuple(args[0].shape):
                break
            found.append(mg.autograd.grad(result, leaves, mg.ones_like(result), allow_unused=True))
        for k, (a, b) in enumerate(zip(*found, strict=True) if len(found) == 2 else ()):
            assert (a is None and b is None) or same(a, b), message(
                info.name, sample, "float64", "inplace", f"gradient {k} of the in-place form differs"
            )


def _inplace_broadcast(info: Any, twin: Callable[..., Any], dtype: str) -> None:
    """A result larger than the target is an error, and the target stays as it was."""
    for sample in samples(info, dtype):
        args, kwargs, _ = tensors(info, sample)
        if not isinstance(args[0], mg.Tensor) or tuple(info.function(*args, **kwargs).shape) == tuple(args[0].shape):
            continue
        before = args[0].clone()
        try:
            twin(*args, **kwargs)
        except RuntimeError:
            assert same(before, args[0]), message(
                info.name, sample, dtype, "inplace", "a refused call changed its target"
            )
            return
        raise AssertionError(
            message(info.name, sample, dtype, "inplace", "wrote a larger result into a smaller tensor")
        )


CANARY = 77


def out(info: Any) -> None:
    """`out=` receives the result, also when strided, and no byte around it changes."""
    if info.composite or info.view or any(a.mutated or a.name == "out" for a in info.args):
        raise Skip("composite, view and mutating ops have no out=")
    base = _base_dtype(info)
    cases = [(base, sample) for sample in _require_samples(info, base)[::2]]
    # A kernel that takes one element type for another writes past its output: one sample in every other dtype.
    cases += [(d, sample) for d in accepted_dtypes(info) if d != base for sample in samples(info, d)[1:2]]
    for dtype, sample in cases:
        args, kwargs, _ = tensors(info, sample)
        expected = as_tuple(info.function(*args, **kwargs))
        for step in (1, 2):
            buffers, targets = [], []
            for e in expected:
                n = e.numel() * step
                buffer = mg.full((n + 128,), CANARY, dtype=mg.float64).to(e.dtype)
                buffers.append(buffer)
                flat = buffer[64 : 64 + n]
                targets.append(flat.view((*e.shape, step))[..., 0])
            given = targets[0] if len(targets) == 1 else tuple(targets)
            info.function(*args, **kwargs, out=given)
            for e, t, buffer in zip(expected, targets, buffers, strict=True):
                assert same(e, t), message(
                    info.name, sample, dtype, "out", f"out= (step {step}) differs from the fresh result"
                )
                t.fill_(CANARY)
                whole = mg.full((buffer.numel(),), CANARY, dtype=mg.float64).to(e.dtype)
                assert same(buffer, whole), message(
                    info.name, sample, dtype, "out", f"bytes outside out= (step {step}) changed"
                )


def meta(info: Any) -> None:
    """Shape and dtype promised by the meta function are those of the real output."""
    if info.composite or "no_meta_reason" in info.info:
        raise Skip(info.info.get("no_meta_reason") or "composites have no meta function")
    dtype = _base_dtype(info)
    for sample in _require_samples(info, dtype):
        args, kwargs, _ = tensors(info, sample)
        promised = _core.infer(info.name, *spelled_out(info, args, kwargs))
        for r, (shape, kind) in zip(as_tuple(info.function(*args, **kwargs)), promised, strict=True):
            assert (tuple(r.shape), r.dtype) == (tuple(shape), kind), message(
                info.name,
                sample,
                dtype,
                "meta",
                f"meta says {tuple(shape)} {kind}, the result is {tuple(r.shape)} {r.dtype}",
            )


def _raises(info: Any, kinds: tuple[type[Exception], ...], args: list[Any], kwargs: dict[str, Any], what: str) -> None:
    try:
        info.function(*args, **kwargs)
    except kinds as error:
        assert str(error), f"{info.name}: empty error message for {what}"
        return
    except Exception as error:
        raise AssertionError(f"{info.name}: {what} raised {type(error).__name__}: {error}; expected {kinds}") from error
    raise AssertionError(f"{info.name}: {what} raised nothing, expected one of {kinds}")


def errors(info: Any) -> None:
    """Wrong kinds, missing and unknown arguments, shapes that do not broadcast, dims out of range: the right class,
    with a text.
    """
    dtype = _base_dtype(info)
    sample = _require_samples(info, dtype)[0]
    args, kwargs, _ = tensors(info, sample)
    _raises(info, (TypeError,), args, {**kwargs, "no_such_argument": 1}, "an unknown keyword")
    if info.args and info.args[0].kind == "tensor" and args:
        _raises(info, (TypeError,), ["text", *args[1:]], kwargs, "a str in place of a tensor")
        _raises(info, (TypeError,), [], {}, "no arguments")
    operands = [k for k, a in enumerate(info.args) if a.kind in ("tensor", "operand")]
    if info.pointwise and len(operands) > 1:
        bad = list(args)
        bad[operands[0]], bad[operands[-1]] = (
            build_like(mg.zeros(n, dtype=mg.float64).to(getattr(mg, dtype))) for n in (3, 4)
        )
        if info.name != "where":
            _raises(info, (RuntimeError,), bad, kwargs, "shapes (3,) and (4,)")
    dims = [a for a in info.args if a.name == "dim" and a.kind in ("int", "ints")]
    if dims and args and isinstance(args[0], mg.Tensor) and len(args) <= 1:
        _raises(info, (IndexError,), args, {**kwargs, "dim": 99}, "dim=99")


def build_like(t: Any) -> Any:
    """The tensor itself; named for the reader of `errors`."""
    return t


def threads(info: Any) -> None:
    """A large result does not depend on the number of threads and equals what pieces of the input give, exactly."""
    operands = [a for a in info.args if a.kind in ("tensor", "operand")]
    if not info.pointwise or "float32" not in accepted_dtypes(info):
        raise Skip("for pointwise ops on floats; reductions have their own tests")
    n, s = 70_001, Sampler(info.name, "float32")
    low, high = (0.3, 2.0) if "domain" in info.info else (-3.0, 3.0)
    columns = [s.mask(n) if a.name == "condition" else s.t(n, low=low, high=high) for a in operands]
    sample = Sample(tuple(columns), {k: v[0] for k, v in info.info.get("attrs", {}).items()})
    args, kwargs, _ = tensors(info, sample)
    before, results = mg.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            mg.set_num_threads(count)
            results.append(info.function(*args, **kwargs))
    finally:
        mg.set_num_threads(before)
    for other in results[1:]:
        assert same(results[0], other), message(
            info.name, sample, "float32", "threads", "the result depends on the thread count"
        )
    for start in (0, 12_345, n - 9):
        piece = info.function(*[a[start : start + 9] for a in args], **kwargs)
        assert same(results[0][start : start + 9], piece), message(
            info.name, sample, "float32", "threads", f"elements from {start} differ computed alone"
        )


def example(info: Any) -> None:
    """The docstring has an example, and it prints what it says."""
    text = inspect.cleandoc(info.doc or "")
    if ">>>" not in text:
        if info.namespace:
            raise AssertionError(f"{info.name}: the docstring has no `>>>` example")
        raise Skip("internal op")
    parsed = doctest.DocTestParser().get_doctest(text, {"mg": mg}, info.name, None, 0)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    report: list[str] = []
    failed = runner.run(parsed, out=report.append).failed
    assert not failed, f"{info.name}: the example in the docstring fails\n" + "".join(report)


CHECKS: dict[str, Callable[[Any], None]] = {
    "value": value, "dtypes": dtypes, "special": special, "layouts": layouts, "inplace": inplace, "out": out,
    "meta": meta,
    "errors": errors, "example": example, "grad": gradients, "gradgrad": second_gradients, "fast_grad": fast_gradients,
    "complex": complex_gradients, "meta_device": meta_device, "compiled": compiled,
    "compiled_llvm": compiled_llvm,
}  # fmt: skip


def run_check(name: str, check: str) -> None:
    """Run one check of one op. Raises AssertionError, or Skip with the reason why the check does not apply."""
    CHECKS[check](registry[name])
