"""The columns of the conformance table: what each asks of one op at one dtype.

`check(op, column, dtype, progress)` is the entry; it runs inside a forked child (isolate.py). Random ops are compared by shape and dtype.
A case that PyTorch itself refuses proves nothing and is left out, except in place, where minigrad must refuse it too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

import minigrad as mg

from . import mapping
from .compare import as_precise, difference, tolerance
from .convert import CASES_OUT, CASES_SECOND, Case, NoCounterpart, Rebuild, cases, seed, tensors, upcast
from .gradients import first_gradients, gradient_difference, second_gradients
from .lists import NO_DTYPE
from .out_rules import out_difference
from .ties import TIED, tie_difference
from .views import view_difference

UNINITIALISED = {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided", "resize_", "resize_as_"}
PROCESSED = {"svd", "linalg.svd", "linalg.eigh", "linalg.eig", "svd_lowrank", "pca_lowrank", "linalg.qr", "qr"}  # unique only up to signs
LAYOUT_BOUND = {"as_strided", "as_strided_copy", "as_strided_scatter", "resize_", "resize_as_"}  # their meaning is the storage's order
RESIZES = {"addbmm"}  # in place, PyTorch's resizes its input to the broadcast shape, against its own rule; ours raises
OUR_ERRORS = (TypeError, ValueError, RuntimeError, IndexError)


@dataclass
class Outcome:
    """pass | fail | missing | n/a, with the first failing case in words and the number of cases judged."""

    status: str
    detail: str = ""
    cases: int = 0


class Wrong(Exception):
    """A case that does not conform; the text says how."""


Progress = Callable[[str], None]


def check(op: Any, column: str, dtype: str, progress: Progress) -> Outcome:
    """One cell of the table."""
    if dtype != NO_DTYPE and not supports(op, dtype, column in ("backward", "backward2")):
        return Outcome("n/a")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return COLUMNS[column](op, dtype, progress)
    except NoCounterpart as error:
        return Outcome("missing", str(error))


def supports(op: Any, dtype: str, backward: bool = False) -> bool:
    known = op.supported_backward_dtypes("cpu") if backward else op.supported_dtypes("cpu")
    return getattr(torch, dtype) in known


def brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def relays(op: Any) -> bool:
    return op.name not in LAYOUT_BOUND


def forward(op: Any, dtype: str, progress: Progress) -> Outcome:
    """Values, shapes and dtypes of the function form."""
    return _values(op, dtype, progress, [(mapping.torch_function(op), mapping.function(op))])


def method(op: Any, dtype: str, progress: Progress) -> Outcome:
    """The method and the operator form."""
    return _values(op, dtype, progress, mapping.methods(op))


def _values(op: Any, dtype: str, progress: Progress, forms: list[Any]) -> Outcome:
    if not forms:
        return Outcome("n/a")
    found = cases(op, getattr(torch, dtype), False, relaid=relays(op))
    return _judge(found, progress, lambda case: all([_same_value(op, case, *form) for form in forms]))


def _judge(found: list[Case], progress: Progress, judge: Callable[[Case], bool]) -> Outcome:
    """Runs `judge` (False: nothing to compare) over the cases; the first wrong one decides."""
    counted, absent = 0, ""
    for case in found:
        progress(case.describe())
        try:
            counted += bool(judge(case))
        except NoCounterpart as error:
            absent = absent or f"{case.describe()}: {error}"
        except Wrong as error:
            return Outcome("fail", f"{case.describe()}: {error}", counted)
    if absent and not counted:
        return Outcome("missing", absent)
    return Outcome("pass" if counted else "n/a", "" if counted else "PyTorch refuses every sample", counted)


def run_torch(op: Any, case: Case, f: Callable[..., Any]) -> tuple[Any, bool, Any] | None:
    """(result, whether it is random, mask of the defined outputs), or None where PyTorch refuses the case."""
    try:
        seed()
        before = torch.get_rng_state()
        args, kwargs = Rebuild(torch, mapping.function_of).case(case)
        expected = f(*args, **kwargs)
        random = op.name in UNINITIALISED
        if not torch.equal(before, torch.get_rng_state()):
            for other_seed in range(1, 9):  # several: few random numbers may give the same windows or masks twice
                torch.manual_seed(other_seed)
                again, more = Rebuild(torch, mapping.function_of).case(case)
                other = f(*again, **more)
                random |= any(
                    not torch.equal(a, b) if a.shape == b.shape else True
                    for a, b in zip(tensors(expected, torch.Tensor), tensors(other, torch.Tensor))
                )
        args, kwargs = Rebuild(torch, mapping.function_of).case(case)
        return expected, random, mapping.result_mask(op, args, kwargs)
    except Exception:
        return None


def call_ours(f: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Our result; an absent name is a NoCounterpart, any other error is wrong: PyTorch took the case."""
    try:
        return f(*args, **kwargs)
    except AttributeError as error:
        if "minigrad" in str(error) and "has no attribute" in str(error):
            raise NoCounterpart(str(error)) from error
        raise Wrong(f"raised AttributeError: {brief(error)}") from error
    except Exception as error:
        raise Wrong(f"raised {type(error).__name__}: {brief(error)}") from error


