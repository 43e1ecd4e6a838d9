"""Parametrizations: a parameter computed from other tensors at every access.

`register_parametrization(layer, "weight", p)` moves the parameter to `layer.parametrizations.weight.original` and makes `layer.weight` a
property that returns `p(original)`. The property needs a class of its own, so the module's class becomes `Parametrized<Class>`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import minigrad as mg
from minigrad.nn.modules import Module, ModuleDict, ModuleList
from minigrad.nn.parameter import Parameter

Tensor = mg.Tensor

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
    "transfer_parametrizations_and_params", "type_before_parametrizations",
]  # fmt: skip

_cache_enabled = 0
_cache: dict[tuple[int, str], Tensor | None] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Inside the block, each parametrized tensor is computed once, at its first use."""
    global _cache_enabled
    _cache_enabled += 1
    try:
        yield
    finally:
        _cache_enabled -= 1
        if not _cache_enabled:
            _cache.clear()


def _register_parameter_or_buffer(module: Module, name: str, value: Tensor) -> None:
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def _same(what: str, got: Tensor, want: Tensor) -> None:
    """Raise ValueError unless `got` looks like `want`."""
    if not isinstance(got, Tensor):
        raise ValueError(f"{what} must return a tensor. Got {type(got).__name__}.")
    if got.dtype != want.dtype:
        raise ValueError(
            f"{what} may not change the dtype of the tensor, unless the `unsafe` flag is enabled.\n"
            f"tensor dtype: {want.dtype}\nreturned dtype: {got.dtype}"
        )
    if got.shape != want.shape:
        raise ValueError(
            f"{what} may not change the shape of the tensor, unless the `unsafe` flag is enabled.\n"
            f"tensor shape: {tuple(want.shape)}\nreturned shape: {tuple(got.shape)}"
        )


def _inverse_or_same(parametrization: Module, value: Any) -> Any:
    if not hasattr(parametrization, "right_inverse"):
        return value
    try:
        return parametrization.right_inverse(value)
    except NotImplementedError:
        return value


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, applied in order, and the tensor(s) they start from: `original`, or `original0`, `original1` …

    Args:
        modules: the parametrizations.
        original: the tensor to parametrize; it stays the same object when one tensor is enough.
        unsafe: skip the checks that the result has the tensor's shape and dtype.
    """

    original: Tensor
    unsafe: bool

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        like = original.detach()
        with mg.no_grad():
            new: Any = original
            for parametrization in reversed(self):
                new = _inverse_or_same(parametrization, new)
        if not isinstance(new, Tensor) and not isinstance(new, Sequence):
            raise ValueError(f"'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got {type(new).__name__}")
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            if new.dtype != dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {dtype}\nright_inverse(original).dtype: {new.dtype}"
                )
            with mg.no_grad():
                if new is not original:
                    original.data = new
            _register_parameter_or_buffer(self, "original", original)
        else:
            self._register_several(new, original)
        if not unsafe:
            result = self()
            if not isinstance(result, Tensor):
                raise ValueError(f"A parametrization must return a tensor. Got {type(result).__name__}.")
            if result.dtype != dtype or result.shape != shape:
                _same("Registering a parametrization", result, like)

    def _register_several(self, new: Sequence, original: Tensor) -> None:
        for k, part in enumerate(new):
            if not isinstance(part, Tensor):
                raise ValueError(
                    "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                    f"Got element {k} of the sequence with type {type(part).__name__}."
                )
            if isinstance(original, Parameter):
                part = Parameter(part, original.requires_grad)
            part.requires_grad_(original.requires_grad)
            _register_parameter_or_buffer(self, f"original{k}", part)

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that `forward()` gives `value`, by the right inverses in reverse order.

        Raises:
            RuntimeError: a parametrization has no `right_inverse`. ValueError: one returns something unfit.
        """
        with mg.no_grad():
            for parametrization in reversed(self):
                if not hasattr(parametrization, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(parametrization).__name__} does not implement right_inverse.")
                value = parametrization.right_inverse(value)
            parts = [value] if self.is_tensor else value
            if self.is_tensor and not isinstance(value, Tensor):
                raise ValueError(f"`right_inverse` should return a tensor. Got {type(value).__name__}")
            if not isinstance(parts, Sequence):
                raise ValueError(f"'right_inverse' must return a sequence of tensors. Got {type(parts).__name__}.")
            if len(parts) != self.ntensors:
                raise ValueError(
                    f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. "
                    f"Got a sequence of length {len(parts)}."
                )
            targets = self._originals()
            for k, (part, target) in enumerate(zip(parts, targets)):
                if not isinstance(part, Tensor):
                    raise ValueError(f"`right_inverse` must return a sequence of tensors. Got element {k} of type {type(part).__name__}")
                if part.dtype != target.dtype:
                    raise ValueError(f"Tensor {k} returned by `right_inverse` has dtype {part.dtype} while `original` has {target.dtype}")
            for part, target in zip(parts, targets):
                if part is not target:
                    target.data = part

    def _originals(self) -> list[Tensor]:
        return [self.original] if self.is_tensor else [getattr(self, f"original{k}") for k in range(self.ntensors)]

    def forward(self) -> Tensor:
        """The parametrized tensor."""
        steps = iter(self)
        value = next(steps)(*self._originals())
        for parametrization in steps:
            value = parametrization(value)
        return value


