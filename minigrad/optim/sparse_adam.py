"""SparseAdam: Adam that touches only the rows which the sparse gradient names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg

from .optimizer import Optimizer, ParamsT

__all__ = ["SparseAdam"]
Tensor = mg.Tensor


class SparseAdam(Optimizer):
    """Adam's step for the elements present in a sparse COO gradient; moments of all others stay as they are.

    Args:
        params: dense tensors, (name, tensor) pairs or groups.
        lr: step size, above 0.
        betas: decay of the two running means, each in [0, 1).
        eps: keeps the division finite.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not 0.0 < lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 < eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        for i, beta in enumerate(betas[:2]):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        sparse = [
            [g, i]
            for g, group in enumerate(self.param_groups)
            for i, param in enumerate(group["params"])
            if getattr(param, "is_sparse", False)
        ]
        if sparse:
            raise ValueError(f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors")

    @mg.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the named elements of every parameter that has a gradient; returns the closure's loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                if not getattr(param.grad, "is_sparse", False):
                    raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
                own = self.state[param]
                if not own:
                    own["step"] = 0
                    own["exp_avg"] = mg.zeros_like(param)
                    own["exp_avg_sq"] = mg.zeros_like(param)
                own["step"] += 1
                self._update(param, param.grad.coalesce(), own, group)
        return loss

    def _update(self, param: Tensor, grad: Any, own: dict[str, Any], group: dict[str, Any]) -> None:
        at, g = tuple(grad.indices().unbind(0)), grad.values()
        if g.numel() == 0:
            return
        if group["maximize"]:
            g = -g
        beta1, beta2 = group["betas"]
        mean, square = own["exp_avg"], own["exp_avg_sq"]
        m = mean[at].lerp(g, 1 - beta1)
        v = square[at].lerp(g.square(), 1 - beta2)
        mean[at] = m
        square[at] = v
        t, lr = own["step"], float(group["lr"])
        size = lr * (1 - beta2**t) ** 0.5 / (1 - beta1**t)
        param[at] = param[at] - m / (v.sqrt() + group["eps"]) * size
