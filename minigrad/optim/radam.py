"""RAdam: Adam with a rectified variance (Liu et al., arXiv 1908.03265)."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from ._per_parameter import PerParameter, check_betas, check_eps, check_lr, kept, new_step
from .optimizer import ParamsT, check_range

Tensor = mg.Tensor


class RAdam(PerParameter):
    """Adam whose adaptive part begins when its variance is known well enough (rho_t > 5), scaled by

        r_t = sqrt((rho_t - 4)(rho_t - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho_t)),
        rho_inf = 2 / (1-b2) - 1,  rho_t = rho_inf - 2 t b2^t / (1-b2^t);  before that, p -= lr m / (1-b1^t).

    Args:
        params: tensors, (name, tensor) pairs or groups.
        lr: step size.
        betas: decay of the two running means, each in [0, 1).
        eps: keeps the division finite.
        weight_decay: adds weight_decay * p to the gradient, or (decoupled) shrinks the parameter.
        decoupled_weight_decay: decay as AdamW does.
        foreach, maximize, capturable, differentiable: as in Adam.
    """

    _flags = {**PerParameter._flags, "decoupled_weight_decay": False}
    _rule = "radam"
    _columns = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def _begin(self, own: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
        own["step"] = new_step(0.0, param, group)
        own["exp_avg"] = mg.zeros_like(param)
        own["exp_avg_sq"] = mg.zeros_like(param)

    def _options(self, group: dict[str, Any]) -> list[float]:
        return [
            float(group["lr"]), group["weight_decay"], float(group["maximize"]), *group["betas"], group["eps"],
            float(group["decoupled_weight_decay"]),
        ]  # fmt: skip

    def _update(self, param: Tensor, grad: Tensor, own: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        mean, square = own["exp_avg"], own["exp_avg_sq"]
        lr, decay = self._rate(group), group["weight_decay"]
        own["step"] += 1
        t = float(own["step"])
        if decay != 0:
            if group["decoupled_weight_decay"]:
                param.mul_(1 - lr * decay)
            else:
                grad = grad + param * decay
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        correction1, correction2 = 1 - beta1**t, 1 - beta2**t
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * t * beta2**t / correction2
        direction = kept(mean, group) * (lr / correction1)
        if rho > 5.0:
            rectified = ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)) ** 0.5
            direction = direction / (square.sqrt() + group["eps"]) * (correction2**0.5 * rectified)
        param.sub_(direction)
