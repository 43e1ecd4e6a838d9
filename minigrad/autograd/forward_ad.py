"""torch.autograd.forward_ad, importable: dual numbers are not here; `minigrad.func.jvp` gives directional derivatives.

Entering `dual_level` or calling `make_dual` raises NotImplementedError.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minigrad import _core

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]

_current_level = -1
_MESSAGE = "autograd.forward_ad: minigrad has no dual tensors. Try minigrad.func.jvp."


class UnpackedDualTensor(NamedTuple):
    """Value and tangent of a dual tensor."""

    primal: _core.Tensor
    tangent: _core.Tensor | None


class dual_level:  # noqa: N801  torch's name
    """The scope of dual tensors.

    Raises:
        NotImplementedError: when entered.
    """

    def __enter__(self) -> int:
        raise NotImplementedError(_MESSAGE)

    def __exit__(self, *error: Any) -> None:
        pass


def enter_dual_level() -> int:
    """Not here: raises NotImplementedError."""
    raise NotImplementedError(_MESSAGE)


def exit_dual_level(*, level: int | None = None) -> None:
    """Not here: raises NotImplementedError."""
    raise NotImplementedError(_MESSAGE)


def make_dual(tensor: _core.Tensor, tangent: _core.Tensor, *, level: int | None = None) -> _core.Tensor:
    """Not here: raises NotImplementedError."""
    raise NotImplementedError(_MESSAGE)


def unpack_dual(tensor: _core.Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """(tensor, None): no tensor is dual."""
    return UnpackedDualTensor(tensor, None)
