"""The names a program asked for and did not get: how often, and where first."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the minigrad package
_MACHINERY = ("<frozen ", "importlib")


class Missing:
    """One missing name: kind ('attribute', 'module' or 'error'), count, and `where` (file:line) it was first asked for."""

    def __init__(self, kind: str, where: str) -> None:
        self.kind, self.where, self.count = kind, where, 0


missing: dict[str, Missing] = {}


def caller() -> str | None:
    """file:line of the innermost frame outside the import machinery; None when that is minigrad itself."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not (
            name.startswith(_MACHINERY[0])
            or _MACHINERY[1] in name
            or name.startswith(os.path.join(_HERE, "compat") + os.sep)
        ):
            break
        frame = frame.f_back
    if frame is None:
        return "?"
    name = os.path.abspath(frame.f_code.co_filename)
    return None if name.startswith(_HERE + os.sep) else f"{name}:{frame.f_lineno}"


def record(name: str, kind: str, where: str | None = None) -> None:
    """Count one request for a missing name; requests by minigrad itself do not count."""
    where = where or caller()
    if where is None:
        return
    entry = missing.setdefault(name, Missing(kind, where))
    entry.count += 1


def record_error(error: BaseException) -> None:
    """The name an uncaught exception was about: attributes of our objects, and what is not implemented."""
    import traceback

    frames = [f for f in traceback.extract_tb(error.__traceback__) if not os.path.abspath(f.filename).startswith(_HERE)]
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
    if isinstance(error, AttributeError) and error.name and type(error.obj).__module__.split(".")[0] == "minigrad":
        record(f"{type(error.obj).__name__}.{error.name}", "attribute", where)
    elif isinstance(error, NotImplementedError):
        record(str(error).split("\n")[0][:120], "error", where)


def report_json() -> list[dict[str, Any]]:
    """The missing names as JSON-ready records, most asked for first."""
    rows = sorted(missing.items(), key=lambda item: (-item[1].count, item[0]))
    return [{"name": name, "kind": m.kind, "count": m.count, "where": m.where} for name, m in rows]


def report(file: str | None = None) -> str:
    """The report as text; also written as JSON where `file` is given."""
    rows = report_json()
    if file is not None:
        with open(file + ".tmp", "w") as out:
            json.dump(rows, out, indent=1)
        os.replace(file + ".tmp", file)
    if not rows:
        return "minigrad.compat: every name of torch that was asked for is there"
    lines = [f"minigrad.compat: {len(rows)} missing name(s)   (count, kind, name, first place)"]
    lines += [f"  {r['count']:5}  {r['kind']:9}  {r['name']}   {r['where']}" for r in rows]
    return "\n".join(lines)
