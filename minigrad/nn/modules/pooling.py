"""Pooling layers over (N, C, L), (N, C, H, W), (N, C, D, H, W), or the same without N.

Each base holds the arguments and calls the function of its kind; the classes below name kind and number of dimensions.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg

from .. import functional as F
from .module import Module
from .utils import _ntuple, _single

_SHAPES = {1: "a sequence", 2: "an image", 3: "a volume"}


class _PoolNd(Module):
    _dims = 0
    _kind = ""

    def _function(self) -> Any:
        return getattr(F, f"{self._kind}{self._dims}d")


class _MaxPoolNd(_PoolNd):
    __constants__ = ["kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"]
    _kind = "max_pool"

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: mg.Tensor) -> Any:
        """Pool `input`."""
        return self._function()(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        """The window."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class _AvgPoolNd(_PoolNd):
    __constants__ = ["kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"]
    _kind = "avg_pool"

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        each = _single if self._dims == 1 else lambda v: v
        self.kernel_size = each(kernel_size)
        self.stride = each(stride if stride is not None else kernel_size)
        self.padding = each(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Pool `input`."""
        rest = (self.ceil_mode, self.count_include_pad, self.divisor_override)
        return self._function()(input, self.kernel_size, self.stride, self.padding, *rest)

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPoolNd):
    """Mean of each window of a sequence; `stride` defaults to `kernel_size`. As PyTorch's without divisor_override."""

    _dims = 1
    __constants__ = ["kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"]

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)


class _LPPoolNd(_PoolNd):
    __constants__ = ["norm_type", "kernel_size", "stride", "ceil_mode"]
    _kind = "lp_pool"

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Pool `input`."""
        return self._function()(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        """The norm and the window."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class _MaxUnpoolNd(_PoolNd):
    _kind = "max_unpool"

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        each = _ntuple(self._dims, "each")
        self.kernel_size = each(kernel_size)
        self.stride = each(stride if stride is not None else kernel_size)
        self.padding = each(padding)

    def forward(self, input: mg.Tensor, indices: mg.Tensor, output_size: Any = None) -> mg.Tensor:
        """Put the values of `input` back to where max pooling took them from."""
        return self._function()(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _FractionalMaxPoolNd(_PoolNd):
    __constants__ = ["kernel_size", "return_indices", "output_size", "output_ratio"]
    _kind = "fractional_max_pool"

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: mg.Tensor | None = None,
    ) -> None:
        super().__init__()
        each = _ntuple(self._dims, "each")
        if output_size is None and output_ratio is None:
            raise ValueError(f"{type(self).__name__} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        self.kernel_size = each(kernel_size)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = each(output_size) if output_size is not None else None
        self.output_ratio = each(output_ratio) if output_ratio is not None else None
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: mg.Tensor) -> Any:
        """Pool `input`."""
        return self._function()(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples
        )


class _AdaptiveAvgPoolNd(_PoolNd):
    __constants__ = ["output_size"]
    _kind = "adaptive_avg_pool"

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Pool `input`."""
        return self._function()(input, self.output_size)

    def extra_repr(self) -> str:
        """The output size."""
        return f"output_size={self.output_size}"


class _AdaptiveMaxPoolNd(_AdaptiveAvgPoolNd):
    __constants__ = ["output_size", "return_indices"]
    _kind = "adaptive_max_pool"

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: mg.Tensor) -> Any:
        """Pool `input`."""
        return self._function()(input, self.output_size, self.return_indices)


_KINDS = {
    "AdaptiveAvgPool": (_AdaptiveAvgPoolNd, (1, 2, 3), "Mean of windows that tile {} into `output_size`; None keeps a side."),
    "AdaptiveMaxPool": (_AdaptiveMaxPoolNd, (1, 2, 3), "Largest value of windows that tile {} into `output_size`."),
    "AvgPool": (_AvgPoolNd, (2, 3), "Mean of each window of {}; `stride` defaults to `kernel_size`, padding counts as zeros."),
    "FractionalMaxPool": (_FractionalMaxPoolNd, (2, 3), "Largest value of windows of {} at random distances (arXiv:1412.6071)."),
    "LPPool": (_LPPoolNd, (1, 2, 3), "p-norm of each window of {}; `stride` defaults to `kernel_size`."),
    "MaxPool": (_MaxPoolNd, (1, 2, 3), "Largest value of each window of {}; `stride` defaults to `kernel_size`."),
    "MaxUnpool": (_MaxUnpoolNd, (1, 2, 3), "Partial inverse of max pooling {}: zeros but for the maxima."),
}  # fmt: skip
__all__ = ["AvgPool1d"]
for _kind, (_base, _all_dims, _what) in _KINDS.items():
    for _dims in _all_dims:
        _name = f"{_kind}{_dims}d"
        globals()[_name] = type(
            _name, (_base,), {"__doc__": _what.format(_SHAPES[_dims]), "__module__": __name__, "_dims": _dims}
        )
        __all__.append(_name)
