"""Short-time Fourier transform and its inverse by overlap-add. Composites of unfold, the transforms of fft.py and products."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.shared.check import expect_tensors

_NO_REF = "NumPy has none; tests/test_fft.py compares with PyTorch and checks that istft inverts stft"


def _expect(ok: bool, name: str, text: str) -> None:
    if not ok:
        raise RuntimeError(f"{name}: {text}")


def _lengths(name: str, n_fft: int, hop_length: int | None, win_length: int | None) -> tuple[int, int]:
    for argument, value in (("n_fft", n_fft), ("hop_length", hop_length), ("win_length", win_length)):
        if not isinstance(value, int) and not (value is None and argument != "n_fft"):
            raise TypeError(f"{name}: {argument} must be an int: got {type(value).__name__}")
    return (n_fft // 4 if hop_length is None else hop_length), (n_fft if win_length is None else win_length)


def _centred(window: mg.Tensor, n_fft: int) -> mg.Tensor:
    """The window with zeros on both sides up to n_fft points."""
    missing = n_fft - window.shape[0]
    if missing == 0:
        return window
    left = missing // 2
    sides = [mg.zeros(k, dtype=window.dtype, device=window.device) for k in (left, missing - left)]
    return mg.cat([sides[0], window, sides[1]])


def _padded(input: mg.Tensor, n_fft: int, pad_mode: str) -> mg.Tensor:
    """n_fft // 2 more points on both sides."""
    pad = [n_fft // 2, n_fft // 2]
    extended = input.reshape([1] * (3 - len(input.shape)) + list(input.shape))
    if input.dtype.is_complex:
        parts = [mg.nn.functional.pad(part, pad, pad_mode) for part in (mg.real(extended), mg.imag(extended))]
        extended = mg.complex(*parts)
    else:
        extended = mg.nn.functional.pad(extended, pad, pad_mode)
    return extended.reshape(extended.shape[-len(input.shape) :])


def _samples(s: Any) -> list[Any]:
    return [s(s.f(20), 8, return_complex=True), s(s.f(2, 20), 8, 3, window=s.f(8), return_complex=True),
            s(s.f(2, 16), 7, 4, 5, s.f(5), center=False, normalized=True, onesided=False, return_complex=True)]  # fmt: skip


@composite(samples=_samples, no_ref_reason=_NO_REF)
def stft(input: mg.Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
         window: mg.Tensor | None = None, center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
         onesided: bool | None = None, return_complex: bool | None = None,
         align_to_window: bool | None = None) -> mg.Tensor:  # fmt: skip
    """Short-time Fourier transform: the spectra of overlapping windowed pieces.

    Args:
        input: (L,) or (B, L), floating or complex.
        n_fft: points of each transform.
        hop_length: distance between pieces; default n_fft // 4.
        win_length: length of the window, at most n_fft; default n_fft.
        window: 1-d tensor of win_length points; default ones.
        center: pad n_fft // 2 points on both sides, so that piece t is centred at t * hop_length.
        pad_mode: how, see nn.functional.pad.
        normalized: scale by 1 / sqrt(n_fft).
        onesided: keep n_fft // 2 + 1 frequencies; default for real input and window.
        return_complex: required for real input; False gives (…, 2) real parts.
        align_to_window: only None and False are supported, and only without center.
    Returns:
        ([B,] frequencies, pieces), complex.
    Raises:
        RuntimeError for lengths, shapes and dtypes that do not fit.
    Gradient:
        that of its parts.
    Source:
        Allen and Rabiner, Proc. IEEE 65 (1977).
    Example:
        >>> mg.stft(mg.ones(8), 4, center=False, return_complex=True).shape
        minigrad.Size([3, 5])
    """
    expect_tensors("stft", input=input, **({} if window is None else {"window": window}))
    hop, length = _lengths("stft", n_fft, hop_length, win_length)
    complex_out = input.dtype.is_complex or (window is not None and window.dtype.is_complex)
    _expect(not (align_to_window is not None and center), "stft", "align_to_window should only be set when center = false")
    _expect(not align_to_window, "stft", "align_to_window=True is not supported: got True. Try None.")
    _expect(complex_out or return_complex is not None, "stft", "requires the return_complex parameter be given for real inputs. "
            "Try return_complex=True.")
    _expect(input.dtype.is_floating_point or input.dtype.is_complex, "stft",
            f"expected a tensor of floating point or complex values: got {input.dtype}. Try x.float().")
    _expect(1 <= len(input.shape) <= 2, "stft", f"expected a 1D or 2D tensor: got shape {tuple(input.shape)}")
    x = _padded(input, n_fft, pad_mode) if center else input
    x = x.unsqueeze(0) if len(x.shape) == 1 else x
    _expect(0 < n_fft <= x.shape[1], "stft", f"expected 0 < n_fft <= {x.shape[1]}, but got n_fft={n_fft}")
    _expect(hop > 0, "stft", f"expected hop_length > 0, but got hop_length={hop}")
    _expect(0 < length <= n_fft, "stft", f"expected 0 < win_length <= n_fft, but got win_length={length}")
    _expect(window is None or tuple(window.shape) == (length,), "stft",
            f"expected a 1D window tensor of size equal to win_length={length}, but got window with size "
            f"{None if window is None else tuple(window.shape)}")
    if window is None and length < n_fft:
        window = mg.ones(length, dtype=_real_dtype(x), device=x.device)
    frames = x.unfold(1, n_fft, hop)
    frames = frames if window is None else frames * _centred(window, n_fft)
    onesided = not complex_out if onesided is None else onesided
    _expect(not (complex_out and onesided), "stft", "Cannot have onesided output if window or input is complex")
    scale = n_fft**-0.5 if normalized else 1.0
    if frames.dtype.is_complex:
        spectrum = functions["_fft_c2c"](frames, [2], scale, True)
    else:
        spectrum = functions["_fft_r2c"](frames, [2], scale, bool(onesided))
    spectrum = spectrum.transpose(1, 2)
    spectrum = spectrum.squeeze(0) if len(input.shape) == 1 else spectrum
    return spectrum if return_complex or complex_out and return_complex is None else mg.view_as_real(spectrum)


def _real_dtype(x: mg.Tensor) -> Any:
    return mg.float64 if x.dtype in (mg.float64, mg.complex128) else mg.float32


def _overlap_add(frames: mg.Tensor, length: int, n_fft: int, hop: int) -> mg.Tensor:
    """(B, pieces, n_fft) to (B, length): each piece added at its place."""
    if frames.dtype.is_complex:
        return mg.complex(*(_overlap_add(part, length, n_fft, hop) for part in (mg.real(frames), mg.imag(frames))))
    return functions["_unfold_backward"](frames, [frames.shape[0], length], 1, n_fft, hop)


def _istft_checks(input: Any, n_fft: int, hop: int, length: int, window: Any, onesided: bool | None, return_complex: bool) -> bool:
    """Raises, or says whether the spectrum is one-sided."""
    _expect(input.dtype.is_complex, "istft", "requires a complex-valued input tensor matching the output from stft with "
            f"return_complex=True: got {input.dtype}")
    _expect(input.numel() > 0, "istft", "input tensor cannot be empty.")
    _expect(2 <= len(input.shape) <= 3, "istft", f"expected a tensor with 2 or 3 dimensions, but got {len(input.shape)}")
    bins = input.shape[-2]
    onesided = bins != n_fft if onesided is None else bool(onesided)
    _expect(bins == (n_fft // 2 + 1 if onesided else n_fft), "istft",
            f"expected the frequency dimension of the input to match n_fft{' / 2 + 1' if onesided else ''} when "
            f"onesided={onesided}, but got {bins} for n_fft={n_fft}")
    _expect(0 < hop <= length, "istft", f"expected 0 < hop_length <= win_length: got hop_length={hop}, win_length={length}")
    _expect(0 < length <= n_fft, "istft", f"expected 0 < win_length <= n_fft: got win_length={length}, n_fft={n_fft}")
    _expect(window is None or tuple(window.shape) == (length,), "istft",
            f"Invalid window shape. window has to be 1D and length of `win_length`: got "
            f"{None if window is None else tuple(window.shape)} for win_length={length}")
    if return_complex:
        _expect(not onesided, "istft", "Cannot have onesided output if window or input is complex. Try onesided=False.")
    else:
        _expect(window is None or not window.dtype.is_complex, "istft",
                "Complex windows are incompatible with return_complex=False")
    return onesided


def _istft_samples(s: Any) -> list[Any]:
    if s.integer:
        return []
    window = s.f(4, low=0.5, high=1.5)
    return [s(s.complex(3, 5), 4, 2, window=window), s(s.complex(2, 4, 3), 4, 1, normalized=True, onesided=False),
            s(s.complex(3, 4), 4, 1, center=False, length=6, window=window)]  # fmt: skip


@composite(samples=_istft_samples, no_ref_reason=_NO_REF)
def istft(input: mg.Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
          window: mg.Tensor | None = None, center: bool = True, normalized: bool = False, onesided: bool | None = None,
          length: int | None = None, return_complex: bool = False) -> mg.Tensor:  # fmt: skip
    """Inverse of stft by overlap-add: the signal whose transform is nearest in the sense of least squares.

    Args:
        input: ([B,] frequencies, pieces), complex.
        n_fft: points of each transform.
        hop_length: distance between pieces; default n_fft // 4.
        win_length: length of the window; default n_fft.
        window: 1-d tensor of win_length points; default ones.
        center: whether stft padded, so that n_fft // 2 points are cut at both ends.
        normalized: whether stft scaled by 1 / sqrt(n_fft).
        onesided: whether the frequencies are n_fft // 2 + 1; default found from the shape.
        length: number of points of the result; cut, or padded with zeros.
        return_complex: a complex signal, from a two-sided spectrum.
    Returns:
        ([B,] points).
    Raises:
        RuntimeError for shapes that do not fit, and where the squared windows do not cover every point.
    Gradient:
        that of its parts.
    Source:
        Griffin and Lim, IEEE Trans. ASSP 32 (1984), equation 6.
    Example:
        >>> x = mg.arange(8.)
        >>> mg.istft(mg.stft(x, 4, return_complex=True), 4, length=8)
        tensor([0., 1., 2., 3., 4., 5., 6., 7.])
    """
    expect_tensors("istft", input=input, **({} if window is None else {"window": window}))
    hop, win = _lengths("istft", n_fft, hop_length, win_length)
    onesided = _istft_checks(input, n_fft, hop, win, window, onesided, return_complex)
    window = mg.ones(win, dtype=_real_dtype(input), device=input.device) if window is None else window
    window = _centred(window, n_fft)
    x = (input.unsqueeze(0) if len(input.shape) == 2 else input).transpose(1, 2)
    pieces = x.shape[1]
    scale = n_fft**-0.5 if normalized else 1.0 / n_fft
    if return_complex:
        x = functions["_fft_c2c"](x, [2], scale, False)
    else:
        x = functions["_fft_c2r"](x if onesided else x.narrow(2, 0, n_fft // 2 + 1), [2], scale, n_fft)
    whole = n_fft + hop * (pieces - 1)
    y = _overlap_add(x * window, whole, n_fft, hop)
    envelope = _overlap_add((window * window).expand(1, pieces, n_fft), whole, n_fft, hop)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else whole - start
    cut = max(0, min(end, whole) - start)
    y, envelope = y.narrow(1, start, cut), envelope.narrow(1, start, cut)
    _expect(cut == 0 or y.is_meta or float(mg.op.all_values(mg.abs(envelope)).min()) > 1e-11, "istft", "window overlap add min: 1: the windows leave points uncovered")
    y = y / envelope
    if end > whole:
        y = mg.cat([y, mg.zeros([y.shape[0], end - whole], dtype=y.dtype, device=y.device)], 1)
    return y.squeeze(0) if len(input.shape) == 2 else y
