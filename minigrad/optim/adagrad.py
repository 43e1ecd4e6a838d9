"""Adagrad (Duchi et al., JMLR 12, 2011)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import minigrad as mg

from .optimizer import Optimizer, check_range

Tensor = mg.Tensor


class Adagrad(Optimizer):
    """s += g²;  p -= lr / (1 + (t-1) lr_decay) g / (sqrt(s) + eps).

    Args:
        params: tensors or groups.
        lr: step size.
        lr_decay: how fast the step size falls.
        weight_decay: adds weight_decay * p to the gradient.
        initial_accumulator_value: start of s.
        eps: keeps the division finite.
        foreach, differentiable, fused: as in Adam; there is no fused step yet.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        for name, value in (
            ("lr_decay", lr_decay),
            ("weight_decay", weight_decay),
            ("initial_accumulator_value", initial_accumulator_value),
        ):
            check_range(name, value)
        if not 0.0 <= eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        for group in self.param_groups:
            for param in group["params"]:
                own = self.state[param]
                own["step"] = mg.tensor(0.0, dtype=mg.float32)
                own["sum"] = mg.full_like(param, initial_accumulator_value, requires_grad=False)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the closure's loss."""
        loss = None if closure is None else self._evaluate(closure)
        for group in self.param_groups:
            with mg.set_grad_enabled(group["differentiable"] and mg.is_grad_enabled()):
                for param in group["params"]:
                    grad = param.grad
                    if grad is None:
                        continue
                    own = self.state[param]
                    own["step"] += 1
                    if group["maximize"]:
                        grad = -grad
                    if group["weight_decay"] != 0:
                        grad = grad + param * group["weight_decay"]
                    rate = group["lr"] / (1 + (float(own["step"]) - 1) * group["lr_decay"])
                    own["sum"].add_(grad * grad)
                    param.sub_(grad / (own["sum"].sqrt() + group["eps"]) * rate)
        return loss