def processed(op: Any, case: Case, module: Any, result: Any, always: bool = False) -> Any:
    """The sample's output_process_fn_grad over the result, where factors are unique only up to signs or phases."""
    if case.process is None or not (always or op.name in PROCESSED):
        return result
    f = case.process
    return (mapping.rebound(f, module) if mapping.from_tests(f) else f)(result)


def masked(module: Any, result: Any, mask: torch.Tensor | None) -> Any:
    """Outputs that the mask leaves undefined, set to zero."""
    if mask is None:
        return result
    if module is not torch:
        mask = Rebuild(module, mapping.function_of)(mask.contiguous())
    return module.where(mask, result, result.new_zeros([]))


def _same_value(op: Any, case: Case, theirs: Callable[..., Any], ours: Callable[..., Any]) -> bool:
    done = run_torch(op, case, theirs)
    if done is None:
        return False
    expected, random, mask = done
    rebuild = Rebuild(mg, mapping.function_of)
    args, kwargs = arguments(case, rebuild=rebuild)
    actual = call_ours(ours, args, kwargs)
    if (found := view_difference(theirs, case, actual, rebuild)) is not None:
        raise Wrong(found)
    if not random:
        actual = call_ours(lambda r: masked(mg, processed(op, case, mg, r), mask), [actual], {})
        expected = masked(torch, processed(op, case, torch, expected), mask)
    found = difference(actual, expected, tolerance(op), not random)
    if found is not None and op.name in TIED:
        found = tie_difference(op.name, case, actual, expected, tolerance(op), found)
    if found is not None and not _as_precise(op, case, actual, expected, theirs):
        raise Wrong(found)
    return True


def _as_precise(op: Any, case: Case, actual: Any, expected: Any, theirs: Callable[..., Any]) -> bool:
    """Whether a result outside the tolerance is as near to PyTorch's float64 one as PyTorch's own (see compare.as_precise)."""
    exact = upcast(case)
    done = None if exact is None else run_torch(op, exact, theirs)
    if done is None or done[1]:
        return False
    return as_precise(actual, expected, masked(torch, processed(op, case, torch, done[0]), done[2]))


def arguments(case: Case, requires_grad: bool = False, rebuild: Rebuild | None = None) -> tuple[list[Any], dict[str, Any]]:
    """The case's arguments for minigrad."""
    rebuild = rebuild or Rebuild(mg, mapping.function_of, requires_grad)
    try:
        return rebuild.case(case)
    except (NoCounterpart, MemoryError):
        raise
    except Exception as error:
        raise Wrong(f"could not build the inputs: {type(error).__name__}: {brief(error)}") from error


def inplace(op: Any, dtype: str, progress: Progress) -> Outcome:
    """In-place forms write the input and return it, refuse what PyTorch refuses, and pass gradients on."""
    forms = mapping.inplaces(op)
    if not forms:
        return Outcome("n/a")
    grad = op.name not in RESIZES and dtype in ("float32", "float64") and op.supports_inplace_autograd and op.supports_autograd
    found = [c for c in cases(op, getattr(torch, dtype), False, relaid=relays(op)) if isinstance(c.input, torch.Tensor)]
    out = _judge(found, progress, lambda case: all([_same_inplace(op, case, *form) for form in forms]))
    if out.status != "pass" or not grad:
        return out
    found = [c for c in cases(op, getattr(torch, dtype), True, CASES_SECOND, relaid=False) if isinstance(c.input, torch.Tensor)]

    def written(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, *args, **kwargs: f(x.clone(), *args, **kwargs)

    more = _judge(found, progress, lambda c: all([_same_gradient(op, c, written(a), written(b)) for a, b in forms]))
    return more if more.status == "fail" else out


def _same_inplace(op: Any, case: Case, theirs: Callable[..., Any], ours: Callable[..., Any]) -> bool:
    seed()
    args, kwargs = Rebuild(torch, mapping.function_of).case(case)
    target = args[0].clone()
    error = None
    try:
        returned = theirs(target, *args[1:], **kwargs)
    except Exception as caught:
        error = caught
    our_args, our_kwargs = arguments(case)
    our_target = our_args[0].clone()
    if error is None and op.name in RESIZES and target.shape != args[0].shape:
        return False
    if error is not None:
        return _refused(ours, [our_target, *our_args[1:]], our_kwargs, error)
    our_returned = call_ours(ours, [our_target, *our_args[1:]], our_kwargs)
    if returned is target and our_returned is not our_target:
        raise Wrong("does not return the tensor it wrote")
    done = run_torch(op, case, lambda x, *a, **k: theirs(x.clone(), *a, **k))
    random = done is not None and done[1]
    if (found := difference(our_target, target, tolerance(op), not random, "input after the call")) is not None:
        raise Wrong(found)
    return True


def _refused(ours: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], error: Exception) -> bool:
    if not isinstance(error, OUR_ERRORS) or "not implemented" in str(error) or isinstance(error, NotImplementedError):
        return False
    try:
        ours(*args, **kwargs)
    except OUR_ERRORS:
        return True
    except AttributeError as absent:
        raise NoCounterpart(str(absent)) from absent
    raise Wrong(f"accepted what PyTorch refuses with {type(error).__name__}: {brief(error)}")


