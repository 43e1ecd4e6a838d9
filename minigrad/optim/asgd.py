"""ASGD: averaged stochastic gradient descent (Polyak and Juditsky, SIAM J. Control 30, 1992)."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from ._per_parameter import PerParameter, check_lr, new_step
from .optimizer import ParamsT, check_range

Tensor = mg.Tensor


class ASGD(PerParameter):
    """p = (1 - lambd eta_t) p - eta_t g, and state["ax"] holds the mean of p from step t0 on.

    eta_t = lr / (1 + lambd lr t)^alpha.

    Args:
        params: tensors, (name, tensor) pairs or groups.
        lr: first step size.
        lambd: decay of the parameter, and with `alpha` of the step size.
        alpha: power by which the step size falls.
        t0: the step after which averaging begins.
        weight_decay: adds weight_decay * p to the gradient.
        foreach, maximize, differentiable, capturable: as in Adam.
    """

    _capturable_what = "params, mus, etas, and state_steps"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_range("weight_decay", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for own in self.state.values():
            for name in ("eta", "mu"):
                if own and not isinstance(own[name], Tensor):
                    own[name] = new_step(float(own[name]))

    def _begin(self, own: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
        own["step"] = new_step(0.0, param, group)
        own["eta"] = new_step(float(group["lr"]), param, group)
        own["mu"] = new_step(1.0, param, group)
        own["ax"] = mg.zeros_like(param)

    def _update(self, param: Tensor, grad: Tensor, own: dict[str, Any], group: dict[str, Any]) -> None:
        capturable = group["capturable"]
        read = (lambda x: x) if capturable else float  # capturable: numbers that stay on the device
        eta, mu, mean = read(own["eta"]), read(own["mu"]), own["ax"]
        own["step"] += 1
        if group["weight_decay"] != 0:
            grad = grad + param * group["weight_decay"]
        param.mul_(1 - group["lambd"] * eta)
        param.sub_(grad * eta)
        if not capturable and mu == 1:
            mean.copy_(param)
        else:
            mean.add_((param - mean) * mu)
        t, lr = read(own["step"]), read(group["lr"])
        eta = lr / (1 + group["lambd"] * lr * t) ** group["alpha"]
        if capturable:
            own["eta"].copy_(eta)
            own["mu"].copy_(1 / (t - group["t0"]).clamp(min=1))
        else:
            own["eta"].fill_(eta)
            own["mu"].fill_(1 / max(1, t - group["t0"]))
