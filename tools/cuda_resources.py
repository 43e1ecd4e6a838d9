"""Prints registers and stack of CUDA kernels, so that spills are seen before a GPU runs them.

Reads machine code with cuobjdump (of the toolkit, or `pip install nvidia-cuda-cuobjdump`) from objects, libraries or an installed
minigrad._cuda. Stack is what the compiler could not keep in registers: spills and indexed local arrays.

Run: python tools/cuda_resources.py FILE... [--arch sm_90] [--registers 128] [--all]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

USAGE = re.compile(r"Function (\S+):\s*REG:(\d+) STACK:(\d+) SHARED:(\d+)")


class Kernel(NamedTuple):
    stack: int  # bytes per thread
    registers: int
    shared: int  # bytes per block, without the dynamic part
    arch: str
    name: str


def find_cuobjdump() -> str:
    """The tool's path.

    Raises:
        SystemExit: there is none.
    """
    wheel = Path(sysconfig.get_path("purelib"), "nvidia", "cu13", "bin", "cuobjdump")
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    found = shutil.which("cuobjdump") or shutil.which("cuobjdump", path=f"{home}/bin") or (str(wheel) if wheel.exists() else None)
    return found or sys.exit("cuda_resources: no cuobjdump found. Try pip install nvidia-cuda-cuobjdump.")


def kernels_of(file: str, tool: str) -> Iterator[Kernel]:
    """The kernels whose machine code is in `file`."""
    text = subprocess.run([tool, "-res-usage", file], capture_output=True, text=True, check=True).stdout
    for part in re.split(r"^arch = ", text, flags=re.MULTILINE)[1:]:
        arch = part.split(maxsplit=1)[0]
        for name, registers, stack, shared in USAGE.findall(part):
            yield Kernel(int(stack), int(registers), int(shared), arch, name)


def readable(names: list[str]) -> list[str]:
    """Names of kernels as in the source, without what all share."""
    if shutil.which("c++filt") is None:
        return names
    text = subprocess.run(["c++filt", "-p"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return [re.sub(r"mg::cuda::|\(anonymous namespace\)::|_INTERNAL_\w+::", "", line) for line in text.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE", help="objects or libraries")
    parser.add_argument("--arch", help="of this machine code alone, e.g. sm_90")
    parser.add_argument("--registers", type=int, default=128, help="show kernels with more than this many (default 128)")
    parser.add_argument("--all", action="store_true", help="show every kernel")
    options = parser.parse_args()
    tool = find_cuobjdump()
    kernels = [k for file in options.files for k in kernels_of(file, tool) if options.arch in (None, k.arch)]
    shown = sorted((k for k in kernels if options.all or k.stack > 0 or k.registers > options.registers), reverse=True)
    print(" stack registers shared arch   kernel")
    for kernel, name in zip(shown, readable([k.name for k in shown]), strict=True):
        print(f"{kernel.stack:6} {kernel.registers:9} {kernel.shared:6} {kernel.arch:6} {name}")
    stack, many = sum(k.stack > 0 for k in kernels), sum(k.registers > options.registers for k in kernels)
    print(f"{len(kernels)} kernels: {stack} use a stack, {many} more than {options.registers} registers", file=sys.stderr)


if __name__ == "__main__":
    main()
