"""What an exported C file has around its step: headers, the functions of kernels.c that it needs, the state, and a main. See csource.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .csource_pointwise import TYPES, literal

EMBEDDED = 1 << 18  # bytes of state that are written as numbers into the source
_SECTION = re.compile(r"^//@ (\w+)\n", re.MULTILINE)
_OF_TYPE = re.compile(r"\b(\w+)_T\b")
_MATH_H = ("exp", "log", "sqrt", "fmod", "floor", "fabs", "log1p", "exp2")


def comment(text: str) -> str:
    """A comment of one line, whatever the text holds."""
    return "// " + "".join(c if c.isprintable() and c != "\\" else "?" for c in text)


def head(name: str) -> list[str]:
    """The first lines."""
    return [
        comment(f'{name}: made by minigrad\'s mg.export(format="c"). Compile with:'),
        comment(f"cc -std=c11 -O3 -D{name.upper()}_MAIN {name}.c -lm"),
        "#include <math.h>", "#include <stdint.h>", "#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>", "",
        "#if defined(__GNUC__) && !defined(__clang__)", '#define EACH _Pragma("GCC ivdep")  // no iteration reads what another one writes',
        "#else", "#define EACH", "#endif", "",
    ]  # fmt: skip


def kernels(needed: dict[tuple[str, str], str]) -> list[str]:
    """Those functions of kernels.c, in the file's order, for float and double as needed."""
    parts = _SECTION.split((Path(__file__).parent / "kernels.c").read_text())
    text, seen = "", set[str]()
    for helper, section in zip(parts[1::2], parts[2::2]):
        for ctype in ("float", "double"):
            if (helper, ctype) in needed:
                sizes = re.search(r"^enum .*\n", section, re.MULTILINE)  # constants that both types share
                text += _of_type(section.replace(sizes.group(), "") if sizes and helper in seen else section, ctype)
                seen.add(helper)
    return text.split("\n")


def _of_type(section: str, ctype: str) -> str:
    def name(match: re.Match) -> str:
        if match[1] in _MATH_H:
            return match[1] + "f" * (ctype == "float")
        return f"{match[1]}_{'f32' if ctype == 'float' else 'f64'}"

    return re.sub(r"\bT\b", ctype, _OF_TYPE.sub(name, section))


def memory_of(tensor: Any) -> Any:
    """The memory that a tensor's elements reach, in one dimension."""
    reach = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride())) if tensor.numel() else 0
    return tensor.detach().as_strided((reach,), (1,), tensor.storage_offset())


def weights(c: Any) -> list[str]:
    """Declarations of the state, with its numbers when they are few; else a function that reads them."""
    lines = []
    for key, name in c.state.items():
        tensor = c.program.state_dict[key]
        flat, ctype = memory_of(tensor), TYPES.get(c.dtype_name(tensor.dtype))
        if ctype is None:
            raise NotImplementedError(f"export: format='c' has no {tensor.dtype}")
        kind = "int64_t" if ctype == "uint8_t" else ctype
        numbers = ", ".join(literal(v, kind) for v in flat.tolist()) if c.embedded else ""
        start = f"static {ctype} {name}[{max(flat.numel(), 1)}]"
        lines.append(f"{start}{' = {' + numbers + '}' if numbers else ''};  {comment(f'{key} {list(tensor.shape)}')}")
    if not c.embedded:
        lines += [
            "", "// Reads the state from the file written beside this source; 0 when that worked.",
            f"int {c.name}_load(const char *path) {{",
            '  FILE *file = fopen(path, "rb");', "  size_t missing = 0;", "  if (!file) return 1;",
            *(f"  missing += sizeof {name} - fread({name}, 1, sizeof {name}, file);" for name in c.state.values()),
            "  missing += fgetc(file) != EOF;", "  fclose(file);", "  return missing != 0;", "}",
        ]  # fmt: skip
    return lines


def main(c: Any, outputs: list[tuple[str, int]]) -> list[str]:
    """A program that reads the step's arguments from files and writes its results to stdout, as raw numbers."""
    args = ([] if c.embedded else ["WEIGHTS"]) + [name.upper() for name, _ in c.parameters]
    lines = ["", f"#ifdef {c.name.upper()}_MAIN"]
    lines += [f"static {c.type(id)} {name}[{max(c.reach(id), 1)}];" for name, id in c.parameters]
    lines += [f"static {c.type(id)} {name}[{max(c.numel(id), 1)}];" for name, id in outputs]
    if c.parameters:
        lines += ["", "static int read_file(const char *path, void *to, size_t bytes) {",
                  '  FILE *file = fopen(path, "rb");', "  size_t got = 0;",
                  "  if (file) got = fread(to, 1, bytes, file), fclose(file);", "  return got == bytes;", "}"]  # fmt: skip
    lines += ["", "int main(int argc, char **argv) {"]
    lines.append(f'  if (argc != {len(args) + 1}) return fprintf(stderr, "usage: %s {" ".join(args)}\\n", argv[0]), 2;')
    if not c.embedded:
        lines.append(f'  if ({c.name}_load(argv[1])) return fprintf(stderr, "%s: not this program\'s weights\\n", argv[1]), 1;')
    for k, (name, _) in enumerate(c.parameters, 1 if c.embedded else 2):
        lines.append(f'  if (!read_file(argv[{k}], {name}, sizeof {name})) return fprintf(stderr, "%s: too short\\n", argv[{k}]), 1;')
    lines.append(f"  const int failed = {c.name}_step({', '.join(name for name, _ in [*c.parameters, *outputs])});")
    lines.append('  if (failed) return fprintf(stderr, "call %d: an index is out of range\\n", failed), 1;')
    lines += [f"  if (fwrite({name}, sizeof *{name}, {c.numel(id)}, stdout) != {c.numel(id)}) return 1;" for name, id in outputs]
    return [*lines, "  return 0;", "}", "#endif"]
