"""RMSprop (Hinton, Coursera lecture 6e), with centring (Graves, arXiv 1308.0850) and momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import minigrad as mg

from .optimizer import Optimizer, check_range

Tensor = mg.Tensor


class RMSprop(Optimizer):
    """v = alpha v + (1-alpha) g²;  p -= lr g / (sqrt(v) + eps).

    Args:
        params: tensors or groups.
        lr: step size.
        alpha: decay of the running mean of squares.
        eps: keeps the division finite.
        weight_decay: adds weight_decay * p to the gradient.
        momentum: share of the last direction that is kept.
        centered: subtract the squared running mean from v.
        capturable, foreach, differentiable: as in Adam; there is no fused step yet.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Iterable[Any],
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
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 <= eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
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

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the closure's loss."""
        loss = None if closure is None else self._evaluate(closure)
        for group in self.param_groups:
            with mg.set_grad_enabled(group["differentiable"] and mg.is_grad_enabled()):
                for param in group["params"]:
                    if param.grad is not None:
                        self._update(param, param.grad, group)
        return loss

    def _update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        own = self.state[param]
        if not own:
            own["step"] = mg.tensor(0.0, dtype=mg.float32)
            own["square_avg"] = mg.zeros_like(param, requires_grad=False)
            if group["momentum"] > 0:
                own["momentum_buffer"] = mg.zeros_like(param, requires_grad=False)
            if group["centered"]:
                own["grad_avg"] = mg.zeros_like(param, requires_grad=False)
        own["step"] += 1
        alpha = group["alpha"]
        if group["maximize"]:
            grad = -grad
        if group["weight_decay"] != 0:
            grad = grad + param * group["weight_decay"]
        square = own["square_avg"]
        square.mul_(alpha).add_(grad * grad * (1 - alpha))
        if group["centered"]:
            mean = own["grad_avg"]
            mean.mul_(alpha).add_(grad * (1 - alpha))
            scale = (square - mean * mean).sqrt() + group["eps"]
        else:
            scale = square.sqrt() + group["eps"]
        direction = grad / scale
        if group["momentum"] > 0:
            direction = own["momentum_buffer"].mul_(group["momentum"]).add_(direction)
        param.sub_(direction * group["lr"])
