"""Module: the base class of layers and models.

Map. `module.py` state, attribute rules, repr · `_base.py` lookup and call (C when available) · `_convert.py` to, half, apply ·
`_hooks.py` forward/backward hooks · `_traverse.py` named_* and get_* · `_state.py` state_dict.
Invariants: `_parameters`, `_buffers`, `_modules` are plain dicts in the instance `__dict__`; a name lives in at most
one of them and never in `__dict__` as well; `forward` runs directly unless `_has_hooks`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import minigrad as mg
from minigrad.utils._typename import typename as _typename

from ..parameter import Buffer, Parameter
from . import _registration
from ._base import ModuleBase
from ._convert import ConvertMixin
from ._hooks import HookMixin
from ._state import _EXTRA_STATE, StateMixin, _IncompatibleKeys, _PreHook  # noqa: F401  programs import the keys from here
from ._traverse import TraverseMixin

T = TypeVar("T", bound="Module")
_global_parameter_registration_hooks = _registration.hooks["parameter"]  # PyTorch's names for the tables, which libraries loop over
_global_buffer_registration_hooks = _registration.hooks["buffer"]
_global_module_registration_hooks = _registration.hooks["module"]
_grad_t = tuple[mg.Tensor, ...] | mg.Tensor
_EXTRA_STATE_KEY_SUFFIX, _WrappedHook = _EXTRA_STATE, _PreHook  # PyTorch's names
_HOOK_TABLES = (
    "_backward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


class _CallSignature:
    """`inspect.signature(net)` is (*args, **kwargs), as of PyTorch's `__call__`; that of a class comes from its `__init__`."""

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            raise AttributeError("__signature__")
        import inspect

        kinds = inspect.Parameter
        return inspect.Signature([kinds("args", kinds.VAR_POSITIONAL), kinds("kwargs", kinds.VAR_KEYWORD)])


