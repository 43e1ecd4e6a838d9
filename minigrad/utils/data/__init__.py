"""`minigrad.data` under torch's import path."""

from __future__ import annotations

import sys

from minigrad.data import *  # noqa: F403
from minigrad.data import __all__, collate, dataloader, dataset, distributed, sampler

__all__ = [*__all__, "collate", "dataloader", "dataset", "distributed", "sampler"]

for _name in ("collate", "dataloader", "dataset", "distributed", "sampler"):  # `from minigrad.utils.data.dataset import Subset`
    sys.modules[f"{__name__}.{_name}"] = globals()[_name]


def __getattr__(name: str) -> object:
    if name == "_utils":
        import importlib

        return importlib.import_module(f"{__name__}._utils")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
