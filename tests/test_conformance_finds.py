"""Bugs that the op_db suite found in pointwise, creation, view and out= code, each as a small test of its own."""

from __future__ import annotations

import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad.op import functions


def test_no_tensor_has_more_than_64_dims() -> None:
    """Loop plans keep 64 entries on the stack: a 65th dimension wrote past them."""
    for make in (lambda: mg.zeros((1,) * 65), lambda: mg.zeros(1).expand((1,) * 65), lambda: mg.zeros(1).as_strided((1,) * 65, (1,) * 65)):
        with pytest.raises(RuntimeError, match="at most 64 dimensions"):
            make()
    assert mg.zeros((1,) * 64).sum().item() == 0


def test_int64_ranges_are_counted_in_integers() -> None:
    assert mg.arange(0.0, -8.000001, -4.0, dtype=mg.int64).tolist() == [0, -4]
    assert mg.linspace(4.3, -3, 3, dtype=mg.int64).tolist() == [4, 0, -3]
    assert mg.logspace(0, 1.2, 2, base=5.0, dtype=mg.int64).tolist() == [1, 5]
    with pytest.raises((RuntimeError, ValueError)):
        mg.arange(0, 64, 0.5, out=mg.empty(0, dtype=mg.int64))


def test_a_bool_tensor_is_no_index() -> None:
    with pytest.raises(TypeError):
        mg.zeros(3).narrow(0, mg.tensor(True), 1)
    assert mg.zeros(3).narrow(0, mg.tensor(1), 2).shape == (2,)


def test_tensordot_stretches_sizes_of_one() -> None:
    got = mg.tensordot(mg.ones(1, 1, 1), mg.ones(2, 1, 2), dims=([0, 1], [2, 0]))
    assert got.tolist() == [[4.0]]


def test_padding_of_negative_width() -> None:
    x = mg.arange(4.0)
    cropped = F.pad(x, (-1, -1))
    assert cropped.tolist() == [1.0, 2.0] and cropped.data_ptr() != x[1:].data_ptr()
    rows = mg.arange(4.0).reshape(1, 1, 4)
    assert F.pad(rows, (-1, 1), mode="circular").tolist() == [[[1.0, 2.0, 3.0, 1.0]]]


def test_activation_arguments_are_checked() -> None:
    for call in (
        lambda: F.softshrink(mg.ones(2), -0.5),
        lambda: F.rrelu(mg.ones(2), 0.3, 0.1),
        lambda: F.prelu(mg.ones(2, 8), mg.ones(2, 4)),
    ):
        with pytest.raises(RuntimeError):
            call()


def test_integer_products_cut_their_scalars() -> None:
    a, m = mg.ones(5, dtype=mg.int64), mg.ones(5, 5, dtype=mg.int64)
    assert mg.addmv(a, m, a, beta=2.6, alpha=1.7).tolist() == [7] * 5
    got = mg.addbmm(m, m[None], m[None], beta=1.6, alpha=2.7)
    assert got.dtype == mg.int64 and got[0, 0].item() == 11
    with pytest.raises(RuntimeError):
        mg.addmm(m, m, m, beta=2.6)


def test_positive_is_its_input() -> None:
    x = mg.ones(2)
    assert mg.positive(x) is x
    with pytest.raises(RuntimeError):
        mg.positive(mg.tensor([True]))


def test_gcd_lcm_of_the_extremes() -> None:
    low = mg.tensor([-128, 0, 127, -128], dtype=mg.int8)
    assert mg.gcd(low, mg.tensor([-128, 0, 0, 3], dtype=mg.int8)).tolist() == [-128, 0, 127, 1]
    assert mg.lcm(mg.tensor([4, 0, -6]), mg.tensor([6, 5, 4])).tolist() == [12, 0, 12]
    # the magnitude is cut where it does not fit: 16002 and 23 * 32767, as in PyTorch
    assert mg.lcm(mg.tensor([-127, 127], dtype=mg.int8), mg.tensor([126, -126], dtype=mg.int8)).tolist() == [-126, -126]
    assert mg.lcm(mg.tensor([-23], dtype=mg.int16), mg.tensor([32767], dtype=mg.int16)).tolist() == [32745]


def test_frexp_of_special_values() -> None:
    mantissa, exponent = mg.frexp(mg.tensor([0.0, float("inf"), -3.0, float("nan")]))
    assert mantissa[:3].tolist() == [0.0, float("inf"), -0.75] and mantissa[3].isnan().item()
    assert exponent.tolist() == [0, 0, 2, 0] and exponent.dtype == mg.int32


@pytest.mark.parametrize(
    "call",
    [
        lambda out: mg.outer(mg.arange(2.0), mg.arange(3.0), out=out),
        lambda out: mg.where(mg.tensor([True, False]), 1.0, mg.zeros(2), out=out),
        lambda out: mg.hstack((mg.ones(2), mg.zeros(1)), out=out),
        lambda out: mg.clamp(mg.arange(3.0), 1, 2, out=out),
        lambda out: mg.round(mg.tensor([1.5]), out=out),
        lambda out: mg.ldexp(mg.ones(2), mg.tensor([1, 2]), out=out),
    ],
)
def test_composites_take_out(call) -> None:
    """out= takes the result's shape; an integer dtype is refused."""
    for out in (mg.empty(0), mg.empty(7, 5)):
        assert call(out) is out
        assert mg.equal(out, call(None))
    with pytest.raises(RuntimeError):
        call(mg.empty(out.shape, dtype=mg.int64))


def test_out_of_several_results() -> None:
    values, indices = mg.empty(0), mg.empty(0, dtype=mg.int64)
    got = mg.topk(mg.tensor([1.0, 3.0, 2.0]), 2, out=(values, indices))
    assert got.values is values and values.tolist() == [3.0, 2.0] and indices.tolist() == [1, 2]


def test_out_may_not_be_what_is_joined_or_gathered() -> None:
    x = mg.arange(4.0)
    with pytest.raises(RuntimeError, match="shares memory"):
        mg.cat((x[:2], mg.ones(2)), out=x)
    with pytest.raises(RuntimeError, match="shares memory"):
        mg.gather(x, 0, mg.tensor([3, 2, 1, 0]), out=x)
    with pytest.raises(RuntimeError, match="dtype"):
        mg.gather(x, 0, mg.tensor([0]), out=mg.empty(1, dtype=mg.float64))
    with pytest.raises(RuntimeError, match="dtype"):
        mg.ones(2, dtype=mg.float64, out=mg.empty(2, dtype=mg.int64))


def test_norm_backward_checks_its_shapes() -> None:
    """Found by the fuzzer: the fused backward ops read out of bounds when called directly with shapes that do not fit."""
    x, statistics = mg.ones(4, 3), mg.ones(4, 1)
    for name, middle in (("_rms_norm_backward", (statistics,)), ("_layer_norm_backward", (statistics, statistics))):
        run = functions[name]
        assert run(x, x, *middle, mg.ones(3), 1)[0].shape == (4, 3)
        w = mg.ones(3)
        for bad in ((mg.ones(4, 4), x, *middle, w, 1), (x, x, *[s[:2] for s in middle], w, 1), (x, x, *middle, mg.ones(2), 1),
                    (x, x, *middle, None, 3), (x, x, *middle, None, -1)):
            with pytest.raises(RuntimeError, match="shape|dims"):
                run(*bad)
