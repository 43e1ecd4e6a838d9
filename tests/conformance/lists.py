"""The checked-in lists: names with tiers, and the gaps with their reasons. Reading them imports neither torch nor minigrad."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

DECIDING = ("forward", "method", "inplace", "backward", "backward2", "errors")  # an op passes when these do
COLUMNS = (*DECIDING, "out")
MAIN_DTYPES = ("float64", "float32")
VALUE_DTYPES = ("int64", "bool", "bfloat16", "float16")  # values only: forward, method, inplace
COMPLEX_DTYPES = ("complex64",)
DTYPES = MAIN_DTYPES + VALUE_DTYPES + COMPLEX_DTYPES
NO_DTYPE = "-"  # the errors column


def _rows(file: str) -> list[str]:
    lines = (HERE / file).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def tiers() -> dict[str, int]:
    """{full op_db name: tier} in the order of names.txt."""
    return {name: int(tier) for tier, name in (row.split() for row in _rows("names.txt"))}


def reasons(file: str) -> dict[str, str]:
    """{name: reason} of missing.txt or excluded.txt."""
    found = dict(row.split(None, 1) for row in _rows(file))
    return {name: reason.strip() for name, reason in found.items()}


@dataclass(frozen=True)
class KnownWrong:
    """One line of known_wrong.txt; `*` stands for every dtype."""

    name: str
    column: str
    dtype: str
    reason: str

    def covers(self, name: str, column: str, dtype: str) -> bool:
        return self.name == name and self.column == column and self.dtype in ("*", dtype)


def known_wrong() -> list[KnownWrong]:
    return [KnownWrong(*row.split(None, 3)) for row in _rows("known_wrong.txt")]


def column_dtypes(column: str) -> tuple[str, ...]:
    """The dtypes a column is run for."""
    if column == "errors":
        return (NO_DTYPE,)
    if column == "out":
        return MAIN_DTYPES
    return DTYPES if column in ("forward", "method", "inplace") else MAIN_DTYPES + COMPLEX_DTYPES
