"""The verdict on one cell, given the lists of gaps: lists may only shrink, crashes are never excused."""

from __future__ import annotations

from typing import Any

from .lists import KnownWrong, known_wrong, reasons


class Lists:
    """missing.txt and known_wrong.txt, read once."""

    def __init__(self) -> None:
        self.missing = reasons("missing.txt")
        self.wrong = known_wrong()

    def known(self, name: str, column: str, dtype: str) -> KnownWrong | None:
        return next((k for k in self.wrong if k.covers(name, column, dtype)), None)

    def verdict(self, name: str, column: str, dtype: str, outcome: dict[str, Any]) -> tuple[str, str]:
        """(pass | n/a | missing | known wrong | fail, reason)."""
        status, detail = outcome["status"], outcome["detail"]
        known = self.known(name, column, dtype)
        if status == "n/a":
            return "n/a", detail
        if status == "pass":
            if name in self.missing:
                return "fail", "passes: take it off missing.txt"
            if known is not None and known.dtype != "*":
                return "fail", "passes: take it off known_wrong.txt"
            return "pass", ""
        if status == "missing" and name in self.missing:
            return "missing", self.missing[name]
        if status in ("fail", "missing") and known is not None:
            return "known wrong", known.reason
        return "fail", f"{status}: {detail}" if status != "fail" else detail
