"""What a Module inherits its speed from.

`minigrad._core.ModuleBase` (C) looks attributes up in the instance, then in `_parameters`, `_buffers`,
`_modules`, and calls `forward` directly while `_has_hooks` is false. The Python class below does the same
and stays as the readable definition and the fallback.
"""

from __future__ import annotations

from typing import Any

from minigrad import _core


class PyModuleBase:
    """Attribute lookup and call dispatch of a Module, in Python."""

    _has_hooks: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._has_hooks:
            return self._call_impl(*args, **kwargs)
        return self.forward(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__
        for table in ("_parameters", "_buffers", "_modules"):
            entries = state.get(table)
            if entries is not None and name in entries:
                return entries[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


ModuleBase: type = getattr(_core, "ModuleBase", PyModuleBase)
