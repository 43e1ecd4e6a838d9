"""What a kernel file needs beside triton: the launch, memory, and `op`, the declaration from which everything else follows.

    @op("softmax(x, dim) -> y", backward=softmax_backward, reference=reference, cases=[case(x=rand(5, 257), dim=-1)], ...)
    def softmax(x, dim=-1): ...

One declaration gives: a differentiable function; value and gradient tests in Triton's interpreter against float64 (_checks.py);
compilation of every shipped configuration for sm_80 and sm_90 with its registers, spills and tensor-core instructions (_aot.py); the
argument list against the PTX; a benchmark (benchmarks/kernels.py); a run of the file itself. Guide: docs/kernels.md. The same door is
open to users as `minigrad.kernels.op`.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import minigrad as mg
from minigrad.kernels._launch import launch, target, tuned
from minigrad.kernels._memory import empty, empty_like, full, zeros, zeros_like

__all__ = ["Case", "KernelOp", "case", "cdiv", "empty", "empty_like", "full", "ints", "launch", "main", "mg", "next_power_of_2", "op",
           "rand", "registered", "rows_of", "target", "tuned", "zeros", "zeros_like"]  # fmt: skip

FLOATS = ("float32", "float16", "bfloat16")


def cdiv(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)


def next_power_of_2(n: int) -> int:
    """The smallest power of two that is >= n."""
    return 1 << max(n - 1, 0).bit_length()


def rows_of(x: Any, dim: int = -1) -> tuple[Any, int, int]:
    """(x with `dim` moved last as a contiguous-row matrix (M, N), M, N); a copy only where the strides do not allow a view."""
    moved = x.movedim(dim, -1)
    n = moved.shape[-1]
    m = moved.numel() // n if n else 0
    flat = moved.reshape(m, n)
    return (flat if flat.stride(-1) == 1 or n <= 1 else flat.contiguous()), m, n


@dataclasses.dataclass(frozen=True)
class Random:
    """A tensor argument of a case: made anew, from a fixed seed, with guard zones around it."""

    shape: tuple[int, ...]
    dtype: str | None  # None: the dtype under test
    low: float
    high: float  # integers: exclusive
    scale: float
    layout: str
    normal: bool


def rand(*shape: int, dtype: str | None = None, scale: float = 1.0, layout: str = "contiguous", positive: bool = False) -> Random:
    """Normal numbers times `scale` (positive: uniform in (0.1, 1) times `scale`), in the dtype under test unless `dtype` names one.

    Args:
        layout: "contiguous"; "transposed" (last two dims swapped in memory); "padded" (rows further apart than their length);
            "offset" (starts one element off, so that 16-byte loads are not allowed).
    """
    return Random(shape, dtype, 0.1, 1.0, scale, layout, not positive)


def ints(*shape: int, low: int = 0, high: int, dtype: str = "int64") -> Random:
    """Integers in [low, high)."""
    return Random(shape, dtype, low, high, 1.0, "contiguous", False)


@dataclasses.dataclass(frozen=True)
class Case:
    """Arguments of one call, `Random` where a tensor is wanted (also inside lists), and the dtypes it is tried in."""

    args: dict[str, Any]
    dtypes: tuple[str, ...]
    backward: bool
    tolerance: float

    def __str__(self) -> str:
        def text(value: Any) -> str:
            if isinstance(value, Random):
                return "x".join(map(str, value.shape)) + ("" if value.layout == "contiguous" else "-" + value.layout)
            return f"{len(value)}-list" if isinstance(value, list) else str(value)

        return ",".join(f"{k}={text(v)}" for k, v in self.args.items())


def case(*, dtypes: Sequence[str] = FLOATS, backward: bool = True, tolerance: float = 2.0, **args: Any) -> Case:
    """A case; also the form of `aot` and `bench` entries.

    Args:
        dtypes: those the `rand` arguments without a dtype of their own take.
        backward: False where the gradient is not to be checked.
        tolerance: allowed error as a multiple of the naive one in the same precision. Above 2 needs a comment that says why.
    """
    return Case(args, tuple(dtypes), backward, tolerance)


_SIGNATURE = re.compile(r"\s*(?P<name>\w+)\((?P<args>[^)]*)\)\s*->\s*(?P<outs>.+)")
_registry: dict[str, KernelOp] = {}


class KernelOp:
    """A kernel with everything that is known about it. Calling it computes, on the tape when a gradient is wanted."""

    def __init__(self, schema: str, forward: Callable, options: dict[str, Any]) -> None:
        found = _SIGNATURE.fullmatch(schema)
        if found is None:
            raise ValueError(f"kernels.op: got {schema!r}, expected 'name(a, b) -> y, _saved'")
        self.name, self.schema, self.forward = found["name"], schema, forward
        self.params = [p.strip() for p in found["args"].split(",") if p.strip()]
        outs = [o.strip() for o in found["outs"].split(",")]
        self.outputs = [o.removeprefix("_") for o in outs]
        self.visible = sum(not o.startswith("_") for o in outs)
        if list(inspect.signature(forward).parameters) != self.params:
            raise ValueError(
                f"kernels.op: {self.name}: the schema has {self.params}, the function {list(inspect.signature(forward).parameters)}"
            )
        if any(not o.startswith("_") for o in outs[self.visible :]):
            raise ValueError(f"kernels.op: {self.name}: results for the backward alone (_name) come last")
        self.backward: Callable | None = options.get("backward")
        self.reference: Callable | None = options.get("reference")
        self.cases: list[Case] = list(options.get("cases") or ())
        self.aot: list[Case] = list(options.get("aot") or ())
        self.bench: list[Case] = list(options.get("bench") or ())
        self.flops, self.bytes = options.get("flops"), options.get("bytes")
        self.tensor_cores: bool = options.get("tensor_cores", False)
        self.spills: str = options.get("spills", "")
        self.mutates: tuple[str, ...] = tuple(options.get("mutates") or ())
        self.exact: bool = options.get("exact", False)
        self.rival: Callable | None = options.get("rival")
        self.backward_cost: float = options.get("backward_cost", 2.0)
        self.module = forward.__module__
        self.__doc__, self.__name__ = forward.__doc__, self.name
        self._defaults = {k: p.default for k, p in inspect.signature(forward).parameters.items() if p.default is not p.empty}
        if self.backward is not None:
            known = {"g", *(f"g_{o}" for o in self.outputs[: self.visible]), *self.params, *self.outputs}
            self.saved = list(inspect.signature(self.backward).parameters)
            if unknown := set(self.saved) - known:
                raise ValueError(f"kernels.op: {self.name}: backward wants {sorted(unknown)}, known are {sorted(known)}")

    def bind(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """All parameters by name, defaults filled in."""
        bound = inspect.signature(self.forward).bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def compute(self, values: dict[str, Any]) -> tuple:
        """All results, those for the backward too."""
        result = self.forward(**values)
        result = result if isinstance(result, tuple) else (result,)
        if len(result) != len(self.outputs):
            raise RuntimeError(f"{self.name}: the kernel returned {len(result)} results, its schema has {len(self.outputs)}")
        return result

    def gradients(self, grads: Sequence[Any], values: dict[str, Any], results: tuple) -> dict[str, Any]:
        """{parameter: gradient} from the gradients of the visible results."""
        have = {**dict(zip(self.outputs, results)), **values, "g": grads[0]}
        have.update({f"g_{o}": g for o, g in zip(self.outputs, grads)})
        found = self.backward(**{k: have[k] for k in self.saved})
        return found if isinstance(found, dict) else {self.params[0]: found}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        values = self.bind(args, kwargs)
        tensors = [v for v in values.values() if isinstance(v, mg.Tensor)]
        if mg.is_grad_enabled() and any(t.requires_grad for t in tensors):
            from minigrad.kernels._tape import apply

            visible = apply(self, values)
        else:
            with mg.no_grad():
                visible = self.compute(values)[: self.visible]
            self._note_written(values)
        return visible[0] if self.visible == 1 else tuple(visible)

    def _note_written(self, values: dict[str, Any]) -> None:
        """Version counters: whoever saved one of these for a backward finds out."""
        for name in self.mutates:
            for t in values[name] if isinstance(values[name], (list, tuple)) else [values[name]]:
                mg.autograd.graph.increment_version(t)

    def __repr__(self) -> str:
        return f"<kernel {self.schema}>"


def op(schema: str, **options: Any) -> Callable[[Callable], KernelOp]:
    """Decorator: declares the launcher below it as a kernel.

    Args:
        schema: "name(parameters) -> results"; results for the backward alone have an underscore in front and come last.
        backward: function whose parameter names say what it wants: `g` (or `g_<result>` for several), parameters, results without the
            underscore. Returns {parameter: gradient}, or the gradient of the first parameter. Gradients that are not asked for may be None.
        reference: the same computation in plain minigrad ops. In float64 it is what results and gradients are compared with, in the dtype
            under test it is the naive form whose error may be exceeded twofold. Takes the parameters, returns the visible results.
        cases: `case(...)`s of the interpreter tests: small, at most 16 programs each, odd sizes and strides among them.
        aot: `case(...)`s of the shapes that ship; what their launches compile is checked for sm_80 and sm_90.
        bench: `case(...)`s of the benchmark. flops, bytes: functions of the parameters, for its roofline.
        backward_cost: bytes and flops of the backward as a multiple of the forward's; default 2.
        rival: function (torch, parameters) -> result, the same in PyTorch, timed beside the kernel where torch is installed.
        tensor_cores: the configurations must contain HMMA (sm_80) or HGMMA (sm_90).
        spills: the reason, if register spills are accepted.
        mutates: names of parameters written in place. exact: results must equal the reference (integers, copies).
    """
    known = {"backward", "reference", "cases", "aot", "bench", "flops", "bytes", "tensor_cores", "spills", "mutates", "exact",
             "rival", "backward_cost"}  # fmt: skip
    if unknown := set(options) - known:
        raise TypeError(f"kernels.op: unknown {sorted(unknown)}, known are {sorted(known)}")

    def declare(forward: Callable) -> KernelOp:
        made = KernelOp(schema, forward, options)
        _registry[made.name] = made
        return made

    return declare


def registered(module: str | None = None) -> list[KernelOp]:
    """The kernels declared so far, or those of one module."""
    return [k for k in _registry.values() if module is None or k.module == module]


def main(*ops: KernelOp) -> None:
    """Checks each kernel here (interpreter and ahead-of-time compilation, or the GPU), then benchmarks it on a GPU."""
    from minigrad.kernels._checks import run_file

    run_file(list(ops))
