"""Adagrad (Duchi et al., JMLR 12, 2011)."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad._core import LongLived

from ._per_parameter import PerParameter, check_eps, check_fused, check_lr, new_step
from .optimizer import ParamsT, check_range

Tensor = mg.Tensor


class Adagrad(PerParameter):
    """s += g²;  p -= lr / (1 + (t-1) lr_decay) g / (sqrt(s) + eps).

    Args:
        params: tensors or groups.
        lr: step size.
        lr_decay: how fast the step size falls.
        weight_decay: adds weight_decay * p to the gradient.
        initial_accumulator_value: start of s.
        eps: keeps the division finite.
        foreach, maximize, differentiable, fused: as in Adam.
    """

    _flags = {"foreach": None, "maximize": False, "differentiable": False, "fused": None}
    _rule = "adagrad"
    _columns = ("sum",)
    _sparse = True

    def __init__(
        self,
        params: ParamsT,
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
        check_lr(lr)
        for name, value in (
            ("lr_decay", lr_decay),
            ("weight_decay", weight_decay),
            ("initial_accumulator_value", initial_accumulator_value),
        ):
            check_range(name, value)
        check_eps(eps)
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
        check_fused(fused, foreach, differentiable)
        with mg.no_grad(), LongLived():
            for group in self.param_groups:
                for param in group["params"]:
                    self._begin(self.state[param], param, group)

    def share_memory(self) -> None:
        """Move the state to shared memory, for training in several processes."""
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["sum"].share_memory_()

    def _begin(self, own: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
        first = group["initial_accumulator_value"]
        own["step"] = new_step()
        own["sum"] = mg.full_like(param, complex(first, first) if param.is_complex() else first)

    def _one_call(self, active: list[Tensor], group: dict[str, Any]) -> bool:
        return not any(param.grad.is_sparse for param in active) and super()._one_call(active, group)

    def _step_one(self, param: Tensor, group: dict[str, Any]) -> None:
        if not param.grad.is_sparse:
            return super()._step_one(param, group)
        if group["weight_decay"] != 0:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        own, grad = self.state[param], param.grad.coalesce()
        own["step"] += 1
        at, g = tuple(grad.indices().unbind(0)), grad.values()
        total = own["sum"][at] + g.square()
        own["sum"][at] = total
        rate = self._rate(group) / (1 + (float(own["step"]) - 1) * group["lr_decay"])
        param[at] = param[at] - g / (total.sqrt() + group["eps"]) * (-rate if group["maximize"] else rate)

    def _options(self, group: dict[str, Any]) -> list[float]:
        return [float(group["lr"]), group["weight_decay"], float(group["maximize"]), group["lr_decay"], group["eps"]]

    def _update(self, param: Tensor, grad: Tensor, own: dict[str, Any], group: dict[str, Any]) -> None:
        own["step"] += 1
        if group["weight_decay"] != 0:
            grad = grad + param * group["weight_decay"]
        rate = self._rate(group) / (1 + (float(own["step"]) - 1) * group["lr_decay"])
        own["sum"].addcmul_(grad, grad)
        param.sub_(grad / (own["sum"].sqrt() + group["eps"]) * rate)
