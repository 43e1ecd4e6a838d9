"""The checkers are checked: a wrong gradient, a wrong value, a stray write must be caught, and said in the promised
form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd._gradcheck import GradcheckError
from minigrad.op import OpInfo, registry
from minigrad.testing import CHECKS, Skip, samples, tolerance
from minigrad.testing.compare import assert_close
from minigrad.testing.samples import Sample, Spec, as_stored


class WrongGradient(mg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * x  # lacks the factor 2


@pytest.mark.parametrize("fast", [False, True])
def test_gradcheck_finds_a_wrong_gradient(fast: bool) -> None:
    x = mg.tensor([0.5, -1.5], dtype=mg.float64, requires_grad=True)
    with pytest.raises(GradcheckError, match="numerical"):
        mg.autograd.gradcheck(WrongGradient.apply, (x,), fast_mode=fast)
    assert not mg.autograd.gradcheck(WrongGradient.apply, (x,), fast_mode=fast, raise_exception=False)


def test_gradcheck_accepts_right_ones() -> None:
    x = mg.tensor([[0.5, -1.5], [0.3, 2.0]], dtype=mg.float64, requires_grad=True)
    y = mg.tensor([0.7, -0.2], dtype=mg.float64, requires_grad=True)
    assert mg.autograd.gradcheck(lambda a, b: (a * b, mg.sin(a)), (x, y))
    assert mg.autograd.gradgradcheck(lambda a, b: a * b * a, (x, y))
    assert mg.autograd.gradgradcheck(lambda a, b: a * b * a, (x, y), fast_mode=True)
    with pytest.raises(ValueError, match="requires_grad"):
        mg.autograd.gradcheck(mg.sin, (x.detach(),))
    with pytest.warns(UserWarning, match="float64"):
        mg.autograd.gradcheck(lambda a: a * 1, (mg.tensor([0.5], requires_grad=True),), eps=1e-2, atol=1e-2)


def test_gradcheck_sees_a_missing_dependency() -> None:
    x = mg.tensor([0.5], dtype=mg.float64, requires_grad=True)
    with pytest.raises(GradcheckError):
        mg.autograd.gradcheck(lambda a: a.detach() * 2, (x,))


def test_failure_message_is_complete() -> None:
    sample = Sample((Spec(np.zeros((2, 2)), "float32"),), {"dim": 1})
    with pytest.raises(AssertionError) as caught:
        assert_close(mg.tensor([[1.0, 2.0], [3.0, 5.0]]), [[1, 2], [3, 4]], op="sum", sample=sample, check="value")
    text = str(caught.value)
    for part in ("sum", "(1, 1)", "5.0", "4.0", "float32[2, 2]", "dim=1", 'pytest tests/test_ops.py -k "sum-value"'):
        assert part in text, f"{part!r} is missing from the message:\n{text}"


def fake(function: Any, **fields: Any) -> OpInfo:
    """An op like `exp`, computed by something else."""
    real = registry["exp"]
    kept = ("schema", "args", "outputs", "meta", "pointwise", "expr", "formulas", "namespace")
    return OpInfo("exp", **{k: getattr(real, k) for k in kept}, function=function, **fields)


def test_value_check_catches_a_small_error() -> None:
    with pytest.raises(AssertionError, match="worst at"):
        CHECKS["value"](fake(lambda x: mg.exp(x) * (1 + 1e-5)))


def test_gradient_check_catches_a_detached_result() -> None:
    with pytest.raises(AssertionError, match="grad"):
        CHECKS["grad"](fake(lambda x: mg.exp(x.detach()) + 0 * x))


def test_out_check_catches_a_stray_write() -> None:
    def stray(x: Any, out: Any = None) -> Any:
        if out is None:
            return mg.exp(x)
        base = out.as_strided((out.numel() + 3,), (1,), out.storage_offset()) if out.is_contiguous() else out
        base.fill_(1.0)
        return out.copy_(mg.exp(x))

    with pytest.raises(AssertionError, match="outside out="):
        CHECKS["out"](fake(stray))


def test_meta_check_catches_a_wrong_dtype() -> None:
    with pytest.raises(AssertionError, match="meta says"):
        CHECKS["meta"](fake(lambda x: mg.exp(x).to(mg.float16)))


def test_a_skip_carries_its_reason() -> None:
    with pytest.raises(Skip, match="boolean"):
        CHECKS["grad"](registry["isnan"])


def test_samples_repeat_exactly() -> None:
    first, second = samples(registry["hypot"]), samples(registry["hypot"])
    for a, b in zip(first, second, strict=True):
        for s, t in zip(a.specs(), b.specs(), strict=True):
            np.testing.assert_array_equal(s.values, t.values)


def test_rounding_to_bfloat16_is_to_nearest_even() -> None:
    x = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -3.3895e38, np.nan, 1e-45])
    assert as_stored(x, "bfloat16")[:3].tolist() == [1.0, 1.0, 1.015625]
    ours = mg.tensor(x.astype(np.float32).tolist()).to(mg.bfloat16).to(mg.float64).numpy()
    np.testing.assert_array_equal(as_stored(x.astype(np.float32), "bfloat16"), ours)


def test_integers_must_be_exact_and_sums_may_not_drift() -> None:
    assert tolerance("int64").rtol == tolerance("bool").atol == 0
    assert tolerance("float32", 10**6).rtol < 1e-3
