"""Fused programs to machine code for the CPU, through LLVM (the optional package llvmlite).

Importing this module is cheap; llvmlite is imported when something is compiled.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from typing import Any

from minigrad import _core

from .fused import Machine, Program

_FEATURES = {"avx512": "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma,+f16c,+bmi2", "avx2": "+avx2,+fma,+f16c,+bmi2", "portable": ""}
_CPU = {"avx512": "x86-64-v4", "avx2": "x86-64-v3", "portable": "x86-64"}
_WIDTH = {"avx512": 512, "avx2": 256, "portable": 128}
_TRIPLE = "x86_64-unknown-linux-gnu"


@functools.cache
def available() -> bool:
    """Whether code can be generated and loaded here."""
    return _core.can_load_code() and find_spec("llvmlite") is not None


@functools.cache
def machine() -> Machine:
    """The instruction set of the kernels (MINIGRAD_ISA lowers it)."""
    isa = _core.cpu_isa()
    width = _WIDTH[isa]
    attributes = (f'nounwind "target-cpu"="{_CPU[isa]}" "target-features"="{_FEATURES[isa]}" "prefer-vector-width"="{width}" '
                  f'"min-legal-vector-width"="{width}" "no-builtins"')  # fmt: skip
    return Machine(isa, width // 32, attributes)


def module_text(programs: dict[str, Program]) -> str:
    """IR of several programs, by the names of their functions. Raises Unsupported."""
    from .llvm_kernel import KernelText

    target = machine()
    kernels = [KernelText(program, name, target) for name, program in programs.items()]
    texts = [kernel.text() for kernel in kernels]
    declared = sorted({d for kernel in kernels for d in kernel.w.declared})
    return "\n".join([f'target triple = "{_TRIPLE}"', *texts, *declared, f"attributes #0 = {{ {target.attributes} }}", "!0 = !{i32 1}", ""])


@functools.cache
def _target_machine() -> Any:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    isa = machine().isa
    return binding.Target.from_triple(_TRIPLE).create_target_machine(
        cpu=_CPU[isa], features=_FEATURES[isa], opt=2, reloc="pic", codemodel="small"
    )


def compile_text(text: str) -> bytes:
    """Object file of a module."""
    from llvmlite import binding

    target = _target_machine()
    module = binding.parse_assembly(text)
    module.verify()
    return target.emit_object(module)
