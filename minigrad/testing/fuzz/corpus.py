"""Findings as scripts: written by the fuzzer, replayed by the tests, runnable by hand (`python tests/fuzz_corpus/<file>.py`)."""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path
from typing import Any

from minigrad.testing.fuzz import accepted
from minigrad.testing.fuzz.oracle import Finding, judge, torch_or_none
from minigrad.testing.fuzz.program import Program
from minigrad.testing.fuzz.worker import isolated

_TEMPLATE = '''"""{kind} in {op}, found by minigrad.testing.fuzz (seed {seed}, case {case}).

{text}
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = {op!r}, {tainted!r}


{program}

if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
'''


def file_name(program: Program, finding: Finding) -> str:
    """Name of the script: op, kind, hash of the program."""
    digest = hashlib.sha1(program.render().encode()).hexdigest()[:8]
    op = "".join(c if c.isalnum() or c == "_" else "-" for c in finding.op)
    return f"{op}-{finding.kind}-{digest}.py"


def write(folder: Path, program: Program, finding: Finding, seed: int, case: int) -> Path:
    """Write a finding; the same program gives the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(program, finding)
    text = finding.text.replace("\\", "\\\\").replace('"""', "'''")
    op, tainted = program.op or finding.op, not accepted.compares_values(program)
    path.write_text(
        _TEMPLATE.format(kind=finding.kind, op=op, seed=seed, case=case, text=text, tainted=tainted, program=program.render())
    )
    return path


def replay(path: str | Path, torch: Any = "find") -> Finding | None:
    """Run one script in a child and judge it as the fuzzer would.

    Args:
        path: the script.
        torch: the torch module, None for a run without oracle (crashes and internal errors still show), "find" to look for it.
    Returns:
        the finding, or None when all is well.
    """
    if torch == "find":
        torch = torch_or_none()
    space = runpy.run_path(str(path), run_name="corpus")
    program = Program([], tainted=space["TAINTED"], op=space["OP"])
    return isolated(lambda mark: judge(program, torch, mark, code=space["program"]), torch)


def replay_all(folder: Path) -> dict[str, Finding | None]:
    """Replay every script of a folder: file name -> finding or None."""
    torch = torch_or_none()
    return {p.name: replay(p, torch) for p in sorted(folder.glob("*.py"))}
