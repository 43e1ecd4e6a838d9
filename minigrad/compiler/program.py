"""ExportedProgram: a traced function with everything it needs, as plain data and tensors; it runs without the function's source.

The data is what a file holds (program_file.py) and what the C backend reads (csource.py):

    inputs       one per input of the graph, in order: {"argument": n} or {"state": name}; {"dtype", "device", "sizes", "strides"}
    calls        {"op", "inplace", "args", "outs", "line"}: args are {"value": id}, {"values": ids}, or constants; outs are
                 [id, dtype, sizes]; or {"step": n, "gradients", "line"}: a step of optimizer (or scheduler) n
    outputs, gradients    ids; [leaf, value or null]
    arguments, results    trees (_trees.py) over the arguments' and the outputs' tensors
    steppers     optimizers and schedulers: class, options and state (_steppers.py)

A program is made from its data by tracing it again: every call goes through the op's own checks on shapes and dtypes, on tensors without
elements, and must give what the data says. So a file can name ops and nothing else, and what does not fit together never runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._core import Tensor

from . import _trees
from ._steppers import Stepper, describe

VERSION = 1


def kind_of(dtype: Any, sizes: Any) -> str:
    """float32[3, 4], for messages."""
    return f"{str(dtype).rpartition('.')[2]}[{', '.join(map(str, sizes))}]"


class ExportedProgram:
    """What `mg.export` gives and `mg.export.load` reads: call it like the function that was exported.

    Attributes:
        graph: the ops, printable. data: see the module.
        state_dict: parameters, buffers and constants by name; calls update what they write.
    """

    def __init__(self, data: dict[str, Any], state: dict[str, Tensor]) -> None:
        self.data, self.state_dict = data, state
        self._specs = [spec for spec in data["inputs"] if "argument" in spec]
        self._steppers: list[Stepper] = []
        for entry in data["steppers"]:
            self._steppers.append(Stepper(entry, state, self._steppers))
        self.graph = _Replay(data, state, self._steppers).graph
        self._plan = _core.Plan(self.graph)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program.

        Raises:
            TypeError: the arguments are built differently than those of the export.
            RuntimeError: a tensor of another dtype, shape or device.
        """
        return _trees.decode(self.data["results"], self._plan.run(self.inputs(args, kwargs)))

    def inputs(self, args: tuple, kwargs: dict[str, Any], copy: bool = False) -> list[Tensor]:
        """The graph's inputs for these arguments; `copy`: in memory of their own."""
        given: list[Tensor] = []
        _trees.tensors_of(self.data["arguments"], (args, kwargs), "program arguments", given)
        found = []
        for spec in self.data["inputs"]:
            found.append(self.state_dict[spec["state"]] if "state" in spec else _fitting(given[spec["argument"]], spec))
        return [copied(t) for t in found] if copy else found

    def module(self) -> Any:
        """The program as a callable; torch's spelling."""
        return self

    def parameters(self) -> Iterator[Tensor]:
        """The tensors of the state that require grad."""
        return (t for t in self.state_dict.values() if t.requires_grad)

    def buffers(self) -> Iterator[Tensor]:
        """The other tensors of the state."""
        return (t for t in self.state_dict.values() if not t.requires_grad)

    def snapshot(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """(data, state) as they are now, with the progress of optimizers and schedulers."""
        state = dict(self.state_dict)
        names = {id(t): name for name, t in reversed(state.items())}
        owners = [s.owner for s in self._steppers]
        return self.data | {"steppers": [describe(owner, names, owners, state) for owner in owners]}, state

    def save(self, path: Any) -> None:
        """Write it to a file; see `mg.export.save`."""
        from .program_file import save

        save(self, path)

    def __str__(self) -> str:
        lines = ["ExportedProgram"]
        for k, spec in enumerate(self.data["inputs"]):
            name = f"argument {spec['argument']}" if "argument" in spec else spec["state"]
            lines.append(f"  %{self.graph.inputs[k]}: {kind_of(spec['dtype'], spec['sizes'])}  {name}")
        return "\n".join([*lines, str(self.graph)])

    __repr__ = __str__


def copied(tensor: Tensor) -> Tensor:
    """The tensor in memory of its own, in the same layout; a leaf."""
    copy = tensor.detach().clone()
    if copy.stride() != tensor.stride():  # overlapping or with gaps
        reach = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride())) if tensor.numel() else 0
        copy = mg.empty(reach, dtype=tensor.dtype, device=tensor.device)
        flat = tensor.detach().as_strided((reach,), (1,), tensor.storage_offset()) if reach else copy
        copy = copy.copy_(flat).as_strided(tensor.shape, tensor.stride())
    return copy.requires_grad_(tensor.requires_grad)


