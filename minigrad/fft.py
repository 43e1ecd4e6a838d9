"""`minigrad.fft`: discrete Fourier transforms under PyTorch's names.

The transforms are declared in minigrad/ops/spectral/fft.py, the helpers around them in minigrad/ops/spectral/frequencies.py.
"""

from minigrad.op import namespaces as _namespaces

globals().update(_namespaces["fft"])
__all__ = sorted(_namespaces["fft"])
