"""The same samples through minigrad and PyTorch: values, dtypes, shapes, (double) gradients, kinks, classes of errors.

Ops are matched by name and namespace; an op that PyTorch lacks is skipped,
   a wanted deviation carries `no_torch_reason=` in its
declaration. `pytest tests/test_torch_parity.py -k softmax` runs one op.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import registry
from minigrad.testing.calls import ALL_DTYPES, accepted_dtypes, as_tuple, writes
from minigrad.testing.checks import SPECIAL
from minigrad.testing.compare import dtype_name, to_numpy, worst
from minigrad.testing.samples import COMPLEX, FLOATS, Sample, Sampler, Spec, build, samples
from minigrad.testing.tolerances import EPS, GRAD_F64, GRADGRAD_F64, Tolerance, tolerance

torch = pytest.importorskip("torch", reason="PyTorch is the reference of these tests")
torch.set_num_threads(1)


def torch_function(info: Any) -> Callable[..., Any] | None:
    """PyTorch's function of the same name and namespace."""
    spaces = {"": torch, "nn.functional": torch.nn.functional, "linalg": torch.linalg, "special": torch.special}
    for space in info.namespace:
        found = getattr(spaces.get(space), info.public, None)
        if callable(found):
            return found
    method = getattr(torch.Tensor, info.name, None) if info.method and not info.name.startswith("_") else None
    return method if callable(method) else None


OPS = sorted(name for name, info in registry.items() if torch_function(info) is not None)


def ready(name: str) -> tuple[Any, Callable[..., Any]]:
    info = registry[name]
    if "no_torch_reason" in info.info:
        pytest.skip(info.info["no_torch_reason"])
    return info, torch_function(info)


class TorchRefuses(Exception):
    """PyTorch takes no such call (a dtype, an optional entry): there we are wider, and nothing can be compared."""


def same_call(
    info: Any, reference: Callable[..., Any], sample: Sample, grad: bool = False
) -> list[tuple[Any, list[Any]]]:
    """[(outputs, leaves) of minigrad, (outputs, leaves) of PyTorch]."""
    found = []
    copies = writes(info)
    for module, function in ((mg, info.function), (torch, reference)):
        leaves: list[Any] = []

        def make(spec: Spec, module: Any = module, leaves: list[Any] = leaves) -> Any:
            t = build(spec, module)
            if grad and spec.grad and spec.dtype in (*FLOATS, *COMPLEX):
                leaves.append(t.requires_grad_())
                return t.clone() if copies else t  # leaves that require grad are not writable
            return t

        args, kwargs = sample.map(make)
        kwargs = {k: getattr(module, dtype_name(v)) if isinstance(v, mg.dtype) else v for k, v in kwargs.items()}
        args = [getattr(module, dtype_name(v)) if isinstance(v, mg.dtype) else v for v in args]
        try:
            found.append((function(*args, **kwargs), leaves))
        except (RuntimeError, TypeError) as error:
            if module is torch and not info.pointwise:
                raise TorchRefuses(str(error)) from error
            raise
    return found


def values_of(t: Any) -> np.ndarray:
    if isinstance(t, torch.Tensor):
        t = t.detach()
        if t.is_complex():
            t = t.resolve_conj().resolve_neg().to(torch.complex128)
        elif t.dtype != torch.bool:
            t = t.double() if t.is_floating_point() else t.long()
        return t.numpy(force=True)
    return to_numpy(t)


def outputs_of(result: Any) -> tuple[Any, ...]:
    if isinstance(result, torch.Tensor):
        return (result,)
    if isinstance(result, (tuple, list)):
        return tuple(r for r in result if isinstance(r, torch.Tensor))
    return ()


def check_equal(name: str, sample: Any, what: str, ours: Any, theirs: Any, tol: Tolerance) -> None:
    a, e = values_of(ours), values_of(theirs)
    label = f"{name}{sample!r}: {what}"
    assert dtype_name(ours.dtype) == dtype_name(theirs.dtype), f"{label}: dtype {ours.dtype}, PyTorch {theirs.dtype}"
    assert a.shape == e.shape, f"{label}: shape {a.shape}, PyTorch {e.shape}"
    index = worst(a, e, tol)
    assert index is None, f"{label}: worst at {index}: got {a[index]!r}, PyTorch {e[index]!r}"


