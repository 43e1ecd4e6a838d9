"""`minigrad.fft`: discrete Fourier transforms under PyTorch's names.

The transforms are declared in minigrad/ops/spectral/fft.py, the helpers around them in minigrad/ops/spectral/frequencies.py.
"""

from minigrad.op import known_as as _known_as
from minigrad.op import namespaces as _namespaces

globals().update(_namespaces["fft"])
_known_as(__name__, _namespaces["fft"])
__all__ = sorted(_namespaces["fft"])