def _parametrized_class(module: Module) -> type:
    def no_pickle(self: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). Try torch.save(module.state_dict(), ...)."
        )

    def deepcopy(self: Any, memo: dict) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        replica = self.__new__(type(self))
        memo[id(self)] = replica
        replica.__dict__ = copy.deepcopy(self.__dict__, memo)
        return replica

    cls = type(module)
    body: dict[str, Any] = {"__getstate__": no_pickle, "__module__": cls.__module__}
    if not hasattr(cls, "__deepcopy__"):
        body["__deepcopy__"] = deepcopy
    return type(f"Parametrized{cls.__name__}", (cls,), body)


def _inject_property(module: Module, name: str) -> None:
    def get(self: Any) -> Tensor:
        if not _cache_enabled:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def put(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(get, put))


def _check_another(module: Module, name: str, parametrization: Module) -> None:
    """What a further parametrization of a parametrized tensor must satisfy."""
    before = getattr(module, name)
    after = parametrization(before)
    _same("A parametrization", after, before)
    if hasattr(parametrization, "right_inverse"):
        try:
            back = parametrization.right_inverse(after)
        except NotImplementedError:
            return
        _same("parametrization.right_inverse", back, before)


def register_parametrization(module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False) -> Module:
    """Compute `module.<tensor_name>` as `parametrization(original)` from now on.

    Args:
        module: its class becomes `Parametrized<Class>`; returned.
        tensor_name: a parameter or a buffer, perhaps parametrized already (they are chained).
        parametrization: takes the original, returns the tensor; its `right_inverse(value)`, where it has one, gives the first
            original(s) and serves assignments to the tensor.
        unsafe: allow a change of shape or dtype.
    Returns:
        module.
    Raises:
        ValueError: no such tensor; a parametrization that changes shape or dtype.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_another(module, tensor_name, parametrization)
        module.parametrizations[tensor_name].append(parametrization)
        module.parametrizations[tensor_name].unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        chain = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            module.__class__ = _parametrized_class(module)
            module.parametrizations = ModuleDict()
        _inject_property(module, tensor_name)
        module.parametrizations[tensor_name] = chain
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name '{tensor_name}'"
        )
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether this tensor of the module (any, for None) is parametrized."""
    parametrizations = getattr(module, "parametrizations", None)
    if parametrizations is None or not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make the tensor an ordinary parameter or buffer again; with the last one, the module gets its class back.

    Args:
        leave_parametrized: keep the parametrized value (True) or the original's.
    Raises:
        ValueError: not parametrized; leave_parametrized=False with several originals.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    chain = module.parametrizations[tensor_name]
    if chain.is_tensor:
        original = chain.original
        if leave_parametrized:
            with mg.no_grad():
                value = getattr(module, tensor_name)
                if value is not original:
                    original.data = value
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register_parameter_or_buffer(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The module's class without the `Parametrized` one put before it."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(from_module: Module, to_module: Module, tensor_name: str | None = None) -> Module:
    """Give `to_module` the parametrizations of `from_module` (of one tensor, or of all), and copies of their originals.

    Returns:
        to_module.
    """
    if not is_parametrized(from_module):
        return to_module
    chains = from_module.parametrizations
    if tensor_name is not None and not is_parametrized(from_module, tensor_name):
        return to_module
    for name in [tensor_name] if tensor_name is not None else list(chains):
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach().clone()))
        for parametrization in chains[name]:
            register_parametrization(to_module, name, parametrization, unsafe=chains[name].unsafe)
        target = to_module.parametrizations[name]
        for k in range(chains[name].ntensors):
            part = "original" if chains[name].is_tensor else f"original{k}"
            if hasattr(target, part):
                with mg.no_grad():
                    getattr(target, part).data = getattr(chains[name], part).detach().clone()
    return to_module