def compare_values(info: Any, reference: Callable[..., Any], sample: Sample) -> None:
    (ours, _), (theirs, _) = same_call(info, reference, sample)
    if not isinstance(theirs, (torch.Tensor, tuple, list)):
        assert ours == theirs, f"{info.name}{sample!r}: got {ours!r}, PyTorch {theirs!r}"
        return
    mine, other = as_tuple(ours), outputs_of(theirs)
    assert len(mine) == len(other), f"{info.name}{sample!r}: {len(mine)} outputs, PyTorch {len(other)}"
    length = 1 if info.pointwise else max((s.values.size for s in sample.specs()), default=1)
    for a, e in zip(mine, other, strict=True):
        largest = float(np.abs(values_of(e)).max(initial=0.0, where=np.isfinite(values_of(e)))) if e.numel() else 0.0
        kind = dtype_name(e.dtype)
        t = tolerance(kind, length, 4.0)
        own = info.info.get("torch_tol", info.info.get("tol", {})).get(kind, 0.0)
        # Both sides carry their own error, and PyTorch rounds half types after every step.
        atol = 4 * EPS[kind] * largest if kind in ("float16", "bfloat16") and not info.pointwise else 0.0
        check_equal(info.name, sample, "value", a, e, Tolerance(max(3 * t.rtol, own), max(3 * t.atol, own, atol)))


