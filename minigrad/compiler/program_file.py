"""Files of exported programs: a safetensors file whose metadata holds the graph as JSON ("minigrad.program").

So there is one file, written to a temporary name and renamed; any safetensors reader finds the weights. Nothing in it is executed:
ops, optimizers and dtypes are looked up by name, every number is checked for its kind and range here, and program.py then traces the
calls again, which checks shapes and dtypes before anything runs.
"""

from __future__ import annotations

import json
from typing import Any

import minigrad as mg
from minigrad._core import Tensor
from minigrad.io import safetensors

from . import _trees
from .program import VERSION, ExportedProgram

_KEY = "minigrad.program"
_COMPLEX = ".real_imag"  # safetensors has no complex128: such tensors are kept as pairs


def save(program: ExportedProgram, path: Any) -> None:
    """Write a program to one file.

    Args:
        program: of `mg.export`. path: the file; it is replaced in one piece.
    Raises:
        NotImplementedError: a tensor of it lies on another device than the CPU.
    """
    now, state = program.snapshot()
    for spec in now["inputs"]:
        if not spec["device"].startswith("cpu"):
            raise NotImplementedError(f"export.save: the program works on {spec['device']}, and files hold programs for the CPU so far. "
                                      "Try exporting it with model and arguments on the CPU.")  # fmt: skip
    stored, layouts, shared = {}, {}, {}
    for name, tensor in state.items():
        plain = tensor.detach()
        dense = plain.is_contiguous()
        if not dense:
            layouts[name] = [list(plain.shape), list(plain.stride())]
        place = (plain.data_ptr(), plain.numel(), str(plain.dtype), dense) if plain.numel() else name
        if place in shared and layouts.get(name) == layouts.get(shared[place]):
            layouts[name] = {"same": shared[place]}
            continue
        shared[place] = name
        if plain.dtype == mg.complex128:
            stored[name + _COMPLEX] = mg.view_as_real(plain.contiguous())
        else:
            stored[name] = plain.contiguous()
    data = now | {"version": VERSION, "layouts": layouts, "requires_grad": [n for n, t in state.items() if t.requires_grad]}
    safetensors.save_file(stored, path, {_KEY: json.dumps(data, separators=(",", ":"))})


def load(path: Any) -> ExportedProgram:
    """Read a program.

    Raises:
        FileNotFoundError: there is no such file. RuntimeError: it is no program, truncated, damaged, or of another version; says what.
    """
    with safetensors.safe_open(path) as file:
        name = file.source.name
        text = (file.metadata() or {}).get(_KEY)
        if text is None:
            raise RuntimeError(f"{name}: a safetensors file, but not a program of mg.export.save")
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or data.get("version") != VERSION:
                raise ValueError(f"version {data.get('version') if isinstance(data, dict) else data!r:.50}, this library reads {VERSION}")
            stored = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118  nothing stays mapped
            state = _state(data, stored)
            _check(data, state)
            return ExportedProgram(data, state)
        except (
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            AttributeError,
            NotImplementedError,
            RuntimeError,
            OverflowError,
            RecursionError,
            MemoryError,
            AssertionError,
        ) as error:
            raise RuntimeError(f"{name}: not a program that can run: {type(error).__name__}: {error}") from error


def _state(data: dict[str, Any], stored: dict[str, Tensor]) -> dict[str, Tensor]:
    layouts, leaves = data.pop("layouts", {}), data.pop("requires_grad", [])
    state: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith(_COMPLEX):
            state[name.removesuffix(_COMPLEX)] = mg.view_as_complex(tensor)
        else:
            state[name] = tensor
    for name, layout in layouts.items():
        if isinstance(layout, dict):
            continue
        sizes, strides = layout
        if list(state[name].shape) != sizes or not all(_count(s) for s in strides) or len(strides) != len(sizes):
            raise ValueError(f"the layout of {name!r} does not fit")
        # Only a permuted dense tensor comes back in its own layout; what overlapped or had gaps is dense from now on.
        order = sorted(range(len(sizes)), key=lambda k: (-strides[k], -sizes[k]))
        state[name] = _dense_in_order(state[name], order)
    for name, layout in layouts.items():
        if isinstance(layout, dict):
            state[name] = state[layout["same"]]
    for name in leaves:
        state[name].requires_grad_()
    return state


def _dense_in_order(tensor: Tensor, order: list[int]) -> Tensor:
    back = [order.index(k) for k in range(len(order))]
    return tensor.permute(order).contiguous().permute(back)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**55


def _check(data: dict[str, Any], state: dict[str, Tensor]) -> None:
    """ValueError unless every number has its kind and range, and every value is made before it is used."""
    known: set[int] = set()

    def define(value: Any) -> None:
        if not _count(value) or value in known:
            raise ValueError(f"value {value!r:.50} is no number, or made twice")
        known.add(value)

    def use(value: Any) -> None:
        if type(value) is not int or value not in known:
            raise ValueError(f"value {value!r:.50} is used before it is made")

    arguments = 0
    for spec in data["inputs"]:
        define(spec["id"])
        if not all(_count(n) for n in [*spec["sizes"], *spec["strides"]]) or len(spec["sizes"]) != len(spec["strides"]):
            raise ValueError(f"an input's sizes are {spec['sizes']!r:.100}, its strides {spec['strides']!r:.100}")
        if "state" not in spec:
            arguments = max(arguments, spec["argument"] + 1 if _count(spec["argument"]) else 1 << 60)
            continue
        tensor = state[spec["state"]]
        if tensor.dtype != _trees.dtype_named(spec["dtype"]) or list(tensor.shape) != spec["sizes"]:
            raise ValueError(f"{spec['state']!r} is {tensor.dtype}{list(tensor.shape)}, the program wants {spec['dtype']}{spec['sizes']}")
    for call in data["calls"]:
        _check_call(call, use, define, len(data["steppers"]))
    for value in data["outputs"]:
        use(value)
    _check_gradients(data["gradients"], use)
    _trees.check(data["arguments"], 1 << 40)
    if arguments > 1 << 40:
        raise ValueError("an argument's number is out of range")
    _trees.check(data["results"], len(data["outputs"]))


def _check_call(call: dict[str, Any], use: Any, define: Any, steppers: int) -> None:
    if "step" in call:
        if type(call["step"]) is not int or not 0 <= call["step"] < steppers:
            raise ValueError(f"no optimizer {call['step']!r:.50}")
        _check_gradients(call["gradients"], use)
        return
    if not isinstance(call["op"], str) or type(call["inplace"]) is not bool or not isinstance(call["args"], list):
        raise ValueError(f"a call without op, args or inplace: {call!r:.100}")
    for arg in call["args"]:
        if isinstance(arg, dict) and "value" in arg:
            use(arg["value"])
        elif isinstance(arg, dict) and "values" in arg:
            for value in arg["values"]:
                if value is not None:
                    use(value)
        else:
            _trees.decode_number(arg)
    for made in call["outs"]:
        value, dtype, sizes = made
        define(value)
        _trees.dtype_named(dtype)
        if not isinstance(sizes, list) or not all(_count(n) for n in sizes):
            raise ValueError(f"a result's sizes are {sizes!r:.100}")


def _check_gradients(gradients: Any, use: Any) -> None:
    for leaf, value in gradients:
        use(leaf)
        if value is not None:
            use(value)
