"""state_dict and load_state_dict of a Module (mixed into Module).

The layout is torch's: an OrderedDict of dotted names, parameters before buffers before children, with a `_metadata`
attribute that holds each module's `_version`; modules override `_save_to_state_dict` / `_load_from_state_dict`.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import Any

import minigrad as mg
from minigrad.utils.hooks import RemovableHandle

from ..parameter import Parameter

_EXTRA_STATE = "_extra_state"


class _IncompatibleKeys(namedtuple("_IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """Result of load_state_dict: the keys that did not match."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<All keys matched successfully>" if not (self[0] or self[1]) else super().__repr__()

    __str__ = __repr__


class StateMixin:
    """Saving to and loading from flat dictionaries."""

    _version: int = 1

    def get_extra_state(self) -> Any:
        """Return extra state to put in the state_dict; override together with `set_extra_state`."""
        raise RuntimeError("get_extra_state: not defined for this module. Override it to store extra state.")

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` returned; called by `load_state_dict`."""
        raise RuntimeError("set_extra_state: not defined for this module. Override it to load extra state.")

    def _has_extra_state(self, which: str) -> bool:
        return getattr(type(self), which) is not getattr(StateMixin, which)

    # ---- saving ----------------------------------------------------------------------------------------------

    def state_dict(
        self, *args: Any, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Return all parameters and persistent buffers by dotted name; the tensors share memory with the module.

        Args:
            destination: dict to fill; a new OrderedDict when omitted.
            prefix: put before every name.
            keep_vars: return the parameters themselves rather than detached tensors.
        """
        if args:  # positional use is deprecated in torch, but public programs still do it
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and prefix == "" else prefix
            keep_vars = args[2] if len(args) > 2 and keep_vars is False else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            returned = hook(self, destination, prefix, local_metadata)
            if getattr(hook, "_from_public_api", False):
                if returned is not None:
                    raise RuntimeError("state_dict post-hook must return None")
            elif returned is not None:
                destination = returned
        return destination

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name, parameter in self._parameters.items():
            if parameter is not None:
                destination[prefix + name] = parameter if keep_vars else parameter.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buffer if keep_vars else buffer.detach()
        if self._has_extra_state("get_extra_state"):
            destination[prefix + _EXTRA_STATE] = self.get_extra_state()

    # ---- loading ---------------------------------------------------------------------------------------------

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy the tensors of `state_dict` into this module.

        Args:
            state_dict: names to tensors, as `state_dict()` returns.
            strict: raise when names are missing or unexpected.
            assign: put the given tensors in place of the module's own instead of copying values.

        Returns:
            A named tuple `(missing_keys, unexpected_keys)`.

        Raises:
            TypeError: `state_dict` is no mapping.
            RuntimeError: names do not match (strict) or a size differs; nothing says how much was copied.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state_dict = OrderedDict(state_dict)
        if metadata is not None:
            state_dict._metadata = metadata
        _load_tree(self, state_dict, "", metadata, strict, assign, (missing, unexpected, errors))
        if strict:
            if unexpected:
                names = ", ".join(f'"{k}"' for k in unexpected)
                errors.insert(0, f"Unexpected key(s) in state_dict: {names}. ")
            if missing:
                names = ", ".join(f'"{k}"' for k in missing)
                errors.insert(0, f"Missing key(s) in state_dict: {names}. ")
        if errors:
            raise RuntimeError(
                "Error(s) in loading state_dict for {}:\n\t{}".format(type(self).__name__, "\n\t".join(errors))
            )
        return _IncompatibleKeys(missing, unexpected)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = {k: v for k, v in self._buffers.items() if k not in self._non_persistent_buffers_set}
        for name, target in itertools.chain(self._parameters.items(), own.items()):
            if target is None:
                continue
            key = prefix + name
            if key in state_dict:
                _load_one(self, name, key, target, state_dict[key], assign, error_msgs)
            elif strict:
                missing_keys.append(key)
        extra_key = prefix + _EXTRA_STATE
        if self._has_extra_state("set_extra_state"):
            if extra_key in state_dict:
                self.set_extra_state(state_dict[extra_key])
            elif strict:
                missing_keys.append(extra_key)
        elif strict and extra_key in state_dict:
            unexpected_keys.append(extra_key)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra_key:
                    parts = key[len(prefix) :].split(".", 1)
                    known = parts[0] in self._modules if len(parts) > 1 else parts[0] in {**self._parameters, **own}
                    if not known:
                        unexpected_keys.append(key)

    # ---- hooks -----------------------------------------------------------------------------------------------

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was registered before"
            )
        handle = RemovableHandle(self._state_dict_hooks)
        self._state_dict_hooks[handle.id] = hook
        return handle

    def register_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after `state_dict()`; it may edit the dict."""
        hook._from_public_api = True
        handle = RemovableHandle(self._state_dict_hooks)
        self._state_dict_hooks[handle.id] = hook
        return handle

    def register_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict()`."""
        handle = RemovableHandle(self._state_dict_pre_hooks)
        self._state_dict_pre_hooks[handle.id] = hook
        return handle

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., None], with_module: bool = False
    ) -> RemovableHandle:
        handle = RemovableHandle(self._load_state_dict_pre_hooks)
        self._load_state_dict_pre_hooks[handle.id] = _PreHook(hook, self if with_module else None)
        return handle

    def register_load_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` before loading."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Callable[[Any, Any], None]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading; it may edit the lists in place."""
        handle = RemovableHandle(self._load_state_dict_post_hooks)
        self._load_state_dict_post_hooks[handle.id] = hook
        return handle


