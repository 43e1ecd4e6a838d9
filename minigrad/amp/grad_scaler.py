"""GradScaler: keeps float16 gradients from vanishing by scaling the loss, and leaves out steps whose gradients overflowed."""

from __future__ import annotations

import inspect
import warnings
from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import Any

import minigrad as mg

from .autocast_mode import _present

__all__ = ["GradScaler", "OptState"]

Tensor = mg.Tensor


class OptState(Enum):
    """What happened to an optimizer since the last update."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _refresh_per_optimizer_state() -> dict[str, Any]:
    return {"stage": OptState.READY, "found_inf_per_device": {}}


class _MultiDeviceReplicator:
    """One tensor, copied once to every device that asks."""

    def __init__(self, master_tensor: Tensor) -> None:
        self.master = master_tensor
        self._per_device_tensors: dict[Any, Tensor] = {}

    def get(self, device: Any) -> Tensor:
        """The copy on `device`."""
        if device not in self._per_device_tensors:
            self._per_device_tensors[device] = self.master.to(device=device)
        return self._per_device_tensors[device]


class GradScaler:
    """scale(loss).backward(); step(optimizer); update().

    Args:
        device: whose tensors are scaled; without that device the scaler disables itself, with a warning.
        init_scale: first scale.
        growth_factor: by which the scale grows after `growth_interval` steps without overflow.
        backoff_factor: by which it shrinks after an overflow.
        growth_interval: see growth_factor.
        enabled: False makes every method pass things through.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = device
        self._enabled = enabled
        if enabled and device != "cpu" and not _present(device):
            warnings.warn(f"GradScaler is enabled, but {device.upper()} is not available.  Disabling.", stacklevel=2)
            self._enabled = False
        if not self._enabled:
            return
        if not growth_factor > 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if not backoff_factor < 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale = init_scale
        self._scale: Tensor | None = None  # made at the first scale()
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._init_growth_tracker = 0
        self._growth_tracker: Tensor | None = None
        self._per_optimizer_states: dict[int, dict[str, Any]] = defaultdict(_refresh_per_optimizer_state)

    # ---- scale -----------------------------------------------------------------------------------------------

    def _check_scale_growth_tracker(self, funcname: str) -> tuple[Tensor, Tensor]:
        fix = "This may indicate your script did not use scaler.scale(loss or outputs) earlier in the iteration."
        for name in ("_scale", "_growth_tracker"):
            if getattr(self, name) is None:
                raise AssertionError(f"Attempted {funcname} but {name} is None.  {fix}")
        return self._scale, self._growth_tracker

    def _lazy_init_scale_growth_tracker(self, dev: Any) -> None:
        if self._growth_tracker is not None:
            raise AssertionError("_growth_tracker initialized before _scale")
        self._scale = mg.full((), self._init_scale, dtype=mg.float32, device=dev)
        self._growth_tracker = mg.full((), self._init_growth_tracker, dtype=mg.int32, device=dev)

    def scale(self, outputs: Any) -> Any:
        """A tensor, or tensors in nested iterables, times the scale.

        Raises:
            ValueError: something in there is neither.
        """
        return self._scaled(outputs, {}) if self._enabled else outputs

    def _scaled(self, value: Any, copies: dict[str, _MultiDeviceReplicator]) -> Any:
        if isinstance(value, Tensor):
            if self._scale is None:
                self._lazy_init_scale_growth_tracker(value.device)
            if "scale" not in copies:
                copies["scale"] = _MultiDeviceReplicator(self._scale)
            return value * copies["scale"].get(value.device)
        if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
            entries = (self._scaled(entry, copies) for entry in value)
            if isinstance(value, (list, tuple)):
                return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
            return entries
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    # ---- unscale and step --------------------------------------------------------------------------------------

    def _unscale_grads_(
        self, optimizer: Any, inv_scale: Tensor, found_inf: Tensor, allow_fp16: bool
    ) -> dict[Any, Tensor]:
        """Multiply all gradients by inv_scale; {device: 1.0 if one of them was not finite, else 0.0}."""
        inverse, found = _MultiDeviceReplicator(inv_scale), _MultiDeviceReplicator(found_inf)
        alike: dict[Any, list[Tensor]] = defaultdict(list)
        for group in optimizer.param_groups:
            for param in group["params"]:
                grad = param.grad
                if grad is None:
                    continue
                if not allow_fp16 and grad.dtype == mg.float16:
                    raise ValueError("Attempting to unscale FP16 gradients.")
                if getattr(grad, "is_sparse", False):
                    grad = param.grad = grad.coalesce() if grad.dtype == mg.float16 else grad
                    grad = grad._values()
                alike[grad.device, grad.dtype].append(grad)
        with mg.no_grad():
            for (device, _), grads in alike.items():
                factor, flag = inverse.get(device), found.get(device)
                if not mg._core.unscale_all(grads, factor, flag):  # one call for all; False: not for these tensors
                    for grad in grads:
                        self._unscale_one(grad, factor, flag)
        return found._per_device_tensors

    @staticmethod
    def _unscale_one(grad: Tensor, factor: Tensor, found: Tensor) -> None:
        if not bool(mg.isfinite(grad).all()):
            found.fill_(1.0)
        grad.mul_(factor.to(grad.dtype) if grad.dtype == mg.float64 else factor)

    def unscale_(self, optimizer: Any) -> None:
        """Divide the optimizer's gradients by the scale, for work on them (clipping) before `step`.

        Raises:
            RuntimeError: called twice, or after `step`, since the last update.
            ValueError: a gradient is float16: the parameters must be float32.
        """
        if not self._enabled:
            return
        self._check_scale_growth_tracker("unscale_")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        inv_scale = self._scale.double().reciprocal().float()
        found_inf = mg.full((), 0.0, dtype=mg.float32, device=self._scale.device)
        state["found_inf_per_device"] = self._unscale_grads_(optimizer, inv_scale, found_inf, False)
        state["stage"] = OptState.UNSCALED

    def _maybe_opt_step(self, optimizer: Any, optimizer_state: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if any(float(found) for found in optimizer_state["found_inf_per_device"].values()):
            return None
        return optimizer.step(*args, **kwargs)

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step(*args, **kwargs) with unscaled gradients, unless one of them is not finite.

        Raises:
            RuntimeError: a closure is given, or step was called since the last update.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._check_scale_growth_tracker("step")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            return self._step_that_unscales(optimizer, state, args, kwargs)
        if state["stage"] is OptState.READY:
            self.unscale_(optimizer)
        if not state["found_inf_per_device"]:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = self._maybe_opt_step(optimizer, state, *args, **kwargs)
        state["stage"] = OptState.STEPPED
        return result

    def _step_that_unscales(self, optimizer: Any, state: dict[str, Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """The step of an optimizer that says it takes grad_scale and found_inf itself."""
        takes_scaler = "grad_scaler" in inspect.signature(optimizer.step).parameters
        if takes_scaler:
            kwargs = {**kwargs, "grad_scaler": self}
        else:
            if state["stage"] is OptState.READY:
                self._check_inf_per_device(optimizer)
            found = [found.to(self._scale.device) for found in state["found_inf_per_device"].values()]
            optimizer.grad_scale = None if state["stage"] is OptState.UNSCALED else self._scale.clone()
            optimizer.found_inf = sum(found)
        result = optimizer.step(*args, **kwargs)
        state["stage"] = OptState.STEPPED
        if not takes_scaler:
            del optimizer.grad_scale, optimizer.found_inf
        return result

    # ---- update ------------------------------------------------------------------------------------------------

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapt the scale to what the steps since the last update found, or set it."""
        if not self._enabled:
            return
        scale, tracker = self._check_scale_growth_tracker("update")
        if new_scale is not None:
            if isinstance(new_scale, Tensor) and (new_scale.numel() != 1 or new_scale.requires_grad):
                raise AssertionError("new_scale should be a float or a 1-element FloatTensor with requires_grad=False.")
            scale.fill_(float(new_scale))
        else:
            found = [f for state in self._per_optimizer_states.values() for f in state["found_inf_per_device"].values()]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            self._adapt(scale, tracker, any(float(f) for f in found))
        self._per_optimizer_states = defaultdict(_refresh_per_optimizer_state)

    def _adapt(self, scale: Tensor, tracker: Tensor, overflowed: bool) -> None:
        if overflowed:
            scale.mul_(self._backoff_factor)
            tracker.zero_()
            return
        tracker.add_(1)
        if int(tracker) == self._growth_interval:
            grown = scale * self._growth_factor
            if bool(mg.isfinite(grown)):
                scale.copy_(grown)
            tracker.zero_()

    # ---- options and state ---------------------------------------------------------------------------------------

    def get_scale(self) -> float:
        """The scale; 1.0 when disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(self._scale)

    def get_growth_factor(self) -> float:
        """See the constructor."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """See the constructor."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """See the constructor."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """See the constructor."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """See the constructor."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """See the constructor."""
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        return self._init_growth_tracker if self._growth_tracker is None else int(self._growth_tracker)

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Scale and options as plain numbers; {} when disabled. Take it after `update`."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            RuntimeError: it is empty, while this scaler is enabled.
        """
        if not self._enabled:
            return
        if len(state_dict) == 0:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        if self._scale is not None:
            self._scale.fill_(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_growth_tracker = state_dict["_growth_tracker"]
        if self._growth_tracker is not None:
            self._growth_tracker.fill_(state_dict["_growth_tracker"])

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            if len(self._per_optimizer_states) != 0:
                raise AssertionError(
                    "A GradScaler instance may only be pickled at the beginning of an iteration, or at the end after "
                    "scaler.update()."
                )
            state["_init_scale"] = self.get_scale()
            state["_init_growth_tracker"] = self._get_growth_tracker()
            state["_scale"] = None
            state["_growth_tracker"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _check_inf_per_device(self, optimizer: Any) -> dict[Any, Tensor]:
        """Look for overflow without changing the gradients."""
        scale, _ = self._check_scale_growth_tracker("_check_inf_per_device")
        one = mg.full((), 1.0, dtype=mg.float32, device=scale.device)
        found = mg.full((), 0.0, dtype=mg.float32, device=scale.device)
        state = self._per_optimizer_states[id(optimizer)]
        state["found_inf_per_device"] = self._unscale_grads_(optimizer, one, found, True)
        return state["found_inf_per_device"]

    def _found_inf_per_device(self, optimizer: Any) -> dict[Any, Tensor]:
        return self._per_optimizer_states[id(optimizer)]["found_inf_per_device"]
