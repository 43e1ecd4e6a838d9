"""Instance normalisation layers (Ulyanov et al., arXiv 1607.08022)."""

from __future__ import annotations

import warnings
from typing import Any

import minigrad as mg

from .. import functional as F
from .batchnorm import _LazyNormBase, _NormBase

__all__ = [
    "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d",
]  # fmt: skip


class _InstanceNorm(_NormBase):
    _spatial = 0

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _check_input_dim(self, input: mg.Tensor) -> None:
        low, high = self._spatial + 1, self._spatial + 2
        if input.dim() not in (low, high):
            raise ValueError(f"expected {low}D or {high}D input (got {input.dim()}D input)")

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Normalise each channel of each sample."""
        self._check_input_dim(input)
        feature_dim = input.dim() - self._spatial - 1
        if input.shape[feature_dim] != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={feature_dim} to match num_features ({self.num_features}), "
                    f"but got: {input.shape[feature_dim]}."
                )
            warnings.warn(
                f"input's size at dim={feature_dim} does not match num_features. "
                "You can silence this warning by not passing in num_features, which is not used because affine=False",
                stacklevel=2,
            )
        batched = feature_dim == 1
        result = F.instance_norm(
            input if batched else input.unsqueeze(0),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum if self.momentum is not None else 0.0,
            self.eps,
        )
        return result if batched else result.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L); no parameters and no running statistics by default."""

    _spatial = 1


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of (N, C, H, W) or (C, H, W)."""

    _spatial = 2


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W)."""

    _spatial = 3


def _lazy(layer: type[_InstanceNorm]) -> type[_InstanceNorm]:
    """The lazy twin of an instance normalisation layer."""
    name = f"Lazy{layer.__name__}"
    doc = f"A {layer.__name__} that takes num_features from the second dimension of its first input."
    members = {"cls_to_become": layer, "__doc__": doc, "__module__": __name__, "__qualname__": name}
    members |= {"_check_input_dim": layer._check_input_dim, "_spatial": layer._spatial}
    return type(name, (_LazyNormBase, _InstanceNorm), members)


LazyInstanceNorm1d, LazyInstanceNorm2d, LazyInstanceNorm3d = (
    _lazy(c) for c in (InstanceNorm1d, InstanceNorm2d, InstanceNorm3d)
)
