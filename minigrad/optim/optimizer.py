# ruff: noqa: I001
"""Optimizer: parameter groups, state, hooks, state_dict; the base class that third-party optimizers extend.

Map. Groups and their checks · zero_grad and step · hooks · state_dict. Invariants: `param_groups` is a list of dicts
with "params" (a list of leaf tensors) and every default; `state` maps a parameter to its dict. Hooks cost nothing until
one is registered: registration puts a wrapped `step` on the instance.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import minigrad as mg
from minigrad.utils._typename import typename as _typename
from minigrad.utils.hooks import RemovableHandle

from ._support import (  # noqa: F401  the names that optimizers written for torch import from here
    Args, GlobalOptimizerPostHook, GlobalOptimizerPreHook, Kwargs, ParamsT, StateDict, _capturable_doc, _default_to_fused_or_foreach,
    _device_dtype_check_for_fused, _differentiable_doc, _disable_dynamo_if_unsupported, _dispatch_sqrt, _foreach_doc,
    _foreach_supported_types, _fused_doc, _get_capturable_supported_devices, _get_foreach_kernels_supported_devices,
    _get_fused_kernels_supported_devices, _get_scalar_dtype, _get_value, _group_tensors_by_device_and_dtype, _maximize_doc, _params_doc,
    _RequiredParameter, _split_names, _stack_if_compiling, _to_scalar, _use_grad_for_differentiable, _view_as_real, required,
)  # fmt: skip

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

Tensor = mg.Tensor
params_t = ParamsT
_alive: weakref.WeakSet = weakref.WeakSet()
_global_optimizer_pre_hooks: dict[int, Callable[..., Any]] = OrderedDict()
_global_optimizer_post_hooks: dict[int, Callable[..., Any]] = OrderedDict()


class Optimizer:
    """Base class of all optimizers.

    Args:
        params: tensors, `(name, tensor)` pairs, or dicts with "params" and options of that group.
        defaults: options a group takes when it does not set them.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + _typename(params)
            )
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._make_hook_tables()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)  # the caller's dict itself: wrappers (SAM, Lookahead) share groups with an inner optimizer
        self._warned_capturable_if_run_uncaptured = True
        self._start()

    def _make_hook_tables(self) -> None:
        self._optimizer_step_pre_hooks: dict[int, Any] = OrderedDict()
        self._optimizer_step_post_hooks: dict[int, Any] = OrderedDict()
        self._optimizer_state_dict_pre_hooks: dict[int, Any] = OrderedDict()
        self._optimizer_state_dict_post_hooks: dict[int, Any] = OrderedDict()
        self._optimizer_load_state_dict_pre_hooks: dict[int, Any] = OrderedDict()
        self._optimizer_load_state_dict_post_hooks: dict[int, Any] = OrderedDict()

    def _start(self) -> None:
        self._patch_step_function()
        _alive.add(self)
        if _global_optimizer_pre_hooks or _global_optimizer_post_hooks:
            self._wrap_step()

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_optimizer_step_pre_hooks" not in self.__dict__:
            self._make_hook_tables()
            self._start()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for i, group in enumerate(self.param_groups):
            lines += [*([""] if i else []), f"Parameter Group {i}"]
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join(lines) + "\n)"

    # ---- groups ----------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with "params" (a tensor or an ordered iterable of them) and options.

        Raises:
            TypeError: not a dict, a set of parameters, or something that is no tensor.
            ValueError: a non-leaf tensor, a missing required option, or a parameter that is in another group.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in "
                "sets will change between runs. Please use a list instead."
            )
        params, names = _split_names(list(params))
        if names is not None:
            param_group["param_names"] = names
        param_group["params"] = params
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is " + _typename(param))
            if not self.defaults.get("differentiable") and not (param.is_leaf or param.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        ids = {id(param) for param in params}
        if len(ids) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error",
                stacklevel=3,
            )
        for group in self.param_groups:
            if not ids.isdisjoint(id(param) for param in group["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
            if ("param_names" in group) != ("param_names" in param_group):
                without = "with" if "param_names" in param_group else "without"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {without} names to the optimizer"
                )
        self.param_groups.append(param_group)

    # ---- step ------------------------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parameters, or fill them with zeros."""
        if set_to_none:
            for group in self.param_groups:
                for param in group["params"]:
                    param.grad = None
            return
        for group in self.param_groups:
            for param in group["params"]:
                grad = param.grad
                if grad is None:
                    continue
                if grad.grad_fn is not None:
                    grad.detach_()
                else:
                    grad.requires_grad_(False)
                grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters once; `closure` recomputes the loss and is called with gradients enabled."""
        raise NotImplementedError

    def _patch_step_function(self) -> None:
        """Set the labels under which a profiler lists this optimizer."""
        self._zero_grad_profile_name = f"Optimizer.zero_grad#{type(self).__name__}.zero_grad"

    @staticmethod
    def profile_hook_step(func: Callable[..., Any]) -> Callable[..., Any]:
        """A `step` function as it is: hooks are put around the step of an instance when one is registered."""
        return func

    def _optimizer_step_code(self) -> None:
        """A mark that profilers look for."""

    def _cuda_graph_capture_health_check(self) -> None:
        """Nothing to check here: step() of an optimizer that is not capturable raises while a graph is captured."""

    _accelerator_graph_capture_health_check = _cuda_graph_capture_health_check

    def _evaluate(self, closure: Callable[[], Any] | None) -> Any:
        if closure is None:
            return None
        with mg.enable_grad():
            return closure()

    # ---- hooks -----------------------------------------------------------------------------------------------

    def _wrap_step(self) -> None:
        """Put a `step` on the instance that runs the hooks around the present one (once)."""
        current = self.step
        if getattr(current, "_runs_hooks", False):
            return

        # `self` is reached through a weak reference: a strong one would be a cycle that keeps all state alive.
        ref = weakref.ref(self)
        inner = getattr(current, "__func__", current)
        bound = hasattr(current, "__func__")

        @functools.wraps(inner)
        def step(*args: Any, **kwargs: Any) -> Any:
            self = ref()
            args = (self, *args)  # hooks see, and may replace, the optimizer as the first argument
            for hook in [*_global_optimizer_pre_hooks.values(), *self._optimizer_step_pre_hooks.values()]:
                returned = hook(self, args, kwargs)
                if returned is None:
                    continue
                if not (isinstance(returned, tuple) and len(returned) == 2):
                    raise RuntimeError(
                        f"{inner} must return None or a tuple of (new_args, new_kwargs), but got {returned}."
                    )
                args, kwargs = returned
            result = inner(*args, **kwargs) if bound else inner(*args[1:], **kwargs)
            for hook in [*self._optimizer_step_post_hooks.values(), *_global_optimizer_post_hooks.values()]:
                hook(self, args, kwargs)
            return result

        step._runs_hooks = True
        self.step = step

    def _register(self, table: dict[int, Any], hook: Any, prepend: bool = False) -> RemovableHandle:
        handle = RemovableHandle(table)
        table[handle.id] = hook
        if prepend:
            table.move_to_end(handle.id, last=False)
        return handle

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before `step`; it may return new `(args, kwargs)`."""
        self._wrap_step()
        return self._register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after `step`."""
        self._wrap_step()
        return self._register(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[[Any], None], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict`."""
        return self._register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict`; a returned dict replaces it."""
        return self._register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before loading; a returned dict replaces it."""
        return self._register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[[Any], None], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after loading."""
        return self._register(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # ---- state_dict ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State and groups as plain data: parameters become their running numbers; tensors are shared, not copied."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        number: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            packed = {key: value for key, value in group.items() if key != "params"}
            for param in group["params"]:
                number.setdefault(id(param), len(number))
            packed["params"] = [number[id(param)] for param in group["params"]]
            groups.append(packed)
        state = {number[id(key)] if isinstance(key, Tensor) else key: value for key, value in self.state.items()}
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            returned = hook(self, result)
            if returned is not None:
                result = returned
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over state and options from what `state_dict` returned; floating state is cast to its parameter's dtype.

        Raises:
            ValueError: the number of groups, or of parameters in one, differs.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            returned = hook(self, state_dict)
            if returned is not None:
                state_dict = returned
        saved_groups = deepcopy(state_dict["param_groups"])
        if len(saved_groups) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for own, saved in zip(self.param_groups, saved_groups, strict=True):
            if len(own["params"]) != len(saved["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
                )
        by_number = {}
        for own, saved in zip(self.param_groups, saved_groups, strict=True):
            by_number.update(zip(saved["params"], own["params"], strict=True))
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            param = by_number.get(key)
            if param is None:
                state[key] = value
            else:
                state[param] = self._fit(param, value, key, saved_groups)
        for i, (own, saved) in enumerate(zip(self.param_groups, saved_groups, strict=True)):
            saved["params"] = own["params"]
            if "param_names" in own and "param_names" not in saved:
                saved_groups[i] = {"param_names": own["param_names"], **saved}
        self.__setstate__({"state": state, "param_groups": saved_groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def _fit(self, param: Tensor, value: Any, number: Any, groups: list[dict[str, Any]], key: Any = None) -> Any:
        if isinstance(value, Tensor):
            return Optimizer._process_value_according_to_param_policy(param, value, number, groups, key)
        if isinstance(value, dict):
            return {k: self._fit(param, v, number, groups, k) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._fit(param, v, number, groups) for v in value)
        return value

    @staticmethod
    def _process_value_according_to_param_policy(
        param: Tensor, value: Tensor, param_id: int, param_groups: list[dict[Any, Any]], key: Any = None
    ) -> Tensor:
        """A copy of loaded state that fits `param`: its device, its dtype where that is floating; counters keep their own."""
        if key in ("step", "mu_product"):
            group = next((group for group in param_groups if param_id in group["params"]), {})
            if group.get("capturable") or group.get("fused"):
                return value.detach().to(device=param.device, dtype=mg.float32, copy=True)
            return value.detach().clone()
        dtype = param.dtype if param.is_floating_point() else value.dtype
        return value.detach().to(device=param.device, dtype=dtype, copy=True)


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before the step of every optimizer."""
    return _register_global(_global_optimizer_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable[..., None]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after the step of every optimizer."""
    return _register_global(_global_optimizer_post_hooks, hook)


def _register_global(table: dict[int, Any], hook: Any) -> RemovableHandle:
    handle = RemovableHandle(table)
    table[handle.id] = hook
    for optimizer in list(_alive):
        optimizer._wrap_step()
    return handle


def check_range(name: str, value: Any, low: float = 0.0) -> None:
    """Raise torch's ValueError when an option is below its range (or NaN)."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(f"Tensor {name} must be 1-element")
    if not low <= value:
        raise ValueError(f"Invalid {name} value: {value}")


def wants_reference(group: dict[str, Any]) -> bool:
    """Whether a group asks for the single-tensor formulas: foreach=False without fused=True, or differentiable."""
    if group.get("differentiable"):
        return True
    return group.get("foreach") is False and not group.get("fused")
