"""Takes out of without_kernel.txt what has a kernel by now: `MINIGRAD_CUDASIM=1 python tests/cuda/shrink.py [part of a name ...]`.

`--all` writes the list anew from every op (a new op that may stay without a kernel for now). Cases that fail are not taken out, but
named: they want fixing.
"""

from __future__ import annotations

import os
import sys

from op_cases import CHECKS, WITHOUT_KERNEL, NoKernel, listed, run_case

import minigrad as mg
from minigrad.op import registry
from minigrad.testing.calls import Skip

HEAD = "# Ops (op-check, see op_cases.py) without a CUDA kernel. This list can only shrink: python tests/cuda/shrink.py\n"


def lacks_kernel(case: str) -> bool:
    """Whether the case still cannot run; asked in a child, for a fault leaves the device unusable."""
    child = os.fork()
    if child == 0:
        lacking = _lacks_kernel(case)
        sys.stdout.flush()
        os._exit(int(lacking))
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        print(f"{case} FAILS: signal {os.WTERMSIG(status)}", flush=True)
    return os.waitstatus_to_exitcode(status) == 1


def _lacks_kernel(case: str) -> bool:
    """A failure counts as able and is printed."""
    op, check = case.rsplit("-", 1)
    try:
        run_case(op, check)
    except NoKernel:
        return True
    except Skip:
        return False
    except Exception as error:
        print(f"{case} FAILS: {type(error).__name__}: {str(error)[:400]}", flush=True)
    return False


def main(words: list[str]) -> None:
    """Rewrites the list."""
    mg.empty(0, device="cuda")  # loads the backend once, for all children
    known = listed() if WITHOUT_KERNEL.exists() else set()
    everything = {f"{op}-{check}" for op in registry for check in CHECKS}
    names = [w for w in words if w != "--all"]
    tried = everything if "--all" in words else known
    tried = {case for case in tried if not names or any(n in case for n in names)}
    gone, new = set(), set()
    for case in sorted(tried):
        if lacks_kernel(case):
            new.add(case)
        else:
            gone.add(case)
    kept = (listed() if WITHOUT_KERNEL.exists() else set()) - gone | new  # read again: others may have shortened it
    WITHOUT_KERNEL.write_text(HEAD + "".join(f"{case}\n" for case in sorted(kept)))
    print(f"{len(known)} cases before, {len(kept)} now")


if __name__ == "__main__":
    main(sys.argv[1:])
