"""Fourier transforms on the device: every kind of length (powers of two, mixed factors, large primes), several dims, real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree, gradients

import minigrad as mg


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 12, 31, 37, 49, 60, 64, 74, 97])
@pytest.mark.parametrize("dtype", [mg.complex64, mg.complex128], ids=str)
def test_lengths(n: int, dtype: Any) -> None:
    rng = np.random.default_rng(n)
    x = rng.standard_normal((2, n, 3)) + 1j * rng.standard_normal((2, n, 3))

    def compute(put: Any) -> list[mg.Tensor]:
        t = put(x, dtype)
        return [mg.fft.fft(t, dim=1), mg.fft.ifft(t, dim=1), mg.fft.fft(t.transpose(1, 2)), mg.fft.rfft(t.real.contiguous(), dim=1)]

    agree(compute)


@pytest.mark.parametrize("n", [6, 7])
def test_several_dims_and_real_output(n: int) -> None:
    x = np.random.default_rng(n).standard_normal((3, 4, n))

    def compute(put: Any) -> list[mg.Tensor]:
        t = put(x, mg.float64)
        half = mg.fft.rfftn(t, dim=(1, 2))
        whole = mg.fft.fftn(t, dim=(0, 2), norm="ortho")
        return [half, whole, mg.fft.irfftn(half, s=(4, n), dim=(1, 2)), mg.fft.hfft(whole, n=n), mg.fft.rfft(t[:0])]

    agree(compute)


def test_gradients() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6))

    def compute(put: Any) -> list[mg.Tensor]:
        leaf = put(x, mg.float64, True)
        return gradients(mg.fft.irfft(mg.fft.rfft(leaf) * 2), [leaf])

    agree(compute)
