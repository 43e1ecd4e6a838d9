"""Takes out of without_kernel.txt what has a kernel by now: `MINIGRAD_CUDASIM=1 python tests/cuda/shrink.py [part of a name ...]`.

`--all` writes the list anew from every op (a new op that may stay without a kernel for now). Cases that fail are not taken out, but
named: they want fixing.
"""

from __future__ import annotations

import sys

from op_cases import CHECKS, WITHOUT_KERNEL, NoKernel, listed, run_case

import minigrad as mg  # noqa: F401  fills the registry
from minigrad.op import registry
from minigrad.testing.calls import Skip

HEAD = "# Ops (op-check, see op_cases.py) without a CUDA kernel. This list can only shrink: python tests/cuda/shrink.py\n"


def lacks_kernel(case: str) -> bool:
    """Whether the case still cannot run; a failure counts as able and is printed."""
    op, check = case.rsplit("-", 1)
    try:
        run_case(op, check)
    except NoKernel:
        return True
    except Skip:
        return False
    except Exception as error:
        print(f"{case} FAILS: {str(error)[:300]}", flush=True)
    return False


def main(words: list[str]) -> None:
    """Rewrites the list."""
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
