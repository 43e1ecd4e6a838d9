"""Adam (Kingma and Ba, arXiv 1412.6980), with AMSGrad (Reddi et al., arXiv 1904.09237) and decoupled weight decay."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad._core import adam_step

from ._per_parameter import PerParameter, check_betas, check_eps, check_fused, check_lr, kept, new_step, rate_of
from .optimizer import ParamsT, _device_dtype_check_for_fused, _get_value, check_range, wants_reference

Tensor = mg.Tensor


class Adam(PerParameter):
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
        capturable: keep the step counter on the device, so that captured CUDA graphs count on; lr may be a tensor there. Refused on the
            CPU.
        differentiable: record the step by autograd.
        fused: True selects the fused call.
        decoupled_weight_decay: decay as AdamW does.
    """

    _flags = {
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "fused": None,
    }

    _sparse_refusal = "Adam does not support sparse gradients, please consider SparseAdam instead"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
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
        check_lr(lr)
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check_eps(eps)
        check_betas(betas)
        check_range("weight_decay", weight_decay)
        if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
            raise ValueError("betas must be either both floats or both Tensors")
        for i, beta in enumerate(betas):
            if not isinstance(beta, Tensor):
                continue
            if not capturable and foreach:
                raise ValueError(f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True")
            if beta.numel() != 1:
                raise ValueError(f"Tensor betas[{i}] must be 1-element")
        check_fused(fused, foreach, differentiable)
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

    def _begin(self, own: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
        if group["fused"]:
            _device_dtype_check_for_fused(param)
        own["step"] = new_step(0.0, param, group)
        own["exp_avg"] = mg.zeros_like(param)
        own["exp_avg_sq"] = mg.zeros_like(param)
        if group["amsgrad"]:
            own["max_exp_avg_sq"] = mg.zeros_like(param)

    def _init_group(
        self,
        group: dict[str, Any],
        params_with_grad: list[Tensor],
        grads: list[Tensor],
        exp_avgs: list[Tensor],
        exp_avg_sqs: list[Tensor],
        max_exp_avg_sqs: list[Tensor],
        state_steps: list[Tensor],
    ) -> bool:
        """Append a group's tensors to these lists (optimizers derived from Adam call it); False: nothing is complex."""
        active = [param for param in group["params"] if param.grad is not None]
        self._start_state(active, group)
        for param in active:
            own = self.state[param]
            params_with_grad.append(param)
            grads.append(param.grad)
            exp_avgs.append(own["exp_avg"])
            exp_avg_sqs.append(own["exp_avg_sq"])
            state_steps.append(own["step"])
            if group["amsgrad"]:
                max_exp_avg_sqs.append(own["max_exp_avg_sq"])
        return any(param.is_complex() for param in active)

    def _one_call(self, active: list[Tensor], group: dict[str, Any]) -> bool:
        if wants_reference(group):
            return False
        state = [self.state[param] for param in active]
        lr, device_lr = rate_of(group)
        beta1, beta2 = group["betas"]
        amsgrad = group["amsgrad"]
        return adam_step(
            active,
            [param.grad for param in active],
            [own["exp_avg"] for own in state],
            [own["exp_avg_sq"] for own in state],
            [own["max_exp_avg_sq"] for own in state] if amsgrad else [],
            [own["step"] for own in state],
            lr,
            float(beta1),
            float(beta2),
            group["eps"],
            float(group["weight_decay"]),
            amsgrad,
            group["decoupled_weight_decay"],
            group["maximize"],
            device_lr,
        )

    def _update(self, param: Tensor, grad: Tensor, own: dict[str, Any], group: dict[str, Any]) -> None:
        maximum = own["max_exp_avg_sq"] if group["amsgrad"] else None
        adam_update_(param, grad, own["exp_avg"], own["exp_avg_sq"], maximum, own["step"], group)


def adam_update_(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    max_exp_avg_sq: Tensor | None,
    step: Tensor,
    group: dict[str, Any],
) -> None:
    """One tensor's step in single-tensor ops: the oracle of the one-call update."""
    read = (lambda x: x) if group["differentiable"] else _get_value
    (beta1, beta2), lr, decay = map(read, group["betas"]), read(group["lr"]), group["weight_decay"]
    step += 1
    if decay != 0:
        if group["decoupled_weight_decay"]:
            param.mul_(1 - lr * decay)
        else:
            grad = grad + param * decay
    exp_avg.lerp_(grad, 1 - beta1)
    exp_avg_sq.mul_(beta2).add_(grad * grad * (1 - beta2))
    t = float(step)
    correction1 = 1 - beta1**t
    correction2 = 1 - beta2**t
    second = exp_avg_sq
    if max_exp_avg_sq is not None:
        max_exp_avg_sq.copy_(mg.maximum(kept(max_exp_avg_sq, group), kept(exp_avg_sq, group)))
        second = max_exp_avg_sq
    denominator = second.sqrt() / correction2**0.5 + group["eps"]
    param.sub_(kept(exp_avg, group) / denominator * (lr / correction1))
