"""PerParameter: the loop that most optimizers share, so that each file holds one update rule and nothing else.

Map. `step` walks groups and parameters, begins state, and hands real tensors to `_update`: complex parameters, their
gradients and their state come as real views; `maximize` is already in the sign of the gradient. A subclass defines
`_begin` (first state of a parameter) and `_update` (one parameter's step, in place on parameter and state), and names a
`_rule` of csrc/python/bind_optim.cpp if the core has its update as one call for the whole group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad._core import LongLived

from .optimizer import (
    Optimizer,
    _get_capturable_supported_devices,
    _get_scalar_dtype,
    _get_value,
    _use_grad_for_differentiable,
    wants_reference,
)

Tensor = mg.Tensor


def check_lr(lr: Any) -> None:
    """Raise ValueError for a learning rate that is negative, NaN, or a tensor of several numbers."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not 0.0 <= lr:
        raise ValueError(f"Invalid learning rate: {lr}")


def check_eps(eps: float) -> None:
    """Raise ValueError for a negative epsilon."""
    if not 0.0 <= eps:
        raise ValueError(f"Invalid epsilon value: {eps}")


def check_betas(betas: Any) -> None:
    """Raise ValueError unless both decay rates are in [0, 1)."""
    for i, beta in enumerate(betas[:2]):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def check_fused(fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """Raise RuntimeError for fused=True beside options that exclude it."""
    if fused:
        if differentiable:
            raise RuntimeError("`fused` does not support `differentiable`")
        if foreach:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def check_group(group: dict[str, Any], what: str = "params and state_steps", xla: bool = True) -> None:
    """Raise AssertionError, as torch does at the step, for flags that cannot hold here."""
    if group.get("foreach") and group.get("differentiable"):
        raise AssertionError("_foreach ops don't support autograd")
    if group.get("capturable"):
        devices = _get_capturable_supported_devices(supports_xla=xla)
        if any(param.grad is not None and param.device.type not in devices for param in group["params"]):
            raise AssertionError(f"If capturable=True, {what} must be on supported devices: {devices}.")


def real(x: Any) -> Any:
    """A complex tensor as a real view; everything else as it is."""
    return mg.view_as_real(x) if isinstance(x, Tensor) and x.is_complex() else x


def new_step(value: float = 0.0, param: Tensor | None = None, group: dict[str, Any] | None = None) -> Tensor:
    """A 0-d tensor for state["step"]: on the parameter's device in groups that are capturable, else on the CPU."""
    on_device = group is not None and group.get("capturable")
    return mg.full((), value, dtype=_get_scalar_dtype(), device=param.device if on_device else "cpu")


def rate_of(group: dict[str, Any]) -> tuple[float, Tensor | None]:
    """(lr, None), or (0, lr) in a capturable group whose learning rate is a tensor on the device: nobody waits for its value."""
    lr = group["lr"]
    if group.get("capturable") and isinstance(lr, Tensor) and lr.device.type != "cpu":
        return 0.0, lr
    return float(lr), None


def kept(x: Tensor, group: dict[str, Any]) -> Tensor:
    """`x` for use in a formula: a copy where autograd records the step, since the next step overwrites the state."""
    return x.clone() if group["differentiable"] else x


class PerParameter(Optimizer):
    """Base of optimizers that step one parameter after the other by `_update`."""

    _flags: dict[str, Any] = {"maximize": False, "foreach": None, "differentiable": False, "capturable": False}
    _rule: str | None = None  # name of the core's one-call update
    _columns: tuple[str, ...] = ()  # state entries it takes, shaped like the parameter
    _sparse = False  # whether the rule takes sparse gradients
    _sparse_refusal = ""
    _capturable_what = "params and state_steps"
    _xla = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in self._flags.items():
                group.setdefault(name, default)
            for param in group["params"]:
                own = self.state.get(param)
                if own and "step" in own and not isinstance(own["step"], Tensor):  # from a time when steps were numbers
                    own["step"] = new_step(float(own["step"]))

    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the closure's loss."""
        loss = None if closure is None else self._evaluate(closure)
        for group in self.param_groups:
            check_group(group, self._capturable_what, self._xla)
            active = [param for param in group["params"] if param.grad is not None]
            if active and active[0].is_cuda and mg.cuda.is_current_stream_capturing():
                self._check_captured(active, group)
            self._start_state(active, group)
            if active and not self._one_call(active, group):  # the core declines sparse gradients too
                self._refuse_sparse(active)
                for param in active:
                    self._step_one(param, group)
        return loss

    def _check_captured(self, active: list[Tensor], group: dict[str, Any]) -> None:
        name = type(self).__name__
        if not group.get("capturable"):
            raise RuntimeError(
                f"Attempting CUDA graph capture of step() for an instance of {name} but param_groups' capturable is False: every replay "
                f"would be the same step. Try {name}(..., capturable=True)."
            )
        if not all(self.state[param] for param in active):
            raise RuntimeError(f"{name}.step: the first step makes the state, and so would every replay. Try a step before the capture.")

    def _start_state(self, active: list[Tensor], group: dict[str, Any]) -> None:
        fresh = [param for param in active if not self.state[param]]
        if not fresh:
            return
        self._refuse_sparse(fresh)
        with mg.no_grad(), LongLived():
            for param in fresh:
                self._begin(self.state[param], param, group)

    def _refuse_sparse(self, active: list[Tensor]) -> None:
        if not self._sparse and any(getattr(param.grad, "is_sparse", False) for param in active):
            raise RuntimeError(self._sparse_refusal or f"{type(self).__name__} does not support sparse gradients")

    def _one_call(self, active: list[Tensor], group: dict[str, Any]) -> bool:
        """Step the group in the core; False if it declined, with nothing changed."""
        if self._rule is None or wants_reference(group):
            return False
        state = [self.state[param] for param in active]
        columns = [[own.get(name) for own in state] for name in self._columns]
        grads = [param.grad for param in active]
        steps = [own["step"] for own in state]
        products = [own["mu_product"] for own in state] if self._rule == "nadam" else []
        number, on_device = rate_of(group)
        options = self._options({**group, "lr": number})
        return mg._core.rule_step(self._rule, active, grads, columns, steps, options, products, on_device)

    def _options(self, group: dict[str, Any]) -> list[float]:
        """The numbers of the rule, in the order that bind_optim.cpp documents."""
        raise NotImplementedError

    def _step_one(self, param: Tensor, group: dict[str, Any]) -> None:
        grad, own, target = param.grad, self.state[param], param
        if group["maximize"]:
            grad = -grad
        if param.is_complex():
            target, grad = real(param), real(grad)
            own = {key: real(value) for key, value in own.items()}
        self._update(target, grad, own, group)

    def _rate(self, group: dict[str, Any]) -> Any:
        """The learning rate: a number, or the tensor itself where autograd records the step."""
        return group["lr"] if group["differentiable"] else _get_value(group["lr"])

    def _begin(self, own: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
        """Fill the first state of a parameter."""
        raise NotImplementedError

    def _update(self, param: Tensor, grad: Tensor, own: dict[str, Any], group: dict[str, Any]) -> None:
        """Step one parameter in place; everything is real, and `grad` points uphill."""
        raise NotImplementedError
