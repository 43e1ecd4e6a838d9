"""`multiprocessing.pool` under torch's path."""

from __future__ import annotations

from multiprocessing.pool import Pool

__all__ = ["Pool"]
