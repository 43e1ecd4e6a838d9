"""Rprop: resilient backpropagation (Riedmiller and Braun, ICNN 1993)."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from ._per_parameter import PerParameter, check_lr, kept, new_step
from .optimizer import ParamsT

Tensor = mg.Tensor


class Rprop(PerParameter):
    """Every element has its own step size: it grows while the gradient keeps its sign and shrinks when it flips.

    Args:
        params: tensors, (name, tensor) pairs or groups.
        lr: first step size of every element.
        etas: factors by which a step size shrinks and grows; 0 < etas[0] < 1 < etas[1].
        step_sizes: smallest and largest step size.
        capturable, foreach, maximize, differentiable: as in Adam.
    """

    _rule = "rprop"
    _columns = ("prev", "step_size")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _begin(self, own: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
        first = float(group["lr"])
        own["step"] = new_step(0.0, param, group)
        own["prev"] = mg.zeros_like(param)
        own["step_size"] = mg.full_like(param, complex(first, first) if param.is_complex() else first)

    def _options(self, group: dict[str, Any]) -> list[float]:
        return [float(group["lr"]), 0.0, float(group["maximize"]), *group["etas"], *group["step_sizes"]]

    def _update(self, param: Tensor, grad: Tensor, own: dict[str, Any], group: dict[str, Any]) -> None:
        shrink, grow = group["etas"]
        own["step"] += 1
        same = (grad * kept(own["prev"], group)).sign()
        factor = mg.where(same > 0, grow, mg.where(same < 0, shrink, 1.0)).to(grad.dtype)
        size = own["step_size"]
        size.copy_((size * factor).clamp(*group["step_sizes"]))
        grad = mg.where(same < 0, mg.zeros_like(grad), grad)  # after a flip the element waits one step
        param.sub_(grad.sign() * kept(size, group))
        own["prev"].copy_(grad)
