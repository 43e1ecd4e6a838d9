"""Fourier transforms, the short-time transform and window functions."""

from . import fft, frequencies, stft, windows  # noqa: F401  each declares its ops
