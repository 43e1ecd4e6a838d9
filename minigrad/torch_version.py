"""The version string that programs written for PyTorch see: `TorchVersion`, a str that compares like a version."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["TorchVersion"]

FOLLOWED = "2.13.0"  # the PyTorch release whose names and semantics minigrad follows


def _key(version: Any) -> tuple:
    """(release numbers, pre-release rank): 1.10 sorts after 1.9, 2.0a0 and 2.0.dev1 before 2.0; a local label (+cpu) is ignored here."""
    if not isinstance(version, str):
        if not isinstance(version, Iterable):
            raise TypeError(f"TorchVersion: cannot compare with {type(version).__name__}")
        version = ".".join(str(part) for part in version)
    found = re.match(r"\s*v?(\d+(?:\.\d+)*)(.*)", version)
    if found is None:
        raise ValueError(f"TorchVersion: not a version: {version!r}")
    release = [int(part) for part in found[1].split(".")]
    while release and release[-1] == 0:
        release.pop()
    rest = found[2].split("+")[0].strip(".-_ ").lower()
    rank = 0 if not rest else 1 if rest.startswith("post") else -1
    return tuple(release), rank, rest


class TorchVersion(str):
    """A str that compares with strings and tuples as versions: `torch.__version__ >= '1.10'`, `> (2, 1)`.

    Raises:
        TypeError, ValueError: compared with something that is no version (a plain unequal for ==).
    """

    def _compare(self, other: Any, test: Any) -> bool:
        return test(_key(str(self)), _key(other))

    def __lt__(self, other: Any) -> bool:
        return self._compare(other, lambda a, b: a < b)

    def __le__(self, other: Any) -> bool:
        return self._compare(other, lambda a, b: a <= b)

    def __gt__(self, other: Any) -> bool:
        return self._compare(other, lambda a, b: a > b)

    def __ge__(self, other: Any) -> bool:
        return self._compare(other, lambda a, b: a >= b)

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, str) and str.__eq__(self, other):
            return True
        try:
            return self._compare(other, lambda a, b: a == b)
        except (TypeError, ValueError):
            return False

    def __ne__(self, other: Any) -> bool:
        return not self == other

    __hash__ = str.__hash__
