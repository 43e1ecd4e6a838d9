"""`mg.export(..., format="c")`: a program as C11 source that needs nothing but <math.h>.

    mg.export(model.eval(), (x,), path="model.c", format="c")
    cc -std=c11 -O3 -DMODEL_MAIN model.c -lm -o model && ./model model.bin x.bin > y.bin

model.c has `int model_step(const float *in0, …, float *out0, …)` (0: done; the number of a call whose indices were wrong otherwise), and,
when there is much state, `int model_load(const char *path)` for the file model.bin beside it. Everything is static: values of a step lie in
one arena per type, placed by their lifetimes, and state that calls write (running means, an optimizer's) stays for the next step.
MODEL_MAIN adds a main that reads its inputs from files of raw numbers and writes the results to stdout. Pointwise ops are loops made
from their declared formulas (csource_pointwise.py), the others calls of small functions (csource_ops.py, csource_moves.py, kernels.c);
csource_file.py writes what stands around the step. float16 and bfloat16 are not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minigrad import _core
from minigrad.io._files import byte_view, write_atomic
from minigrad.op import registry

from . import csource_file
from .csource_pointwise import TYPES, loops
from .program import ExportedProgram


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

    def text_of(self, helper: str, ctype: str, *args: Any) -> str:
        """A call of a function of kernels.c."""
        return f"{self.need(helper, ctype)}({', '.join(map(str, args))})"

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
        self.embedded = sum(t.numel() * t.element_size() for t in map(self.program.state_dict.get, self.state)) <= csource_file.EMBEDDED
        around = [*csource_file.head(self.name), *csource_file.kernels(self._helpers), *arenas, *csource_file.weights(self)]
        return "\n".join([*around, *self._own.values(), "", *self._step(outputs), *csource_file.main(self, outputs), ""])

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
                    block = made[value["storage"]] = Block(f"v{id}", self.dtype(id), max(self.reach(id), 1), at, at)
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
            self.lines([csource_file.comment(data["host"])])
            csource_ops.optimizer(self, data, self.program.data["calls"][self._now])
            return
        args = [_argument(*a) for a in data["args"]]
        info = registry[data["op"]]
        call = Call(data["op"], data["inplace"], args, data["outs"], data["compute"], {a.name: v for a, v in zip(info.args, args)})
        made = ", ".join(f"%{k}" for k in call.outs)
        self.lines([csource_file.comment(f"{made}{' = ' * bool(made)}{call.op}{'_' * call.inplace}  {data['line']}".rstrip())])
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

    def _step(self, outputs: list[tuple[str, int]]) -> list[str]:
        body = "\n".join("  " + line for line in self._body)
        written = {name for name, _ in self.parameters if re.search(rf"\b{name}\b[^;=]*\] = ", body)}
        parameters = [f"{'' if name in written else 'const '}{self.type(id)} *{name}" for name, id in dict.fromkeys(self.parameters)]
        parameters += [f"{self.type(id)} *{name}" for name, id in outputs]
        about = [f"// {name}: {self.dtype(id)}{self.sizes(id)}" for name, id in [*self.parameters, *outputs]]
        unused = [f"  (void){name};" for name, _ in [*self.parameters, *outputs] if not re.search(rf"\b{name}\b", body)]
        places = [f"  {TYPES[b.dtype]} *const {b.name} = {b.dtype}_arena + {b.offset};" for b in self._blocks.values()]
        return [*about, f"int {self.name}_step({', '.join(parameters) or 'void'}) {{", *places, *unused, body, "  return 0;", "}"]

    def reach(self, id: int) -> int:
        """Elements of memory from a value's first element to its last."""
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


def write_c(program: ExportedProgram, path: Path) -> None:
    """Write `path` and, when the weights are many, the file of the same name that ends in .bin."""
    name = re.sub(r"\W", "_", path.stem)
    source = Source(program, f"_{name}" if name[:1].isdigit() else name)
    text = source.text()
    if not source.embedded:
        tensors = [program.state_dict[key] for key in source.state]
        parts = [bytes(byte_view(csource_file.memory_of(t))) or bytes(t.element_size()) for t in tensors]
        write_atomic(path.with_suffix(".bin"), b"".join(parts))
    write_atomic(path, text.encode())

