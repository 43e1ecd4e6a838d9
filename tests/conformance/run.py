"""`python -m tests.conformance.run NAME…`: every column of these op_db entries, with the first case that does not conform.

NAME may be a full name ("max.binary"), a name with several variants ("max") or a pattern ("fft.*"). `--column`, `--dtype` narrow it.
"""

from __future__ import annotations

import argparse
import fnmatch

from . import isolate
from .lists import COLUMNS, column_dtypes, known_wrong, reasons, tiers


def chosen(patterns: list[str], every: list[str]) -> list[str]:
    """The full names that the patterns mean."""
    found = []
    for pattern in patterns:
        names = [n for n in every if n == pattern]
        names = names or [n for n in every if n.startswith(pattern + ".") and "*" not in pattern] or fnmatch.filter(every, pattern)
        if not names:
            raise SystemExit(f"{pattern}: no such op_db entry")
        found += [n for n in names if n not in found]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument("-c", "--column", action="append", choices=COLUMNS)
    parser.add_argument("-d", "--dtype", action="append")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("-q", "--quiet", action="store_true", help="only the cells that do not pass")
    options = parser.parse_args()
    every = list(isolate.entries())
    cells = [(c, d) for c in options.column or COLUMNS for d in column_dtypes(c) if not options.dtype or d in options.dtype or d == "-"]
    tier, gone, listed = tiers(), reasons("missing.txt"), known_wrong()
    bad = 0
    for name, results in isolate.run_all([(n, cells) for n in chosen(options.names, every)], options.jobs):
        print(f"== {name} (tier {tier.get(name, '-')})" + (f"  listed as missing: {gone[name]}" if name in gone else ""))
        for (column, dtype), outcome in sorted(results.items(), key=lambda item: cells.index(item[0])):
            status = outcome["status"]
            known = next((k.reason for k in listed if k.covers(name, column, dtype)), None)
            bad += status not in ("pass", "n/a")
            if status == "n/a" or (options.quiet and status == "pass"):
                continue
            detail = f" ({outcome['cases']} cases)" if status == "pass" else f"  {outcome['detail']}"
            print(f"  {column:9} {dtype:9} {status}{detail}" + (f"   [known wrong: {known}]" if known else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
