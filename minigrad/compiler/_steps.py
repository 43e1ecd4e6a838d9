"""Which optimizers a plan steps without Python (csrc/python/bind_step.cpp), and where their parameters and state are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad import _core
from minigrad.optim import SGD, Adam, AdamW, Optimizer
from minigrad.optim.optimizer import wants_reference

_KINDS = {SGD: False, Adam: True, AdamW: True}  # class -> whether its step is Adam's


def native_step(owner: Any) -> Callable[[], Any]:
    """The step of an optimizer or a scheduler as a plan calls it: what is its `step` then, hooks included, or the same without Python."""
    return _core.NativeStep(owner, describe) if type(owner) in _KINDS else lambda: owner.step()


def describe(optimizer: Optimizer) -> list[tuple] | None:
    """Per group: is it Adam's, the group, and (parameter, its state, first and second tensor of it, counter); None: only step() will do."""
    kind = _KINDS.get(type(optimizer))
    own = vars(optimizer).get("step")  # a scheduler's note that it ran; else hooks, or a step of the user's
    if kind is None or not (own is None or (hasattr(own, "_wrapped_by_lr_sched") and own.__wrapped__ is type(optimizer).step)):
        return None
    groups = []
    for group in optimizer.param_groups:
        if wants_reference(group) or group.get("capturable") or group.get("amsgrad"):
            return None
        members = [_member(kind, group, param, optimizer.state.get(param)) for param in group["params"]]
        if None in members:
            return None
        groups.append((kind, group, members))
    return groups


def _member(adam: bool, group: dict[str, Any], param: Any, own: dict[str, Any] | None) -> tuple | None:
    if adam:
        return None if not own or "exp_avg" not in own else (param, own, own["exp_avg"], own["exp_avg_sq"], own["step"])
    if group["momentum"] == 0:
        return (param, None, None, None, None)
    buffer = own.get("momentum_buffer") if own else None
    return None if buffer is None else (param, own, buffer, None, None)
