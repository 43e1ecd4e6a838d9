"""What a checkpoint says about itself: versions, seed, git commit, and the user's own metadata."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import Any

import minigrad as mg


def git_commit(folder: str | Path = ".") -> str | None:
    """The commit checked out in the repository around `folder`, read from its files; None outside of one."""
    try:
        here = Path(folder).resolve()
        for parent in (here, *here.parents):
            git = parent / ".git"
            if git.is_file():  # a worktree or submodule: "gitdir: …"
                git = (parent / git.read_text().partition(":")[2].strip()).resolve()
            if git.is_dir():
                return _head(git)
    except (OSError, ValueError):
        pass
    return None


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head if re.fullmatch(r"[0-9a-f]{40,64}", head) else None
    name = head.partition(":")[2].strip()
    common = git / "commondir"
    places = [git, (git / common.read_text().strip()).resolve()] if common.is_file() else [git]
    for place in places:
        if (place / name).is_file():
            return (place / name).read_text().strip()
        packed = place / "packed-refs"
        if packed.is_file():
            for line in packed.read_text().splitlines():
                if line.endswith(" " + name):
                    return line.split(" ")[0]
    return None


def collect(metadata: dict[str, Any] | None) -> bytes:
    """The info entry of a new file, as JSON."""
    info: dict[str, Any] = {
        "minigrad": mg.__version__, "python": platform.python_version(), "seed": mg.initial_seed(), "git_commit": git_commit(),
    }  # fmt: skip
    if metadata is not None:
        if not isinstance(metadata, dict):
            raise TypeError(f"save: metadata must be a dict, got {type(metadata).__name__}")
        info["metadata"] = metadata
    try:
        return json.dumps(info, indent=1, allow_nan=True).encode()
    except (TypeError, ValueError) as error:
        raise TypeError(f"save: metadata must be what JSON can hold: {error}") from error


def parse(data: bytes) -> dict[str, Any]:
    """The info entry of a file; an empty dict where it is damaged."""
    try:
        info = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return info if isinstance(info, dict) else {}
