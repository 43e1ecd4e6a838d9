"""Where what is made once and used again by later processes lies: machine code, sources of generated kernels, measured choices.

    MINIGRAD_CACHE_DIR    the folder (default: minigrad in $XDG_CACHE_HOME or ~/.cache); "" or "0": nothing is kept
    MINIGRAD_CACHE        an older name of the same
"""

from __future__ import annotations

import os


def folder(part: str) -> str | None:
    """The folder of one kind of thing ('code', 'triton', 'kernels'), or None where nothing is to be kept."""
    given = os.environ.get("MINIGRAD_CACHE_DIR")
    if given is None:
        given = os.environ.get("MINIGRAD_CACHE") or None
    if given is None:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        return os.path.join(base, "minigrad", part)
    return os.path.join(given, part) if given not in ("", "0") else None
