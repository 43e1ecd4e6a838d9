"""NAdam: Adam with Nesterov momentum (Dozat, ICLR workshop 2016)."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from ._per_parameter import PerParameter, check_betas, check_eps, check_lr, kept, new_step
from .optimizer import ParamsT, check_range

Tensor = mg.Tensor


class NAdam(PerParameter):
    """Adam whose numerator looks ahead: mu_t = b1 (1 - 0.96^(t psi) / 2), psi = momentum_decay, and

        p -= lr ((1 - mu_t) / (1 - prod mu_1..t) g + mu_(t+1) / (1 - prod mu_1..t+1) m) / (sqrt(v / (1-b2^t)) + eps).

    Args:
        params: tensors, (name, tensor) pairs or groups.
        lr: step size.
        betas: decay of the two running means, each in [0, 1).
        eps: keeps the division finite.
        weight_decay: adds weight_decay * p to the gradient, or (decoupled) shrinks the parameter.
        momentum_decay: psi above.
        decoupled_weight_decay: decay as AdamW does.
        foreach, maximize, capturable, differentiable: as in Adam.
    """

    _flags = {**PerParameter._flags, "decoupled_weight_decay": False}
    _rule = "nadam"
    _columns = ("exp_avg", "exp_avg_sq")
    _capturable_what = "params, mu_products and state_steps"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_range("momentum_decay", momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for own in self.state.values():
            if own and not isinstance(own.get("mu_product", self), (Tensor, NAdam)):
                own["mu_product"] = new_step(float(own["mu_product"]))

    def _begin(self, own: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
        own["step"] = new_step(0.0, param, group)
        own["mu_product"] = new_step(1.0, param, group)
        own["exp_avg"] = mg.zeros_like(param)
        own["exp_avg_sq"] = mg.zeros_like(param)

    def _options(self, group: dict[str, Any]) -> list[float]:
        return [
            float(group["lr"]), group["weight_decay"], float(group["maximize"]), *group["betas"], group["eps"],
            float(group["decoupled_weight_decay"]), group["momentum_decay"],
        ]  # fmt: skip

    @staticmethod
    def _mu(group: dict[str, Any], t: float) -> float:
        return group["betas"][0] * (1.0 - 0.5 * 0.96 ** (t * group["momentum_decay"]))

    def _update(self, param: Tensor, grad: Tensor, own: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        mean, square = own["exp_avg"], own["exp_avg_sq"]
        lr, decay = self._rate(group), group["weight_decay"]
        own["step"] += 1
        t = float(own["step"])
        mu, mu_next = self._mu(group, t), self._mu(group, t + 1)
        own["mu_product"] *= mu
        product = float(own["mu_product"])
        if decay != 0:
            if group["decoupled_weight_decay"]:
                param.mul_(1 - lr * decay)
            else:
                grad = grad + param * decay
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        scale = (square / (1 - beta2**t)).sqrt() + group["eps"]
        param.sub_(grad / scale * (lr * (1.0 - mu) / (1.0 - product)))
        param.sub_(kept(mean, group) / scale * (lr * mu_next / (1.0 - product * mu_next)))
