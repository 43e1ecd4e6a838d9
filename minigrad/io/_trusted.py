"""Pickles from a source that the caller vouches for (`weights_only=False`): any class may be in them, and any code may run.

PyTorch's names lead to minigrad's: torch.nn.modules.linear.Linear to minigrad.nn.Linear and so on, so that whole-module
pickles written by PyTorch become minigrad modules.
"""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Callable
from typing import Any

import minigrad as mg

from ._globals import _TABLE, torch_global
from ._torch_zip import Unpickle
from ._unpickle import UnpicklingError

_TORCH_ONLY = {name: rule for name, (_, rule) in _TABLE.items() if name.startswith("torch") and rule is not None}


def _from_type(function: Callable, cls: type, args: tuple, state: Any) -> Any:
    """torch._tensor._rebuild_from_type_v2 for any subclass."""
    made = function(*args)
    if type(made) is not cls:
        made = made.as_subclass(cls) if hasattr(made, "as_subclass") else mg.Tensor._make_subclass(cls, made, made.requires_grad)
    if state:
        if isinstance(state, dict):
            made.__dict__.update(state)
        else:
            made.__setstate__(state)
    return made


_TORCH_ONLY["torch._tensor._rebuild_from_type_v2"] = _from_type
for _name in ("torch.Size", "torch.device", "torch.nn.parameter.Parameter", "torch.nn.Parameter"):
    _TORCH_ONLY.pop(_name, None)  # the classes themselves serve here


def find_torch(module: str, name: str) -> Any:
    """minigrad's counterpart of a name of PyTorch's; UnpicklingError where there is none."""
    full_name = f"{module}.{name}"
    if full_name in _TORCH_ONLY:
        return _TORCH_ONLY[full_name]
    try:
        return torch_global(full_name)
    except (KeyError, AttributeError):
        pass
    parts = module.split(".")[1:]
    while True:  # torch.nn.modules.linear.Linear: the same module here, or a shorter path that has the name
        try:
            found: Any = importlib.import_module(".".join(["minigrad", *parts]))
            for step in name.split("."):
                found = getattr(found, step)
            return found
        except (ImportError, AttributeError):
            if not parts:
                break
            parts = parts[:-1]
    raise UnpicklingError(f"the file needs {full_name}, and minigrad has nothing of that name")


def trusted_unpickle(pickle_module: Any = None, **options: Any) -> Unpickle:
    """Unpickling by `pickle` itself, with PyTorch's names led to minigrad's."""
    module = pickle_module or pickle

    class Unpickler(module.Unpickler):  # type: ignore[name-defined, misc]
        """Finds minigrad's counterparts."""

        persistent: Callable[[Any], Any]

        def find_class(self, module_name: str, name: str) -> Any:
            """A global; names of PyTorch's are looked up in minigrad."""
            if module_name == "torch" or module_name.startswith("torch."):
                return find_torch(module_name, name)
            return super().find_class(module_name, name)

        def persistent_load(self, saved_id: Any) -> Any:
            """A storage."""
            return self.persistent(saved_id)

    def unpickle(data: Any, position: int, persistent_load: Callable[[Any], Any]) -> tuple[Any, int]:
        file = io.BytesIO(memoryview(data)[position:])
        machine = Unpickler(file, **options)
        machine.persistent = persistent_load
        return machine.load(), position + file.tell()

    return unpickle


