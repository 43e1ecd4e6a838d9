"""torch.cuda: devices, streams, events, memory and graphs of the CUDA backend (docs/cuda.md).

Without the backend, or without a GPU, is_available() is False, questions have PyTorch's answers, and everything else raises its error
(`_absent`). The simulated device is there only with MINIGRAD_CUDASIM=1 in the environment.
"""

from __future__ import annotations

import importlib
from typing import Any

from minigrad.cuda import _absent
from minigrad.cuda._door import backend as _backend

if _backend is None:
    _parts = (_absent,)
else:
    from minigrad.cuda import _device, _graphed, _graphs, _memory, _streams

    _parts = (_absent, _device, _streams, _memory, _graphs, _graphed)  # later ones win
_HIDDEN = ("annotations", "contextlib", "Any", "nothing", "refusing", "Callable", "Iterator", "importlib")
__all__ = []
for _part in _parts:
    for _name in getattr(_part, "__all__", vars(_part)):
        if _name not in _HIDDEN and not _name.startswith("__"):
            globals()[_name] = getattr(_part, _name)
            if not _name.startswith("_") and _name not in __all__:
                __all__.append(_name)
if _backend is not None:  # what PyTorch has and this backend has not
    from minigrad._no_device import refusing as _refusing

    for _name in _absent._REFUSED:
        if globals()[_name] is getattr(_absent, _name):
            globals()[_name] = _refusing(_name, f"minigrad.cuda.{_name} is not available", NotImplementedError)


def is_simulated() -> bool:
    """Whether the CUDA devices are the simulator (docs/simulated-device.md)."""
    return _backend is not None and _backend.is_simulated()


def is_built() -> bool:
    """Whether the CUDA backend is part of this build."""
    return _backend is not None


__all__ += ["is_simulated", "is_built"]


def __getattr__(name: str) -> Any:
    if name in ("amp", "nvtx", "random", "memory", "streams", "profiler"):
        return importlib.import_module("minigrad.cuda." + name)
    raise AttributeError(f"module 'minigrad.cuda' has no attribute '{name}'")
