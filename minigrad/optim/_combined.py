"""Several schedules on one optimizer: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ._plateau import ReduceLROnPlateau
from ._scheduler import LRScheduler
from .optimizer import Optimizer


def _check_member(owner: str, scheduler: Any, i: int, optimizer: Optimizer) -> None:
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError(
            f"{owner} does not support `ReduceLROnPlateau` scheduler as it requires additional kwargs to be specified when "
            f"calling `step`, but got one at index {i} in the given schedulers sequence."
        )
    if scheduler.optimizer != optimizer:
        raise ValueError(
            f"{owner} expects all schedulers to belong to the same optimizer, but got scheduler "
            f"{type(scheduler).__name__} at index {i} has {scheduler.optimizer}, which is different from {optimizer}."
        )


class _Several(LRScheduler):
    _schedulers: list[Any]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; the schedules as their own state_dicts."""
        state = {key: value for key, value in self.__dict__.items() if key not in ("optimizer", "_schedulers")}
        state["_schedulers"] = [scheduler.state_dict() for scheduler in self._schedulers]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        state = dict(state_dict)
        members = state.pop("_schedulers")
        self.__dict__.update(state)
        for scheduler, saved in zip(self._schedulers, members, strict=False):
            scheduler.load_state_dict(saved)


class SequentialLR(_Several):
    """One schedule after the other.

    Args:
        optimizer: whose rates are set.
        schedulers: the schedules, made for this optimizer, in order.
        milestones: the epochs at which the next one begins; one fewer than schedules.
        last_epoch: -1 starts anew.
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int], last_epoch: int = -1
    ) -> None:
        if len(schedulers) < 1:
            raise ValueError("SequentialLR expects at least one scheduler, but got no scheduler.")
        for i, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer"):
                raise TypeError(f"SequentialLR at index {i} should have `optimizer` as its attribute.")
            _check_member("SequentialLR", scheduler, i, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than the number of milestone "
                f"points, but got number of schedulers {len(schedulers)} and the number of milestones to be equal to "
                f"{len(milestones)}"
            )
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        # Every schedule took its first step when it was made: undo them all, then take that of the first.
        for group in optimizer.param_groups:
            if hasattr(group["lr"], "fill_"):
                group["lr"].fill_(float(group["initial_lr"]))
            else:
                group["lr"] = group["initial_lr"]
        self.recursive_undo()
        schedulers[0]._initial_step()
        self._last_lr = schedulers[0].get_last_lr()

    def recursive_undo(self, sched: Any = None) -> None:
        """Take one epoch back from every schedule, also those inside others."""
        members = getattr(self if sched is None else sched, "_schedulers", None)
        if members is not None:
            for member in members:
                self.recursive_undo(member)
        elif hasattr(sched, "last_epoch"):
            sched.last_epoch -= 1

    def step(self) -> None:
        """Advance the schedule whose turn it is."""
        self.last_epoch += 1
        at = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[at]
        if at > 0 and self._milestones[at - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Several):
    """All schedules at once: each multiplies what the others left.

    Args:
        schedulers: the schedules, made for one optimizer.
        optimizer: that optimizer (default: the first schedule's).
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if len(schedulers) < 1:
            raise ValueError("ChainedScheduler expects at least one scheduler to be chained, but got no scheduler.")
        optimizer = optimizer or schedulers[0].optimizer
        for i, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer"):
                raise TypeError(f"ChainedScheduler at index {i} should have `optimizer` as its attribute.")
            _check_member("ChainedScheduler", scheduler, i, optimizer)
        self._schedulers = list(schedulers)
        self.optimizer = optimizer
        self._last_lr = self._current()

    def _update_lr(self, epoch: int | None = None) -> None:
        for scheduler in self._schedulers:  # SequentialLR begins its turn
            scheduler._update_lr(epoch)
        self._last_lr = self._current()

    def step(self) -> None:
        """Advance all of them."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._current()
