"""8-bit floats (kernels/float8.py) against their definition: all codes, both ways; and a product end to end."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install 'triton>=3.6,<3.10'", allow_module_level=True)

import minigrad as mg
from minigrad.kernels import float8

ONE = {"e4m3": 0x38, "e5m2": 0x3C}


def finite_codes(format):
    codes = mg.arange(256)
    return codes[float8.numbers_of(codes, format).isfinite()].to(mg.uint8)


def test_numbers_of_the_formats():
    """Table 1 of arXiv 2209.05433."""
    e4m3, e5m2 = (float8.numbers_of(mg.arange(256), f) for f in ("e4m3", "e5m2"))
    assert [e4m3[c].item() for c in (0x7E, 0x08, 0x07, 0x01, 0x38, 0xB8)] == [448.0, 2.0**-6, 0.875 * 2.0**-6, 2.0**-9, 1.0, -1.0]
    assert [e5m2[c].item() for c in (0x7B, 0x04, 0x03, 0x01)] == [57344.0, 2.0**-14, 0.75 * 2.0**-14, 2.0**-16]
    assert [e5m2[c].item() for c in (0x7C, 0xFC)] == [float("inf"), -float("inf")]
    assert e4m3.isnan().nonzero().flatten().tolist() == [0x7F, 0xFF]
    assert e5m2.isnan().sum() == 6


@pytest.mark.parametrize("format", float8.LARGEST)
def test_every_number_is_encoded_as_itself(format):
    codes = finite_codes(format)
    q, scale = float8.to_float8(float8.numbers_of(codes, format).unsqueeze(0), format)
    assert scale.item() == 1.0 and mg.equal(q[0], codes)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("format", float8.LARGEST)
def test_every_number_times_one(format, native):
    codes = finite_codes(format)
    x, one = mg.zeros(len(codes), 16, dtype=mg.uint8), mg.zeros(1, 16, dtype=mg.uint8)
    x[:, 0], one[0, 0] = codes, ONE[format]
    y = float8.float8_linear(x, mg.ones(len(codes)), one, mg.ones(1), mg.ones(1), format, native)
    assert mg.equal(y[:, 0], float8.numbers_of(codes, format))


@pytest.mark.parametrize("format", float8.LARGEST)
def test_product_of_quantised_matrices(format):
    generator = mg.Generator().manual_seed(0)
    x, weight = mg.randn(40, 200, generator=generator), mg.randn(24, 200, generator=generator)
    y = float8.float8_linear(*float8.to_float8(x, format), *float8.to_float8(weight, format), mg.ones(1), format)
    truth = x.double() @ weight.double().mT
    step = 2.0 ** -(float8.MANTISSA[format] + 1)  # the largest relative error of one number
    assert (y - truth).norm() < 1.5 * step * truth.norm()
