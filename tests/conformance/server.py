"""`python -m <package>.server JOBS < work.json`: the clean parent that pytest asks. One JSON line out per op, as it finishes."""

from __future__ import annotations

import json
import sys

from . import isolate


def main() -> None:
    work = [(name, [tuple(cell) for cell in cells]) for name, cells in json.load(sys.stdin)]
    for name, results in isolate.run_all(work, int(sys.argv[1])):
        print(json.dumps([name, [[*cell, outcome] for cell, outcome in results.items()]]), flush=True)


if __name__ == "__main__":
    main()
