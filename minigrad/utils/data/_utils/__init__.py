"""What programs reach into: `_utils.collate`, `_utils.fetch`, `_utils.worker`, `_utils.pin_memory`; all of it is in minigrad.data."""

from __future__ import annotations

import sys

from minigrad.data import _loading, collate, fetch, pin_memory, worker

MP_STATUS_CHECK_INTERVAL = _loading.PATIENCE
HAS_NUMPY = True

for _module in (collate, fetch, pin_memory, worker):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module
