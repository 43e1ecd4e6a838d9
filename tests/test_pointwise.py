"""Pointwise ops beyond the generated checks: every half-precision number, accuracy in ulps, and the public forms of
composites.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import registry
from minigrad.testing import ulp
from minigrad.testing.calls import reference
from minigrad.testing.compare import cast_reference, to_numpy
from minigrad.testing.samples import Sample, Sampler, Spec, build
from minigrad.testing.tolerances import EPS

UNARY = sorted(
    name
    for name, info in registry.items()
    if info.pointwise and info.expr and len([a for a in info.args if a.kind in ("tensor", "operand")]) == 1
    and info.meta != "bitwise"
)  # fmt: skip


def every_half(dtype: str) -> Spec:
    """All 65536 bit patterns of a 16-bit format."""
    bits = np.arange(65536, dtype=np.uint32)
    values = bits.astype(np.uint16).view(np.float16) if dtype == "float16" else (bits << 16).view(np.float32)
    return Spec(values.astype(np.float64), dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", UNARY)
def test_every_half_precision_number(name: str, dtype: str) -> None:
    """Rounded once: the result is one of the two numbers of the format around the exact value (or nearly)."""
    info = registry[name]
    sample = Sample((every_half(dtype),), {k: v[0] for k, v in info.info.get("attrs", {}).items()})
    result = info.function(build(sample.args[0], mg), **sample.kwargs)
    kind = str(result.dtype).rsplit(".", 1)[-1]
    with np.errstate(all="ignore"):
        exact = np.asarray(reference(info, sample, kind)[0], dtype=np.float64)
    got, want = to_numpy(result).astype(np.float64), cast_reference(exact, kind).astype(np.float64)
    with np.errstate(all="ignore"):
        # It is computed in float32: cancellation leaves float32's rounding of numbers near 1 (x - tanh(x), sin(pi x)),
        # and an intermediate may overflow where the input is near the end of the range (hardswish, sinc).
        bound = EPS.get(kind, 0.0) * np.abs(exact) + 2.0**-22
        end = mg.finfo(mg.float32).max / 8
        overflow = (np.isinf(got) & (np.abs(exact) > end)) | (np.isnan(got) & (np.abs(sample.args[0].values) > end))
        bad = ~(overflow | (got == want) | (np.abs(got - exact) <= bound) | (np.isnan(got) & np.isnan(want)))
    wrong = np.flatnonzero(bad)
    x = sample.args[0].values
    first = [(x[i], got[i], exact[i]) for i in wrong[:5]]
    assert not wrong.size, f"{name} {dtype}: {wrong.size} of 65536 wrong, (input, got, exact): {first}"


# Largest error in ulps that a function promises for float32 and float64, on its whole range unless a range is given.
PROMISED = {
    "exp": 2,
    "log": 2,
    "tanh": 2,
    "sigmoid": 3,
    "erf": 2,
    "sqrt": 0.5,
    "sin": 2,
    "cos": 2,
    "log1p": 2,
    "expm1": 2,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(PROMISED))
def test_accuracy_in_ulps(name: str, dtype: str) -> None:
    """Against long double, on 40000 numbers spread over signs and magnitudes."""
    if name == "erf" or np.finfo(np.longdouble).eps > 1e-18:
        if dtype == "float64":
            pytest.skip("no reference more accurate than float64 here")
    rng = np.random.default_rng(11)
    x = (rng.choice([-1.0, 1.0], 40000) * np.exp2(rng.uniform(-20, 6, 40000))).astype(dtype)
    if name in ("log", "sqrt"):
        x = np.abs(x)
    if name == "log1p":
        x = x[x > -1]
    wide = x.astype(np.longdouble)
    functions: dict[str, Any] = {"sigmoid": lambda v: 1 / (1 + np.exp(-v))}
    with np.errstate(all="ignore"):
        if name == "erf":
            import math

            exact = np.array([math.erf(v) for v in x.tolist()])
        else:
            exact = functions.get(name, getattr(np, name, None))(wide)
    got = getattr(mg, name)(mg.from_numpy(x)).numpy()
    spacing = np.spacing(np.maximum(np.abs(exact.astype(dtype)), np.finfo(dtype).tiny))
    ulps = np.abs(got.astype(np.longdouble) - exact) / spacing
    fine = np.isfinite(exact.astype(dtype))
    worst = int(np.argmax(np.where(fine, ulps, 0)))
    limit = PROMISED[name] + 0.5
    shown = f"{name}({x[worst]!r}) = {got[worst]!r}, exact {exact[worst]!r}"
    assert ulps[worst] <= limit, f"{shown}: {float(ulps[worst]):.2f} ulp > {limit}"


@pytest.mark.parametrize("name", ulp.names())
def test_float32_ulps_over_the_whole_range(name: str) -> None:
    """An even sample of all bit patterns; all 2^32 are `python -m minigrad.testing.ulp`."""
    error, x, got, exact = ulp.worst(name, 65537, 4099)
    assert error <= ulp.promised(name), f"{name}({x!r}) = {got!r}, exact {exact!r}: {error:.2f} ulp > {ulp.promised(name)}"


# --- public forms -----------------------------------------------------------------------------------------------------
def test_where_has_three_faces() -> None:
    mask = mg.tensor([True, False, True])
    (found,) = mg.where(mask)
    assert found.tolist() == [0, 2]
    assert mg.where(mask, 1, 2.5).tolist() == [1.0, 2.5, 1.0]
    assert mg.tensor([1.0, 2.0, 3.0]).where(mask, 0).tolist() == [1.0, 0.0, 3.0]
    with pytest.raises(RuntimeError, match="bool"):
        mg.where(mg.tensor([1]), 1, 2)


def test_where_hides_nan_of_the_other_side_from_the_gradient() -> None:
    x = mg.tensor([0.0, 4.0], requires_grad=True)
    mg.where(x > 0, mg.sqrt(mg.where(x > 0, x, 1.0)), 0.0).sum().backward()
    assert x.grad.tolist() == [0.0, 0.25]


def test_clamp_forms_and_bounds() -> None:
    x = mg.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    y = mg.clamp(x, mg.tensor(0.0), mg.tensor([1.0, 1.0, 1.0]))
    assert y.tolist() == [0.0, 0.5, 1.0]
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 0.0]
    assert mg.clamp(mg.tensor([1.0]), 2, 1).item() == 1.0, "max wins where min > max"
    assert mg.clip(mg.tensor([1, 2]), 0.5).dtype == mg.float32
    assert mg.tensor([1.0, 3.0]).clamp_(max=2).tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="min=None"):
        mg.clamp(x)
    with pytest.raises(RuntimeError, match="can't be cast"):
        mg.tensor([1, 2]).clamp_(max=1.5)


def test_clamp_in_place_keeps_the_graph() -> None:
    """Fixed: the in-place form of a composite overwrote what its own formulas had saved."""
    x = mg.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    y = x * 2
    y.clamp_(-1, 1)
    (y * mg.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [0.0, 20.0, 0.0]


@pytest.mark.parametrize(
    ("mode", "floats", "ints"),
    [(None, [3.5, -3.5], [3.5, -3.5]), ("floor", [3.0, -4.0], [3, -4]), ("trunc", [3.0, -3.0], [3, -3])],
)
def test_div_rounding_modes(mode: str | None, floats: list[float], ints: list[float]) -> None:
    assert mg.div(mg.tensor([7.0, -7.0]), 2, rounding_mode=mode).tolist() == floats
    result = mg.div(mg.tensor([7, -7]), 2, rounding_mode=mode)
    assert result.tolist() == ints and result.is_floating_point() == (mode is None)


@pytest.mark.parametrize("op", ["floor_divide", "remainder", "fmod"])
def test_integer_division_by_zero_raises_and_leaves_the_target_alone(op: str) -> None:
    x = mg.tensor([7, 8, 9])
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        getattr(mg, op)(x, mg.tensor([1, 0, 2]))
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        getattr(x, op + "_")(mg.tensor([1, 2, 0]))
    assert x.tolist() == [7, 8, 9]
    assert not mg.isfinite(getattr(mg, op)(x.to(mg.float32), 0.0)).any()


def test_integer_extremes_do_not_trap() -> None:
    """The one overflow of integer division, and shifts beyond the width."""
    low = mg.tensor([-(2**63)])
    assert mg.floor_divide(low, -1).item() == -(2**63)
    assert mg.remainder(low, -1).item() == 0
    assert (mg.tensor([1, -9]) << mg.tensor([64, -1])).tolist() == [0, 0]
    assert (mg.tensor([1, -9]) >> mg.tensor([64, 100])).tolist() == [0, -1]
    assert mg.neg(low).item() == -(2**63) and mg.abs(low).item() == -(2**63)


def test_integer_powers() -> None:
    assert (mg.tensor([3, 1, -1, 0]) ** mg.tensor([-1, -1, -1, 2])).tolist() == [0, 1, -1, 0]
    assert mg.pow(2, mg.tensor([0, 10, 62])).tolist() == [1, 1024, 2**62]
    with pytest.raises(RuntimeError, match="negative integer powers"):
        mg.tensor([3]) ** -1


def test_round_decimals() -> None:
    assert mg.round(mg.tensor([0.5, 1.5, -2.5])).tolist() == [0.0, 2.0, -2.0]
    assert mg.round(mg.tensor([1234.5678]), decimals=-2).item() == 1200.0
    with pytest.raises(RuntimeError, match="decimals"):
        mg.round(mg.tensor([1]), decimals=1)


def test_nan_to_num_and_predicates() -> None:
    x = mg.tensor([float("nan"), float("inf"), -float("inf"), 1.0])
    assert mg.nan_to_num(x, nan=7, posinf=8, neginf=9).tolist() == [7.0, 8.0, 9.0, 1.0]
    assert mg.nan_to_num(x)[1].item() == mg.finfo(mg.float32).max
    assert mg.isposinf(x).tolist() == [False, True, False, False]
    assert mg.isneginf(x).tolist() == [False, False, True, False]


def test_closeness() -> None:
    a = mg.tensor([1.0, float("nan"), float("inf")])
    assert mg.isclose(a, a).tolist() == [True, False, True]
    assert mg.allclose(a, a, equal_nan=True) and not mg.allclose(a, a)
    assert mg.equal(mg.tensor([1, 2]), mg.tensor([1, 2])) and not mg.equal(mg.tensor([1]), mg.tensor([1, 1]))
    assert mg.equal(mg.tensor([1]), mg.tensor([1.0])) and not mg.equal(mg.tensor([1]), mg.tensor([1.5]))  # promotes, as PyTorch's


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_finfo(name: str) -> None:
    info = mg.finfo(getattr(mg, name))
    one = mg.tensor(1.0, dtype=getattr(mg, name))
    assert (one + info.eps > one).item() and not (one + info.eps / 2 > one).item()
    assert mg.isfinite(mg.tensor(info.max, dtype=getattr(mg, name))).item()
    assert mg.isinf(mg.tensor(info.max, dtype=getattr(mg, name)) * 2).item()
    with pytest.raises(TypeError):
        mg.finfo(mg.int32)


def test_sampler_shapes_do_what_their_layout_says() -> None:
    s = Sampler("any")
    for layout, strides in [("transposed", (1, 4)), ("expanded", (0, 1)), ("offset", (5, 1)), ("step", (10, 2))]:
        t = build(s.t(4, 5, layout=layout), mg)
        assert tuple(t.stride()) == strides and (t.storage_offset() > 0) == (layout == "offset")
