"""Adafactor (Shazeer and Stern, arXiv 1804.04235), in the variant of Zhai et al. (arXiv 2106.04560)."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg

from ._per_parameter import PerParameter, new_step
from .optimizer import ParamsT

Tensor = mg.Tensor


class Adafactor(PerParameter):
    """Adam's second moment in factored form: for a matrix one number per row and per column, and no first moment.

    Args:
        params: tensors, (name, tensor) pairs or groups.
        lr: upper bound of the relative step size min(lr, 1 / sqrt(t)).
        beta2_decay: the running means decay by 1 - t^beta2_decay.
        eps: floor of the second moment (None: the epsilon of the dtype) and floor of the parameter's scale.
        d: the root mean square of an update is clipped to this.
        weight_decay: shrinks the parameter by lr * weight_decay (decoupled).
        foreach, maximize: as in Adam.
    """

    _flags = {"foreach": None}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        rules = (
            (lr >= 0.0, f"Learning rate should be >= 0 but is: {lr}"),
            (beta2_decay <= 0.0, f"beta2_decay should be <= 0 but is: {beta2_decay}"),
            (eps[0] is None or eps[0] >= 0.0, f"epsilon1 should be >= 0 but is: {eps[0]}"),
            (eps[1] >= 0.0, f"epsilon2 should be >= 0 but is: {eps[1]}"),
            (d >= 1.0, f"Clipping threshold d should be >= 1 but is: {d}"),
            (weight_decay >= 0.0, f"weight_decay should be >= 0 but is: {weight_decay}"),
        )
        for holds, text in rules:
            if not holds:
                raise ValueError(text)
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
            },
        )

    def _begin(self, own: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
        if param.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        own["step"] = new_step()
        if param.dim() > 1:
            rows, columns = list(param.shape), list(param.shape)
            rows[-1] = columns[-2] = 1
            own["row_var"] = param.new_zeros(rows)
            own["col_var"] = param.new_zeros(columns)
        else:
            own["variance"] = mg.zeros_like(param)

    def _update(self, param: Tensor, grad: Tensor, own: dict[str, Any], group: dict[str, Any]) -> None:
        own["step"] += 1
        t, lr = float(own["step"]), float(group["lr"])
        floor, scale_floor = group["eps"]
        if floor is None:
            floor = mg.finfo(param.dtype).eps
        fresh = t ** group["beta2_decay"]
        root = math.sqrt(max(param.numel(), 1))
        alpha = max(scale_floor, float(param.norm(2)) / root) * min(lr, 1 / math.sqrt(t))
        if group["weight_decay"] != 0:
            param.mul_(1 - lr * group["weight_decay"])
        if grad.dim() > 1:
            row, column = own["row_var"], own["col_var"]
            row.lerp_(grad.square().mean(-1, keepdim=True), fresh)
            column.lerp_(grad.square().mean(-2, keepdim=True), fresh)
            variance = (row @ column) / row.mean(-2, keepdim=True).clamp(min=floor)
        else:
            variance = own["variance"].lerp_(grad.square(), fresh)
        update = variance.clamp(min=floor * floor).rsqrt() * grad
        clip = max(1.0, float(update.norm(2)) / (root * group["d"]))
        param.sub_(update, alpha=alpha / clip)
