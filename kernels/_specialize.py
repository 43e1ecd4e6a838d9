"""From a launch to what Triton compiles: types, divisibility by 16, values that become constants. Used by the launcher (_driver.py)
and by the ahead-of-time checks (_aot.py), so that they compile the same thing. Triton's own specialiser is not used: it needs a driver,
and that of 3.6.0 imports torch where it can find it.

Rules (triton/runtime/jit.py): pointers and ints that are multiples of 16 are marked so (16-byte loads); an int equal to 1 and None
become constants; ints are i32 where they fit, else i64; floats are fp32; `do_not_specialize` leaves an int as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import sys
from collections.abc import Iterator
from typing import Any

POINTEES = {"float32": "fp32", "float64": "fp64", "float16": "fp16", "bfloat16": "bf16", "bool": "i1", "int8": "i8", "int16": "i16",
            "int32": "i32", "int64": "i64", "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
            "float8_e5m2": "fp8e5", "float8_e4m3fn": "fp8e4nv"}  # fmt: skip
WIDTHS = {"i1": 1, "u1": 1, "i8": 1, "u8": 1, "i16": 2, "u16": 2, "i32": 4, "u32": 4, "i64": 8, "u64": 8, "fp32": 4, "fp64": 8}
_PTX_WIDTHS = {"8": 1, "16": 2, "32": 4, "64": 8}
DIVISIBLE = [["tt.divisibility", 16]]
SCRATCH = 2  # pointers that Triton appends to every kernel's parameters: global and profile scratch
DEFAULTS = {"num_warps": 4, "num_stages": 2, "enable_fp_fusion": True}  # fusion: its default changes in Triton 3.10


@dataclasses.dataclass
class Specialised:
    """One variant of a kernel."""

    kernel: Any
    signature: dict[str, str]  # every parameter: type or "constexpr"
    constants: dict[tuple[int], Any]
    attributes: dict[tuple[int], Any]
    options: dict[str, Any]

    @property
    def packed(self) -> list[int]:
        """Width in bytes of each kernel parameter, in order, with Triton's own at the end."""
        return [8 if t.startswith("*") else WIDTHS[t] for t in self.signature.values() if t != "constexpr"] + [8] * SCRATCH

    def identity(self) -> tuple:
        """Equal for launches that need the same binary."""
        order = sorted(self.attributes)
        return (
            self.kernel.fn,
            tuple(self.signature.items()),
            repr(sorted(self.constants.items())),
            tuple(order),
            tuple(sorted(self.options.items())),
        )

    def compile(self, arch: int) -> Any:
        """Triton's CompiledKernel for sm_<arch>; needs no driver, and Triton keeps it on disk."""
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        source = ASTSource(self.kernel, self.signature, self.constants, self.attributes)
        return triton.compile(source, target=GPUTarget("cuda", arch, 32), options={**DEFAULTS, **self.options})

    def __str__(self) -> str:
        types = " ".join(t + ("+" if (k,) in self.attributes else "") for k, t in enumerate(self.signature.values()) if t != "constexpr")
        names = list(self.signature)
        constants = " ".join(f"{names[k]}={v}" for (k,), v in sorted(self.constants.items()))
        return f"{self.kernel.fn.__name__}({types}) {constants} {' '.join(f'{k}={v}' for k, v in self.options.items())}"


def pointee(dtype: Any) -> str:
    """Triton's name of a dtype."""
    name = str(dtype).split(".")[-1]
    if name not in POINTEES:
        raise TypeError(f"Triton kernels have no {name}; they take {', '.join(POINTEES)}")
    return POINTEES[name]


def _integer(value: int) -> str:
    if -(2**31) <= value < 2**31:
        return "i32"
    return "i64" if value < 2**63 else "u64"


def _argument(value: Any, parameter: Any) -> tuple[str, bool]:
    """(type, divisible by 16); "constexpr" for what becomes a constant."""
    if value is None:
        return "constexpr", False
    if isinstance(value, bool):
        return "u1", False
    if isinstance(value, int):
        if parameter.do_not_specialize:
            return _integer(value), False
        return ("constexpr", False) if value == 1 else (_integer(value), value % 16 == 0)
    if isinstance(value, float):
        return "fp32", False
    if hasattr(value, "data_ptr"):
        return "*" + pointee(value.dtype), value.data_ptr() % 16 == 0
    raise TypeError(f"{parameter.name}: a kernel cannot take a {type(value).__name__}; it takes tensors, ints, floats, bools and None")


def specialise(kernel: Any, args: tuple, constants: dict[str, Any], options: dict[str, Any]) -> Specialised:
    """The variant that a launch with these arguments needs."""
    given, name = iter(args), kernel.fn.__name__
    result = Specialised(kernel, {}, {}, {}, options)
    left = dict(constants)
    for k, parameter in enumerate(kernel.params):
        if parameter.is_constexpr:
            if parameter.name not in left and not parameter.has_default:
                raise TypeError(f"{name}: the constant {parameter.name} is missing")
            result.signature[parameter.name] = "constexpr"
            result.constants[(k,)] = left.pop(parameter.name, parameter.default)
            continue
        try:
            value = next(given)
        except StopIteration:
            raise TypeError(f"{name}: the argument {parameter.name} is missing; got {len(args)}") from None
        kind, divisible = _argument(value, parameter)
        result.signature[parameter.name] = kind
        if kind == "constexpr":
            result.constants[(k,)] = value
        elif divisible:
            result.attributes[(k,)] = DIVISIBLE
    if left or next(given, given) is not given:
        raise TypeError(
            f"{name}: too many arguments: got {len(args)} and constants {sorted(constants)}; expected {[p.name for p in kernel.params]}"
        )
    return result


def parameter_widths(ptx: str) -> list[int]:
    """Width in bytes of each parameter of the PTX's entry."""
    entry = re.search(r"\.entry\s+\w+\s*\((.*?)\)", ptx, re.S)
    widths = []
    for line in re.findall(r"\.param\s+(.*)", entry[1]):
        found = re.search(r"\.[usbf](8|16|32|64)\b", line)
        array = re.search(r"\[(\d+)\]", line)
        widths.append(_PTX_WIDTHS[found[1]] * (int(array[1]) if array else 1))
    return widths


class _NoTorch:
    """An importer that has no torch."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")


@contextlib.contextmanager
def _torch_hidden() -> Iterator[None]:
    """Inside, torch cannot be imported; one that is already there stays."""
    sys.meta_path.insert(0, _NoTorch)
    try:
        yield
    finally:
        sys.meta_path.remove(_NoTorch)


@functools.cache
def start_specialiser() -> None:
    """Triton's own specialiser, used by its interpreter and by kernel[grid](...), imports torch when first used (3.6.0): here, in vain."""
    with _torch_hidden():
        from triton._C.libtriton import native_specialize_impl
        from triton.backends.compiler import BaseBackend

        native_specialize_impl(BaseBackend, 0, False, True, True)
