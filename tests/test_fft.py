"""Fourier transforms: values of every kind of length against NumPy, laws by hypothesis, gradients, errors; stft, istft and windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from by_device import fewer
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.autograd import gradcheck, gradgradcheck

RNG = np.random.default_rng(0)
TOL = {"float64": 2e-15, "float32": 1e-6}
# every radix, mixed, primes (Bluestein above 61), split (>= 128 for few signals), odd and even for the real transforms
LENGTHS = [*range(1, 40), 49, 61, 64, 67, 77, 121, 127, 128, 131, 143, 169, 210, 243, 255, 256, 257, 360, 512, 521, 1000, 1009, 1024,
           1331, 2048, 2187, 4096, 5040, 10007, 16384, 30030, 65536, 65537]  # fmt: skip


def signal(*shape, dtype="float64", complex=True):
    x = RNG.normal(size=shape)
    x = x + 1j * RNG.normal(size=shape) if complex else x
    return x.astype({"float64": "c16", "float32": "c8"}[dtype] if complex else dtype)


def check(got, want, tol):
    got = got.numpy()
    assert got.shape == want.shape, f"{got.shape} and {want.shape}"
    error = np.linalg.norm((got - want).ravel()) / max(np.linalg.norm(want.ravel()), 1e-300)
    assert error <= tol * max(1.0, math.log2(max(want.shape[-1:] + (2,)))), f"relative error {error:.2e}"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", LENGTHS)
def test_every_length_against_numpy(n, dtype):
    wide = [(n,), (3, n)] + ([(21, n)] if n < 300 else [])
    for shape in wide:
        z, x, half = signal(*shape, dtype=dtype), signal(*shape, dtype=dtype, complex=False), signal(*shape[:-1], n // 2 + 1, dtype=dtype)
        for name in ("fft", "ifft"):
            check(getattr(mg.fft, name)(mg.from_numpy(z)), getattr(np.fft, name)(z.astype("c16")), TOL[dtype])
            check(getattr(mg.fft, name)(mg.from_numpy(x)), getattr(np.fft, name)(x.astype("f8")), TOL[dtype])
        for name in ("rfft", "ihfft"):
            check(getattr(mg.fft, name)(mg.from_numpy(x)), getattr(np.fft, name)(x.astype("f8")), TOL[dtype])
        for name in ("irfft", "hfft"):
            check(getattr(mg.fft, name)(mg.from_numpy(half), n), getattr(np.fft, name)(half.astype("c16"), n), TOL[dtype])


@pytest.mark.parametrize("n", [257 * 255, 2 * 257 * 255, 67 * 64])
def test_only_the_large_prime_factor_pays_for_the_convolution(n):
    """Bluestein's convolution of the whole length loses 2.9e-7 of 65535 points; PyTorch 2.6e-7."""
    x = signal(n, dtype="float32")
    wide = x.astype("c16")
    for got, want in (
        (mg.fft.fft(mg.tensor(x)), np.fft.fft(wide)),
        (mg.fft.irfft(mg.tensor(x[: n // 2 + 1]), n), np.fft.irfft(wide[: n // 2 + 1], n)),
    ):
        assert np.linalg.norm(got.numpy() - want) <= 2.6e-7 * np.linalg.norm(want)


@pytest.mark.parametrize("norm", [None, "backward", "ortho", "forward"])
def test_norms_lengths_and_dims(norm):
    x = signal(4, 5, 6)
    t = mg.from_numpy(x)
    for n in (1, 4, 6, 9):
        for dim in (0, 1, -1):
            for name in ("fft", "ifft", "irfft", "hfft"):
                check(getattr(mg.fft, name)(t, n, dim, norm), getattr(np.fft, name)(x, n, dim, norm), 1e-14)
            for name in ("rfft", "ihfft"):
                check(getattr(mg.fft, name)(t.real, n, dim, norm), getattr(np.fft, name)(x.real, n, dim, norm), 1e-14)
    for s, dim in (((3, 7), (0, 2)), ((5,), (1,)), ((4, 5, 6), (2, 0, 1)), (None, (1, 0))):
        for name in ("fftn", "ifftn", "irfftn"):
            check(getattr(mg.fft, name)(t, s, dim, norm), getattr(np.fft, name)(x, s, dim, norm), 1e-14)
        check(mg.fft.rfftn(t.real, s, dim, norm), np.fft.rfftn(x.real, s, dim, norm), 1e-14)


def test_strided_views_and_outputs():
    x = signal(6, 7, 8)
    t = mg.from_numpy(x)
    for view, same in ((t.permute(2, 0, 1), x.transpose(2, 0, 1)), (t[1::2, :, ::3], x[1::2, :, ::3]),
                       (t[:, :1].expand(6, 5, 8), np.broadcast_to(x[:, :1], (6, 5, 8)))):  # fmt: skip
        for dim in (0, 1, 2):
            check(mg.fft.fft(view, dim=dim), np.fft.fft(same, axis=dim), 1e-14)
            check(mg.fft.rfft(view.real, dim=dim), np.fft.rfft(same.real, axis=dim), 1e-14)
        check(mg.fft.fftn(view), np.fft.fftn(same), 1e-14)
    out = mg.zeros(6, 7, 16, dtype=mg.complex128)[..., ::2]
    assert mg.fft.fft(t, out=out) is out
    check(out, np.fft.fft(x), 1e-14)


def test_empty_batches_integers_and_default_dtype():
    assert mg.fft.fft(mg.zeros(0, 4)).shape == (0, 4)
    assert mg.fft.rfft(mg.zeros(0, 5)).shape == (0, 3)
    assert mg.fft.irfft(mg.zeros(0, 3)).shape == (0, 4)
    assert mg.fft.fft(mg.arange(4)).dtype == mg.complex64
    assert mg.fft.rfft(mg.tensor([True, False])).dtype == mg.complex64
    assert mg.fft.irfft(mg.zeros(3, dtype=mg.float64)).dtype == mg.float64
    assert mg.fft.fftn(mg.zeros(2, 3), dim=()).dtype == mg.complex64


# --- laws ---------------------------------------------------------------------------------------------------------------
@settings(max_examples=fewer(60, 10), deadline=None)
@given(st.integers(1, 300), st.integers(1, 4))
def test_parseval_round_trip_and_shift(n, rows):
    x = mg.from_numpy(signal(rows, n))
    spectrum = mg.fft.fft(x)
    energy = float((x.abs() ** 2).sum())
    assert abs(float((spectrum.abs() ** 2).sum()) / n - energy) <= 1e-12 * energy
    assert float((mg.fft.ifft(spectrum) - x).abs().max()) < 1e-13
    assert float((mg.fft.fft(x, norm="ortho") * math.sqrt(n) - spectrum).abs().max()) < 1e-11
    # a rotation by one multiplies bin k by exp(-2 pi i k / n)
    turn = mg.from_numpy(np.exp(-2j * np.pi * np.arange(n) / n))
    assert float((mg.fft.fft(x.roll(1, -1)) - spectrum * turn).abs().max()) < 1e-11
    real = x.real
    assert float((mg.fft.irfft(mg.fft.rfft(real), n) - real).abs().max()) < 1e-13
    assert float((mg.fft.hfft(mg.fft.ihfft(real), n) - real).abs().max()) < 1e-13


@settings(max_examples=fewer(30, 10), deadline=None)
@given(st.integers(1, 200))
def test_convolution_theorem(n):
    a, b = RNG.normal(size=n), RNG.normal(size=n)
    m = 2 * n - 1
    got = mg.fft.irfft(mg.fft.rfft(mg.from_numpy(a), m) * mg.fft.rfft(mg.from_numpy(b), m), m)
    assert np.abs(got.numpy() - np.convolve(a, b)).max() < 1e-11


def test_results_do_not_depend_on_threads_or_neighbours():
    x = mg.from_numpy(signal(40, 360, dtype="float32"))
    whole = mg.fft.fft(x)
    threads = mg.get_num_threads()
    try:
        mg.set_num_threads(1)
        assert (mg.fft.fft(x) == whole).all()
    finally:
        mg.set_num_threads(threads)
    assert (mg.fft.fft(x[16:40]) == whole[16:40]).all()


# --- gradients ----------------------------------------------------------------------------------------------------------
def leaf(*shape, complex=True):
    return mg.from_numpy(signal(*shape, complex=complex)).requires_grad_()


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_gradients(n):
    for f in (mg.fft.fft, lambda t: mg.fft.ifft(t, norm="ortho"), lambda t: mg.fft.irfft(t, n),
              lambda t: mg.fft.hfft(t, n + 1)):  # fmt: skip
        z = leaf(2, n)
        assert gradcheck(f, (z,)) and gradgradcheck(f, (z,))
    for f in (mg.fft.rfft, mg.fft.fft, lambda t: mg.fft.ihfft(t, n + 2), lambda t: mg.fft.ifft(t, norm="forward")):
        x = leaf(2, n, complex=False)
        assert gradcheck(f, (x,)) and gradgradcheck(f, (x,))


def test_gradients_over_several_dims():
    for f in (mg.fft.fftn, mg.fft.irfft2, lambda t: mg.fft.hfftn(t, (2, 4)), lambda t: mg.fft.ifftn(t, dim=(1, 0))):
        z = leaf(3, 3)
        assert gradcheck(f, (z,)) and gradgradcheck(f, (z,))
    for f in (mg.fft.rfftn, mg.fft.ihfft2, lambda t: mg.fft.rfft2(t, dim=(1, 0)), mg.fft.fft2):
        x = leaf(3, 4, complex=False)
        assert gradcheck(f, (x,)) and gradgradcheck(f, (x,))


# --- errors -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda x: mg.fft.fft(x, norm="x"), RuntimeError, "Invalid normalization mode"),
        (lambda x: mg.fft.fft(x, 0), RuntimeError, r"Invalid number of data points \(0\)"),
        (lambda x: mg.fft.fft(x, dim=2), IndexError, "out of range"),
        (lambda x: mg.fft.fft(mg.tensor(1.0)), IndexError, "no dimensions"),
        (lambda x: mg.fft.fft(mg.zeros(3, 0)), RuntimeError, "Invalid number of data points"),
        (lambda x: mg.fft.irfft(x[:, :1]), RuntimeError, "Invalid number of data points"),
        (lambda x: mg.fft.rfft(x.to(mg.complex64)), RuntimeError, "expects a real input"),
        (lambda x: mg.fft.ihfft(x.to(mg.complex64)), RuntimeError, "expects a real input"),
        (lambda x: mg.fft.fftn(x, dim=(0, 0)), RuntimeError, "unique"),
        (lambda x: mg.fft.fftn(x, (2,), (0, 1)), RuntimeError, "same length"),
        (lambda x: mg.fft.fftn(x, (2, 2, 2)), RuntimeError, "only has 2 dimensions"),
        (lambda x: mg.fft.rfftn(x, dim=()), RuntimeError, "at least one axis"),
        (lambda x: mg.fft.irfftn(x, dim=()), RuntimeError, "at least one axis"),
        (lambda x: mg.fft.fft(x.half()), RuntimeError, "Unsupported dtype"),
        (lambda x: mg.fft.fft(3), TypeError, "must be a Tensor"),
        (lambda x: mg.fft.fftfreq(4, dtype=mg.int64), RuntimeError, "floating point or complex"),
        (lambda x: mg.fft.fftshift(x, 5), IndexError, "out of range"),
        (lambda x: mg.stft(x, 2), RuntimeError, "return_complex"),
        (lambda x: mg.stft(x[0], 9, center=False, return_complex=True), RuntimeError, "n_fft"),
        (lambda x: mg.stft(x, 2, 0, return_complex=True), RuntimeError, "hop_length > 0"),
        (lambda x: mg.stft(x, 2, 1, window=mg.ones(3), return_complex=True), RuntimeError, "1D window"),
        (lambda x: mg.istft(x, 2), RuntimeError, "complex-valued"),
        (lambda x: mg.istft(x.to(mg.complex64), 7), RuntimeError, "frequency dimension"),
        (lambda x: mg.istft(mg.zeros(3, 4, dtype=mg.complex64), 4, window=mg.zeros(4)), RuntimeError, "overlap add"),
        (lambda x: mg.signal.windows.hann(-1), ValueError, "non-negative"),
        (lambda x: mg.signal.windows.hann(3, dtype=mg.float16), ValueError, "float32 or float64"),
        (lambda x: mg.signal.windows.kaiser(3, beta=-1.0), ValueError, "beta"),
        (lambda x: mg.hann_window(-1), RuntimeError, "non-negative"),
        (lambda x: mg.kaiser_window(3, False, 1.0, 2), TypeError, "at most"),
    ],
)
def test_errors(call, kind, text):
    with pytest.raises(kind, match=text):
        call(mg.arange(8.0).reshape(2, 4))


# --- helpers, stft, windows ------------------------------------------------------------------------------------------------
def test_frequencies_and_shifts():
    for n in (1, 2, 5, 8):
        np.testing.assert_allclose(mg.fft.fftfreq(n, 0.3).numpy(), np.fft.fftfreq(n, 0.3), rtol=1e-6)
        np.testing.assert_allclose(mg.fft.rfftfreq(n, 0.3, dtype=mg.float64).numpy(), np.fft.rfftfreq(n, 0.3), rtol=1e-15)
    x = mg.arange(30).reshape(5, 6)
    assert (mg.fft.ifftshift(mg.fft.fftshift(x)) == x).all() and mg.fft.fftfreq(0).shape == (0,)


@settings(max_examples=fewer(40, 10), deadline=None)
@given(st.integers(2, 24), st.integers(1, 12), st.integers(0, 30), st.booleans(), st.booleans())
def test_istft_inverts_stft(n_fft, hop, more, normalized, batch):
    hop = min(hop, max(1, n_fft // 2))
    length = n_fft + more
    x = mg.from_numpy(RNG.normal(size=(2, length) if batch else length))
    window = mg.signal.windows.hamming(n_fft, sym=False, dtype=mg.float64)
    spectrum = mg.stft(x, n_fft, hop, window=window, normalized=normalized, return_complex=True)
    back = mg.istft(spectrum, n_fft, hop, window=window, normalized=normalized)
    assert float((back - x[..., : back.shape[-1]]).abs().max()) < 1e-10


def test_stft_and_istft_gradients():
    x, window = leaf(2, 12, complex=False), mg.signal.windows.hann(4, sym=False, dtype=mg.float64).requires_grad_()
    assert gradcheck(lambda t, w: mg.stft(t, 4, 2, window=w, return_complex=True), (x, window))
    z = leaf(3, 4)
    assert gradcheck(lambda t: mg.istft(t, 4, 2, window=mg.ones(4, dtype=mg.float64)), (z,))


class TestAgainstTorch:
    torch = None

    @pytest.fixture(autouse=True)
    def _torch(self):
        type(self).torch = pytest.importorskip("torch", reason="PyTorch is the reference of these tests")

    def test_n_dimensional_hermitian(self):
        z = signal(3, 4, 5)
        for name in ("hfft2", "hfftn", "irfft2", "irfftn"):
            for kwargs in ({}, {"norm": "ortho"}, {"s": (3, 6)}, {"dim": (2, 0)}):
                want = getattr(self.torch.fft, name)(self.torch.from_numpy(z), **kwargs).numpy()
                check(getattr(mg.fft, name)(mg.from_numpy(z), **kwargs), want, 1e-14)
        for name in ("ihfft2", "ihfftn"):
            for kwargs in ({}, {"norm": "forward"}, {"s": (3, 6)}, {"dim": (2, 0)}):
                want = getattr(self.torch.fft, name)(self.torch.from_numpy(z.real.copy()), **kwargs).numpy()
                check(getattr(mg.fft, name)(mg.from_numpy(z.real.copy()), **kwargs), want, 1e-14)

    def test_stft(self):
        for n, kwargs in ((20, {"n_fft": 6}), (31, {"n_fft": 8, "hop_length": 3, "win_length": 5, "center": False}),
                          (16, {"n_fft": 7, "normalized": True, "onesided": False, "pad_mode": "constant"})):  # fmt: skip
            x, w = RNG.normal(size=(2, n)), RNG.uniform(0.5, 1, kwargs.get("win_length", kwargs["n_fft"]))
            got = mg.stft(mg.from_numpy(x), window=mg.from_numpy(w), return_complex=True, **kwargs)
            want = self.torch.stft(self.torch.from_numpy(x), window=self.torch.from_numpy(w), return_complex=True, **kwargs)
            check(got, want.numpy(), 1e-14)
            kwargs.pop("pad_mode", None)
            if not kwargs.get("center", True):
                continue  # the short window leaves the first points uncovered: an error in both
            for length in (None, n - 4, n + 5):
                back = mg.istft(got, window=mg.from_numpy(w), length=length, **kwargs)
                check(back, self.torch.istft(want, window=self.torch.from_numpy(w), length=length, **kwargs).numpy(), 1e-13)

    @pytest.mark.parametrize("sym", [True, False])
    def test_windows(self, sym):
        torch_windows = self.torch.signal.windows
        extra = {"general_cosine": {"a": [0.3, 0.5, 0.2]}, "general_hamming": {"alpha": 0.7}, "kaiser": {"beta": 5.0},
                 "gaussian": {"std": 2.5}, "exponential": {"tau": 3.0}}  # fmt: skip
        for name in mg.signal.windows.__all__:
            for M in (0, 1, 2, 5, 12):
                kwargs = {"sym": sym, **extra.get(name, {})}
                got = getattr(mg.signal.windows, name)(M, dtype=mg.float64, **kwargs).numpy()
                np.testing.assert_allclose(got, getattr(torch_windows, name)(M, dtype=self.torch.float64, **kwargs).numpy(), atol=1e-14)

    def test_old_windows(self):
        for name, args in (("hann_window", ()), ("hamming_window", (0.6, 0.3)), ("blackman_window", ()), ("bartlett_window", ()),
                           ("kaiser_window", (4.0,))):  # fmt: skip
            for n in (0, 1, 2, 7):
                for periodic in (True, False):
                    got = getattr(mg, name)(n, periodic, *args, dtype=mg.float64).numpy()
                    want = getattr(self.torch, name)(n, periodic, *args, dtype=self.torch.float64).numpy()
                    np.testing.assert_allclose(got, want, atol=1e-14)
