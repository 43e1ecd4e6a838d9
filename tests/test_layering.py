"""The boundaries of docs/architecture.md (DESIGN 3), checked on the text of every include and import. A failure prints
the rule.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# (rule, files, forbidden includes as a pattern on the path relative to csrc/)
INCLUDE_RULES = [
    ("core includes nothing but core", "csrc/core/*", r"^(autograd|cpu|cuda|python|simd)/|^scalar"),
    ("autograd includes core only", "csrc/autograd/*", r"^(cpu|cuda|python|simd)/|^scalar"),
    ("cpu includes core, scalar.h and simd; never autograd, Python or cuda", "csrc/cpu/*", r"^(autograd|python|cuda)/"),
    ("cuda includes core and scalar.h; never autograd, Python or cpu", "csrc/cuda/*", r"^(autograd|python|cpu)/"),
    ("simd includes nothing of ours but simd and scalar maths", "csrc/simd/*", r"^(autograd|cpu|cuda|python)/"),
    ("Python.h and pybind11 stay in csrc/python", "csrc/*[!n]/*", r"(^|/)(Python\.h|pybind11)"),
]
# core may ask cpu for the pointwise table through this one header, and nothing else.
INCLUDE_EXCEPTIONS: set[tuple[str, str]] = set()

IMPORT_RULES = [
    ("nothing of ours imports torch or tensorflow", "minigrad/**/*.py", r"^(torch|tensorflow)(\.|$)"),
    (
        "ops use only the public API and the registry",
        "minigrad/ops/*.py",
        r"^minigrad\.(nn|optim|compile|data|io|_tensor)(\.|$)|^minigrad\._core",
    ),
    ("nn uses only the public API", "minigrad/nn/**/*.py", r"^minigrad\.(ops|compile)(\.|$)"),
    ("optim uses only the public API", "minigrad/optim/**/*.py", r"^minigrad\.(ops|nn|compile)(\.|$)"),
    ("kernels import neither torch nor what is built on ops", "kernels/*.py", r"^(torch|minigrad\.(ops|nn|compile))(\.|$)"),
    (
        "kernel files import triton, the launcher's side of the harness and each other",
        "kernels/[!_]*.py",
        r"^(?!triton(\.|$)|math$|__future__|minigrad\.kernels\.(?!_(driver|interpret|checks|aot|bench|overrides)\b))",
    ),
]
NUMPY_RULE = "numpy is loaded lazily: `import minigrad` must stay below `import numpy` (no module-level import)"
NUMPY_FREE = (
    "minigrad/*.py",
    "minigrad/ops/*.py",
    "minigrad/autograd/*.py",
    "minigrad/nn/**/*.py",
    "minigrad/optim/*.py",
)


def includes(path: Path) -> list[str]:
    """Include targets, relative to csrc/ where they are ours."""
    found = []
    for target in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE):
        resolved = (path.parent / target).resolve()
        ours = resolved.exists() and ROOT / "csrc" in resolved.parents
        found.append(str(resolved.relative_to(ROOT / "csrc")) if ours else target)
    return found


def imports(path: Path, top_level_only: bool = False) -> list[str]:
    """Absolute module names imported anywhere in the file (or at module level, TYPE_CHECKING blocks apart)."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    package = list(path.relative_to(ROOT).with_suffix("").parts)
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [module, *(f"{module}.{a.name}" for a in node.names)]
    return found


@pytest.mark.parametrize(("rule", "files", "forbidden"), INCLUDE_RULES, ids=[r[0] for r in INCLUDE_RULES])
def test_includes(rule: str, files: str, forbidden: str) -> None:
    broken = []
    for path in sorted(ROOT.glob(files)):
        if path.suffix not in (".h", ".cpp", ".cu", ".cuh"):
            continue
        name = str(path.relative_to(ROOT))
        broken += [
            f"{name} includes {i}"
            for i in includes(path)
            if re.search(forbidden, i) and (name, i) not in INCLUDE_EXCEPTIONS
        ]
    assert not broken, f"rule: {rule}\n  " + "\n  ".join(broken)


@pytest.mark.parametrize(("rule", "files", "forbidden"), IMPORT_RULES, ids=[r[0] for r in IMPORT_RULES])
def test_imports(rule: str, files: str, forbidden: str) -> None:
    broken = []
    for path in sorted(ROOT.glob(files)):
        broken += [f"{path.relative_to(ROOT)} imports {i}" for i in imports(path) if re.match(forbidden, i)]
    assert not broken, f"rule: {rule}\n  " + "\n  ".join(broken)


def test_numpy_is_lazy() -> None:
    paths = {p for pattern in NUMPY_FREE for p in ROOT.glob(pattern)}
    broken = [
        str(p.relative_to(ROOT))
        for p in sorted(paths)
        if any(i.split(".")[0] == "numpy" for i in imports(p, top_level_only=True))
    ]
    assert not broken, f"rule: {NUMPY_RULE}\n  " + "\n  ".join(broken)


SIZE_RULE = "file <= 400 lines, header <= 200 (CONVENTIONS 2)"


def test_file_sizes() -> None:
    broken = []
    for pattern, limit in (
        ("csrc/**/*.h", 200),
        ("csrc/**/*.cpp", 400),
        ("minigrad/**/*.py", 400),
        ("kernels/*.py", 400),
        ("tests/*.py", 400),
    ):
        for path in ROOT.glob(pattern):
            text = path.read_text().splitlines()
            lines = len(text)
            if lines > limit and "do not edit" not in text[0]:  # tables that a script writes are not read
                broken.append(f"{path.relative_to(ROOT)} has {lines} lines, limit {limit}")
    assert not broken, f"rule: {SIZE_RULE}\n  " + "\n  ".join(sorted(broken))


def test_docstrings_stand_in_the_source() -> None:
    """Editors read them there; what a family of functions shares is added on top (ops/shared/struct_doc.py: shared_args)."""
    broken = []
    for path in sorted(ROOT.glob("minigrad/**/*.py")):
        for node in ast.parse(path.read_text()).body:
            known = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            if known and ast.get_docstring(node) is None:
                broken.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not broken, "rule: public functions and classes have a docstring in the source\n  " + "\n  ".join(broken)
