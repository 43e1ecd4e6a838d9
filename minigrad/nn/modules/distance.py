"""CosineSimilarity and PairwiseDistance."""

from __future__ import annotations

import minigrad as mg

from .. import functional as F
from .module import Module

__all__ = ["CosineSimilarity", "PairwiseDistance"]


class PairwiseDistance(Module):
    """‖x1 - x2 + eps‖_p along the last dimension."""

    __constants__ = ["norm", "eps", "keepdim"]

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: mg.Tensor, x2: mg.Tensor) -> mg.Tensor:
        """Distance of the rows."""
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    """Cosine of the angle along `dim`."""

    __constants__ = ["dim", "eps"]

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: mg.Tensor, x2: mg.Tensor) -> mg.Tensor:
        """Cosine of the pairs."""
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
