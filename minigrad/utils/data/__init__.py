"""`minigrad.data` under torch's import path."""

from __future__ import annotations

import sys

from minigrad.data import *  # noqa: F403
from minigrad.data import __all__, collate, dataloader, dataset, sampler

__all__ = [*__all__, "collate", "dataloader", "dataset", "sampler"]

for _name in ("collate", "dataloader", "dataset", "sampler"):  # `from minigrad.utils.data.dataset import Subset`
    sys.modules[f"{__name__}.{_name}"] = globals()[_name]
