"""torch.autograd.variable: `Variable(x)` is a tensor on the same values, as it has been since PyTorch 0.4."""

from __future__ import annotations

from typing import Any

from minigrad import _core

__all__ = ["Variable", "VariableMeta"]


class VariableMeta(type):
    """isinstance(x, Variable) asks whether x is a Tensor."""

    def __instancecheck__(cls, obj: Any) -> bool:
        return isinstance(obj, _core.Tensor)

    def __call__(cls, data: Any = None, requires_grad: bool = False, volatile: Any = None) -> _core.Tensor:
        out = _core.tensor([]) if data is None else data.detach()
        return out.requires_grad_() if requires_grad else out


class Variable(metaclass=VariableMeta):
    """`Variable(x, requires_grad=True)`: a leaf that shares the values of x."""
