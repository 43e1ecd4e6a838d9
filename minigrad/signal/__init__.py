"""`minigrad.signal`: window functions under PyTorch's names."""

from minigrad.signal import windows

__all__ = ["windows"]