def _fitting(tensor: Tensor, spec: dict[str, Any]) -> Tensor:
    """The argument in the layout of the export."""
    dtype = str(tensor.dtype).rpartition(".")[2]
    if dtype != spec["dtype"] or list(tensor.shape) != spec["sizes"] or tensor.device != mg.device(spec["device"]):
        raise RuntimeError(
            f"program: argument {spec['argument']}: got {kind_of(dtype, tensor.shape)} on {tensor.device}, "
            f"exported for {kind_of(spec['dtype'], spec['sizes'])} on {spec['device']}"
        )
    if list(tensor.stride()) == spec["strides"] or tensor.numel() == 0:
        return tensor
    if spec["written"]:
        raise RuntimeError(
            f"program: argument {spec['argument']} is written to and has strides {tensor.stride()}, exported for {spec['strides']}"
        )
    with mg.no_grad():
        reach = 1 + sum((n - 1) * s for n, s in zip(spec["sizes"], spec["strides"]))
        laid = mg.empty(reach, dtype=tensor.dtype, device=tensor.device).as_strided(spec["sizes"], spec["strides"])
        return laid.copy_(tensor)


class _Replay:
    """The graph of a program's data, traced again."""

    def __init__(self, data: dict[str, Any], state: dict[str, Tensor], steppers: list[Stepper]) -> None:
        from ._entry import UNPREDICTABLE

        self._values: dict[int, Tensor] = {}
        self._trace = trace = _core.Trace(UNPREDICTABLE)
        for spec in data["inputs"]:
            mg.empty(0, device=mg.device(spec["device"]))  # raises where there is no such device
        with mg.no_grad(), mg.autocast("cpu", enabled=False):
            trace.enter()
            try:
                for spec in data["inputs"]:
                    self._input(spec, state)
                for number, call in enumerate(data["calls"]):
                    self._call(number, call, steppers)
                self._set_gradients(data["gradients"])
                graph = trace.leave([self._values[k] for k in data["outputs"]])
                self.graph = _core.with_lines(graph, [call["line"] for call in data["calls"]])
            finally:
                trace.abandon()
                self._values.clear()

    def _input(self, spec: dict[str, Any], state: dict[str, Tensor]) -> None:
        if "state" in spec:
            made = state[spec["state"]]
            self._trace.meet(made)
        else:
            made = self._trace.declare(_trees.dtype_named(spec["dtype"]), mg.device(spec["device"]), spec["sizes"], spec["strides"])
        self._values[spec["id"]] = made

    def _call(self, number: int, call: dict[str, Any], steppers: list[Stepper]) -> None:
        if "step" in call:
            self._set_gradients(call["gradients"])
            stepper = steppers[call["step"]]
            self._trace.host(f"{stepper.name}.step()", stepper.step, stepper.params)
            return
        outs = _core.call_op(call["op"], call["inplace"], [self._argument(a) for a in call["args"]])
        if len(outs) != len(call["outs"]):
            raise ValueError(f"call {number}, {call['op']}: it has {len(outs)} results, the program says {len(call['outs'])}")
        for made, (at, dtype, sizes) in zip(outs, call["outs"]):
            if str(made.dtype).rpartition(".")[2] != dtype or list(made.shape) != sizes:
                raise ValueError(
                    f"call {number}, {call['op']}: it gives {kind_of(made.dtype, made.shape)}, the program says {kind_of(dtype, sizes)}"
                )
            self._values[at] = made

    def _argument(self, data: Any) -> Any:
        if isinstance(data, dict) and "value" in data:
            return self._values[data["value"]]
        if isinstance(data, dict) and "values" in data:
            return [None if k is None else self._values[k] for k in data["values"]]
        return _trees.decode_number(data)

    def _set_gradients(self, gradients: list[Any]) -> None:
        for leaf, value in gradients:
            self._values[leaf].grad = None if value is None else self._values[value]
