"""SGD with momentum (Sutskever et al., ICML 2013, in the form torch uses)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad._core import sgd_step

from ._per_parameter import check_fused
from .optimizer import (
    Optimizer,
    ParamsT,
    _device_dtype_check_for_fused,
    _use_grad_for_differentiable,
    check_range,
    wants_reference,
)

Tensor = mg.Tensor


class SGD(Optimizer):
    """v = momentum v + (1 - dampening) g;  p -= lr v  (v = g at the first step; nesterov: p -= lr (g + momentum v)).

    Args:
        params: tensors or groups.
        lr: step size.
        momentum: share of the last direction that is kept.
        dampening: share of the gradient that is left out of the direction.
        weight_decay: adds weight_decay * p to the gradient.
        nesterov: look ahead; needs momentum and no dampening.
        maximize: go up instead of down.
        foreach: False selects the plain formulas; otherwise one fused call steps the whole group.
        differentiable: record the step by autograd.
        fused: True selects the fused call.

    Example:
        >>> w = mg.nn.Parameter(mg.ones(1)); w.sum().backward(); mg.optim.SGD([w], lr=0.5).step(); w.item()
        0.5
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if lr < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        check_range("momentum", momentum)
        if weight_decay < 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        check_fused(fused, foreach, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in (("nesterov", False), ("maximize", False), ("foreach", None)):
                group.setdefault(name, default)
            group.setdefault("differentiable", False)
            group.setdefault("fused", False)

    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the closure's loss."""
        loss = None if closure is None else self._evaluate(closure)
        for group in self.param_groups:
            params: list[Tensor] = []
            grads: list[Tensor] = []
            buffers: list[Tensor | None] = []
            sparse = self._init_group(group, params, grads, buffers)
            if not params:
                continue
            momentum = group["momentum"]
            fresh = momentum != 0 and None in buffers
            # The one-call step fills in missing buffers; it declines (False) before writing what it does not know.
            done = not sparse and not wants_reference(group)
            if done:
                done = sgd_step(
                    params,
                    grads,
                    buffers,
                    float(group["lr"]),
                    momentum,
                    group["dampening"],
                    float(group["weight_decay"]),
                    group["nesterov"],
                    group["maximize"],
                )
            if not done:
                for i, param in enumerate(params):
                    buffers[i] = sgd_update_(
                        param,
                        grads[i],
                        buffers[i],
                        group["lr"],
                        momentum,
                        group["dampening"],
                        group["weight_decay"],
                        group["nesterov"],
                        group["maximize"],
                    )
            if fresh:
                for param, buffer in zip(params, buffers, strict=True):
                    self.state[param]["momentum_buffer"] = buffer
        return loss

    def _init_group(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], momentum_buffer_list: list[Tensor | None]
    ) -> bool:
        """Append a group's tensors to these lists (optimizers derived from SGD call it); whether a gradient is sparse."""
        sparse = False
        momentum = group["momentum"]
        for param in group["params"]:
            grad = param.grad
            if grad is None:
                continue
            if group["fused"]:
                _device_dtype_check_for_fused(param)
            params.append(param)
            grads.append(grad)
            sparse = sparse or grad.is_sparse
            momentum_buffer_list.append(self.state[param].get("momentum_buffer") if momentum != 0 else None)
        return sparse


def sgd_update_(
    param: Tensor,
    grad: Tensor,
    buffer: Tensor | None,
    lr: Any,
    momentum: float,
    dampening: float,
    weight_decay: Any,
    nesterov: bool,
    maximize: bool,
) -> Tensor | None:
    """One tensor's step in single-tensor ops, the oracle of the fused call; returns the momentum buffer."""
    if grad.is_sparse:
        if momentum == 0 and weight_decay == 0:  # only the named rows change
            grad = grad.coalesce()
            at = tuple(grad.indices().unbind(0))
            param[at] = param[at] - grad.values() * (-lr if maximize else lr)
            return buffer
        grad = grad.to_dense()
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + param * weight_decay
    if momentum != 0:
        if buffer is None:
            buffer = grad.detach().clone()
        else:
            buffer.mul_(momentum).add_(grad, alpha=1 - dampening)
        grad = grad.add(buffer, alpha=momentum) if nesterov else buffer
    if isinstance(lr, Tensor):
        param.sub_(grad * lr)
    else:
        param.add_(grad, alpha=-lr)
    return buffer
