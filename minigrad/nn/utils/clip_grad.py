"""Limits on gradients before an optimizer step."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import minigrad as mg
from minigrad import _core
from minigrad.op import is_dataless

Tensor = mg.Tensor
Parameters = Tensor | Iterable[Tensor]


__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _grads(parameters: Parameters) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def _listed(parameters: Parameters) -> list[Tensor]:
    if isinstance(parameters, Tensor):
        return [parameters]
    found = list(parameters)
    if not found and not isinstance(parameters, (list, tuple)):  # a generator that was used up, most likely
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3)
    return found


def get_total_norm(
    tensors: Parameters, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all tensors as if they were one vector; 0 for none.

    Raises:
        RuntimeError: the norm is not finite and `error_if_nonfinite`.
    """
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not tensors:
        return mg.tensor(0.0)
    total = _core.norm_of_all(tensors, float(norm_type))  # one pass over all; None: not for these tensors or this norm
    if total is None:
        with mg.no_grad():
            norms = mg.stack([t.norm(float(norm_type)).to(tensors[0].device) for t in tensors])
            total = norms.norm(float(norm_type))
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"The total norm of order {float(norm_type)} for gradients from `parameters` is non-finite, so it "
            "cannot be clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(
    parameters: Parameters, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients in place by min(1, max_norm / (total_norm + 1e-6))."""
    with mg.no_grad():
        # clamp keeps the decision on the device: no .item() between backward and step
        scale, grads = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0), _grads(parameters)
        if not grads or (not is_dataless(scale) and _core.scale_all(grads, scale)):
            return
        for grad in grads:
            grad.mul_(scale.to(grad.device))


def clip_grad_norm_(
    parameters: Parameters,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients in place so that their common norm is at most `max_norm`; returns the norm before.

    Args:
        parameters: tensors whose `.grad` is clipped.
        max_norm: the limit.
        norm_type: order of the norm, may be math.inf.
        error_if_nonfinite: raise when the norm is inf or NaN.
        foreach: accepted and ignored.
    """
    parameters = _listed(parameters)
    total = get_total_norm(_grads(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_value_(parameters: Parameters, clip_value: float, foreach: bool | None = None) -> None:
    """Clamp every gradient in place to [-clip_value, clip_value]."""
    grads = _grads(parameters)
    if _core.clamp_all(grads, -float(clip_value), float(clip_value)):
        return
    with mg.no_grad():
        for grad in grads:
            grad.clamp_(min=-float(clip_value), max=float(clip_value))


def clip_grad_norm(
    parameters: Parameters,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Old name of `clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.", FutureWarning, stacklevel=2
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)
