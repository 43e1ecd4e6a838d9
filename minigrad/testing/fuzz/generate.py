"""Programs around one op: a sample of the registry as the seed, mutated in shapes, layouts, dtypes, values and arguments.

`Generator(seed, ops).case(index)` is a pure function: the same seed and index give the same program, so a crash found in one
process is rebuilt in another from two numbers.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np

from minigrad.op import OpInfo, registry
from minigrad.testing.fuzz import values as v
from minigrad.testing.fuzz.program import LAYOUTS, Call, Make, Program, Ref, Text, fresh_names
from minigrad.testing.samples import Sample, Spec, samples

SEED_DTYPES = ("float32", "float32", "float32", "float64", "float64", "int64", "int32", "uint8", "int8", "bool", "bfloat16", "float16")
_MUTATING_CALLS = (".mul_", ".add_", ".zero_", ".copy_", ".fill_")


def public_target(info: OpInfo) -> tuple[str, bool]:
    """(how to call the op on the module `m`, whether only minigrad has it)."""
    if info.namespace:
        space = info.namespace[0]
        return f"m.{space}.{info.name}" if space else f"m.{info.name}", False
    if info.method and info.name[0] != "_":
        return f".{info.name}", False
    return f"m.op.functions[{info.name!r}]", True


def is_random(info: OpInfo) -> bool:
    """Whether the numbers of the result are random or uninitialised."""
    return "creation/random" in info.where or info.info.get("no_ref_reason") in ("random", "uninitialised") or "empty" in info.name


class Generator:
    """Makes programs from (seed, index).

    Args:
        seed: names the run.
        ops: op names to use; None for all.
        complex_numbers: also complex dtypes.
        private: also ops that users cannot name; their callers check for them, so most of what this finds is unreachable.
    """

    def __init__(self, seed: int, ops: Iterable[str] | None = None, complex_numbers: bool = False, private: bool = False) -> None:
        wanted = None if ops is None else set(ops)
        self.infos = [
            i for n, i in sorted(registry.items())
            if (n in wanted if wanted is not None else private or not public_target(i)[1])
        ]  # fmt: skip
        self.all_ops = wanted is None
        self.seed = seed
        self.dtypes = SEED_DTYPES + (v.COMPLEX if complex_numbers else ())
        self._samples: dict[tuple[str, str], list[Sample]] = {}
        if not self.infos:
            raise ValueError(f"no such op: {', '.join(sorted(wanted or ()))}")

    def case(self, index: int) -> Program:
        """Program number `index` of this seed."""
        from minigrad.testing.fuzz.sequences import sequence

        rng = random.Random(f"{self.seed}:{index}")
        if self.all_ops and rng.random() < 0.3:
            return sequence(rng, self)
        return _OpCase(rng, self).program()

    def samples_of(self, info: OpInfo, dtype: str) -> list[Sample]:
        """The op's samples in that dtype; empty when it has none."""
        key = (info.name, dtype)
        if key not in self._samples:
            try:
                self._samples[key] = samples(info, dtype)
            except Exception:  # a declaration whose samples do not exist in this dtype
                self._samples[key] = []
        return self._samples[key]