def backward(op: Any, dtype: str, progress: Progress) -> Outcome:
    """Gradients for fixed random cotangents."""
    return _gradients(op, dtype, progress, False)


def backward2(op: Any, dtype: str, progress: Progress) -> Outcome:
    """Gradients of those gradients, for inputs and cotangents."""
    return Outcome("n/a") if not op.supports_gradgrad else _gradients(op, dtype, progress, True)


def _gradients(op: Any, dtype: str, progress: Progress, second: bool) -> Outcome:
    if not op.supports_autograd:
        return Outcome("n/a")
    found = cases(op, getattr(torch, dtype), True, CASES_SECOND if second else 20, relaid=relays(op))
    theirs, ours = mapping.torch_function(op), mapping.function(op)
    return _judge(found, progress, lambda case: _same_gradient(op, case, theirs, ours, second))


def _same_gradient(op: Any, case: Case, theirs: Callable[..., Any], ours: Callable[..., Any], second: bool = False) -> bool:
    done = run_torch(op, case, theirs)
    if done is None:
        return False
    _, random, mask = done
    compute = second_gradients if second else first_gradients
    forms = []
    for module, f in ((torch, theirs), (mg, ours)):
        wrapped = mapping.gradient_form(op, module, f)

        def form(*args: Any, _f: Any = wrapped, _m: Any = module, **kwargs: Any) -> Any:
            return masked(_m, processed(op, case, _m, _f(*args, **kwargs), always=True), mask)

        forms.append(form)
    seed()
    try:
        expected = compute(torch, forms[0], Rebuild(torch, mapping.function_of, True), case, None)
    except Exception:
        return False
    if expected is None:
        return False
    rebuild = Rebuild(mg, mapping.function_of, True)
    arguments(case, rebuild=rebuild)
    actual = call_ours(lambda: compute(mg, forms[1], rebuild, case, expected), [], {})
    if actual is None:
        raise Wrong("no output requires a gradient; PyTorch has one")
    found = gradient_difference(actual, expected, tolerance(op), not random)
    if found is not None:
        exact = upcast(case)
        try:
            truth = (
                None if exact is None or random else compute(torch, forms[0], Rebuild(torch, mapping.function_of, True), exact, expected)
            )
        except Exception:
            truth = None
        if truth is None or not as_precise(actual.found, expected.found, truth.found):
            raise Wrong(found)
    return True


def out(op: Any, dtype: str, progress: Progress) -> Outcome:
    """The `out=` form, where PyTorch has one."""
    if not op.supports_out:
        return Outcome("n/a")
    theirs, ours = mapping.torch_function(op), mapping.function(op)

    def judge(case: Case) -> bool:
        done = run_torch(op, case, theirs)
        if done is None or done[2] is not None:
            return False
        try:
            loose = done[1] or op.name in TIED or op.name in PROCESSED
            found = out_difference(theirs, ours, case, mapping.function_of, tolerance(op), loose)
        except NoCounterpart:
            raise
        except Exception as error:
            raise Wrong(f"{type(error).__name__}: {brief(error)}") from error
        if found is not None:
            raise Wrong(found)
        return True

    return _judge(cases(op, getattr(torch, dtype), False, CASES_OUT, relaid=False), progress, judge)


def errors(op: Any, dtype: str, progress: Progress) -> Outcome:
    """Where PyTorch raises, minigrad raises TypeError, ValueError, RuntimeError or IndexError."""
    if op.error_inputs_func is None:
        return Outcome("n/a")
    ours, theirs = mapping.function(op), mapping.torch_function(op)
    return _judge(list(_error_cases(op)), progress, lambda case: _same_error(case, theirs, ours))


def _error_cases(op: Any) -> Iterator[Case]:
    from .convert import case_of

    seed()
    for i, entry in enumerate(op.error_inputs("cpu")):
        yield case_of(entry.sample_input, i)


def _same_error(case: Case, theirs: Callable[..., Any], ours: Callable[..., Any]) -> bool:
    try:
        args, kwargs = Rebuild(mg, mapping.function_of).case(case)
    except NoCounterpart:
        return False
    except OUR_ERRORS:
        return True  # such a tensor cannot even be made (65 dims)
    try:
        theirs(case.input, *case.args, **case.kwargs)
        return False
    except Exception as caught:
        error = caught
    try:
        ours(*args, **kwargs)
    except OUR_ERRORS:
        return True
    except AttributeError as absent:
        raise NoCounterpart(str(absent)) from absent
    except Exception as other:
        raise Wrong(f"raised {type(other).__name__}: {brief(other)}; PyTorch {type(error).__name__}") from other
    raise Wrong(f"accepted; PyTorch raises {type(error).__name__}: {brief(error)}")


COLUMNS: dict[str, Callable[[Any, str, Progress], Outcome]] = {
    "forward": forward,
    "method": method,
    "inplace": inplace,
    "backward": backward,
    "backward2": backward2,
    "errors": errors,
    "out": out,
}
