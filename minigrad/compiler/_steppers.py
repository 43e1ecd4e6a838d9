"""Optimizers and schedulers of exported training steps: their class by name, options and state as plain data and named tensors."""

from __future__ import annotations

import inspect
from typing import Any

import minigrad as mg
from minigrad._core import Tensor

from ._trees import decode_number, encode_number


def _class_named(name: Any, where: Any, base: type) -> type:
    found = getattr(where, name, None) if isinstance(name, str) and name in where.__all__ else None
    if not (isinstance(found, type) and issubclass(found, base) and found is not base):
        raise ValueError(f"no {base.__name__}: {name!r:.50}")
    return found


def describe(owner: Any, names: dict[int, str], owners: list[Any], state: dict[str, Tensor]) -> dict[str, Any]:
    """The data of an optimizer or scheduler; tensors of its state go to `state` under names of their own.

    `names`: id of a parameter -> its name in `state`. `owners`: all, in the program's order.
    Raises NotImplementedError for what is not plain data.
    """
    kind = type(owner).__name__
    scheduler = not isinstance(owner, mg.optim.Optimizer)
    where, base = (mg.optim.lr_scheduler, mg.optim.lr_scheduler.LRScheduler) if scheduler else (mg.optim, mg.optim.Optimizer)
    if getattr(where, kind, None) is not type(owner) or kind == "LBFGS":
        raise NotImplementedError(f"export: a {base.__name__} of a class of its own, {kind}")
    try:
        if scheduler:
            plain = {k: v for k, v in owner.state_dict().items() if not callable(v)}
            return {"scheduler": kind, "of": owners.index(owner.optimizer), "state": {k: encode_number(v) for k, v in plain.items()}}
        groups = [{k: encode_number(v) for k, v in group.items() if k != "params"} for group in owner.param_groups]
        params = [[names[id(p)] for p in group["params"]] for group in owner.param_groups]
        kept = []
        for param, entry in owner.state.items():
            kept.append(
                [
                    names[id(param)],
                    {k: _entry(f"optimizer.{owners.index(owner)}.{names[id(param)]}.{k}", v, state) for k, v in entry.items()},
                ]
            )
        return {"optimizer": kind, "groups": groups, "params": params, "state": kept}
    except (TypeError, KeyError, ValueError) as error:
        raise NotImplementedError(f"export: {kind} has options or state beyond numbers and tensors ({error})") from error


def _entry(name: str, value: Any, state: dict[str, Tensor]) -> Any:
    if not isinstance(value, Tensor):
        return encode_number(value)
    state[name] = value.detach().clone()
    return {"tensor": name}


class Stepper:
    """One optimizer or scheduler, made from its data.

    Attributes:
        name: of its class. params: what a step writes.
    """

    def __init__(self, data: dict[str, Any], state: dict[str, Tensor], before: list[Stepper]) -> None:
        if "scheduler" in data:
            kind = _class_named(data["scheduler"], mg.optim.lr_scheduler, mg.optim.lr_scheduler.LRScheduler)
            self.name, self.params = kind.__name__, []
            self.owner = kind.__new__(kind)
            self.owner.optimizer = before[data["of"]].owner
            for key, value in data["state"].items():
                if not key.isidentifier() or key.startswith("__") or hasattr(kind, key) and callable(getattr(kind, key)):
                    raise ValueError(f"no state of a scheduler: {key!r:.50}")
                self.owner.__dict__[key] = _lists(decode_number(value))
            self.owner._watch_step()
        else:
            kind = _class_named(data["optimizer"], mg.optim, mg.optim.Optimizer)
            self.name = kind.__name__
            self.owner = self._optimizer(kind, data, state)
            self.params = [p for group in self.owner.param_groups for p in group["params"]]

    def step(self) -> None:
        """One step."""
        self.owner.step()

    def _optimizer(self, kind: type, data: dict[str, Any], state: dict[str, Tensor]) -> Any:
        groups = []
        for options, params in zip(data["groups"], data["params"]):
            known = inspect.signature(kind).parameters
            decoded = {k: decode_number(v) for k, v in options.items()}
            kind([state[name] for name in params], **{k: v for k, v in decoded.items() if k in known})  # it checks its options
            groups.append(decoded | {"params": [state[name] for name in params]})
        made = kind(groups)
        for name, entry in data["state"]:
            for key, value in entry.items():
                tensor = isinstance(value, dict) and "tensor" in value
                made.state[state[name]][key] = state[value["tensor"]] if tensor else decode_number(value)
        return made


def _lists(value: Any) -> Any:
    """Sequences as lists: that is what schedulers keep."""
    return [_lists(v) for v in value] if isinstance(value, tuple) else value