@pytest.mark.parametrize("name", OPS)
def test_values(name: str) -> None:
    """Every sample in float64 and float32, a spread of them in the other dtypes; where PyTorch refuses a dtype we may
    be wider.
    """
    info, reference = ready(name)
    if not samples(info):
        pytest.skip(info.info.get("no_samples_reason", "no samples"))
    for dtype in info.info.get("dtypes", ALL_DTYPES) if info.pointwise else accepted_dtypes(info):
        found = samples(info, dtype)
        step = 1 if dtype in ("float64", "float32") else max(1, len(found) // 6)
        for sample in found[::step]:
            try:
                same_call_torch(reference, sample)
            except NotImplementedError:
                break  # PyTorch has no kernel for this dtype
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                if not info.pointwise:
                    break  # wider than PyTorch
                with pytest.raises((RuntimeError, TypeError, ValueError, IndexError)):
                    args, kwargs = sample.map(lambda s: build(s, mg))
                    info.function(*args, **kwargs)
                    pytest.fail(f"{name}{sample!r}: PyTorch raises {type(error).__name__}: {error}")
                break
            compare_values(info, reference, sample)


def same_call_torch(reference: Callable[..., Any], sample: Sample) -> None:
    args, kwargs = sample.map(lambda s: build(s, torch))
    as_torch = lambda v: getattr(torch, dtype_name(v)) if isinstance(v, mg.dtype) else v  # noqa: E731
    reference(*map(as_torch, args), **{k: as_torch(v) for k, v in kwargs.items()})


def seeded(module: Any, outputs: tuple[Any, ...], requires_grad: bool = False) -> list[Any]:
    rng = np.random.default_rng(7)
    seeds = []
    for y in outputs:
        values = rng.uniform(-1, 1, tuple(y.shape))
        if y.is_complex():
            values = values + 1j * rng.uniform(-1, 1, tuple(y.shape))
        w = module.from_numpy(np.asarray(values)).to(y.dtype)
        seeds.append(w.requires_grad_() if requires_grad else w)
    return seeds


def differentiable(outputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(y for y in outputs if y.requires_grad)


def small_samples(info: Any, limit: int, dtype: str = "float64") -> list[Sample]:
    found = [
        s for s in samples(info, dtype) if any(x.grad for x in s.specs()) and all(x.values.size <= 200 for x in s.specs())
    ]
    return found[:: max(1, -(-len(found) // limit))]


def compare_gradients(info: Any, reference: Callable[..., Any], sample: Sample, order: int) -> None:
    grads = []
    for module, (result, leaves) in zip((mg, torch), same_call(info, reference, sample, grad=True), strict=True):
        ys = differentiable(as_tuple(result) if module is mg else outputs_of(result))
        if not ys:
            grads.append(None)
            continue
        seeds = seeded(module, ys, requires_grad=order == 2)
        first = module.autograd.grad(ys, leaves, seeds, create_graph=order == 2, allow_unused=True)
        if order == 1:
            grads.append(first)
            continue
        roots = [g for g in first if g is not None and g.requires_grad]
        if not roots:
            grads.append(None)
            continue
        grads.append(module.autograd.grad(roots, [*leaves, *seeds], seeded(module, tuple(roots)), allow_unused=True))
    if grads[1] is None:
        return
    assert grads[0] is not None, f"{info.name}{sample!r}: no gradient of order {order}, PyTorch has one"
    for k, (a, e) in enumerate(zip(*grads, strict=True)):
        if a is None or e is None:  # None equals zeros
            other = e if a is None else a
            silent = other is None or np.abs(values_of(other)).max(initial=0) < 1e-12  # rounding of what is 0
            assert silent, f"{info.name}{sample!r}: gradient {k} is None on one side only"
            continue
        own = info.info.get("torch_tol", {}).get("gradient")
        tol = Tolerance(own, own) if own else GRAD_F64 if order == 1 else GRADGRAD_F64
        check_equal(info.name, sample, f"gradient {k} of order {order}", a, e, tol)


@pytest.mark.parametrize("order", [1, 2], ids=["grad", "gradgrad"])
@pytest.mark.parametrize("name", OPS)
def test_gradients(name: str, order: int) -> None:
    info, reference = ready(name)
    if "no_grad_reason" in info.info or (order == 2 and "no_gradgrad_reason" in info.info):
        pytest.skip(info.info.get("no_grad_reason") or info.info["no_gradgrad_reason"])
    found = small_samples(info, 8 if order == 1 else 4)
    if not found:
        pytest.skip("no floating samples")
    for sample in found:
        try:
            compare_gradients(info, reference, sample, order)
        except TorchRefuses:
            continue
        except RuntimeError as error:
            if not any(text in str(error) for text in ("derivative for", "invalid gradient at", "of 0 elements into")):
                raise  # not one of PyTorch's own gaps
            pytest.skip(f"PyTorch: {error}")


@pytest.mark.parametrize("name", [n for n in OPS if registry[n].pointwise and "no_grad_reason" not in registry[n].info])
def test_gradient_conventions_at_kinks(name: str) -> None:
    """At 0, +-1, the corners of activations and ties, wherever PyTorch's gradient is a number."""
    info, reference = ready(name)
    operands = [a for a in info.args if a.kind in ("tensor", "operand")]
    finite = [v for v in SPECIAL if np.isfinite(v) and abs(v) < 1e3 and not 0 < abs(v) < 1e-3]
    grid = np.array(list(itertools.product(finite if len(operands) < 3 else finite[::2], repeat=len(operands))))
    s = Sampler(name, "float64")
    columns = [
        s.of(grid[:, i] > 0, dtype="bool") if a.name == "condition" else s.of(grid[:, i])
        for i, a in enumerate(operands)
    ]
    sample = Sample(tuple(columns), {k: v[0] for k, v in info.info.get("attrs", {}).items()})
    try:
        (ours, mine), (theirs, other) = same_call(info, reference, sample, grad=True)
        expected = torch.autograd.grad(theirs, other, torch.ones_like(theirs), allow_unused=True)
    except RuntimeError as error:
        pytest.skip(f"PyTorch: {str(error)[:80]}")
    found = mg.autograd.grad(ours, mine, mg.ones_like(ours), allow_unused=True)
    rtol = info.info.get("torch_tol", {}).get("gradient", 1e-9)
    for k, (a, e) in enumerate(zip(found, expected, strict=True)):
        if a is None or e is None:
            continue
        got, want = values_of(a), values_of(e)
        with np.errstate(invalid="ignore"):
            bad = np.isfinite(want) & ~(np.abs(got - want) <= rtol * np.abs(want) + 1e-12)
            bad &= np.abs(want) < 1e24  # at a pole (trigamma of -1) PyTorch's number is the reciprocal of a rounding error
        rows = grid[bad][:5].tolist()
        assert not bad.any(), f"{name}: gradient {k} at {rows}: got {got[bad][:5]}, PyTorch {want[bad][:5]}"


def bad_calls(info: Any) -> list[tuple[list[Any], dict[str, Any]]]:
    """Malformed variants of the first good sample, as Specs."""
    good = next(iter(samples(info, "float32")), None)
    if good is None:
        return []
    args, calls = list(good.args), []
    s = Sampler(info.name, "float32")
    tensors = [k for k, v in enumerate(args) if isinstance(v, Spec)]
    if info.pointwise and len(tensors) > 1:
        bad = list(args)
        bad[tensors[0]], bad[tensors[-1]] = s.t(2, 3), s.t(4)
        calls.append((bad, good.kwargs))
    for k in tensors[:1]:
        calls += [([*args[:k], v, *args[k + 1 :]], good.kwargs) for v in ("text", None)]
    calls.append((args, {**good.kwargs, "no_such_argument": 1}))
    if all(s.args for s in samples(info)):  # else the call without arguments is one of ours on purpose
        calls.append((args[:-1], good.kwargs) if len(args) == 1 else ([], {}))
    if any(a.name == "dim" and a.kind in ("int", "ints") for a in info.args) and tensors == [0]:
        where = [a.name for a in info.args].index("dim")
        rest = {k: v for k, v in good.kwargs.items() if k != "dim"}
        calls += [([s.t(2, 3), *args[1:where]], {**rest, "dim": d}) for d in (5, -4)]
        calls.append(([s.t(2, 3), *args[1:where]], {**rest, "dim": "x"}))
    return calls


@pytest.mark.parametrize("name", OPS)
def test_error_classes(name: str) -> None:
    """Where PyTorch refuses a malformed call, so do we, with the same class of exception."""
    info, reference = ready(name)
    for args, kwargs in bad_calls(info):
        outcome = []
        for module, function in ((mg, info.function), (torch, reference)):
            call_args, call_kwargs = Sample(tuple(args), kwargs).map(lambda spec, module=module: build(spec, module))
            try:
                function(*call_args, **call_kwargs)
                outcome.append(None)
            except Exception as error:
                outcome.append(error)
        ours, theirs = outcome
        if theirs is None:
            continue
        base = next((c for c in (TypeError, ValueError, IndexError, RuntimeError) if isinstance(theirs, c)), Exception)
        if isinstance(theirs, AttributeError) or (info.composite and base is TypeError):
            base = (AttributeError, TypeError)  # Python functions touch an argument before anything checks its type
        call = f"{name}{Sample(tuple(args), kwargs)!r}"
        shown = f"{call}: {type(ours).__name__}: {ours}; PyTorch {type(theirs).__name__}: {theirs}"
        assert isinstance(ours, base), shown


def argument_names(info: Any) -> list[str]:
    """Names of the positional arguments: from the schema, or the signature of a composite."""
    if info.args:
        return [a.name for a in info.args if not a.keyword_only]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(info.function).parameters.values() if p.kind in kinds]


@pytest.mark.parametrize("name", OPS)
def test_argument_names(name: str) -> None:
    """Code that names its arguments as PyTorch does runs unchanged."""
    info, reference = ready(name)
    names = argument_names(info)
    good = next((s for s in samples(info, "float32") if len(s.args) <= len(names) and s.args), None)
    if good is None or "no_torch_names_reason" in info.info:
        pytest.skip(info.info.get("no_torch_names_reason", "no sample with named arguments"))
    call = Sample((), {**dict(zip(names, good.args, strict=False)), **good.kwargs})
    try:
        same_call_torch(reference, good)
    except (RuntimeError, TypeError) as error:
        pytest.skip(f"PyTorch: {str(error)[:80]}")
    if "indices_or_sections" in names:
        pytest.skip("PyTorch documents this name, but takes `indices` or `sections`")
    is_method = reference is getattr(torch.Tensor, name, None)
    first, rest = ((good.args[0],), names[1:]) if is_method else ((), names)
    theirs = Sample(first, {k: v for k, v in call.kwargs.items() if k in rest or k in good.kwargs})
    try:
        same_call_torch(reference, theirs)
    except TypeError as error:
        pytest.fail(f"{name}: our names {list(call.kwargs)} are not PyTorch's: {error}")
    compare_values(info, reference, good)
    args, kwargs = call.map(lambda s: build(s, mg))
    info.function(*args, **kwargs)


INPLACE = [n for n in OPS if registry[n].inplace and hasattr(torch.Tensor, n + "_") and hasattr(mg.Tensor, n + "_")]


@pytest.mark.parametrize("name", INPLACE)
def test_in_place_methods(name: str) -> None:
    """`x.op_()` gives PyTorch's values and dtype, or raises where it raises (the result does not fit)."""
    info, _ = ready(name)
    for dtype in ("float32", "int64", "bool"):
        for sample in samples(info, dtype)[:14]:
            if not sample.args or not isinstance(sample.args[0], Spec) or sample.args[0].layout == "expanded":
                continue
            outcome = []
            for module in (mg, torch):
                args, kwargs = sample.map(lambda s, module=module: build(s, module))
                try:
                    outcome.append(getattr(args[0], name + "_")(*args[1:], **kwargs))
                except RuntimeError as error:
                    outcome.append(error)
            ours, theirs = outcome
            if isinstance(theirs, NotImplementedError):
                break
            label = f"{name}_{sample!r}: got {ours!r}, PyTorch {theirs!r}"
            assert isinstance(ours, Exception) == isinstance(theirs, Exception), label
            if not isinstance(theirs, Exception):
                tol = tolerance(dtype_name(theirs.dtype))
                check_equal(name + "_", sample, "in-place value", ours, theirs, Tolerance(4 * tol.rtol, 4 * tol.atol))
