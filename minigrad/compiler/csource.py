"""`mg.export(..., format="c")`: a program as C11 source that needs nothing but <math.h>.

    mg.export(model.eval(), (x,), path="model.c", format="c")
    cc -std=c11 -O3 -DMODEL_MAIN model.c -lm -o model && ./model model.bin x.bin > y.bin

model.c has `int model_step(const float *in0, …, float *out0, …)` (0: done; the number of a call whose indices were wrong otherwise), and, when the
weights are larger than _EMBEDDED bytes, `int model_load(const char *path)` for the file model.bin beside it. Everything is static: values of a
step lie in one arena per type, placed by their lifetimes, and state that calls write (running means, an optimizer's) stays for the next step.
MODEL_MAIN adds a main that reads its inputs from files of raw numbers and writes the results to stdout. Pointwise ops are loops made from their
declared formulas (csource_pointwise.py), the others calls of small functions (csource_ops.py, kernels.c). float16 and bfloat16 are not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad.io._files import byte_view, write_atomic
from minigrad.op import registry

from .csource_pointwise import TYPES, literal, loops
from .program import ExportedProgram

_EMBEDDED = 1 << 18  # bytes of weights that are written as numbers into the source
_SECTION = re.compile(r"^//@ (\w+)\n", re.MULTILINE)
_FLOAT_MATH = re.compile(r"\b(\w+)_T\b")
_MATH_H = ("exp", "log", "sqrt", "fmod", "floor", "fabs", "log1p", "exp2")


@dataclass(frozen=True)
class Ref:
    """A value as an argument of a call."""

    id: int


@dataclass
class Call:
    """One call of the graph. args: Refs, lists of them, and Python values, in the schema's order; named: by name."""

    op: str
    inplace: bool
    args: list[Any]
    outs: list[int]
    compute: Any
    named: dict[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> int:
        """The value that an in-place call writes."""
        at = next((k for k, a in enumerate(registry[self.op].args) if a.mutated), 0)
        return self.args[at].id


@dataclass
class Block:
    """A piece of an arena. first, last: the calls between which it is in use."""

    name: str
    dtype: str
    elements: int
    first: int
    last: int
    offset: int = 0


class Source:
    """The text of one program, and what the emitters of ops write it with."""

    Ref = Ref

    def __init__(self, program: ExportedProgram, name: str) -> None:
        self.program, self.name, self.graph = program, name, _core.graph_data(program.graph)
        self._values = self.graph["values"]
        self._bases: dict[int, tuple[str, int]] = {}  # storage -> C name, offset of its first element
        self._blocks: dict[str, Block] = {}
        self._helpers: dict[tuple[str, str], str] = {}
        self._body: list[str] = []
        self._own: dict[str, str] = {}  # declarations of what optimizers keep
        self._now = 0
        self.state: dict[str, str] = {}  # name in state_dict -> C name
        self.parameters: list[tuple[str, int]] = []  # arguments of the step: C name, value

    # --- what values are ---------------------------------------------------------------------------------------------------------
    def sizes(self, id: int) -> list[int]:
        """Of a value."""
        return list(self._values[id]["sizes"])

    def strides(self, id: int) -> list[int]:
        """Of a value, in elements."""
        return list(self._values[id]["strides"])

    def numel(self, id: int) -> int:
        """Number of elements."""
        n = 1
        for s in self.sizes(id):
            n *= s
        return n

    def dtype_name(self, dtype: Any) -> str:
        """float32, without the module's name."""
        return str(dtype).rpartition(".")[2]

    def dtype(self, id: int) -> str:
        """The dtype's name."""
        return self.dtype_name(self._values[id]["dtype"])

    def type(self, id: int) -> str:
        """The C type."""
        if self.dtype(id) not in TYPES:
            raise NotImplementedError(f"export: format='c' has no {self.dtype(id)}")
        return TYPES[self.dtype(id)]

    def is_dense(self, id: int) -> bool:
        """Whether the elements lie one after the other."""
        expected = 1
        for n, s in zip(reversed(self.sizes(id)), reversed(self.strides(id))):
            if n != 1 and s != expected:
                return False
            expected *= n
        return True

    # --- what emitters write -----------------------------------------------------------------------------------------------------
    def lines(self, lines: list[str]) -> None:
        """Add lines to the step."""
        self._body += lines

    def need(self, helper: str, ctype: str) -> str:
        """The C name of a function of kernels.c for that type."""
        name = helper if helper.startswith("int_") else f"{helper}_{'f32' if ctype == 'float' else 'f64'}"
        self._helpers[helper, ctype if not helper.startswith("int_") else "double"] = name
        return name

    def pointer(self, id: int) -> str:
        """Address of a value's first element."""
        base, start = self._bases[self._values[id]["storage"]]
        offset = self._values[id]["offset"] - start
        return f"({base} + {offset})" if offset else base

    def at(self, id: int, index: str) -> str:
        """One element."""
        return f"{self.pointer(id)}[{index}]"

    def scratch(self, dtype: str, elements: int) -> str:
        """Room for this call alone."""
        block = Block(f"s{len(self._blocks)}", dtype, max(elements, 1), self._now, self._now)
        self._blocks[block.name] = block
        return block.name

    def dense(self, id: int) -> str:
        """Address of the value's elements one after the other: its own memory, or a copy for this call."""
        if self.is_dense(id):
            return self.pointer(id)
        name = self.scratch(self.dtype(id), self.numel(id))
        self.copy(name, _dense_strides(self.sizes(id)), self.pointer(id), self.strides(id), self.sizes(id), self.type(id))
        return name

    def copy(
        self, to: str, to_strides: list[int], source: str, strides: list[int], sizes: list[int], ctype: str, boolean: bool = False
    ) -> None:
        """Elements from one layout to another."""
        end = " != 0" if boolean else ""
        self.lines(loops(sizes, [to_strides, strides], lambda i: [f"{to}[{i[0]}] = ({ctype})({source}[{i[1]}]{end});"]))

    def result(self, id: int) -> str:
        """Where to write the value's elements one after the other; give() follows."""
        return self.pointer(id) if self.is_dense(id) else self.scratch(self.dtype(id), self.numel(id))

    def give(self, id: int, name: str) -> None:
        """What was written to result() goes to its place."""
        if name != self.pointer(id):
            self.copy(self.pointer(id), self.strides(id), name, _dense_strides(self.sizes(id)), self.sizes(id), self.type(id))

    def check(self, call: str) -> None:
        """The step ends with the number of this call when `call` gives 0."""
        self.lines([f"if (!{call}) return {self._now + 1};"])

    def state_name(self, id: int) -> str:
        """Name in the program's state of an input."""
        return self.program.data["inputs"][self.graph["inputs"].index(id)]["state"]

    def counter(self, name: str, start: int) -> str:
        """A number that stays from step to step."""
        self._own[name] = f"static int64_t {name} = {start};"
        return name

    def own_state(self, entry: Any, name: str, like: Any) -> str:
        """Memory of an optimizer that stays from step to step: of a tensor of the state, or zeros."""
        if entry is None:
            self._own[name] = f"static {TYPES[self.dtype_name(like.dtype)]} {name}[{like.numel()}];"
            return name
        return self.state.setdefault(entry["tensor"], f"w{len(self.state)}")

    # --- the whole ---------------------------------------------------------------------------------------------------------------
    def text(self) -> str:
        """The source file."""
        self._place_inputs()
        self._place_values()
        for at, call in enumerate(self.graph["calls"]):
            self._now = at
            self._call(call)
        self._now = len(self.graph["calls"])
        outputs = self._outputs()
        arenas = self._plan()
        return "\n".join([*self._head(), *self._kernels(), *arenas, *self._weights(), *self._step(outputs), *self._main(outputs), ""])

    def _place_inputs(self) -> None:
        for spec, id in zip(self.program.data["inputs"], self.graph["inputs"]):
            value = self._values[id]
            if "state" in spec:
                name = self.state[spec["state"]] = f"w{len(self.state)}"
            else:
                name = f"in{spec['argument']}"
                self.parameters.append((name, id))
            self._bases[value["storage"]] = (name, value["offset"])

    def _place_values(self) -> None:
        """A block for every storage that the graph makes, from its first call to its last use."""
        made: dict[int, Block] = {}

        def use(id: int, at: int) -> None:
            storage = self._values[id]["storage"]
            if storage in made:
                made[storage].last = max(made[storage].last, at)

        for at, call in enumerate(self.graph["calls"]):
            for id in call["outs"]:
                value = self._values[id]
                if value["storage"] not in self._bases:
                    reach = 1 + sum((n - 1) * s for n, s in zip(value["sizes"], value["strides"])) if self.numel(id) else 1
                    block = made[value["storage"]] = Block(f"v{id}", self.dtype(id), reach, at, at)
                    self._blocks[block.name] = block
                    self._bases[value["storage"]] = (block.name, value["offset"])
                    self.type(id)
                use(id, at)
            for kind, value in call.get("args", ()):
                for id in [value] if kind == "value" else [v for v in value if v is not None] if kind == "values" else ():
                    use(id, at)
            for _, value in call.get("gradients", ()):
                if value >= 0:
                    use(value, at)
        for id in self.graph["outputs"]:
            use(id, len(self.graph["calls"]))

    def _call(self, data: dict[str, Any]) -> None:
        from . import csource_moves, csource_ops, csource_pointwise  # noqa: F401  csource_moves registers its emitters

        if "host" in data:
            self.lines([f"// {data['host']}"])
            csource_ops.optimizer(self, data, self.program.data["calls"][self._now])
            return
        args = [_argument(*a) for a in data["args"]]
        info = registry[data["op"]]
        call = Call(data["op"], data["inplace"], args, data["outs"], data["compute"], {a.name: v for a, v in zip(info.args, args)})
        line = data["line"]
        self.lines(
            [
                f"// {', '.join(f'%{k}' for k in call.outs)}{' = ' if call.outs else ''}{call.op}{'_' * call.inplace}{'  ' + line if line else ''}"
            ]
        )
        if info.view:
            if any(self.dtype(k) != self.dtype(call.args[0].id) for k in call.outs):
                raise NotImplementedError(f"export: format='c' has no {call.op}")
        elif call.op in csource_ops.EMITTERS:
            csource_ops.EMITTERS[call.op](self, call)
        elif info.pointwise:
            csource_pointwise.emit(self, call)
        else:
            raise NotImplementedError(f"export: format='c' has no {call.op}")

    def _outputs(self) -> list[tuple[str, int]]:
        found = []
        for k, id in enumerate(self.graph["outputs"]):
            self.copy(f"out{k}", _dense_strides(self.sizes(id)), self.pointer(id), self.strides(id), self.sizes(id), self.type(id))
            found.append((f"out{k}", id))
        return found

    def _plan(self) -> list[str]:
        """Gives every block its place: the lowest gap among those in use at the same time. The arenas' declarations."""
        lines, named = [], set(re.findall(r"\b[svw]\d+\b", "\n".join(self._body)))
        self.state = {key: name for key, name in self.state.items() if name in named}
        self._blocks = {name: block for name, block in self._blocks.items() if name in named}
        for dtype in dict.fromkeys(b.dtype for b in self._blocks.values()):
            size, placed = 0, list[Block]()
            for block in sorted((b for b in self._blocks.values() if b.dtype == dtype), key=lambda b: -b.elements):
                block.offset = 0
                for other in sorted((p for p in placed if p.first <= block.last and block.first <= p.last), key=lambda p: p.offset):
                    if block.offset + block.elements <= other.offset:
                        break
                    block.offset = max(block.offset, -(-(other.offset + other.elements) // 16) * 16)
                placed.append(block)
                size = max(size, block.offset + block.elements)
            lines.append(f"static {TYPES[dtype]} {dtype}_arena[{size}];")
        return lines

    def _head(self) -> list[str]:
        return [
            f"// {self.name}: made by minigrad's mg.export(format=\"c\"). Compile with: cc -std=c11 -O3 -D{self.name.upper()}_MAIN {self.name}.c -lm",
            "#include <math.h>", "#include <stdint.h>", "#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>", "",
            "#if defined(__GNUC__) && !defined(__clang__)",
            '#define EACH _Pragma("GCC ivdep")  // no iteration reads what another one writes', "#else", "#define EACH", "#endif", "",
        ]  # fmt: skip

    def _kernels(self) -> list[str]:
        parts = _SECTION.split((Path(__file__).parent / "kernels.c").read_text())
        sections = dict(zip(parts[1::2], parts[2::2]))
        text, seen = "", set[str]()
        for helper in sections:  # in the file's order
            for ctype in ("float", "double"):
                if (helper, ctype) in self._helpers:
                    piece = sections[helper]
                    if helper == "matmul":  # its sizes are for both types
                        sizes = re.search(r"^enum .*\n", piece, re.MULTILINE).group()
                        piece = piece.replace(sizes, "" if "matmul" in seen else sizes)
                    seen.add(helper)
                    text += _of_type(piece, ctype)
        return text.split("\n")

    def _weights(self) -> list[str]:
        """Declarations of the state; with numbers when they are few."""
        tensors = [self.program.state_dict[name] for name in self.state]
        self.embedded = sum(t.numel() * t.element_size() for t in tensors) <= _EMBEDDED
        lines = []
        for (key, name), tensor in zip(self.state.items(), tensors):
            flat = memory_of(tensor)
            ctype = TYPES.get(self.dtype_name(tensor.dtype))
            if ctype is None:
                raise NotImplementedError(f"export: format='c' has no {tensor.dtype}")
            start = f"static {ctype} {name}[{max(flat.numel(), 1)}]"
            lines.append(
                f"{start}{' = ' + _numbers(flat, ctype) if self.embedded and flat.numel() else ''};  // {key} {list(tensor.shape)}"
            )
        if not self.embedded:
            lines += [
                "", "// Reads the state from the file written beside this source; 0 when that worked.",
                f"int {self.name}_load(const char *path) {{", '  FILE *file = fopen(path, "rb");', "  size_t missing = 0;", "  if (!file) return 1;",
                *(f"  missing += sizeof {name} - fread({name}, 1, sizeof {name}, file);" for name in self.state.values()),
                "  missing += fgetc(file) != EOF;", "  fclose(file);", "  return missing != 0;", "}",
            ]  # fmt: skip
        return [*lines, *self._own.values(), ""]

    def _step(self, outputs: list[tuple[str, int]]) -> list[str]:
        body = "\n".join("  " + line for line in self._body)
        written = {name for name, _ in self.parameters if re.search(rf"\b{name}\b[^;=]*\] = ", body)}
        parameters = [f"{'' if name in written else 'const '}{self.type(id)} *{name}" for name, id in dict.fromkeys(self.parameters)]
        parameters += [f"{self.type(id)} *{name}" for name, id in outputs]
        about = [f"// {name}: {self.dtype(id)}{self.sizes(id)}" for name, id in [*self.parameters, *outputs]]
        unused = [f"  (void){name};" for name, _ in [*self.parameters, *outputs] if not re.search(rf"\b{name}\b", body)]
        places = [f"  {TYPES[b.dtype]} *const {b.name} = {b.dtype}_arena + {b.offset};" for b in self._blocks.values()]
        return [*about, f"int {self.name}_step({', '.join(parameters) or 'void'}) {{", *places, *unused, body, "  return 0;", "}"]

    def _main(self, outputs: list[tuple[str, int]]) -> list[str]:
        args = ([] if self.embedded else ["WEIGHTS"]) + [name.upper() for name, _ in self.parameters]
        lines = ["", f"#ifdef {self.name.upper()}_MAIN"]
        for name, id in [*self.parameters, *outputs]:
            lines.append(f"static {self.type(id)} {name}[{max(self._reach(id) if name.startswith('in') else self.numel(id), 1)}];")
        if self.parameters:
            lines += ["", "static int read_file(const char *path, void *to, size_t bytes) {", '  FILE *file = fopen(path, "rb");',
                  "  size_t got = 0;", "  if (file) got = fread(to, 1, bytes, file), fclose(file);", "  return got == bytes;", "}"]  # fmt: skip
        lines += [
            "",
            "int main(int argc, char **argv) {",
            f'  if (argc != {len(args) + 1}) return fprintf(stderr, "usage: %s {" ".join(args)}\\n", argv[0]), 2;',
        ]
        if not self.embedded:
            lines.append(f'  if ({self.name}_load(argv[1])) return fprintf(stderr, "%s: not this program\'s weights\\n", argv[1]), 1;')
        for k, (name, _) in enumerate(self.parameters, 1 if self.embedded else 2):
            lines.append(f'  if (!read_file(argv[{k}], {name}, sizeof {name})) return fprintf(stderr, "%s: too short\\n", argv[{k}]), 1;')
        lines.append(f"  const int failed = {self.name}_step({', '.join(name for name, _ in [*self.parameters, *outputs])});")
        lines.append('  if (failed) return fprintf(stderr, "call %d: an index is out of range\\n", failed), 1;')
        lines += [f"  if (fwrite({name}, sizeof *{name}, {self.numel(id)}, stdout) != {self.numel(id)}) return 1;" for name, id in outputs]
        return [*lines, "  return 0;", "}", "#endif"]

    def _reach(self, id: int) -> int:
        return 1 + sum((n - 1) * s for n, s in zip(self.sizes(id), self.strides(id))) if self.numel(id) else 0


def _argument(kind: str, value: Any) -> Any:
    if kind == "value":
        return Ref(value)
    return [None if v is None else Ref(v) for v in value] if kind == "values" else value


def _dense_strides(sizes: list[int]) -> list[int]:
    strides = [1] * len(sizes)
    for d in range(len(sizes) - 2, -1, -1):
        strides[d] = strides[d + 1] * max(sizes[d + 1], 1)
    return strides


def _of_type(text: str, ctype: str) -> str:
    """A section of kernels.c for float or double."""

    def name(match: re.Match) -> str:
        if match[1] in _MATH_H:
            return match[1] + "f" * (ctype == "float")
        return f"{match[1]}_{'f32' if ctype == 'float' else 'f64'}"

    return re.sub(r"\bT\b", ctype, _FLOAT_MATH.sub(name, text))


def memory_of(tensor: Any) -> Any:
    """The memory that a tensor's elements reach, in one dimension."""
    reach = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride())) if tensor.numel() else 0
    return tensor.detach().as_strided((reach,), (1,), tensor.storage_offset())


def _numbers(flat: Any, ctype: str) -> str:
    kind = "int64_t" if ctype == "uint8_t" else ctype
    return "{" + ", ".join(literal(v, kind) for v in flat.tolist()) + "}"


def write_c(program: ExportedProgram, path: Path) -> None:
    """Write `path` and, when the weights are many, the file of the same name that ends in .bin."""
    name = re.sub(r"\W", "_", path.stem)
    source = Source(program, f"_{name}" if name[:1].isdigit() else name)
    text = source.text()
    if not source.embedded:
        write_atomic(
            path.with_suffix(".bin"),
            b"".join(bytes(byte_view(memory_of(program.state_dict[k]).contiguous())) or b"\0" for k in source.state),
        )
    write_atomic(path, text.encode())


__all__ = ["Source", "mg", "write_c"]
