"""Runs fused programs (fused.py) on a CUDA device as generated Triton kernels (triton_source.py).

    make(program)     a runner, or None where the ordinary kernels stay: no triton here, or a program that has no kernel
    runner(addresses) all launches for operands at these addresses, on the current stream

A kernel's text is a file of the cache directory (minigrad/_cache.py: ~/.cache/minigrad/triton), named by its hash: Triton
compiles from files, keeps binaries by their text, and the file is there to be read. Tiles are chosen by the program's sizes; on a GPU the
candidates of a program are measured once (kernels/_autotune.py), on buffers of its own, because a program may write over its arguments.
csrc/cuda/python/bind_fused.cpp keeps the launches that launches() lists and starts them without Python from then on.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import minigrad as mg
from minigrad import _cache, kernels
from minigrad.cuda._door import backend

from . import store
from .fused import Program, Unsupported
from .native import program_of
from .triton_source import Source, column_stores, pieces, source

WHOLE_ROW = 8192  # elements of a row that one program holds at once
_LONG = 2048  # elements of a long row at a time
_PROGRAMS = 512  # to keep a GPU busy; not read from the device: sums must not depend on it
_FEW_ROWS = 128
_OPTIONS = {"enable_fp_fusion": False}  # eager's bits: a product is rounded before it is added to something


class Pointer:
    """An address as Triton's specialiser and interpreter want a tensor."""

    def __init__(self, address: int, dtype: str, device: Any) -> None:
        self._address, self.dtype, self.device, self.is_cuda = address, getattr(mg, dtype), device, device.type == "cuda"

    def data_ptr(self) -> int:
        return self._address


class Scratch(NamedTuple):
    """Memory of partial results."""

    count: int
    dtype: str


class Launch(NamedTuple):
    """One start of a kernel. args: numbers, ("operand", k) or ("scratch", k)."""

    kernel: Any
    grid: tuple[int, ...]
    args: tuple
    named: dict[str, Any]


