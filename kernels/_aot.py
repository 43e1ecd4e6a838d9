"""What the compiler makes of every shipped configuration, without a GPU: Triton's wheel has the whole tool chain.

    python -m minigrad.kernels._aot softmax                 # compile, check, print a table (not with TRITON_INTERPRET=1)
    python -m minigrad.kernels._aot --report FILE [NAME…]   # the tables of all kernels

The launchers run on "meta" tensors while their launches are recorded (_launch.py), forward and backward, in each dtype of the kernel's
`aot` cases, for sm_80 and sm_90. Checked for each binary: the parameters in the PTX are those the launcher packs, in number and width;
shared memory and registers fit; no register spills (LDL, STL) on sm_90 unless the declaration gives a reason; tl.dot became tensor-core
instructions where the declaration says so, and on sm_90 a tensor descriptor bulk copies of the tensor memory accelerator (TMA). These are
facts about code, not about speed.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from minigrad.kernels import _checks
from minigrad.kernels._harness import KernelOp
from minigrad.kernels._launch import recording
from minigrad.kernels._specialize import Specialised, parameter_widths, specialise

ARCHS = (80, 90)
SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes a block may use (CUDA programming guide, compute capabilities)
REGISTERS = 65536  # of a multiprocessor: what the threads of one block may have together
TENSOR_CORE = {80: ("HMMA", "IMMA", "DMMA"), 90: ("HGMMA", "QGMMA", "IGMMA", "HMMA", "IMMA", "DMMA")}


@dataclasses.dataclass
class Facts:
    """One binary."""

    op: str
    kernel: str
    variant: str
    arch: int
    registers: int
    spills: int  # LDL and STL instructions
    shared: int
    warps: int
    tensor_core: str
    tma: str  # bulk tensor copies
    vector_loads: int
    problems: list[str]


@functools.cache
def _tool(name: str) -> str:
    import triton

    return str(pathlib.Path(triton.__file__).parent / "backends/nvidia/bin" / name)


def _uses(what: str, kernel: Any, seen: set | None = None) -> bool:
    """Whether `what` is in the text of the kernel, or of a @triton.jit function that it names."""
    seen = set() if seen is None else seen
    if kernel in seen:
        return False
    seen.add(kernel)
    if what in inspect.getsource(kernel.fn):
        return True
    names = kernel.fn.__code__.co_names
    return any(_uses(what, f, seen) for n in names if hasattr(f := kernel.fn.__globals__.get(n), "params") and hasattr(f, "fn"))


def _count(names: list[str], kinds: tuple[str, ...]) -> str:
    """How many of the instructions are of each kind."""
    found = [n.split(".")[0] for n in names if n.startswith(kinds)]
    return " ".join(f"{found.count(c)} {c}" for c in dict.fromkeys(found))


def examine(op: KernelOp, variant: Specialised, arch: int) -> Facts:
    """Compiles one variant and looks at it."""
    compiled = variant.compile(arch)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = subprocess.run([_tool("cuobjdump"), "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
        code = subprocess.run([_tool("nvdisasm"), "-c", file.name], capture_output=True, text=True, check=True).stdout
    registers = int(re.search(r"REG:(\d+)", usage)[1])
    names = re.findall(r"^\s*(?:/\*[0-9a-f]+\*/)?\s*(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)", code, re.M)
    spills = sum(n.startswith(("LDL", "STL")) for n in names)
    cores, tma = (_count(names, kinds) for kinds in (TENSOR_CORE[arch], ("UTMALDG", "UTMASTG")))
    wide = sum(n.startswith("LDG") and ".128" in n for n in names)
    meta, name = compiled.metadata, variant.kernel.fn.__name__
    facts = Facts(op.name, name, str(variant), arch, registers, spills, meta.shared, meta.num_warps, cores, tma, wide, [])
    widths = parameter_widths(compiled.asm["ptx"])
    if widths != variant.packed:
        facts.problems.append(f"the PTX has parameters of {widths} bytes, the launcher packs {variant.packed}")
    if facts.shared > SHARED[arch]:
        facts.problems.append(f"{facts.shared} bytes of shared memory, {SHARED[arch]} are allowed")
    if registers * 32 * meta.num_warps > REGISTERS:
        facts.problems.append(f"{registers} registers in each of {32 * meta.num_warps} threads, {REGISTERS} are there")
    if spills and arch >= 90 and not op.spills:
        facts.problems.append(f"{spills} register spills (LDL, STL)")
    if op.tensor_cores and not cores and _uses("tl.dot", variant.kernel) and "fp32" not in str(variant.signature):
        facts.problems.append("tl.dot without tensor-core instructions")
    if arch >= 90 and _uses("make_tensor_descriptor", variant.kernel) and not (tma and "cp.async.bulk.tensor" in compiled.asm["ptx"]):
        facts.problems.append("a tensor descriptor without cp.async.bulk.tensor")
    return facts


def variants_of(op: KernelOp, arch: int) -> list[Specialised]:
    """What the op's `aot` cases launch, each variant once."""
    found: dict[tuple, Specialised] = {}
    for entry in op.aot:
        for dtype in entry.dtypes:
            with recording(arch) as launches:
                given = {k: _checks.make(v, dtype, "meta", np.random.default_rng(0)) for k, v in entry.args.items()}
                values = op.bind((), given)
                results = op.compute(values)
                if op.backward is not None and entry.backward:
                    op.gradients([r.new_empty(r.shape) if r.is_floating_point() else None for r in results[: op.visible]], values, results)
            for one in launches:
                variant = specialise(one.kernel, one.args, one.constants, one.options)
                found.setdefault(variant.identity(), variant)
    return list(found.values())


