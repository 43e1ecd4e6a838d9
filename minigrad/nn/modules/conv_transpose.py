"""Transposed convolution layers: the gradient of a convolution with respect to its input, used as a layer."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from .. import functional as F
from .conv import _ConvNd
from .utils import _ntuple

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _ConvTransposeNd(_ConvNd):
    _dims = 0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        several = _ntuple(self._dims, "several")
        super().__init__(
            in_channels,
            out_channels,
            several(kernel_size),
            several(stride),
            several(padding),
            several(dilation),
            True,
            several(output_padding),
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _output_padding(self, input: mg.Tensor, output_size: Any) -> tuple[int, ...]:
        """What to add at the end of each dimension so that the result has `output_size`."""
        if output_size is None:
            return self.output_padding
        dims = len(self.kernel_size)
        wanted = list(output_size)[-dims:]
        if len(wanted) != dims:
            raise ValueError(
                f"ConvTranspose{dims}D: for {input.dim()}D input, output_size must have {dims} or {input.dim()} elements "
                f"(got {len(output_size)})"
            )
        least = []
        for i in range(dims):
            span = self.dilation[i] * (self.kernel_size[i] - 1) + 1
            least.append((input.shape[i - dims] - 1) * self.stride[i] - 2 * self.padding[i] + span)
        most = [low + self.stride[i] - 1 for i, low in enumerate(least)]
        if not all(low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most} "
                f"(for an input of {input.shape[2:]})"
            )
        return tuple(size - low for low, size in zip(least, wanted, strict=True))

    def forward(self, input: mg.Tensor, output_size: Any = None) -> mg.Tensor:
        """Apply to `input`; `output_size` picks among the possible sizes."""
        extra = self._output_padding(input, output_size)
        transposed = getattr(F, f"conv_transpose{self._dims}d")
        return transposed(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed 1-D convolution of (N, C, L) or (C, L); arguments as in ConvTranspose2d."""

    _dims = 1


class ConvTranspose2d(_ConvTransposeNd):
    """Transposed 2-D convolution of (N, C, H, W) or (C, H, W).

    Args:
        in_channels, out_channels: channel counts, both divisible by `groups`.
        kernel_size, stride, padding, dilation: of the convolution this is the transpose of.
        output_padding: rows and columns added at the bottom and right of the result.
        groups, bias: as in Conv2d.
    """

    _dims = 2


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed 3-D convolution of (N, C, D, H, W) or (C, D, H, W); arguments as in ConvTranspose2d."""

    _dims = 3
