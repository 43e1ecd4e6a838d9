"""What a kernel is compiled to, each stage line by line beside the Python line it came from. Runs in a process without the interpreter:

    python -m minigrad.kernels.lab._code FILE OP CASE ARCH     prints JSON, one entry a variant
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import tempfile
from typing import Any

from minigrad.kernels import _aot, _checks

STAGES = ("ttir", "ttgir", "ptx", "sass")


def _mlir_lines(text: str, file: str) -> list[tuple[str, int]]:
    """(line of text, source line or 0) of TTIR or TTGIR, whose operations name locations that are defined elsewhere."""
    defined = dict(re.findall(r"^(#loc\d*) = loc\((.*)\)$", text, re.M))

    def resolve(body: str, depth: int = 0) -> int:
        found = re.search(r'"([^"]*)":(\d+):\d+', body)
        if found:
            return int(found[2]) if found[1] == file else 0
        if depth > 8:
            return 0
        return next((n for name in re.findall(r"#loc\d*", body) if (n := resolve(defined.get(name, ""), depth + 1))), 0)

    lines = []
    for line in text.splitlines():
        if not line.startswith("#loc"):
            found = re.search(r"\s*loc\((.*)\)\s*$", line)
            lines.append((line[: found.start()] if found else line, resolve(found[1]) if found else 0))
    return lines


def _ptx_lines(text: str, file: str) -> list[tuple[str, int]]:
    numbers = {n for n, path in re.findall(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', text, re.M) if path == file or file.endswith("/" + path)}
    lines, at = [], 0
    for line in text.split(".section", 1)[0].splitlines():
        found = re.match(r"\s*\.loc\s+(\d+)\s+(\d+)", line)
        if found:
            at = int(found[2]) if found[1] in numbers else at
        elif line.strip() and not line.lstrip().startswith(("//", "$L__tmp", ".file")):
            lines.append((line, at if line.startswith("\t") and line.rstrip().endswith(";") else 0))
    return lines


def _sass_lines(cubin: bytes, file: str) -> list[tuple[str, int]]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as stored:
        stored.write(cubin)
        stored.flush()
        text = subprocess.run([_aot._tool("nvdisasm"), "-c", "-g", stored.name], capture_output=True, text=True, check=True).stdout
    lines, at = [], 0
    for line in text.splitlines():
        found = re.search(r'//## File "([^"]*)", line (\d+)', line)
        if found:
            at = int(found[2]) if found[1] == file else at
        elif instruction := re.match(r"\s*/\*[0-9a-f]+\*/\s+(.*?)\s*;", line):
            lines.append((instruction[1], at))
    return lines


def listings(variant: Any, arch: int) -> dict[str, list[tuple[str, int]]]:
    """{stage: [(line, source line)]}."""
    compiled, file = variant.compile(arch), variant.kernel.fn.__code__.co_filename
    return {
        "ttir": _mlir_lines(str(compiled.asm["ttir"]), file),
        "ttgir": _mlir_lines(str(compiled.asm["ttgir"]), file),
        "ptx": _ptx_lines(compiled.asm["ptx"], file),
        "sass": _sass_lines(compiled.asm["cubin"], file),
    }


def main(file: str, name: str, case: str, arch: str) -> None:
    """The command."""
    (op,) = [op for op in _checks.load(file) if op.name == name]
    op.aot = [op.cases[int(case)]] if case else op.aot[:1]
    op.aot = [dataclasses.replace(op.aot[0], dtypes=op.aot[0].dtypes[:1])]
    found = []
    for variant in _aot.variants_of(op, int(arch)):
        facts = dataclasses.asdict(_aot.examine(op, variant, int(arch)))
        found.append({**facts, "file": variant.kernel.fn.__code__.co_filename, "listings": listings(variant, int(arch))})
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