def _power(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def _cdiv(a: int, b: int) -> int:
    return -(-a // b)


def folder() -> pathlib.Path | None:
    """Where the generated files are; None: in the folder for temporary files."""
    found = _cache.folder("triton")
    return None if found is None else pathlib.Path(found)


def _written(name: str, text: str) -> pathlib.Path:
    for place in filter(None, (folder(), pathlib.Path(tempfile.gettempdir()) / f"minigrad-triton-{os.getuid()}")):
        path = place / f"{name}.py"
        try:
            if path.exists() and path.read_text().startswith(text):
                os.utime(path)  # used now
                return path
            place.mkdir(parents=True, exist_ok=True)
            store.trim(str(place))
            with tempfile.NamedTemporaryFile("w", dir=place, delete=False) as file:
                file.write(text)
            os.replace(file.name, path)
            return path
        except OSError:  # a home that cannot be written to
            continue
    raise Unsupported("no place to write the kernel's source to")


def _file(name: str, text: str) -> str:
    return f"{name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@functools.cache
def kernel_of(name: str, text: str) -> Any:
    """The @triton.jit function of a source, imported from its file in the cache directory."""
    file = _file(name, text)
    spec = importlib.util.spec_from_file_location(f"minigrad_generated_{file}", _written(file, text))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


def _extent(program: Program) -> int:
    """Elements that the farthest operand spans."""
    spans = [sum((n - 1) * s for n, s in zip(program.sizes, o.strides)) + 1 for o in program.operands]
    count = 1
    for n in program.sizes:
        count *= n
    return max([count, *spans])


class _Tiles:
    """The form of a program and the tiles it may run with, first the one that is taken unmeasured."""

    def __init__(self, program: Program) -> None:
        kinds = {s.kind for s in program.steps}
        self.cols, self.rows = program.sizes[-1], 1
        for n in program.sizes[:-1]:
            self.rows *= n
        self.columns, whole = "reduce_rows" in kinds, "reduce" in kinds
        if not whole and not self.columns and len(program.sizes) == 1:
            self.form, self.candidates = "flat", self._flat()
        elif not whole:
            self.form, self.candidates = "tile", self._cut(any(o.strides[-1] > 1 for o in program.operands))
        elif self.cols <= (WHOLE_ROW // 2 if self.columns else WHOLE_ROW):
            self.form, self.candidates = "tile", self._whole()
        elif self.columns:
            raise Unsupported("sums of columns beside reductions of long rows")
        else:
            self.form = "loop" if self.rows >= _FEW_ROWS else "split"
            self.candidates = [dict(C=_LONG, num_warps=8), dict(C=_LONG // 2, num_warps=4)]

    def _flat(self) -> list[dict]:
        if self.cols <= 1024:
            return [dict(BLOCK=max(_power(self.cols), 32), num_warps=1 if self.cols <= 128 else 4)]
        return [dict(BLOCK=1024, num_warps=4), dict(BLOCK=2048, num_warps=4), dict(BLOCK=4096, num_warps=8), dict(BLOCK=512, num_warps=4)]

    def _cut(self, turned: bool) -> list[dict]:
        found = []
        for cells, widest, warps in ((1024, 32 if turned else 256, 4), (2048, 64 if turned else 1024, 4), (1024, 64 if turned else 128, 4)):
            c = min(_power(self.cols), widest)
            r = min(_power(self.rows), max(cells // c, 1))
            c = min(_power(self.cols), max(c, cells // r))  # few rows: wider
            found.append(dict(R=r, C=c, num_warps=warps))
        return _different(found)

    def _whole(self) -> list[dict]:
        c, found = _power(self.cols), []
        for cells in (2048, 1024, 4096):
            r = min(_power(self.rows), max(cells // c, 1))
            found.append(dict(R=r, C=c, num_warps=min(max(r * c // 512, 1), 16)))
        return _different(found)


def _different(candidates: list[dict]) -> list[dict]:
    return [c for k, c in enumerate(candidates) if c not in candidates[:k]]


class Runner:
    """One program's kernels.

    Raises:
        Unsupported: the program has none.
    """

    def __init__(self, program: Program) -> None:
        self.program, self.tiles = program, _Tiles(program)
        self.wide = _extent(program) + 2 * WHOLE_ROW >= 2**31
        self.sources = [source(program, self.tiles.form, self.wide)]
        if self.tiles.form == "split":
            self.chunks, self.span = self._split()
            self.tail = pieces(program, self.chunks)
            self.tail_tiles = _Tiles(self.tail)
            self.sources.append(source(self.tail, self.tail_tiles.form, False))
        self.key = ("fused", hashlib.sha256("".join(s.text for s in self.sources).encode()).hexdigest()[:16], *program.sizes)

    def _split(self) -> tuple[int, int]:
        chunks = max(min(_cdiv(self.tiles.cols, _LONG), _PROGRAMS // self.tiles.rows), 1)
        span = _cdiv(_cdiv(self.tiles.cols, chunks), _LONG) * _LONG
        return _cdiv(self.tiles.cols, span), span

    def launches(self, choice: dict[str, Any]) -> tuple[list[Launch], list[Scratch]]:
        """What runs with these tiles, in order, and the memory it needs meanwhile."""
        t, first = self.tiles, self.sources[0]
        scratch: list[Scratch] = []
        if t.form == "split":
            scratch = [Scratch(t.rows * self.chunks, dtype) for dtype, _ in first.partials]
            values = {"chunks": self.chunks, "span": self.span}
            head = self._launch(first, self.program, choice, (t.rows * self.chunks,), values)
            n = self.program.n_inputs
            moved = {k: ("operand", k) if k < n else ("scratch", k - n) if k < self.tail.n_inputs else ("operand", k - len(scratch))
                     for k in range(len(self.tail.operands))}  # fmt: skip
            grid = (_cdiv(t.rows, self.tail_tiles.candidates[0]["R"]),)
            return [head, self._launch(self.sources[1], self.tail, self.tail_tiles.candidates[0], grid, {}, moved)], scratch
        if t.form == "flat":
            return [self._launch(first, self.program, choice, (_cdiv(t.cols, choice["BLOCK"]),), {})], []
        if t.form == "loop":
            return [self._launch(first, self.program, choice, (t.rows,), {})], []
        row_tiles = _cdiv(t.rows, choice["R"])
        col_tiles = 1 if any(s.kind == "reduce" for s in self.program.steps) else _cdiv(t.cols, choice["C"])
        if not t.columns:
            return [self._launch(first, self.program, choice, (row_tiles * col_tiles,), {})], []
        span = _cdiv(row_tiles * col_tiles, _PROGRAMS)
        chunks = _cdiv(row_tiles, span)
        scratch = [Scratch(chunks * t.cols, dtype) for dtype, _ in first.partials]
        found = [self._launch(first, self.program, choice, (chunks * col_tiles,), {"span": span})]
        summed = [k for _, k in first.partials]
        for operand, k in column_stores(self.program):
            j, out = summed.index(k), self.program.operands[operand]
            named = {"COLS": 64, "CHUNKS": 16, "num_warps": 4, **_OPTIONS}
            args = (("operand", operand), ("scratch", j), chunks, t.cols, out.strides[-1])
            found.append(Launch(_sum_of_chunks(), (_cdiv(t.cols, 64),), args, named))
        return found, scratch

    def _launch(self, s: Source, program: Program, choice: dict, grid: tuple, values: dict, moved: dict | None = None) -> Launch:
        sizes = {"cols": program.sizes[-1], "rows": 1, **values}
        for n in program.sizes[:-1]:
            sizes["rows"] *= n
        args: list[Any] = []
        for p in s.parameters:
            if p[0] == "operand":
                args.append(moved[p[1]] if moved else p)
            elif p[0] == "partial":
                args.append(("scratch", p[1]))
            elif p[0] == "size":
                args.append(program.sizes[p[1]])
            else:
                args.append(program.operands[p[1]].strides[p[2]] if p[0] == "stride" else sizes[p[0]])
        return Launch(kernel_of(s.name, s.text), grid, tuple(args), {**choice, **_OPTIONS})

    def pointers(self, launch: Launch, addresses: Sequence[int], scratch: Sequence[tuple[int, str]], device: Any) -> tuple:
        """A launch's arguments for operands and scratch memory at these addresses."""
        def one(a: Any) -> Any:
            if not isinstance(a, tuple):
                return a
            kind, k = a
            return Pointer(addresses[k], self.program.operands[k].dtype, device) if kind == "operand" else Pointer(*scratch[k], device)

        return tuple(map(one, launch.args))

    def __call__(self, addresses: Sequence[int], choice: dict[str, Any] | None = None, device: Any = None) -> None:
        """Through kernels.launch: in the interpreter, and where launches are recorded. `device`: None for the current CUDA device."""
        from minigrad.kernels._launch import launch

        device = device or mg.device("cuda", mg.cuda.current_device())
        found, scratch = self.launches(choice or self.tiles.candidates[0])
        held = [mg.empty(s.count, dtype=getattr(mg, s.dtype), device=device) for s in scratch]
        places = [(t.data_ptr(), s.dtype) for t, s in zip(held, scratch)]
        for one in found:
            launch(one.kernel, one.grid, *self.pointers(one, addresses, places, device), **one.named)

    @property
    def interpreted(self) -> bool:
        """Whether every run is Python's, in Triton's interpreter."""
        from minigrad.kernels._launch import interpreting

        return interpreting()

    def prepared(self, addresses: Sequence[int]) -> tuple[list[dict], list[int]]:
        """The launches for operands that lie as these do, with the best tiles, as csrc/cuda/python/bind_fused.cpp wants them."""
        choices = self.tiles.candidates
        measured = len(choices) > 1 and not backend.is_simulated()
        return self.described(self.fastest(addresses) if measured else choices[0], addresses)

    def fastest(self, addresses: Sequence[int]) -> dict[str, Any]:
        """The best tiles on this device. What is written goes to buffers of its own: results may lie over arguments."""
        from minigrad.kernels import _autotune

        places, kept = list(addresses), []
        for k, o in enumerate(self.program.operands):
            if o.written:
                extent = sum((n - 1) * s for n, s in zip(self.program.sizes, o.strides)) + 1
                kept.append(mg.empty(extent, dtype=getattr(mg, o.dtype), device="cuda"))
                places[k] = kept[-1].data_ptr()
        return _autotune.best(self.key, self.tiles.candidates, lambda c: backend.start_fused(self.described(c, places), places))

    def described(self, choice: dict[str, Any], addresses: Sequence[int]) -> tuple[list[dict], list[int]]:
        """(compiled launches, bytes of scratch memory)."""
        from minigrad.kernels import _driver
        from minigrad.kernels._launch import OPTIONS

        device = mg.device("cuda", backend.current_device())
        found, scratch = self.launches(choice)
        described = []
        for one in found:
            args = self.pointers(one, addresses, [(0, s.dtype) for s in scratch], device)
            options = {n: v for n, v in one.named.items() if n in OPTIONS}
            constants = {n: v for n, v in one.named.items() if n not in OPTIONS}
            made = _driver._compile(one.kernel, constants, options, args)
            arguments = [_argument(one.args[k] if k >= 0 else None, width) for k, width, _ in made["parameters"]]
            described.append({**made, "grid": one.grid[0], "arguments": arguments})
        return described, [s.count * getattr(mg, s.dtype).itemsize for s in scratch]


def _argument(value: Any, width: int) -> tuple[str, int, int]:
    if value is None:
        return "workspace", width, 0
    return (value[0], width, value[1]) if isinstance(value, tuple) else ("number", width, value)


def _sum_of_chunks() -> Any:
    from minigrad.compiler.codegen.triton_math import sum_of_chunks

    return sum_of_chunks


def readable(kernel: Any, notes: Sequence[str]) -> str:
    """Where the source of a FusedKernel on a CUDA device is, with notes at its end: what calls it stands for, and the user's line."""
    trailer = "".join(f"# {line}\n" for note in notes for line in note.splitlines())
    return " ".join(str(_written(_file(s.name, s.text), s.text + trailer)) for s in Runner(program_of(kernel)).sources)


def make(kernel: Any) -> Runner | None:
    """The runner of a program, or of a FusedKernel of the core; None: it stays with the ordinary kernels."""
    if not kernels.available():
        return None
    try:
        return Runner(kernel if isinstance(kernel, Program) else program_of(kernel))
    except Unsupported:
        return None
