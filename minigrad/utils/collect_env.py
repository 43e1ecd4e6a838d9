"""torch.utils.collect_env: what a bug report needs to know about this machine. `python -m minigrad.utils.collect_env` prints it."""

from __future__ import annotations

import platform
import sys

__all__ = ["get_pretty_env_info", "main"]


def get_pretty_env_info() -> str:
    """Versions, operating system, processor and threads as text."""
    import numpy

    import minigrad
    from minigrad import _core

    return "\n".join((
        f"minigrad version: {minigrad.__version__}", f"Instruction set: {_core.cpu_isa()}", f"Threads: {minigrad.get_num_threads()}",
        "CUDA used to build minigrad: None", f"OS: {platform.platform()}", f"Python version: {sys.version.splitlines()[0]}",
        f"Processor: {platform.processor() or platform.machine()}", f"numpy: {numpy.__version__}",
    ))  # fmt: skip


def main() -> None:
    """Print it."""
    print(get_pretty_env_info())


if __name__ == "__main__":
    main()