class _OpCase:
    """One program about one op."""

    def __init__(self, rng: random.Random, generator: Generator) -> None:
        self.rng, self.generator = rng, generator
        self.steps: list[Make | Call] = []
        self.names = fresh_names()
        self.mutation = rng.choice((0.0, 0.12, 0.12, 0.35))  # how far from the sample: a quarter of the cases are valid calls
        self.grad = rng.random() < 0.3

    def program(self) -> Program:
        rng = self.rng
        info = rng.choice(self.generator.infos)
        dtype = rng.choice(self.generator.dtypes)
        found = self.generator.samples_of(info, dtype) or self.generator.samples_of(info, "float64")
        if found:
            args, kwargs = self._from_sample(info, rng.choice(found))
        else:
            args, kwargs = [self._by_kind(a) for a in info.args if not a.keyword_only and (not a.has_default or rng.random() < 0.4)], {}
        args, kwargs = self._mutate_arguments(info, args, kwargs)
        target, private = public_target(info)
        target = self._form(info, target, args)
        if rng.random() < 0.1 and not info.view and target[0] == "m":
            kwargs["out"] = self._out(args)
        if target[0] == "." and not (args and isinstance(args[0], Ref)):
            args = [self._make(rng.choice(v.FLOATS), v.random_shape(rng)), *args[1:]]
        name = next(self.names)
        if rng.random() < 0.04 and self.steps:  # written between being made and being used
            self._write_to_input()
        self.steps.append(Call(name, target, tuple(args), kwargs))
        self._afterwards(name)
        return Program(self.steps, tainted=is_random(info), private=private, op=info.name)

    def _form(self, info: OpInfo, target: str, args: list[Any]) -> str:
        """Function, method, or in-place twin."""
        if not (args and isinstance(args[0], Ref)) or target[0] != "m":
            return target
        r = self.rng.random()
        if info.inplace and r < 0.25:
            return f".{info.name}_" if info.method else target
        return f".{info.name}" if info.method and r < 0.5 else target

    # --- tensors ---
    def _make(self, dtype: str, shape: tuple[int, ...], values: tuple[Any, ...] | None = None, layout: str | None = None) -> Ref:
        rng = self.rng
        if values is None:
            values = v.any_values(rng, dtype, rng.choice((3, 7, 12)))
        if layout is None:
            layout = "contiguous" if rng.random() < 0.5 else rng.choice(LAYOUTS)
        grad = self.grad and dtype in v.FLOATS + v.COMPLEX and rng.random() < 0.8
        step = Make(next(self.names), dtype, shape, values, layout, grad)
        self.steps.append(step)
        return Ref(step.name)

    def _tensor(self, spec: Spec) -> Ref:
        """A sample's tensor, possibly changed."""
        rng, far = self.rng, self.mutation
        made = [s for s in self.steps if isinstance(s, Make)]
        if made and rng.random() < far * 0.4:  # the same tensor twice: aliasing
            return Ref(rng.choice(made).name)
        dtype, shape = spec.dtype, spec.shape
        flat = np.asarray(spec.values).reshape(-1)[:64]
        values: tuple[Any, ...] | None = tuple(x.item() for x in flat) or (0,)
        is_index = spec.dtype == "int64" and not spec.grad
        if rng.random() < far * (0.5 if is_index else 1):
            dtype = rng.choice(self.generator.dtypes)
        if rng.random() < far:
            shape = self._other_shape(shape)
        if dtype != spec.dtype:
            values = None
        elif is_index and rng.random() < far:
            values = tuple(v.odd_int(rng) if rng.random() < 0.3 else x for x in values)
            values = tuple(x if -(2**63) <= x < 2**63 else 0 for x in values)
        elif not is_index and rng.random() < 0.3:
            values = v.any_values(rng, dtype, 12)
        layout = spec.layout if rng.random() < 0.5 else None
        return self._make(dtype, shape, values, layout)

    def _other_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        rng, dims = self.rng, list(shape)
        r = rng.random()
        if r < 0.25 or not dims:
            return v.random_shape(rng)
        k = rng.randrange(len(dims))
        if r < 0.6:
            dims[k] = rng.choice((0, 1, 1, 2, 3, dims[k] + 1, max(0, dims[k] - 1), 2 * dims[k]))
        elif r < 0.75:
            del dims[k]
        elif r < 0.9:
            dims.insert(k, rng.choice((1, 1, 2, 0)))
        else:
            rng.shuffle(dims)
        return tuple(d if d < 5000 else 17 for d in dims)

    # --- arguments ---
    def _from_sample(self, info: OpInfo, sample: Sample) -> tuple[list[Any], dict[str, Any]]:
        def convert(x: Any) -> Any:
            if isinstance(x, Spec):
                return self._tensor(x)
            if isinstance(x, (list, tuple)):
                return type(x)(convert(y) for y in x) if type(x) in (list, tuple) else list(x)
            if x is None or isinstance(x, (bool, int, float, str, complex, slice, type(...))):
                return x
            text = repr(x)
            return Text(text.replace("minigrad.", "m.", 1) if text.startswith("minigrad.") else f"m.{text}" if "device" in text else "None")

        return [convert(a) for a in sample.args], {k: convert(a) for k, a in sample.kwargs.items()}

    def _by_kind(self, arg: Any) -> Any:
        """An argument made up from its kind, for ops without samples."""
        rng, kind = self.rng, arg.kind
        if kind == "tensor" or (kind == "operand" and rng.random() < 0.7):
            dtype = rng.choice(self.generator.dtypes)
            return self._make(dtype, v.random_shape(rng))
        if kind == "tensors":
            return [self._make("float32", (2, 3)) for _ in range(rng.randint(0, 3))]
        if kind == "ints":
            return [v.odd_int(rng) if rng.random() < 0.2 else rng.choice((0, 1, 2, 3)) for _ in range(rng.randint(0, 4))]
        if kind == "int":
            return v.odd_int(rng)
        if kind == "bool":
            return rng.random() < 0.5
        if kind == "dtype":
            return Text("m." + rng.choice(self.generator.dtypes))
        return v.odd_scalar(rng) if kind in ("operand", "scalar", "float") else None

    def _mutate_value(self, x: Any) -> Any:
        rng = self.rng
        if isinstance(x, Ref):
            return v.bad_argument(rng) if rng.random() < 0.08 else x if rng.random() < 0.9 else v.odd_scalar(rng)
        if rng.random() < 0.12:
            return v.bad_argument(rng)
        if isinstance(x, bool) or x is None:
            return rng.choice((True, False, None, 0, 1, -1))
        if isinstance(x, int):
            return v.odd_int(rng)
        if isinstance(x, float):
            return v.odd_scalar(rng)
        if isinstance(x, (list, tuple)) and x:
            items = list(x)
            k = rng.randrange(len(items))
            r = rng.random()
            if r < 0.7:
                items[k] = self._mutate_value(items[k])
            elif r < 0.85:
                del items[k]
            else:
                items.insert(k, items[k])
            return type(x)(items)
        if isinstance(x, Text) and x.text.startswith("m.") and rng.random() < 0.8:
            return Text("m." + rng.choice(self.generator.dtypes))
        return x

    def _mutate_arguments(self, info: OpInfo, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        rng, far = self.rng, self.mutation
        args = [self._mutate_value(a) if rng.random() < far else a for a in args]
        kwargs = {k: self._mutate_value(a) if rng.random() < far else a for k, a in kwargs.items()}
        if rng.random() < far and len(info.args) > len(args):  # one more of the arguments that the sample leaves out
            extra = rng.choice(info.args[len(args) :])
            if extra.kind not in ("generator", "device") and extra.name not in kwargs:
                kwargs[extra.name] = self._by_kind(extra) if rng.random() < 0.9 else v.bad_argument(rng)
        if rng.random() < far * 0.15 and args:
            args.pop()
        if rng.random() < far * 0.1:
            args.append(v.bad_argument(rng))
        if rng.random() < far * 0.06:
            kwargs[rng.choice(("dim", "keepdim", "dtype", "axis", "alpha", "no_such"))] = v.odd_int(rng)
        return args, kwargs

    def _out(self, args: list[Any]) -> Any:
        """A target for `out=`: an input, a view that overlaps one, or a fresh tensor of some shape and dtype."""
        rng = self.rng
        made = [s for s in self.steps if isinstance(s, Make)]
        r = rng.random()
        if made and r < 0.25:
            return Ref(rng.choice(made).name)
        if made and r < 0.5:
            name = next(self.names)
            index = rng.choice((Text("..., 1:"), Text("1:"), Text("..., ::2"), Text("None"), Text("0"), Text("..., :-1")))
            self.steps.append(Call(name, "getitem", (Ref(rng.choice(made).name), index)))
            return Ref(name)
        like = rng.choice(made) if made else None
        grad, self.grad = self.grad, False
        shape = like.shape if like and rng.random() < 0.8 else v.random_shape(rng)
        dtype = like.dtype if like and rng.random() < 0.7 else rng.choice(self.generator.dtypes)
        target = self._make(dtype, shape, (7,), None if rng.random() < 0.5 else "contiguous")
        self.grad = grad
        return target

    def _write_to_input(self) -> None:
        rng = self.rng
        made = [s for s in self.steps if isinstance(s, Make)]
        victim = Ref(rng.choice(made).name)
        target = rng.choice(_MUTATING_CALLS)
        argument: tuple[Any, ...] = () if target == ".zero_" else (victim,) if target == ".copy_" else (rng.choice((0, 1, 2, -1)),)
        self.steps.append(Call(next(self.names), target, (victim, *argument)))

    def _afterwards(self, result: str) -> None:
        """Backward, sometimes after a saved tensor was overwritten."""
        rng = self.rng
        if not self.grad or rng.random() < 0.15:
            return
        if rng.random() < 0.12:
            made = [s for s in self.steps if isinstance(s, (Make, Call))]
            victim = Ref(rng.choice(made).name)
            self.steps.append(Call(next(self.names), rng.choice((".zero_", ".mul_")), (victim,) if rng.random() < 0.5 else (victim, 2)))
        ones = Text(f"m.ones_like({result})") if rng.random() < 0.9 else Text(f"{result}.detach().clone()")
        kwargs = {"retain_graph": True} if rng.random() < 0.2 else {}
        self.steps.append(Call(next(self.names), ".backward", (Ref(result), ones), kwargs))
        if rng.random() < 0.15:
            self.steps.append(Call(next(self.names), ".backward", (Ref(result), ones)))
