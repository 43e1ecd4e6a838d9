"""Parameters, buffers and submodules of a module by dotted name, for reading and writing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import minigrad as mg

_MISSING = object()
Tensor = mg.Tensor


def set_tensor(module: Any, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of parameter or buffer `name` (no dots), or register it as a buffer-like attribute."""
    if not isinstance(module, mg.nn.Module):
        raise TypeError(f"{module} is not an instance of torch.nn.Module")
    if not isinstance(tensor, Tensor) and tensor is not None:
        raise TypeError(f"{tensor} is not an instance of torch.Tensor")
    if "." in name:
        raise KeyError('tensor name can\'t contain "."')
    if name == "":
        raise KeyError('tensor name can\'t be empty string ""')
    if name in module._parameters:
        module._parameters[name] = tensor
    elif name in module._buffers:
        module._buffers[name] = tensor
    else:
        setattr(module, name, tensor)


def swap_tensor(module: Any, name: str, tensor: Any, allow_missing: bool = False) -> Any:
    """`set_tensor`, returning what was there before."""
    if name in module._parameters:
        before = module._parameters[name]
        if tensor is _MISSING:
            del module._parameters[name]
        else:
            module._parameters[name] = tensor
        return before
    if name in module._buffers:
        before = module._buffers[name]
        if tensor is _MISSING:
            del module._buffers[name]
        else:
            module._buffers[name] = tensor
        return before
    before = getattr(module, name, _MISSING)
    if before is _MISSING and not allow_missing:
        raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
    if tensor is _MISSING:
        delattr(module, name)
    else:
        setattr(module, name, tensor)
    return before


class NamedMemberAccessor:
    """Access to the members of a module by dotted names; submodules that were looked up are remembered.

    Args:
        module: the root.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.memo: dict[str, Any] = {}

    def _split(self, name: str) -> tuple[Any, str]:
        prefix, _, attribute = name.rpartition(".")
        return self.get_submodule(prefix), attribute

    def get_submodule(self, name: str) -> Any:
        """The submodule; the module itself for ""."""
        if not name:
            return self.module
        if name not in self.memo:
            parent, attribute = self._split(name)
            found = getattr(parent, attribute, None)
            if found is None:
                raise AttributeError(f"{type(parent).__name__} has no attribute `{attribute}`")
            if not isinstance(found, mg.nn.Module):
                raise TypeError(f"submodule `{name}`: {found} is not an instance of torch.nn.Module")
            self.memo[name] = found
        return self.memo[name]

    def swap_submodule(self, path: str, value: Any) -> Any:
        """Replace a submodule; returns the former one."""
        parent, attribute = self._split(path)
        before = self.get_submodule(path)
        parent._modules[attribute] = value
        self.memo = {name: m for name, m in self.memo.items() if name != path and not name.startswith(path + ".")}
        return before

    def get_tensor(self, name: str) -> Tensor:
        """The parameter, buffer or tensor attribute."""
        parent, attribute = self._split(name)
        found = getattr(parent, attribute, _MISSING)
        if found is _MISSING:
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        if not isinstance(found, Tensor) and found is not None:
            raise TypeError(f"{found} is not an instance of torch.Tensor")
        return found

    def set_tensor(self, name: str, value: Tensor) -> None:
        """Replace the tensor."""
        parent, attribute = self._split(name)
        set_tensor(parent, attribute, value)

    def del_tensor(self, name: str) -> None:
        """Remove the tensor."""
        parent, attribute = self._split(name)
        delattr(parent, attribute)

    def swap_tensor(self, name: str, value: Tensor, allow_missing: bool = False) -> Tensor:
        """Replace the tensor; returns the former one."""
        parent, attribute = self._split(name)
        return swap_tensor(parent, attribute, value, allow_missing)

    def get_tensors(self, names: Iterable[str]) -> list[Tensor]:
        """Several at once."""
        return [self.get_tensor(name) for name in names]

    def set_tensors(self, names: Iterable[str], values: Iterable[Tensor]) -> None:
        """Several at once."""
        for name, value in zip(names, values, strict=True):
            self.set_tensor(name, value)

    def set_tensors_dict(self, named_tensors: dict[str, Tensor]) -> None:
        """Several at once, by name."""
        for name, value in named_tensors.items():
            self.set_tensor(name, value)

    def del_tensors(self, names: Iterable[str]) -> None:
        """Several at once."""
        for name in names:
            self.del_tensor(name)

    def swap_tensors(self, names: Iterable[str], values: Iterable[Tensor], allow_missing: bool = False) -> list[Tensor]:
        """Several at once; returns the former ones."""
        return [self.swap_tensor(name, value, allow_missing) for name, value in zip(names, values, strict=True)]

    def swap_tensors_dict(self, named_tensors: dict[str, Tensor], allow_missing: bool = False) -> tuple[dict, list[str]]:
        """Several at once, by name: (former ones, names that were missing)."""
        before, missing = {}, []
        for name, value in named_tensors.items():
            before[name] = self.swap_tensor(name, value, allow_missing=True)
            if before[name] is _MISSING:
                missing.append(name)
        if missing and not allow_missing:
            for name, value in before.items():
                self.swap_tensor(name, value, allow_missing=True)
            raise RuntimeError(f"Missing key(s): {', '.join(map(repr, missing))}.")
        return before, missing

    def check_keys(self, keys: Iterable[str]) -> tuple[list[str], list[str]]:
        """(names of the module that are not among `keys`, keys that the module does not have)."""
        keys = set(keys)
        own = {name for name, _ in self.named_tensors(remove_duplicate=False)}
        return sorted(own - keys), sorted(keys - own)

    def named_parameters(self, remove_duplicate: bool = True) -> Any:
        """The module's."""
        return self.module.named_parameters(remove_duplicate=remove_duplicate)

    def named_buffers(self, remove_duplicate: bool = True) -> Any:
        """The module's."""
        return self.module.named_buffers(remove_duplicate=remove_duplicate)

    def named_tensors(self, remove_duplicate: bool = True) -> Any:
        """Parameters and buffers by name."""
        yield from self.named_parameters(remove_duplicate)
        yield from self.named_buffers(remove_duplicate)

    def named_modules(self, remove_duplicate: bool = True) -> Any:
        """The module's."""
        yield from self.module.named_modules(remove_duplicate=remove_duplicate)