class Module(HookMixin, TraverseMixin, StateMixin, ConvertMixin, ModuleBase):
    """Base class of all layers: assign Parameters, buffers and Modules as attributes and define `forward`.

    Example:
        >>> net = mg.nn.Sequential(mg.nn.Linear(2, 3), mg.nn.ReLU())
        >>> net(mg.zeros(4, 2)).shape
        minigrad.Size([4, 3])
    """

    dump_patches: bool = False
    call_super_init: bool = False
    training: bool
    T_destination = TypeVar("T_destination", bound=dict[str, Any])
    _compiled_call_impl: Callable[..., Any] | None = None
    __signature__ = _CallSignature()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and (args or kwargs):
            name = type(self).__name__
            what = f"an unexpected keyword argument '{next(iter(kwargs))}'" if kwargs else None
            raise TypeError(
                f"{name}.__init__() got {what}"
                if what
                else f"{name}.__init__() takes 1 positional argument but {len(args) + 1} were given"
            )
        state = self.__dict__
        state["training"] = True
        state["_parameters"] = {}
        state["_buffers"] = {}
        state["_non_persistent_buffers_set"] = set()
        state["_is_full_backward_hook"] = None
        for table in _HOOK_TABLES:
            state[table] = OrderedDict()
        state["_modules"] = {}
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def _forward_unimplemented(self, *input: Any) -> Any:
        """Compute the result of the module; every subclass defines its own."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    forward: Callable[..., Any] = _forward_unimplemented

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the module's forward in place; the arguments are those of `minigrad.compile`."""
        from minigrad.compiler._api import compile_in_place

        compile_in_place(self, *args, **kwargs)

    # ---- registration ----------------------------------------------------------------------------------------

    def register_buffer(self, name: str, tensor: mg.Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not trained (a running mean, a mask).

        Args:
            name: attribute name, no dots.
            tensor: the value; None registers the name only.
            persistent: whether it is part of the state_dict.
        """
        self._check_name("buffer", name, "_buffers")
        if tensor is not None and not isinstance(tensor, mg.Tensor):
            raise TypeError(
                f"cannot assign '{_typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        if _registration.hooks["buffer"]:
            tensor = _registration.seen("buffer", self, name, tensor)
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None registers the name only."""
        self._check_name("parameter", name, "_parameters")
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{_typename(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly."
                    f" To express '{name}' as a function of another Tensor, compute the value in the forward() method."
                )
        if param is not None and _registration.hooks["parameter"]:
            param = _registration.seen("parameter", self, name, param)
        self._parameters[name] = param

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under `name`."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_typename(module)} is not a Module subclass")
        self._check_name("module", name, "_modules")
        self._modules[name] = _registration.seen("module", self, name, module) if _registration.hooks["module"] else module

    def register_module(self, name: str, module: Module | None) -> None:
        """Alias of `add_module`."""
        self.add_module(name, module)

    def _check_name(self, kind: str, name: str, table: str) -> None:
        if table not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."' + (f", got: {name}" if kind == "module" else ""))
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in self.__dict__[table]:
            raise KeyError(f"attribute '{name}' already exists")

    # ---- attributes ------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in state:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, "_parameters")
            self.register_parameter(name, value)
        elif "_parameters" in state and name in state["_parameters"]:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            state["_parameters"][name] = None
        elif isinstance(value, Module):
            if "_modules" not in state:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, "_modules")
            self._modules[name] = _registration.seen("module", self, name, value) if _registration.hooks["module"] else value
        elif "_modules" in state and name in state["_modules"]:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            state["_modules"][name] = None
        elif "_buffers" in state and (name in state["_buffers"] or isinstance(value, Buffer)):
            if value is not None and not isinstance(value, mg.Tensor):
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as buffer '{name}' "
                    "(torch.nn.Buffer, torch.Tensor or None expected)"
                )
            if name in state["_buffers"]:
                state["_buffers"][name] = value
            else:
                self._forget(name, "_buffers")
                self.register_buffer(name, value, value.persistent)
        else:
            super().__setattr__(name, value)

    def _forget(self, name: str, keep: str) -> None:
        """Drop `name` wherever it is registered, except in the table `keep`."""
        state = self.__dict__
        state.pop(name, None)
        for table in ("_parameters", "_buffers", "_modules"):
            if table != keep:
                state[table].pop(name, None)
        if keep != "_buffers":
            state["_non_persistent_buffers_set"].discard(name)

    def __delattr__(self, name: str) -> None:
        if name in self._parameters:
            del self._parameters[name]
        elif name in self._buffers:
            del self._buffers[name]
            self._non_persistent_buffers_set.discard(name)
        elif name in self._modules:
            del self._modules[name]
        else:
            super().__delattr__(name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for table in _HOOK_TABLES:  # files written before a kind of hook existed
            self.__dict__.setdefault(table, OrderedDict())
        if any(self.__dict__[table] for table in _HOOK_TABLES):  # files of PyTorch do not say so
            self.__dict__["_has_hooks"] = True
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        self.__dict__.setdefault("_is_full_backward_hook", None)

    def __dir__(self) -> list[str]:
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted(name for name in names if not name[0].isdigit())

    # ---- mode and gradients ----------------------------------------------------------------------------------

    def train(self: T, mode: bool = True) -> T:
        """Set training mode here and in all children."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self: T) -> T:
        """Set evaluation mode: `train(False)`."""
        return self.train(False)

    def requires_grad_(self: T, requires_grad: bool = True) -> T:
        """Set `requires_grad` of every parameter."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of every parameter, or fill them with zeros."""
        for parameter in self.parameters():
            grad = parameter.grad
            if grad is None:
                continue
            if set_to_none:
                parameter.grad = None
            else:
                if grad.grad_fn is not None:
                    grad.detach_()
                else:
                    grad.requires_grad_(False)
                grad.zero_()

    # ---- text ------------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """The part of the repr inside the parentheses; override it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        child_lines = [f"({name}): {_addindent(repr(child), 2)}" for name, child in self._modules.items()]
        lines = extra_lines + child_lines
        if not lines:
            return self._get_name() + "()"
        if len(extra_lines) == 1 and not child_lines:
            return f"{self._get_name()}({extra_lines[0]})"
        return self._get_name() + "(\n  " + "\n  ".join(lines) + "\n)"


def _addindent(s_: str, numSpaces: int) -> str:  # noqa: N803  PyTorch's name and arguments: programs import it
    first, *rest = s_.split("\n")
    return "\n".join([first] + [" " * numSpaces + line for line in rest])
