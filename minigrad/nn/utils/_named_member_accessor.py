"""torch.nn.utils._named_member_accessor: tensors and submodules of a module by dotted name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import minigrad as mg

Module, Tensor = mg.nn.Module, mg.Tensor
_MISSING = object()


def set_tensor(module: Module, name: str, tensor: Tensor) -> None:
    """Set a parameter or buffer of the module itself, by its name without dots."""
    swap_tensor(module, name, tensor, allow_missing=True)


def swap_tensor(module: Module, name: str, tensor: Any, allow_missing: bool = False) -> Any:
    """Put a tensor in the place of a parameter or buffer; the one that was there. A missing value deletes.

    Raises:
        KeyError: the name has dots or is empty. AttributeError: no tensor of that name.
    """
    if not name or "." in name:
        raise KeyError('tensor name can\'t contain "." or be empty: ' + repr(name))
    for table in (module._parameters, module._buffers):
        if name in table:
            before = table[name]
            if tensor is _MISSING:
                del table[name]
            else:
                table[name] = tensor
            return before
    before = module.__dict__.get(name, _MISSING)
    if before is _MISSING and not allow_missing:
        raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
    if tensor is _MISSING:
        module.__dict__.pop(name, None)
    else:
        module.__dict__[name] = tensor
    return before


def swap_submodule(module: Module, name: str, submodule: Module) -> Module:
    """Put a module in the place of a submodule; the one that was there."""
    before = module._modules[name]
    module._modules[name] = submodule
    return before


class NamedMemberAccessor:
    """Tensors and submodules of `module` by dotted name."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def _owner(self, name: str) -> tuple[Module, str]:
        path, _, last = name.rpartition(".")
        return self.get_submodule(path), last

    def get_submodule(self, name: str) -> Module:
        """The submodule."""
        return self.module.get_submodule(name)

    def swap_submodule(self, path: str, value: Module) -> Module:
        """Replace a submodule; the one that was there."""
        owner, last = self._owner(path)
        return swap_submodule(owner, last, value)

    def get_tensor(self, name: str) -> Tensor:
        """The parameter or buffer."""
        owner, last = self._owner(name)
        return getattr(owner, last)

    def set_tensor(self, name: str, value: Tensor) -> None:
        """Replace a parameter or buffer."""
        owner, last = self._owner(name)
        set_tensor(owner, last, value)

    def swap_tensor(self, name: str, value: Any, *, allow_missing: bool = False) -> Any:
        """Replace a parameter or buffer; the one that was there."""
        owner, last = self._owner(name)
        return swap_tensor(owner, last, value, allow_missing)

    def del_tensor(self, name: str) -> None:
        """Delete a parameter or buffer."""
        self.swap_tensor(name, _MISSING)

    def get_tensors(self, names: Iterable[str]) -> list[Tensor]:
        """The tensors of these names."""
        return [self.get_tensor(name) for name in names]

    def set_tensors_dict(self, named_tensors: dict[str, Tensor]) -> None:
        """Replace several."""
        for name, value in named_tensors.items():
            self.set_tensor(name, value)

    def swap_tensors_dict(self, named_tensors: dict[str, Tensor], *, allow_missing: bool = False) -> tuple[dict, list]:
        """Replace several; ({name: what was there}, names that were not there)."""
        before, missing = {}, []
        for name, value in named_tensors.items():
            old = self.swap_tensor(name, value, allow_missing=True)
            if old is _MISSING:
                missing.append(name)
            before[name] = old
        if missing and not allow_missing:
            raise RuntimeError(f"Missing key(s): {', '.join(map(repr, missing))}.")
        return before, missing

    def check_keys(self, keys: Iterable[str]) -> tuple[list[str], list[str]]:
        """(missing, unexpected) names."""
        own = {n for n, _ in self.named_tensors(remove_duplicate=False)}
        return sorted(own - set(keys)), sorted(set(keys) - own)

    def named_parameters(self, remove_duplicate: bool = True) -> Iterable:
        """Parameters with names."""
        return self.module.named_parameters(remove_duplicate=remove_duplicate)

    def named_buffers(self, remove_duplicate: bool = True) -> Iterable:
        """Buffers with names."""
        return self.module.named_buffers(remove_duplicate=remove_duplicate)

    def named_tensors(self, remove_duplicate: bool = True) -> Iterable:
        """Both, with names."""
        yield from self.named_parameters(remove_duplicate)
        yield from self.named_buffers(remove_duplicate)

    def named_modules(self, remove_duplicate: bool = True) -> Iterable:
        """Submodules with names."""
        return self.module.named_modules(remove_duplicate=remove_duplicate)
