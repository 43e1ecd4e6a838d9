"""Elementwise activation layers with at most one option."""

from __future__ import annotations

import minigrad as mg

from .. import functional as F
from .module import Module


class _MaybeInplace(Module):
    __constants__ = ["inplace"]

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        """Whether it overwrites its input."""
        return "inplace=True" if self.inplace else ""


class ReLU(_MaybeInplace):
    """max(0, x)."""

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return F.relu(input, self.inplace)


class SiLU(_MaybeInplace):
    """x sigmoid(x), also called swish."""

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return F.silu(input, self.inplace)


class Mish(_MaybeInplace):
    """x tanh(softplus(x)) (Misra, arXiv 1908.08681)."""

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return F.mish(input, self.inplace)


class SELU(_MaybeInplace):
    """Scaled ELU with self-normalising constants (arXiv 1706.02515)."""

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return F.selu(input, self.inplace)


class _HiddenInplace(_MaybeInplace):
    def extra_repr(self) -> str:
        """Nothing: torch's repr of these layers is bare."""
        return ""


class Hardsigmoid(_HiddenInplace):
    """relu6(x + 3) / 6."""

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return F.hardsigmoid(input, self.inplace)


class Hardswish(_HiddenInplace):
    """x relu6(x + 3) / 6 (Howard et al., arXiv 1905.02244)."""

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return F.hardswish(input, self.inplace)


class ELU(Module):
    """x where x > 0, else alpha (exp(x) - 1)."""

    __constants__ = ["alpha", "inplace"]

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class GELU(Module):
    """x Φ(x); approximate "none" (erf) or "tanh" (Hendrycks and Gimpel, arXiv 1606.08415)."""

    __constants__ = ["approximate"]

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        """The form."""
        return f"approximate={self.approximate!r}"


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return input.sigmoid()


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return input.tanh()


class LogSigmoid(Module):
    """log(sigmoid(x)), without overflow."""

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return F.logsigmoid(input)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return F.softsign(input)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, input: mg.Tensor) -> mg.Tensor:
        """Apply elementwise."""
        return F.tanhshrink(input)
