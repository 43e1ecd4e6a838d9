"""Adam (Kingma and Ba, arXiv 1412.6980), with AMSGrad (Reddi et al., arXiv 1904.09237) and decoupled weight decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import minigrad as mg
from minigrad import _core

from .optimizer import Optimizer, wants_reference

Tensor = mg.Tensor
_fused: Callable[..., Any] | None = getattr(_core, "adam_step", None)


class Adam(Optimizer):
    """m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g²;  p -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps).

    Args:
        params: tensors or groups.
        lr: step size.
        betas: decay of the two running means, each in [0, 1).
        eps: keeps the division finite.
        weight_decay: L2 penalty; added to the gradient, or (decoupled) taken from the parameter.
        amsgrad: divide by the largest v so far.
        foreach: False selects the plain formulas; otherwise one fused call steps the whole group.
        maximize: go up instead of down.
        capturable: accepted; has no effect on the CPU.
        differentiable: record the step by autograd.
        fused: True selects the fused call.
        decoupled_weight_decay: decay as AdamW does.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 <= eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name in ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay"):
                group.setdefault(name, False)
            for name in ("foreach", "fused"):
                group.setdefault(name, None)
            for param in group["params"]:
                own = self.state.get(param)
                if own and not isinstance(own["step"], Tensor):  # written when steps were plain numbers
                    own["step"] = mg.tensor(float(own["step"]), dtype=mg.float32)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the closure's loss."""
        loss = None if closure is None else self._evaluate(closure)
        for group in self.param_groups:
            amsgrad = group["amsgrad"]
            params: list[Tensor] = []
            grads: list[Tensor] = []
            means: list[Tensor] = []
            squares: list[Tensor] = []
            maxima: list[Tensor] = []
            steps: list[Tensor] = []
            for param in group["params"]:
                grad = param.grad
                if grad is None:
                    continue
                own = self.state[param]
                if not own:
                    self._begin(own, param, amsgrad)
                params.append(param)
                grads.append(grad)
                means.append(own["exp_avg"])
                squares.append(own["exp_avg_sq"])
                steps.append(own["step"])
                if amsgrad:
                    maxima.append(own["max_exp_avg_sq"])
            if not params:
                continue
            beta1, beta2 = group["betas"]
            if _fused is not None and not wants_reference(group):
                done = _fused(
                    params,
                    grads,
                    means,
                    squares,
                    maxima,
                    steps,
                    float(group["lr"]),
                    float(beta1),
                    float(beta2),
                    group["eps"],
                    float(group["weight_decay"]),
                    amsgrad,
                    group["decoupled_weight_decay"],
                    group["maximize"],
                )
                if done:  # False: declined before writing anything (a dtype or device it does not know)
                    continue
            with mg.set_grad_enabled(group["differentiable"] and mg.is_grad_enabled()):
                for i, param in enumerate(params):
                    maximum = maxima[i] if amsgrad else None
                    adam_update_(param, grads[i], means[i], squares[i], maximum, steps[i], group)
        return loss

    def _begin(self, own: dict[str, Any], param: Tensor, amsgrad: bool) -> None:
        with mg.no_grad():
            own["step"] = mg.tensor(0.0, dtype=mg.float32)
            own["exp_avg"] = mg.zeros_like(param)
            own["exp_avg_sq"] = mg.zeros_like(param)
            if amsgrad:
                own["max_exp_avg_sq"] = mg.zeros_like(param)


def adam_update_(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    max_exp_avg_sq: Tensor | None,
    step: Tensor,
    group: dict[str, Any],
) -> None:
    """One tensor's step in single-tensor ops: the oracle of the fused call."""
    beta1, beta2 = group["betas"]
    lr, decay = group["lr"], group["weight_decay"]
    if group["maximize"]:
        grad = -grad
    step.add_(1)
    if decay != 0:
        if group["decoupled_weight_decay"]:
            param.mul_(1 - lr * decay)
        else:
            grad = grad + param * decay
    exp_avg.mul_(beta1).add_(grad * (1 - beta1))
    exp_avg_sq.mul_(beta2).add_(grad * grad * (1 - beta2))
    t = float(step)
    correction1 = 1 - beta1**t
    correction2 = 1 - beta2**t
    second = exp_avg_sq
    if max_exp_avg_sq is not None:
        max_exp_avg_sq.copy_(mg.maximum(max_exp_avg_sq, exp_avg_sq))
        second = max_exp_avg_sq
    denominator = second.sqrt() / correction2**0.5 + group["eps"]
    param.sub_(exp_avg / denominator * (lr / correction1))