class _PreHook:
    """A load hook, with its module put first where it asked for it."""

    def __init__(self, hook: Callable[..., None], module: Any) -> None:
        self.hook, self.module = hook, module

    def __call__(self, *args: Any) -> None:
        if self.module is not None:
            self.hook(self.module, *args)
        else:
            self.hook(*args)


def _load_tree(
    module: Any, state: dict[str, Any], prefix: str, metadata: Any, strict: bool, assign: bool, lists: tuple[list, ...]
) -> None:
    missing, unexpected, errors = lists
    local_metadata = {} if metadata is None else metadata.get(prefix[:-1], {})
    if assign:
        local_metadata["assign_to_params_buffers"] = True
    module._load_from_state_dict(state, prefix, local_metadata, True, missing, unexpected, errors)
    for name, child in module._modules.items():
        if child is not None:
            child_prefix = prefix + name + "."
            part = {k: v for k, v in state.items() if k.startswith(child_prefix)}
            _load_tree(child, part, child_prefix, metadata, strict, assign, lists)
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, _IncompatibleKeys(missing, unexpected)) is not None:
            raise RuntimeError(
                "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new values; "
                "modify incompatible_keys in place."
            )


def _load_one(module: Any, name: str, key: str, target: Any, given: Any, assign: bool, errors: list[str]) -> None:
    if not isinstance(given, mg.Tensor):
        errors.append(
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint '
            f"but received {type(given)}"
        )
        return
    if target.dim() == 0 and given.dim() == 1 and given.shape[0] == 1:
        given = given[0]  # checkpoints from before 0-d tensors
    if given.shape != target.shape:
        errors.append(
            f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, "
            f"the shape in current model is {target.shape}."
        )
        return
    try:
        with mg.no_grad():
            if not assign:
                target.copy_(given)
                return
            if isinstance(target, Parameter):
                if not isinstance(given, Parameter):
                    given = Parameter(given, requires_grad=target.requires_grad)
                else:
                    given.requires_grad_(target.requires_grad)
            setattr(module, name, given)
    except Exception as error:  # every bad entry is reported, not only the first
        errors.append(
            f'While copying the parameter named "{key}", whose dimensions in the model are {target.shape} and whose '
            f"dimensions in the checkpoint are {given.shape}, an exception occurred : {error.args}."
        )