def facts_of(op: KernelOp) -> list[Facts]:
    """All binaries of an op."""
    return [examine(op, variant, arch) for arch in ARCHS for variant in variants_of(op, arch)]


def table(facts: list[Facts]) -> str:
    """Markdown."""
    lines = [
        "| kernel | variant | sm | registers | spills | shared | warps | tensor cores | TMA | 16-byte loads |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for f in facts:
        variant = f.variant.split("(", 1)[1].replace("|", "\\|")
        numbers = f"{f.arch} | {f.registers} | {f.spills} | {f.shared} | {f.warps}"
        lines.append(f"| {f.kernel} | ({variant} | {numbers} | {f.tensor_core} | {f.tma} | {f.vector_loads} |")
    return "\n".join(lines)


def section(name: str, ops: list[KernelOp], facts: list[Facts]) -> str:
    """What the report says about one kernel file."""
    reasons = [f"Spills of `{op.name}`: {op.spills}" for op in ops if op.spills]
    return "\n\n".join([f"## {pathlib.Path(name).stem}", *reasons, table(facts)])


def document(sections: list[str]) -> str:
    """The report."""
    import triton

    head = (
        "# What the compiler makes of the kernels\n\nWritten by `python -m minigrad.kernels._aot --report` with Triton "
        f"{triton.__version__}: every configuration that ships, compiled for\nsm_80 and sm_90. In a variant `+` marks pointers and "
        "sizes known to be multiples of 16. Spills are LDL and STL instructions,\nshared memory is in bytes. These are facts about "
        "code, not about speed.\n\n"
    )
    return head + "\n\n".join(sections) + "\n"


def main(arguments: list[str]) -> int:
    """The command; the number of problems."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise SystemExit("_aot compiles: unset TRITON_INTERPRET")
    import minigrad.kernels as package

    report = arguments.pop(1) if arguments[:1] == ["--report"] else None
    as_json = arguments[:1] == ["--json"]
    names = arguments[(report is not None) or as_json :] or package.names()
    sections, problems = [], 0
    for name in names:
        ops = _checks.load(name)
        facts = [f for op in ops for f in facts_of(op)]
        if as_json:
            print(json.dumps([dataclasses.asdict(f) for f in facts]))
        elif report is None:
            print(table(facts))
        else:
            print(f"{name}: {len(facts)} binaries", flush=True)
        for f in facts:
            for p in f.problems:
                problems += 1
                print(f"FAILED {f.op} sm_{f.arch} {f.variant}: {p}", file=sys.stderr if as_json else sys.stdout)
        sections.append(section(name, ops, facts))
    assert "torch" not in sys.modules, "compiling imported torch"
    if report is not None:
        pathlib.Path(report).write_text(document(sections))
    return problems


if __name__ == "__main__":
    raise SystemExit(bool(main(sys.argv[1:])))
