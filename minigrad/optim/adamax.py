"""Adamax: Adam with the infinity norm (Kingma and Ba, arXiv 1412.6980, section 7.1)."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from ._per_parameter import PerParameter, check_betas, check_eps, check_lr, kept, new_step
from .optimizer import ParamsT, check_range

Tensor = mg.Tensor


class Adamax(PerParameter):
    """m = b1 m + (1-b1) g;  u = max(b2 u, |g| + eps);  p -= lr / (1-b1^t) m / u.

    Args:
        params: tensors, (name, tensor) pairs or groups.
        lr: step size.
        betas: decay of the running mean and of the running maximum, each in [0, 1).
        eps: keeps the division finite.
        weight_decay: adds weight_decay * p to the gradient.
        foreach, maximize, differentiable, capturable: as in Adam.
    """

    _rule = "adamax"
    _columns = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_eps(eps)
        check_betas(betas)
        check_range("weight_decay", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _begin(self, own: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
        own["step"] = new_step(0.0, param, group)
        own["exp_avg"] = mg.zeros_like(param)
        own["exp_inf"] = mg.zeros_like(param)

    def _options(self, group: dict[str, Any]) -> list[float]:
        return [float(group["lr"]), group["weight_decay"], float(group["maximize"]), *group["betas"], group["eps"]]

    def _update(self, param: Tensor, grad: Tensor, own: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        mean, top = own["exp_avg"], own["exp_inf"]
        own["step"] += 1
        if group["weight_decay"] != 0:
            grad = grad + param * group["weight_decay"]
        mean.lerp_(grad, 1 - beta1)
        top.copy_(mg.maximum(top * beta2, grad.abs() + group["eps"]))
        rate = self._rate(group) / (1 - beta1 ** float(own["step"]))
        param.sub_(kept(mean, group) / kept(top, group) * rate)
