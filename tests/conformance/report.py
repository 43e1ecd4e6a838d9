"""`python -m tests.conformance.report`: runs op_db against minigrad and writes docs/conformance.md.

Options: `-j 2` children at a time, `--only PATTERN…`, `--summary FILE` (machine readable: name tier column.dtype status reason),
`--no-docs` to write no table. Exit status 1 when a cell fails that no list explains.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections import Counter
from pathlib import Path

from . import isolate
from .judge import Lists
from .lists import COLUMNS, DECIDING, DTYPES, MAIN_DTYPES, NO_DTYPE, column_dtypes, reasons, tiers
from .run import chosen

DOCS = Path(__file__).parents[2] / "docs" / "conformance.md"
TITLES = {"inplace": "in-place", "backward2": "double backward", "out": "out="}
Verdicts = dict[tuple[str, str], tuple[str, str]]


def deciding_dtypes(cells: Verdicts) -> tuple[str, ...]:
    """float32 and float64 decide whether an op passes; for an op without them its integer, bool or complex forms."""
    for dtypes in (MAIN_DTYPES, ("int64", "bool"), ("complex64",)):
        if any(cells.get(("forward", d), ("n/a", ""))[0] != "n/a" for d in dtypes):
            return (*dtypes, NO_DTYPE)
    return (NO_DTYPE,)


def state(cells: Verdicts) -> str:
    """pass | missing | fail of a whole op."""
    found = [v[0] for (c, d), v in cells.items() if c in DECIDING and d in deciding_dtypes(cells) and v[0] != "n/a"]
    if all(v == "pass" for v in found):
        return "pass" if found else "n/a"
    return "missing" if all(v == "missing" or "does not exist" in r for (_, d), (v, r) in cells.items() if v not in ("n/a",)) else "fail"


def _share(done: int, of: int) -> str:
    return f"{done} / {of} ({100 * done / of:.1f} %)" if of else "-"


def table(verdicts: dict[str, Verdicts], tier_of: dict[str, int], excluded: dict[str, str]) -> str:
    import torch

    lines = ["# Conformance to PyTorch's op_db", ""]
    release = torch.__version__.split("+")[0]
    lines += [f"Written by `python -m tests.conformance.report` (torch {release}, {datetime.date.today()}); not edited by hand."]
    lines += ["An op passes when every column but the last passes in float32 and float64; one without them in its integer or complex"]
    lines += ["dtypes. The column out= asks for more than op_db's own tests of conformance and is counted apart.", ""]
    lines += ["| tier | ops | passing | missing | failing |", "|---|---|---|---|---|"]
    for tier in (1, 2, 3):
        states = Counter(state(cells) for name, cells in verdicts.items() if tier_of[name] == tier)
        total = sum(states.values())
        lines.append(f"| {tier} | {total} | {_share(states['pass'] + states['n/a'], total)} | {states['missing']} | {states['fail']} |")
    lines += ["", "Ops by column (pass / missing / fail), float32 and float64 together, per tier:", ""]
    lines += ["| column | tier 1 | tier 2 | tier 3 |", "|---|---|---|---|"]
    for column in COLUMNS:
        counts = " | ".join(_column(verdicts, tier_of, t, column, None) for t in (1, 2, 3))
        lines.append(f"| {TITLES.get(column, column)} | {counts} |")
    lines += ["", "Ops by dtype (all columns that are run for it):", "", "| dtype | tier 1 | tier 2 | tier 3 |", "|---|---|---|---|"]
    for dtype in DTYPES:
        lines.append(f"| {dtype} | " + " | ".join(_column(verdicts, tier_of, t, None, dtype) for t in (1, 2, 3)) + " |")
    lines += ["", "## Gaps", "", "| op | tier | cells | reason |", "|---|---|---|---|"]
    lines += _gaps(verdicts, tier_of)
    lines += ["", "## Left out", "", "| entry | reason |", "|---|---|"] + [f"| {n} | {r} |" for n, r in sorted(excluded.items())]
    return "\n".join(lines) + "\n"


def _column(verdicts: dict[str, Verdicts], tier_of: dict[str, int], tier: int, column: str | None, dtype: str | None) -> str:
    found: Counter[str] = Counter()
    for name, cells in verdicts.items():
        if tier_of[name] != tier:
            continue
        dtypes = (dtype,) if dtype else deciding_dtypes(cells)
        states = {v[0] for (c, d), v in cells.items() if (column is None or c == column) and d in dtypes} - {"n/a"}
        if states:
            found["pass" if states == {"pass"} else "missing" if states <= {"missing", "pass"} else "fail"] += 1
    return f"{found['pass']} / {found['missing']} / {found['fail']}"


def _gaps(verdicts: dict[str, Verdicts], tier_of: dict[str, int]) -> list[str]:
    lines = []
    for name, cells in sorted(verdicts.items(), key=lambda item: (tier_of[item[0]], item[0])):
        by_reason: dict[str, list[str]] = {}
        for (column, dtype), (status, reason) in cells.items():
            if status not in ("pass", "n/a"):
                text = reason if status != "fail" else f"unlisted: {reason[:160]}"
                by_reason.setdefault(text, []).append(f"{TITLES.get(column, column)} {dtype}".replace(" -", ""))
        for reason, where in by_reason.items():
            brief = ", ".join(where) if len(where) <= 4 else f"{', '.join(where[:3])} and {len(where) - 3} more"
            lines.append(f"| {name} | {tier_of[name]} | {brief} | {reason.replace('|', '/')} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="+", help="patterns; implies --no-docs")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, help="only these and the errors; implies --no-docs")
    parser.add_argument("--summary", type=Path)
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    tier_of, excluded, lists = tiers(), reasons("excluded.txt"), Lists()
    unlisted = sorted(set(isolate.entries()) - set(tier_of))
    names = [n for n in (chosen(options.only, list(tier_of)) if options.only else tier_of) if n not in excluded]
    cells = [(c, d) for c in COLUMNS for d in column_dtypes(c) if not options.dtype or d in (*options.dtype, NO_DTYPE)]
    verdicts: dict[str, Verdicts] = {}
    for name, results in isolate.run_all([(n, cells) for n in names], options.jobs):
        verdicts[name] = {cell: lists.verdict(name, *cell, results[cell]) for cell in cells if cell in results}
        print(f"{len(verdicts)}/{len(names)} {name}: {state(verdicts[name])}", file=sys.stderr)
        if options.summary:
            with options.summary.open("a" if len(verdicts) > 1 else "w", encoding="utf-8") as file:
                file.writelines(_summary_lines({name: verdicts[name]}, tier_of))
    verdicts = {n: verdicts[n] for n in names}
    if not (options.no_docs or options.only or options.dtype):
        DOCS.write_text(table(verdicts, tier_of, excluded), encoding="utf-8")
    states = Counter((tier_of[n], state(cells)) for n, cells in verdicts.items())
    print("\n".join(f"tier {t} {s}: {count}" for (t, s), count in sorted(states.items())))
    failing = [n for n, cells in verdicts.items() if any(v[0] == "fail" for v in cells.values())]
    stale = _stale(verdicts, lists)
    for text in [*(f"in op_db but not in names.txt: {n}" for n in unlisted), *stale]:
        print(text)
    print(f"{len(failing)} ops with cells that fail and are on no list: {' '.join(failing)}")
    return 1 if failing or unlisted or stale else 0


def _stale(verdicts: dict[str, Verdicts], lists: Lists) -> list[str]:
    """Lines of known_wrong.txt that cover nothing wrong any more (`*` lines; the others fail cell by cell)."""
    found = []
    for k in lists.wrong:
        cells = verdicts.get(k.name)
        if k.dtype == "*" and cells and not any(v[0] == "known wrong" and c == k.column for (c, _), v in cells.items()):
            found.append(f"known_wrong.txt: {k.name} {k.column} * passes everywhere: take the line off")
    return found


def _summary_lines(verdicts: dict[str, Verdicts], tier_of: dict[str, int]) -> list[str]:
    return [
        f"{name} {tier_of[name]} {column}.{dtype} {status.replace(' ', '_')} {reason}".replace("\n", " ").rstrip() + "\n"
        for name, cells in verdicts.items()
        for (column, dtype), (status, reason) in cells.items()
        if status != "n/a"
    ]


if __name__ == "__main__":
    raise SystemExit(main())
