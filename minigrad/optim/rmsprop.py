"""RMSprop (Hinton, Coursera lecture 6e), with centring (Graves, arXiv 1308.0850) and momentum."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from ._per_parameter import PerParameter, check_eps, check_lr, kept, new_step
from .optimizer import ParamsT, check_range

Tensor = mg.Tensor


class RMSprop(PerParameter):
    """v = alpha v + (1-alpha) g²;  p -= lr g / (sqrt(v) + eps).

    Args:
        params: tensors or groups.
        lr: step size.
        alpha: decay of the running mean of squares.
        eps: keeps the division finite.
        weight_decay: adds weight_decay * p to the gradient.
        momentum: share of the last direction that is kept.
        centered: subtract the squared running mean from v.
        capturable, foreach, maximize, differentiable: as in Adam.
    """

    _flags = {**PerParameter._flags, "momentum": 0, "centered": False}
    _rule = "rmsprop"
    _columns = ("square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_eps(eps)
        for name, value in (("momentum", momentum), ("weight_decay", weight_decay), ("alpha", alpha)):
            check_range(name, value)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def _begin(self, own: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
        own["step"] = new_step(0.0, param, group)
        own["square_avg"] = mg.zeros_like(param)
        if group["momentum"] > 0:
            own["momentum_buffer"] = mg.zeros_like(param)
        if group["centered"]:
            own["grad_avg"] = mg.zeros_like(param)

    def _options(self, group: dict[str, Any]) -> list[float]:
        return [
            float(group["lr"]), group["weight_decay"], float(group["maximize"]), group["alpha"], group["eps"],
            group["momentum"], float(group["centered"]),
        ]  # fmt: skip

    def _update(self, param: Tensor, grad: Tensor, own: dict[str, Any], group: dict[str, Any]) -> None:
        own["step"] += 1
        alpha = group["alpha"]
        if group["weight_decay"] != 0:
            grad = grad + param * group["weight_decay"]
        square = own["square_avg"]
        square.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
        if group["centered"]:
            mean = own["grad_avg"]
            mean.lerp_(grad, 1 - alpha)
            scale = (square - mean.square()).sqrt() + group["eps"]
        else:
            scale = square.sqrt() + group["eps"]
        direction = grad / scale
        if group["momentum"] > 0:
            direction = kept(own["momentum_buffer"].mul_(group["momentum"]).add_(direction), group)
        param.sub_(direction * self._rate(group))
