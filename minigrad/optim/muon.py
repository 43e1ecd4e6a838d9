"""Muon: momentum made orthogonal by Newton-Schulz iterations (Jordan et al., 2024; scaling of Liu et al., arXiv 2502.16982)."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable
from typing import Any

import minigrad as mg

from .optimizer import Optimizer, ParamsT

__all__ = ["Muon"]
Tensor = mg.Tensor


class Muon(Optimizer):
    """v = lerp(v, g, 1 - momentum);  o = orthogonal factor of v (nesterov: of lerp(g, v, momentum));  p = (1 - lr weight_decay) p - lr' o.

    For the matrices inside a network; vectors, embeddings and heads belong to another optimizer.

    Args:
        params: 2-D tensors, (name, tensor) pairs or groups.
        lr: step size; lr' above is adjusted to the matrix's shape.
        weight_decay: shrinks the parameter (decoupled).
        momentum: share of the last direction that is kept.
        nesterov: look ahead.
        ns_coefficients: a, b, c of the iteration X <- aX + bAX + cA²X with A = XXᵀ.
        eps: floor of the norm that the first X is divided by.
        ns_steps: number of iterations; below 100.
        adjust_lr_fn: "original" (None): lr sqrt(max(1, rows / columns)); "match_rms_adamw": 0.2 lr sqrt(max(rows, columns)).
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for name, value in (("Learning rate", lr), ("momentum", momentum), ("weight decay", weight_decay)):
            if not value >= 0.0:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )
        for group in self.param_groups:
            for param in group["params"]:
                if param.dim() != 2:
                    raise ValueError(f"Muon only supports 2D parameters whereas we found a parameter with size: {param.shape}")

    @mg.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the closure's loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            ready = []
            for param in group["params"]:
                if param.grad is None:
                    continue
                if param.is_complex():
                    raise RuntimeError("Muon does not support complex parameters")
                if getattr(param.grad, "is_sparse", False):
                    raise RuntimeError("Muon does not support sparse gradients")
                own = self.state[param]
                if not own:
                    own["momentum_buffer"] = mg.zeros_like(param.grad)
                ready.append((param, param.grad, own["momentum_buffer"]))
            if ready:
                _check(group)
            if not self._step_together(ready, group):
                for param, grad, buffer in ready:
                    self._update(param, grad, buffer, group)
        return loss

    def _step_together(self, ready: list[tuple[Tensor, Tensor, Tensor]], group: dict[str, Any]) -> bool:
        """All matrices in a few launches of Triton kernels (kernels/muon.py), where these can run and take them."""
        if not ready or not _on_gpu(ready):
            return False
        from minigrad.kernels import muon

        params, grads, buffers = ([own[k] for own in ready] for k in range(3))
        how, kept = group["adjust_lr_fn"], _workspaces.setdefault(self, {})
        key = (params[0].device, params[0].dtype, how, *(tuple(p.shape) for p in params))
        if key not in kept:
            kept[key] = muon.Workspace(params, how)
        muon.muon(params, grads, buffers, float(group["lr"]), float(group["weight_decay"]), float(group["momentum"]), group["nesterov"],
                  group["ns_coefficients"], float(group["eps"]), group["ns_steps"], how, kept[key])  # fmt: skip
        return True

    def _update(self, param: Tensor, grad: Tensor, buffer: Tensor, group: dict[str, Any]) -> None:
        momentum, lr = group["momentum"], float(group["lr"])
        buffer.lerp_(grad, 1 - momentum)
        direction = grad.lerp(buffer, momentum) if group["nesterov"] else buffer
        direction = _orthogonal(direction, group["ns_coefficients"], group["ns_steps"], group["eps"])
        param.mul_(1 - lr * group["weight_decay"])
        param.add_(direction, alpha=-_adjusted(lr, group["adjust_lr_fn"], param.shape))


_workspaces: weakref.WeakKeyDictionary[Muon, dict[tuple, Any]] = weakref.WeakKeyDictionary()


def _on_gpu(ready: list[tuple[Tensor, Tensor, Tensor]]) -> bool:
    """Whether the kernels take all of them: each once, contiguous, of one device and one of the dtypes that tensor cores know."""
    first, params = ready[0][0], [own[0] for own in ready]
    if not first.is_cuda or first.dtype not in (mg.float32, mg.float16, mg.bfloat16) or os.environ.get("MINIGRAD_TRITON") == "0":
        return False
    if len({(mg._core.storage_id(p), p.storage_offset()) for p in params}) < len(params) or 0 in map(Tensor.numel, params):
        return False
    from minigrad import kernels

    def fits(t: Tensor, p: Tensor) -> bool:
        return t.is_contiguous() and t.dtype == first.dtype and t.device == first.device and t.shape == p.shape

    return all(fits(t, own[0]) for own in ready for t in own) and kernels.available()


def _check(group: dict[str, Any]) -> None:
    if group["ns_steps"] >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(group["ns_coefficients"]) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")


def _orthogonal(x: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """About U Vᵀ of the singular value decomposition of a matrix, in bfloat16."""
    a, b, c = coefficients
    x = x.bfloat16()
    tall = x.size(0) > x.size(1)
    if tall:
        x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        poly = mg.addmm(gram, gram, gram, beta=b, alpha=c)
        x = mg.addmm(x, poly, x, beta=a)
    return x.T if tall else x


def _adjusted(lr: float, how: str | None, shape: Any) -> float:
    rows, columns = shape[:2]
    if how == "match_rms_adamw":
        return lr * 0.2 * math.sqrt(max(rows, columns))
    return lr * math.sqrt(max(1, rows / columns))
