"""The short way through call() (PlainKernels: small contiguous operands of one floating dtype) says what the long way says."""

from __future__ import annotations

import pytest

import minigrad as mg
from minigrad._core import has_plain_kernels
from minigrad.op import registry

POINTWISE = sorted(name for name, entry in registry.items() if entry.pointwise)


def operands(name: str, dtype: mg.dtype, shape: tuple[int, ...] = (3, 5)) -> list[mg.Tensor]:
    mg.manual_seed(7)
    count = sum(arg.kind in ("tensor", "operand") for arg in registry[name].args)
    return [mg.rand(*shape, dtype=dtype) * 0.8 + 0.1 for _ in range(count)]


def strided(x: mg.Tensor) -> mg.Tensor:
    """The same values, every second element of a larger tensor: not contiguous, so meta and the loop plan are needed."""
    return mg.stack([x, x], -1)[..., 0]


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", POINTWISE)
def test_short_way_equals_long_way(name: str, dtype: mg.dtype) -> None:
    function = registry[name].function
    inputs = operands(name, dtype)
    try:
        long = function(*[strided(x) for x in inputs])  # also makes the op's kernel table
    except (RuntimeError, TypeError) as error:
        pytest.skip(f"not for {dtype}: {error}")
    if not has_plain_kernels(name):
        pytest.skip("has no short way")
    short = function(*inputs)
    assert short.dtype == long.dtype and short.shape == long.shape and short.stride() == (5, 1)
    assert mg.equal(short.nan_to_num() if short.is_floating_point() else short, long.nan_to_num() if long.is_floating_point() else long)


@pytest.mark.parametrize("number", [2.5, 3, -(2**60) + 1, True, float("nan")])
@pytest.mark.parametrize("name", ["add", "mul", "true_divide", "sub", "lt", "maximum"])
def test_numbers(name: str, number: float) -> None:
    if name in ("sub", "maximum") and (number is True or name == "maximum"):
        pytest.skip("takes no bool or no number")
    function = registry[name].function
    (x,) = operands(name, mg.float32)[:1]
    short, long = function(x, number), function(strided(x), number)
    assert short.dtype == long.dtype
    assert mg.equal(short.nan_to_num(), long.nan_to_num()) if short.is_floating_point() else mg.equal(short, long)


@pytest.mark.parametrize("shape", [(), (0,), (1, 1), (2, 0, 3), (1, 7, 1)])
def test_shapes_and_strides(shape: tuple[int, ...]) -> None:
    x, y = mg.ones(shape), mg.ones(shape)
    z = x + y
    assert z.shape == shape and z.stride() == mg.empty(shape).stride() and z.is_contiguous()
    assert z.storage_offset() == 0 and z.data_ptr() != x.data_ptr()


def test_gradients_and_modes() -> None:
    x, y = mg.ones(4, requires_grad=True), mg.ones(4)
    assert (x * y).grad_fn.name() == "MulBackward0"
    assert (y * x).requires_grad and not (y * y).requires_grad
    with mg.no_grad():
        assert not (x * y).requires_grad
    with mg.inference_mode():
        assert (y * y).is_inference()


def test_other_alpha_and_promotion_take_the_long_way() -> None:
    x, y = mg.ones(4), mg.full((4,), 2.0)
    assert mg.add(x, y, alpha=3).tolist() == [7.0] * 4
    assert (x + y.double()).dtype == mg.float64
    assert (x + y[:1]).shape == (4,)
    assert mg.add(x, y, alpha=1.0).tolist() == [3.0] * 4
