"""`python -m minigrad.compat [--report FILE] [--quiet] [-m module | script.py] args…`: run a PyTorch program on minigrad."""

from __future__ import annotations

import argparse
import os
import runpy
import sys


def main(argv: list[str] | None = None) -> int:
    """Run the program with `torch` served by minigrad, then print which names were missing (to stderr).

    Returns:
        the program's exit status (1 after an uncaught exception).
    """
    parser = argparse.ArgumentParser(prog="python -m minigrad.compat", description="Run a PyTorch program on minigrad.")
    parser.add_argument("--report", metavar="FILE", help="write the missing names to FILE as JSON")
    parser.add_argument("--quiet", action="store_true", help="print no report when nothing is missing")
    parser.add_argument("-m", dest="module", action="store_true", help="the program is a module name, as in python -m")
    parser.add_argument("program", help="script file, or module name after -m")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="arguments of the program")
    options = parser.parse_args(argv)

    from minigrad import compat
    from minigrad.compat._record import record_error

    compat.install()
    status = 0
    try:
        _run(options.program, options.args, options.module)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException as error:
        record_error(error)
        sys.excepthook(type(error), error, error.__traceback__)
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
    finally:
        text = compat.report(options.report)
        if compat.missing or not options.quiet:
            print(text, file=sys.stderr)
    return status


def _run(program: str, args: list[str], is_module: bool) -> None:
    sys.argv = [program, *args]
    if is_module:
        sys.path[0] = os.getcwd()
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(program))
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    sys.exit(main())
