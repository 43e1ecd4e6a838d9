"""The Python stack as the profiler notes it."""

from __future__ import annotations

import os
import sys

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def current_stack() -> str:
    """`file(line): function` of every frame outside of minigrad, innermost first, one per line."""
    frame, lines = sys._getframe(1), []
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_OURS):
            lines.append(f"{code.co_filename}({frame.f_lineno}): {code.co_name}")
        frame = frame.f_back
    return "\n".join(lines)
