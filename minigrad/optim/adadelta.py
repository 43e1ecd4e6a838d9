"""Adadelta (Zeiler, arXiv 1212.5701)."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from ._per_parameter import PerParameter, check_eps, check_lr, new_step
from .optimizer import ParamsT, check_range

Tensor = mg.Tensor


class Adadelta(PerParameter):
    """v = rho v + (1-rho) g²;  d = sqrt(u + eps) / sqrt(v + eps) g;  u = rho u + (1-rho) d²;  p -= lr d.

    Args:
        params: tensors, (name, tensor) pairs or groups.
        lr: factor of the step.
        rho: decay of the running means of squares.
        eps: keeps the division finite.
        weight_decay: adds weight_decay * p to the gradient.
        foreach, capturable, maximize, differentiable: as in Adam.
    """

    _rule = "adadelta"
    _columns = ("square_avg", "acc_delta")
    _xla = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_eps(eps)
        check_range("weight_decay", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _begin(self, own: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
        own["step"] = new_step(0.0, param, group)
        own["square_avg"] = mg.zeros_like(param)
        own["acc_delta"] = mg.zeros_like(param)

    def _options(self, group: dict[str, Any]) -> list[float]:
        return [float(group["lr"]), group["weight_decay"], float(group["maximize"]), group["rho"], group["eps"]]

    def _update(self, param: Tensor, grad: Tensor, own: dict[str, Any], group: dict[str, Any]) -> None:
        rho, eps = group["rho"], group["eps"]
        square, moved = own["square_avg"], own["acc_delta"]
        own["step"] += 1
        if group["weight_decay"] != 0:
            grad = grad + param * group["weight_decay"]
        square.mul_(rho).addcmul_(grad, grad, value=1 - rho)
        delta = (moved + eps).sqrt() / (square + eps).sqrt() * grad
        moved.mul_(rho).addcmul_(delta, delta, value=1 - rho)
        param.sub_(delta * self._rate(group))
