"""LRScheduler: the base of all schedules, open to others' subclasses.

A schedule counts its steps in `last_epoch` and writes `get_lr()` into the groups. `get_lr` is a recursion on the present
rates, so that several schedules can act on one optimizer; `_get_closed_form_lr`, where there is one, says the rate of any
epoch. A rate that is a tensor stays that tensor: it is filled with the new value.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .optimizer import Optimizer, Tensor

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use "
    "`scheduler.step()` to step the scheduler. During the deprecation, if epoch is different from None, the closed form is "
    "used instead of the new chainable form, where available."
)


def copied(value: Any) -> Any:
    """A rate that later writes do not reach: tensors are cloned."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def rates(optimizer: Optimizer, key: str = "lr") -> list[Any]:
    """One value per group, tensors cloned."""
    return [copied(group[key]) for group in optimizer.param_groups]


def set_rate(group: dict[str, Any], value: Any, key: str = "lr") -> None:
    """Write a rate; into the tensor, where it is one."""
    if isinstance(group[key], Tensor):
        group[key].fill_(float(value))
    else:
        group[key] = value


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """`value` as a list with one entry per group.

    Raises:
        ValueError: it is a list of another length.
    """
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. "
            f"{name} has {len(value)} values, param_groups has {groups}."
        )
    return list(value)


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError unless it is an Optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


@contextmanager
def _flag(scheduler: LRScheduler, name: str) -> Iterator[None]:
    setattr(scheduler, name, True)
    try:
        yield
    finally:
        setattr(scheduler, name, False)


class LRScheduler:
    """Base class: counts calls of `step` in `last_epoch` and writes `get_lr()` into the groups.

    Args:
        optimizer: whose `param_groups[i]["lr"]` is set.
        last_epoch: -1 starts anew; otherwise groups must hold "initial_lr" from an earlier run.
    """

    _get_lr_called_within_step: bool = False
    _is_initial: bool = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with last_epoch >= 0."
                    " Try optimizer.load_state_dict() first, last_epoch=-1, or setting group['initial_lr'] yourself."
                )
        self.base_lrs = rates(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        self._watch_step()
        self._initial_step()

    def _watch_step(self) -> None:
        """Note on the optimizer that `step` has run, so that a wrong order of calls can be reported."""
        optimizer = self.optimizer
        if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
            return
        # Reached through a weak reference: a strong one would be a cycle that keeps all state alive.
        ref, inner = weakref.ref(optimizer), optimizer.step
        function = getattr(inner, "__func__", None)

        @functools.wraps(inner if function is None else function)
        def step(*args: Any, **kwargs: Any) -> Any:
            self = ref()
            self._opt_called = True
            return inner(*args, **kwargs) if function is None else function(self, *args, **kwargs)

        if function is not None:
            inner = None  # the bound method would hold the optimizer
        step._wrapped_by_lr_sched = True
        optimizer.step = step

    def _initial_step(self) -> None:
        self._step_count = 0
        with _flag(self, "_is_initial"):
            self.step()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The rates last written, one per group."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rates at `last_epoch`, one per group; every schedule defines its own."""
        raise NotImplementedError

    def step(self, epoch: int | None = None) -> None:
        """Advance by one (or to `epoch`) and write the rates; call it after `optimizer.step()`."""
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _check_order(self) -> None:
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            warnings.warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. Please, "
                "make sure to call `optimizer.step()` before `lr_scheduler.step()`.",
                UserWarning,
                stacklevel=3,
            )
        elif not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. You should call them in the "
                "opposite order: `optimizer.step()` before `lr_scheduler.step()`. Failure to do this will result in "
                "skipping the first value of the learning rate schedule.",
                UserWarning,
                stacklevel=3,
            )

    def _update_lr(self, epoch: int | None = None) -> None:
        with _flag(self, "_get_lr_called_within_step"):
            if epoch is None:
                self.last_epoch += 1
                values = self.get_lr()
            else:
                self.last_epoch = epoch
                closed = getattr(self, "_get_closed_form_lr", None)
                values = self.get_lr() if closed is None else closed()
        self._write(values)

    def _write(self, values: list[Any]) -> None:
        for group, lr in zip(self.optimizer.param_groups, values, strict=False):
            set_rate(group, lr)
        self._last_lr = self._current()

    def _current(self) -> list[Any]:
        return rates(self.optimizer)


def warn_outside_step(scheduler: LRScheduler) -> None:
    """Warn if `get_lr` is called by anyone but `step`: it moves the recursion on."""
    if not scheduler._get_lr_called_within_step:
        warnings.warn(
            "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.", UserWarning, stacklevel=3
        )


class _LRScheduler(LRScheduler):
    """The base class's name in older programs."""
